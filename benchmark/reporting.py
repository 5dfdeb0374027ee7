"""Reporters at work: each writes from runs, and none costs the others anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.display import LineDisplay, TerminalDisplay
from benchmark.errors import BenchError, InputError
from benchmark.files import storage_error
from benchmark.isolation.process import isolated
from benchmark.plugins import Registry
from benchmark.randomness import Rng
from benchmark.reporter import Reporter
from benchmark.results.read import Run, load_run


def write_reports(
    registry: Registry, runs: Sequence[Path], folder: Path, single_file: bool = False
) -> tuple[list[Path], list[str]]:
    """Let every reporter write, and return the files to open first, and what went wrong with reporters of plugins.

    Raises:
        InputError: a run directory is damaged or given twice, or the folder cannot be written to.
    """

    def write(reporter: Reporter, loaded: list[Run]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return reporter.write(loaded, folder, single_file=single_file)

    return _let_write(registry, runs, folder, write)


def write_leaderboards(registry: Registry, runs: Sequence[Path], folder: Path) -> tuple[list[Path], list[str]]:
    """Let every reporter that offers a leaderboard write it, and return what `write_reports` does.

    Raises:
        InputError: as of `write_reports`, or there is nothing to rank.
    """
    written, problems = _let_write(registry, runs, folder, lambda reporter, loaded: reporter.rank(loaded, folder))
    if not written and not problems:
        raise InputError("no installed reporter offers a leaderboard; `bench plugins --kind reporter` lists them.")
    return written, problems


def _let_write(
    registry: Registry,
    runs: Sequence[Path],
    folder: Path,
    act: Callable[[Reporter, list[Run]], Path | None],
) -> tuple[list[Path], list[str]]:
    places = [path.resolve() for path in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(f"the run {str(runs[number])!r} is given twice. Give each run once.")
    written: list[Path] = []
    problems: list[str] = []
    for registration in registry.all("reporter"):
        # Each has runs, panels and measures of its own.
        loaded = [load_run(path) for path in runs]
        reporter: Reporter = registration.load()()
        reporter.panels = [registration.load()() for registration in registry.all("panel")]
        reporter.measures = {metric.name: metric.load() for metric in registry.all("metric")}
        try:
            with isolated("it, or a panel in it,"), Rng(0).seeded_globals():
                first = act(reporter, loaded)
            written += [] if first is None else [first]
        except InputError:
            raise
        except OSError as error:
            raise storage_error(error, folder) or InputError(
                f"the report cannot be written to {str(folder)!r}: {error.strerror or error}"
            ) from None
        except (Exception, SystemExit) as error:  # a reporter of a plugin must not cost the others
            problems.append(f"the reporter {registration.name!r} failed: {reason_of(error)}")
    return written, problems


def reason_of(error: BaseException) -> str:
    """Return what went wrong, with the kind of error where it is not one of ours."""
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


def prepare_reports(registry: Registry) -> None:
    """Let every reporter do beforehand what needs no results; one that cannot says so when it writes."""
    for registration in registry.all("reporter"):
        with contextlib.suppress(Exception, SystemExit), isolated("it"), Rng(0).seeded_globals():
            registration.load()().prepare()


def clear_reports(registry: Registry, folder: Path, display: LineDisplay | TerminalDisplay) -> None:
    """Remove a report of earlier numbers, so that none stands beside the new ones."""
    for registration in registry.all("reporter"):
        try:
            with isolated("it"):
                registration.load()().clear(folder)
        except (Exception, SystemExit) as error:  # a reporter of a plugin must not cost the run
            display.warning(
                f"the reporter {registration.name!r} cannot remove its earlier report: {reason_of(error)}. "
                f"What lies in {str(folder)!r} may show other numbers than the tables."
            )
