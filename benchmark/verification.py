"""`bench verify-attack`: whether a suite's attacks solve problems that have a solution (`benchmark.binarization`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from benchmark.binarization import LEAST
from benchmark.engine import execute
from benchmark.errors import InputError
from benchmark.files import write_whole
from benchmark.holdings import note_use
from benchmark.plan.plan import PlannedVerification, Test, Tested
from benchmark.plan.planner import plan_verification
from benchmark.results.export import csv_text
from benchmark.statistics import Estimate, rate
from benchmark.store.store import Store
from benchmark.wording import columns, percent, say

if TYPE_CHECKING:
    from benchmark.display import LineDisplay, TerminalDisplay
    from benchmark.executors import Executor
    from benchmark.plugins import Registry
    from benchmark.suite import Suite

FORMATS = (".csv", ".json")


@dataclass(frozen=True, kw_only=True)
class Verified(Tested):
    """What the test says of an attack on a network.

    Attributes:
        verdict: `pass` where it solves at least 95 % of the problems.
        asr, ci_low, ci_high: share of the problems that it solves, with a Wilson interval; NaN where there is none.
        random_asr, random_ci_low, random_ci_high: the same of the random attack; where that is high, the problems are
            easy, and a pass says little.
        n: problems; `not_made` images have none, since no linear layer tells the edge of their ball from its inside, or
            no point of the edge is flagged, or unflagged, as the test wants it.
        finding: why it was not run or failed, "" otherwise.
    """

    verdict: Literal["pass", "fail", "not run", "failed"]
    asr: float
    ci_low: float
    ci_high: float
    random_asr: float
    random_ci_low: float
    random_ci_high: float
    n: int
    not_made: int
    finding: str


def verify_suite(
    suite: Suite,
    registry: Registry,
    executor: Executor,
    display: LineDisplay | TerminalDisplay,
    *,
    cache: str | Path,
    device: str,
    images: int,
    output: Path | None,
    task_timeout: float | None,
    retries: int,
) -> int:
    """Test the attacks of a suite, print the table, write it where `output` is given, and return the exit code.

    Networks are trained and hardened as `bench run` does, or come from the cache, which keeps the tests too.

    Raises:
        InputError: the suite cannot be run here, no attack in it can be tested, or `output` cannot be written.
    """
    if output is not None and output.suffix not in FORMATS:
        raise InputError(f"--output {str(output)!r}: a file that ends with {' or '.join(FORMATS)} is needed.")
    plan = plan_verification(suite, registry, images)
    if not any(planned.task for planned in plan.verifications):
        told = "; ".join(dict.fromkeys(f"{one.tested.attack}: {one.reason}" for one in plan.verifications))
        raise InputError(f"{suite.path}: no attack of the suite can be tested so. {told}.")
    store = Store(cache)
    store.prepare()
    note_use(store, suite.path, suite.name, plan.required(plan.answers()), replaces=False)
    outcome = execute(
        plan,
        store,
        executor,
        display,
        device=device,
        modules=registry.extra_modules,
        task_timeout=task_timeout,
        retries=retries,
    )
    display.close()
    if outcome.stopped:
        say(outcome.stopped, err=True)
        return outcome.stopped.code
    reasons = {key: record.reason for key, record in outcome.records.items() if record.status == "failed"}
    rows = [_verified(planned, store, reasons) for planned in plan.verifications]
    say(_table(rows))
    if output is not None:
        frame = pd.DataFrame([asdict(row) for row in rows])
        plain = [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows]
        text = csv_text(frame) if output.suffix == ".csv" else json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
        try:
            write_whole(output, text.encode("utf-8", "replace"), own=False)
        except OSError as error:
            raise InputError(f"{str(output)!r} cannot be written: {error.strerror or error}. Give another.") from None
    return 1 if any(row.verdict in ("fail", "failed") for row in rows) else 0


def _verified(planned: PlannedVerification, store: Store, reasons: dict[str, str]) -> Verified:
    about = asdict(planned.tested)
    nothing: dict[str, Any] = dict.fromkeys(
        ("asr", "ci_low", "ci_high", "random_asr", "random_ci_low", "random_ci_high"), float("nan")
    )
    if not planned.task:
        return Verified(**about, **nothing, verdict="not run", n=0, not_made=0, finding=planned.reason)
    if planned.task in reasons:
        return Verified(**about, **nothing, verdict="failed", n=0, not_made=0, finding=reasons[planned.task])
    found = json.loads((store.open(planned.task) / "verification.json").read_text())
    n, not_made = len(found["solved"]), found["images"] - len(found["solved"])
    own, random = _share(found["solved"]), _share(found["random"])
    if own is None or random is None:
        finding = f"of none of {not_made} images the features tell {_edge(planned.tested.test)} from its inside"
        return Verified(**about, **nothing, verdict="not run", n=0, not_made=not_made, finding=finding)
    return Verified(
        **about,
        verdict="pass" if own.value >= LEAST else "fail",
        asr=own.value,
        ci_low=own.low,
        ci_high=own.high,
        random_asr=random.value,
        random_ci_low=random.low,
        random_ci_high=random.high,
        n=n,
        not_made=not_made,
        finding="",
    )


def _edge(test: Test) -> str:
    which = {
        "classes": "",
        "undetected": " that is not flagged",
        "inverted": " that is flagged, and fools the network,",
    }
    return f"a point at the edge of the ball{which[test]}"


def _share(answers: Sequence[bool]) -> Estimate | None:
    return rate(np.array(answers, dtype=np.float64))


def _table(rows: Sequence[Verified]) -> str:
    def told(value: float, low: float, high: float) -> str:
        return "" if value != value else f"{percent(value)} [{percent(low)}, {percent(high)}]"

    heads = ("attack", "network", "test", "budget", "solved", "at random", "n", "verdict")
    cells = [heads] + [
        (
            row.attack,
            row.network + (f" (seed {row.seed})" if len({r.seed for r in rows}) > 1 else ""),
            row.test,
            f"{row.norm} {row.eps}".strip(),
            told(row.asr, row.ci_low, row.ci_high),
            told(row.random_asr, row.random_ci_low, row.random_ci_high),
            str(row.n),
            row.verdict + (f": {row.finding}" if row.finding else ""),
        )
        for row in rows
    ]
    return "\n".join(
        [
            *columns(cells),
            "Problems with a known solution on the network's own features (Zimmermann et al. 2022, arXiv:2206.13991): "
            f"an attack that solves less than {percent(LEAST)} of them is too weak. Where random points solve many, "
            "they are easy, and a pass says little. Beside a detector a solution must not be flagged (undetected), or "
            "must be, and the attack is handed its score with the sign turned (inverted).",
        ]
    )
