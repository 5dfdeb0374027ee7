"""A plugin module that makes checkpoints frequent, so that interruptions can be tested within seconds."""

import benchmark.checkpoint
import benchmark.store

benchmark.arrays.FLUSH_SECONDS = 0.1
benchmark.checkpoint.SECONDS = 0.05
