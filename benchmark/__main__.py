"""The command `bench`: a Ctrl-C while the command line itself is imported is told in one line as well."""

import gc
import sys


def main() -> None:
    """Run the command line."""
    # Nearly all that is made stays: to look for garbage in it, as often as is usual, takes a sixth of the time. What is
    # large waits for no such look: cells, and what measures that fail leave behind, go with their last reference.
    gc.set_threshold(100_000)
    try:
        from benchmark.cli import main as command
    except KeyboardInterrupt:
        print("interrupted before anything was done", file=sys.stderr)
        sys.exit(130)
    try:
        command()
    finally:
        # It would all be looked through once more, to free what ends with the process. But triton, which networks of
        # timm bring, fills the terminal with what it finds not freed.
        if "triton" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    main()
