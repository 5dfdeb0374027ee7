"""What documents say and the code knows: `nox -s generate` writes it anew, a test looks whether it is as written.

cog (cogapp) runs what stands between the first two of `MARKS`, and replaces what stands below, up to the third.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import benchmark
from benchmark import hookspecs
from benchmark.contracts import CONTRACTS, resolve
from benchmark.options import meanings
from benchmark.plugins import Registry, load_plugins

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "benchmark/__init__.pyi",
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("*.md"))),
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))),
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("*/bench_*/README.md"))),
)

MARKS = "[cog: :cog] [cog-end]"  # those that cog has of its own end as types do: `]]]`


def run(*options: str) -> int:
    """Run cog over all files; with `--check`, return another code than 0 where one is not as it would be written."""
    from cogapp import Cog

    place = os.getcwd()
    os.chdir(ROOT)
    try:
        return int(Cog().main(["cog", "-I", "docs", f"--markers={MARKS}", *options, *FILES]))
    finally:
        os.chdir(place)


def out(*lines: str) -> None:
    """Hand lines to cog."""
    import cog

    cog.outl("\n".join(lines))


def stub() -> None:
    """Write the imports of `benchmark/__init__.pyi`."""
    for section, modules in benchmark.PAGE.items():
        out("", f"# {section}")
        for module, names in modules.items():
            out(*(f"from benchmark.{module} import {name} as {name}" for name in names))


# -- docs/authors.md --------------------------------------------------------------------------------------------------


def section(title: str) -> None:
    """Write what the names of a section of `benchmark.PAGE` are, in its order."""
    for module, names in benchmark.PAGE[title].items():
        for name in names:
            out("", *_entry(module, name))


def _entry(module: str, name: str) -> Iterator[str]:
    found = getattr(benchmark, name)
    yield from (f"### `{name}`", "")
    if inspect.isclass(found):
        if is_dataclass(found):
            yield from (f"`{name}({_fields(found)})`", "")
        bases = [f"`{base.__name__}`" for base in found.__bases__ if base.__name__ in benchmark.__all__]
        if bases:
            yield from (f"A subclass of {' and '.join(bases)}.", "")
        yield _text(inspect.getdoc(found))
        members = list(_members(found))
        if members:
            yield from ("", *members)
    elif inspect.isroutine(found):
        yield from (f"`{name}{_signature(found)}`", "", _text(inspect.getdoc(found)))
    else:
        yield _text(constants(module)[name])


def _members(kind: type) -> Iterator[str]:
    """Yield what a class itself defines and says: methods, properties, and attributes with a text below them."""
    abstract: frozenset[str] = getattr(kind, "__abstractmethods__", frozenset())
    for name, member in vars(kind).items():
        if name.startswith(("_", "model_")):
            continue
        if isinstance(member, staticmethod | classmethod):
            member = member.__func__
        if inspect.isfunction(member) and member.__doc__:
            if name in abstract:
                said = textwrap.indent(_text(inspect.getdoc(member)), "  ")
                yield f"- `{name}{_signature(member, bound=True)}`, to be written:\n\n{said}\n"
            else:
                yield f"- `{name}{_signature(member, bound=True)}`: {_first(member)}"
        elif isinstance(member, property) or hasattr(member, "func"):
            said = inspect.getdoc(member if isinstance(member, property) else member.func)
            if said:
                yield f"- `{name}`: {_first(said)}"
    for name, said in attributes(kind).items():
        yield f"- `{name}`: {_first(said)}"


def _signature(function: Any, *, bound: bool = False) -> str:
    """Return parameters and answer of a function, as its source writes them."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    if bound and node.args.args and node.args.args[0].arg in ("self", "cls"):
        del node.args.args[0]
    answer = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"({ast.unparse(node.args)}){answer}".removesuffix(" -> None")


def _fields(kind: type) -> str:
    """Return the fields of a dataclass, as its source writes them."""
    return ", ".join(
        ast.unparse(statement)
        for statement in _class(kind).body
        if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation)
    )


def _first(documented: Any) -> str:
    """Return the first paragraph of a docstring in one line."""
    said = documented if isinstance(documented, str) else inspect.getdoc(documented) or ""
    return " ".join(said.split("\n\n")[0].split())


def _text(documented: str | None) -> str:
    """Return a docstring as Markdown: its sections of Google's convention as lists."""
    lines: list[str] = []
    inside = False
    for line in (documented or "").splitlines():
        head = re.fullmatch(r"(Attributes|Args|Returns|Raises|Yields):", line)
        item = re.fullmatch(r"    (\w[\w, .]*): (.*)", line)
        if head:
            lines += [f"{head[1]}:", ""]
            inside = True
        elif inside and item:
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif inside and line.startswith("     "):
            lines.append("  " + line.strip())
        elif inside and line.startswith("    "):
            lines.append(line.strip())
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return "\n".join(lines).rstrip()


def kinds() -> None:
    """Write what a plugin can be: the class to inherit from, its hook, and what has to be written."""
    out("", "| kind | subclass of | registered by | to be written | what it is |", "| --- | --- | --- | --- | --- |")
    for kind, hook in hookspecs.KINDS.items():
        contract = resolve(CONTRACTS[kind])
        written = (f"`{name}{_signature(vars(contract)[name], bound=True)}`" for name in _abstract(contract))
        said = _first(contract).replace("|", "\\|")
        listed = ", ".join(written).replace("|", "\\|")
        out(f"| {kind} | `benchmark.{contract.__name__}` | `{hook}` | {listed} | {said} |")


def _abstract(kind: type) -> Iterator[str]:
    return (name for name in vars(kind) if name in getattr(kind, "__abstractmethods__", ()))


# -- docs/measures.md -------------------------------------------------------------------------------------------------


def measures(chosen: Callable[[type[benchmark.Metric]], bool]) -> None:
    """Write the table of those of the host's measures that are chosen."""
    out("", "| Measure | Title | What is counted | Better | Interval |", "| --- | --- | --- | --- | --- |")
    for name, metric in benchmark.measures().items():
        if chosen(metric):
            said = f"| `{name}` | {metric.title} | {_first(inspect.cleandoc(metric.__doc__ or ''))} |"
            out(f"{said} {metric.better or ''} | {metric.interval} |")


# -- what commands say ------------------------------------------------------------------------------------------------


def options(*components: str, inside: bool = True) -> None:
    """Write the options of components, such as `attack pgd`, in one table; those of several that are alike in a row.

    With `inside` also those that an option holds, by their path.
    """
    rows: dict[tuple[str, str, str], list[str]] = {}
    for component in components:
        kind, name = component.split()
        for row in _options(registry().get(kind, name).options_type(), inside):
            rows.setdefault(row, []).append(f"`{name}`")
    several = len(components) > 1
    out("", f"| option |{' of |' if several else ''} default | meaning |", "| --- " * (3 + several) + "|")
    for (option, default, meaning), names in rows.items():
        of = f" {'all' if len(names) == len(components) else ', '.join(names)} |" if several else ""
        out(f"| `{option}` |{of} {default} | {meaning} |")


def _options(kind: type[benchmark.Options], inside: bool, before: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of each option; those of options inside of options by their path."""
    told = meanings(kind)
    for name, info in kind.model_fields.items():
        default = info.get_default(call_default_factory=True)
        meaning = " ".join(told.get(name, "").split()).replace("|", "\\|")
        if isinstance(default, benchmark.Options) and type(default) is info.annotation:
            yield f"{before}{name}", "", meaning
            if inside:
                yield from _options(type(default), inside, f"{before}{name}.")
        else:
            yield f"{before}{name}", "required" if info.is_required() else _default(default), meaning


def _default(value: Any) -> str:
    def plain(inner: Any) -> Any:
        return (
            inner.model_dump(mode="json", exclude_defaults=True) if isinstance(inner, benchmark.Options) else str(inner)
        )

    return "" if value is None else f"`{json.dumps(value, default=plain)}`".replace("|", "\\|")


@cache
def registry() -> Registry:
    """Return the plugins that are installed."""
    return load_plugins()


def command(*words: str) -> None:
    """Write what `bench WORDS --help` says."""
    from click.testing import CliRunner

    from benchmark.cli import cli

    answer = CliRunner().invoke(cli, [*words, "--help"], prog_name="bench", terminal_width=100)
    out("", "```text", answer.output.rstrip(), "```")


def commands() -> None:
    """Write what each command says of itself."""
    import click

    from benchmark.cli import cli

    def write(group: click.Group, *above: str) -> None:
        for name, inner in group.commands.items():
            out("", f"## bench {' '.join((*above, name))}")
            command(*above, name)
            if isinstance(inner, click.Group):
                write(inner, *above, name)

    write(cli)


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text())


def _said(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield the names that are assigned in a body, with the text that stands below the assignment."""
    for statement, below in zip(body, [*body[1:], ast.Pass()]):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if not isinstance(text, str):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            for node in ast.walk(target) if target is not None else ():
                if isinstance(node, ast.Name):
                    yield node.id, inspect.cleandoc(text)


@cache
def constants(module: str) -> dict[str, str]:
    """Return name → the text below its assignment, in a module of the host; packages with all their files."""
    import importlib

    found: dict[str, str] = {}
    path = Path(importlib.import_module(f"benchmark.{module}").__file__ or "")
    for file in sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]:
        found |= dict(_said(_tree(str(file)).body))
    return found


def attributes(kind: type) -> dict[str, str]:
    """Return attribute of a class → the text below it."""
    return dict(_said(_class(kind).body))


def _class(kind: type) -> ast.ClassDef:
    (node,) = (
        node
        for node in ast.walk(_tree(inspect.getsourcefile(kind) or ""))
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return node


if __name__ == "__main__":
    sys.exit(run("-r", "--verbosity=1"))
