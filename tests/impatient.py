"""A plugin module that makes checkpoints frequent, so that interruptions can be tested within seconds."""

import benchmark.arrays
import benchmark.checkpoint

benchmark.arrays.FLUSH_SECONDS = 0.1
benchmark.checkpoint.SECONDS = 0.05
