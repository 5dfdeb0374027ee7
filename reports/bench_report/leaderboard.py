"""A leaderboard over many runs: the page's values, and the same rows as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from bench_report import sentences
from bench_report.across import methods, names_of, versions
from bench_report.facts import RunFacts
from bench_report.measures import Measure
from bench_report.ranks import Condition, Entry, rank_runs
from bench_report.reading import read_facts
from bench_report.table import as_text, group_name
from bench_report.values import Estimate, Notice, Word
from bench_report.words import moment
from benchmark import InputError

if TYPE_CHECKING:
    from benchmark import Run


FILE = "leaderboard.csv"


class Board:
    """A leaderboard.

    Args:
        reports: address of each run's report from where the leaderboard stands, and its folder; None for none.
        measures: those of plugins.

    Raises:
        InputError: no run has a row, or one is damaged.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        reports: Sequence[tuple[str, Path] | None],
        measures: Mapping[str, Measure] | None = None,
    ) -> None:
        self._all = len(runs)
        names = names_of(runs)
        first: dict[str, int] = {}
        kept = [n for n, run in enumerate(runs) if first.setdefault(run.key or f"{n}", n) == n]
        self.again = [(names[n], names[first[run.key]]) for n, run in enumerate(runs) if n not in kept]
        self.runs = [runs[n] for n in kept]
        self.names = [names[n] for n in kept]
        self.reports = [reports[n] for n in kept]
        facts: list[RunFacts] = [read_facts(run, measures or {}) for run in self.runs]
        self.conditions = rank_runs(self.runs, facts)
        if not self.conditions:
            raise InputError(
                "there is nothing to rank: no attack has a result in "
                + ", ".join(map(repr, self.names))
                + ". `bench report` says why; `bench run` goes on with a run."
            )

    def view(self) -> BoardView:
        """Return what the page shows."""
        return BoardView(
            title=sentences.board_title(self._all),
            runs=self._all,
            headline=sentences.board_headline(self.conditions, len(self.runs)),
            how=sentences.board_how(),
            notices=tuple(self._notices()),
            versions=tuple(sentences.other_versions(*one) for one in self._versions.items()),
            conditions=tuple(
                BoardCondition(
                    one.scope.dataset,
                    one.scope.model,
                    one.scope.knowledge,
                    group_name(one.scope.attack),
                    title,
                    tuple(self._row(one, entry) for entry in one.entries),
                )
                for one, title in zip(self.conditions, sentences.condition_titles(self.conditions))
            ),
            file=FILE,
        )

    def _row(self, condition: Condition, entry: Entry) -> BoardRow:
        run, report, verdict = self.runs[entry.run], self.reports[entry.run], entry.verdict
        page = ""
        if report is not None and verdict.page and (report[1] / verdict.page).is_file():
            page = report[0] + verdict.page
        return BoardRow(
            rank=sentences.rank_text(entry),
            why=sentences.NO_RANK[entry.unranked],
            defense=entry.defense,
            labels=tuple(
                mine
                for name in ("dataset", "model")
                if (mine := getattr(verdict.scope, name)) != getattr(condition.scope, name)
            ),
            robust=entry.robust,
            at_most=bool(entry.trust.bound),
            clean=verdict.clean,
            false_alarms=verdict.false_alarms,
            seeds=1 if verdict.robust is None else verdict.robust.seeds,
            trust=sentences.trust(entry.trust),
            flagged=entry.trust.flagged,
            run=self.names[entry.run],
            run_title=as_text(run.manifest.get("title")),
            report="" if report is None else report[0] + "index.html",
            page=page,
            when=_day(run),
            key=run.key,
        )

    def _notices(self) -> Iterator[Notice]:
        there = {entry.run for one in self.conditions for entry in one.entries}
        if rest := [name for number, name in enumerate(self.names) if number not in there]:
            yield sentences.left_out(rest)
        for name, first in self.again:
            yield sentences.same_key(name, first)
        if self._versions:
            yield sentences.versions_differ(list(self._versions), "versions")

    @cached_property
    def _versions(self) -> dict[str, dict[str, list[str]]]:
        """What some runs were made with that others had in another version: version → names of runs."""
        found: dict[str, dict[str, list[str]]] = {}
        installed = [versions(run) for run in self.runs]
        for what in dict.fromkeys(what for one in installed for what in one):
            for one, name in zip(installed, self.names):
                found.setdefault(what, {}).setdefault(one.get(what, ""), []).append(name)
        registered = [methods(run) for run in self.runs]
        for what in dict.fromkeys(what for one in registered for what in one):
            for one, name in zip(registered, self.names):
                if what in one:
                    found.setdefault(what, {}).setdefault(one[what], []).append(name)
        return {what: by_version for what, by_version in found.items() if len(by_version) > 1}

    # -- the table -----------------------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Return a row per row of the page, in its order: rates from 0 to 1, what does not apply is missing."""
        rows = [
            self._record(number, condition, entry)
            for number, condition in enumerate(self.conditions, 1)
            for entry in condition.entries
        ]
        frame = pd.DataFrame(rows)
        return frame.astype(dict.fromkeys(("rank", "n"), "Int64"))

    def _record(self, number: int, condition: Condition, entry: Entry) -> dict[str, Any]:
        run, scope, trust, report = self.runs[entry.run], entry.verdict.scope, entry.trust, self.reports[entry.run]
        robust, clean, alarms = entry.robust, entry.verdict.clean, entry.verdict.false_alarms
        return {
            "condition": number,
            "rank": entry.rank,
            "no_rank": entry.unranked,
            "dataset": scope.dataset,
            "fingerprint": condition.fingerprint,
            "model": scope.model,
            "knowledge": scope.knowledge,
            "group": group_name(scope.attack),
            "attacks": "; ".join(scope.attacks),
            "threshold_false_positive_rate": condition.rate,
            **{f"protocol_{name}": value for name, value in condition.protocol},
            "defense": entry.defense,
            "metric": "" if robust is None else robust.metric,
            **_numbers("value", robust),
            "n": None if robust is None else robust.n,
            "seeds": 0 if robust is None else robust.seeds,
            **_numbers("joint_clean_accuracy", clean),
            **_numbers("clean_fpr", alarms),
            "trust": "" if trust.mark is None else trust.mark.mark,
            "because": "" if trust.mark is None else trust.mark.because,
            "upper_bound": trust.bound,
            "alarms": "; ".join(trust.alarms),
            **{
                f"probes_{name}": 0 if trust.mark is None else getattr(trust.mark, name)
                for name in ("passed", "failed", "not_run")
            },
            "published_attack": "" if trust.mark is None else trust.mark.published,
            "attacks_without_result": trust.absent,
            "run": self.names[entry.run],
            "date": _day(run),
            "key": run.key,
            "report": "" if report is None else report[0] + "index.html",
        }


def _numbers(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    ends = ("ci_low", "ci_high") if name == "value" else (f"{name}_low", f"{name}_high")
    if estimate is None:
        return dict.fromkeys((name, *ends))
    return dict(zip((name, *ends), (estimate.value, estimate.low, estimate.high)))


def _day(run: Run) -> str:
    started = moment(run.manifest.get("started"))
    return "" if started is None else started.date().isoformat()


def address(folder: Path, start: Path) -> str:
    """Return the relative address of a folder from another one, with the `/` at its end."""
    try:
        path = os.path.relpath(folder.resolve(), start.resolve())
    except ValueError:  # on another drive
        return folder.resolve().as_uri() + "/"
    return quote(Path(path).as_posix()) + "/"


@dataclass(frozen=True)
class BoardRow:
    """A defense of a run in a leaderboard.

    Attributes:
        rank: `1`, `at most`, or `–` where it has none.
        why: why it has no rank, "" where it has one.
        labels: what its run calls the data set and the network, where that is not as its condition has it.
        robust: joint worst-case accuracy; `at_most` where it is an upper bound.
        trust: what the run says of how far it can be believed.
        flagged: whether that is an alarm or a failed check.
        run: name of the run; `report` is the address of its report, and `page` of the row's cell in it, "" for none.
        key: of all that its numbers were made from.
        when: the day that the run was started, ISO 8601.
    """

    rank: str
    why: str
    defense: str
    labels: tuple[str, ...]
    robust: Estimate | None
    at_most: bool
    clean: Estimate | None
    false_alarms: Estimate | None
    seeds: int
    trust: tuple[Word, ...]
    flagged: bool
    run: str
    run_title: str
    report: str
    page: str
    when: str
    key: str


@dataclass(frozen=True)
class BoardCondition:
    """Rows of a leaderboard that may be ranked."""

    dataset: str
    model: str
    knowledge: str
    group: str
    title: tuple[Word, ...]
    rows: tuple[BoardRow, ...]


@dataclass(frozen=True)
class BoardView:
    """A leaderboard over several runs; `file` is the table to download."""

    title: str
    runs: int
    headline: tuple[Word, ...]
    how: str
    notices: tuple[Notice, ...]
    versions: tuple[Notice, ...]
    conditions: tuple[BoardCondition, ...]
    file: str
