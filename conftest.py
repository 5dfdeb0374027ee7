"""For all tests."""

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair; timing is measured in perf/.
settings.register_profile("unmask-bench", deadline=None)
settings.load_profile("unmask-bench")


@pytest.fixture(scope="module")
def one_thread():
    """Compute with one thread: tests run beside others, and threads that wait for others cost more than they give."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
