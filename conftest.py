"""For all tests."""

from hypothesis import settings

# How long an example takes is the machine's affair; timing is measured in perf/.
settings.register_profile("unmask-bench", deadline=None)
settings.load_profile("unmask-bench")
