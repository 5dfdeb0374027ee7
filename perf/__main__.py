"""All measurements of speed, one after another, into one page.

    python -m perf [NAME … | 'NAME OPTIONS' …] [-o perf/results.md]

Each script of this folder is started anew, with its own defaults or the options given; what it prints goes to its
section of the page as it stands, under the machine's description and how busy the machine was when it began. Sections
of what is not measured this time stay as they are. One that fails is told of on the page, and the command ends with 1.
Without names all are run: most of an hour on two cores.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
HEAD = """# Measured

Written by `python -m perf`: ratios of things measured in one run. Each section was measured by itself.
"""
FENCE = "```"
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


def sections(page: str) -> dict[str, str]:
    """Return the sections of a page by name, each with its heading and an empty line at its end."""
    found: dict[str, list[str]] = {}
    name, printed = "", False
    for line in page.splitlines():
        if line.startswith(FENCE):
            printed = not printed
        elif line.startswith("## ") and not printed:
            name = line[3:]
        if name:
            found.setdefault(name, []).append(line)
    return {name: "\n".join(lines).rstrip() + "\n" for name, lines in found.items()}


def machine() -> list[str]:
    """Return what is measured on: the day, the commit, the machine, the libraries."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    known = scripts()
    parser = argparse.ArgumentParser(
        prog="python -m perf",
        description=(__doc__ or "").partition("\n")[0],
        epilog="\n".join(f"{name:<12} {line}" for name, line in known.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "asked", nargs="*", metavar="NAME", help="only these, in quotes with options of their own: 'kills --kills 20'"
    )
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results.md")
    given = parser.parse_args(arguments)
    asked = [shlex.split(one) for one in given.asked] or [[name] for name in known]
    if unknown := [" ".join(words) for words in asked if not words or words[0] not in known]:
        parser.error(f"no measurement is called {', '.join(map(repr, unknown))}: there are {', '.join(known)}")
    described, failed = machine(), 0
    for name, *options in asked:
        title = shlex.join([name, *options])
        busy, started = os.getloadavg()[0], perf_counter()
        print(f"{title}: {known[name]}", flush=True)
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options], capture_output=True, text=True)
        said = done.stdout.rstrip()
        if done.returncode:
            failed = 1
            said = f"{said}\nended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}".lstrip()
        print(said, flush=True)
        took = f"- {perf_counter() - started:.0f} s; load before it {busy:.1f}"
        section = [f"## {title}", "", known[name], "", *described, took, "", f"{FENCE}text", said, FENCE, ""]
        # What is measured stays where a later one is interrupted.
        there = sections(given.output.read_text()) if given.output.exists() else {}
        there[title] = "\n".join(section)
        given.output.write_text("\n".join([HEAD, *(there[one] for one in sorted(there))]))
    print(f"written to {given.output}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
