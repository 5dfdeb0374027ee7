"""All measurements of speed, one after another, into one page.

    python -m perf [NAME …] [-o perf/results.md]

Each script of this folder is started anew with its own defaults; what it prints goes to the page as it stands, under
the machine's description and how busy the machine was when it began. One that fails is told of on the page, and the
command ends with 1. Without names all are run: most of an hour on two cores.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "adversarial-robustness-toolbox")


def scripts() -> dict[str, str]:
    """Return what each measurement says of itself in one line, by name."""
    said = {}
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text())
        if path.stem != "__main__" and any(
            isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body
        ):
            said[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return said


def machine() -> list[str]:
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True).stdout
    return [
        f"- {datetime.now(UTC):%Y-%m-%d}, commit {commit.strip() or 'unknown'}",
        f"- {processor or platform.machine()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {_gpu()}",
        f"- {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    ]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def main() -> None:
    known = scripts()
    parser = argparse.ArgumentParser(
        prog="python -m perf",
        description=(__doc__ or "").partition("\n")[0],
        epilog="\n".join(f"{name:<12} {line}" for name, line in known.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results.md")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no measurement is called {', '.join(unknown)}: there are {', '.join(known)}")
    page = ["# Measured", "", "Written by `python -m perf`: ratios of things measured in one run.", "", *machine()]
    failed = []
    for name in given.names or known:
        busy, started = os.getloadavg()[0], perf_counter()
        print(f"{name}: {known[name]}", flush=True)
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py")], capture_output=True, text=True)
        said = done.stdout.rstrip()
        if done.returncode:
            failed.append(name)
            said = f"{said}\nended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}".lstrip()
        print(said, flush=True)
        took = f"{perf_counter() - started:.0f} s; load before it {busy:.1f}"
        page += ["", f"## {name}", "", f"{known[name]} ({took})", "", "```text", said, "```"]
        given.output.write_text("\n".join([*page, ""]))  # what is measured stays where a later one is interrupted
    print(f"written to {given.output}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
