"""The command `bench`: a Ctrl-C while the command line itself is imported is told in one line as well."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from benchmark.cli import main as command
    except KeyboardInterrupt:
        print("interrupted before anything was done", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
