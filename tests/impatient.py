"""A plugin module that makes checkpoints frequent, so that interruptions can be tested within seconds."""

import benchmark.checkpoint
import benchmark.store.arrays

benchmark.store.arrays.FLUSH_SECONDS = 0.1
benchmark.checkpoint.SECONDS = 0.05
