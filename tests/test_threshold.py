"""The false-positive rate: one small task reads it, and only what rests on flags moves with it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from benchmark.cells import Answers, Cell
from benchmark.plugins import load_plugins
from benchmark.wording import percent

DEFENSES = (
    "{none: {use: plain}, bright: {use: brightness}, over: {use: overrules}, own: {use: flags-itself}, "
    "same: {use: constant}}"
)


def ran(finished) -> Counter[str]:
    lines = [json.loads(line) for line in (finished.path / "journal.jsonl").read_text().splitlines()]
    return Counter(line["kind"] for line in lines if line["event"] == "task done")


@pytest.fixture
def two_rates(run_toy):
    """Return the same suite run at 5 % and, from its cache, at 40 %."""
    low = run_toy(out="low", defenses=DEFENSES, protocol="{false_positive_rate: 0.05}")
    high = run_toy(out="high", defenses=DEFENSES, protocol="{false_positive_rate: 0.4}")
    assert low.code == high.code == 0
    return low, high


def test_another_rate_sets_thresholds_anew_and_nothing_else(two_rates, tmp_path):
    low, high = two_rates
    assert ran(low)["threshold"] == 4
    assert ran(high) == {"threshold": 4}

    # What is flagged: the share of clean validation images that the rate allows, and no more.
    shares = {one["defense"]: one["flagged"] for one in high.run.manifest["thresholds"]}
    assert shares == {"bright": pytest.approx(24 / 60), "over": pytest.approx(24 / 60), "same": 0.0}
    flags = [run.run.samples.query("attack == 'none'").groupby("defense").flagged.mean() for run in two_rates]
    assert flags[0]["bright"] < flags[1]["bright"]
    assert flags[0]["own"] == flags[1]["own"]
    assert flags[1]["same"] == 0

    # A score that most images share leaves no threshold; it is said once per threshold, with the rate.
    said = [w["text"] for w in high.run.manifest["warnings"]]
    assert said == [text for text in said if "100% of the clean validation images share the highest score" in text]
    assert len(said) == 1
    assert "false-positive rate of 40%" in said[0]
    tiny = [percent(share) for share in (0, 1e-9, 0.05, 0.125, 0.4, 0.996, 0.99999, 1)]
    assert tiny == ["0%", "0.0000001%", "5%", "12%", "40%", "99.6%", "99.999%", "100%"]

    # Labels follow the host's flags where a defense answers otherwise then.
    samples = high.run.samples.query("defense == 'over'").set_index(["attack", "sample"])
    plain = high.run.samples.query("defense == 'none'").set_index(["attack", "sample"])
    assert samples.flagged.any()
    assert (samples.label.where(~samples.flagged, 1 - samples.label) == plain.label).all()

    # What does not depend on the rate is equal, to the last bit.
    same = ("auroc", "base_robust_accuracy", "tpr_at_5fpr", "perturbation_mean")
    for metric in same:
        assert low.values(metric) == high.values(metric)
    assert low.values("robust_accuracy")["step", "bright"] == high.values("robust_accuracy")["step", "bright"]
    assert low.values("robust_accuracy")["step", "over"] != high.values("robust_accuracy")["step", "over"]

    # The report lines those up, and keeps the others apart.
    from benchmark.reporting import write_reports

    (page,), _ = write_reports(load_plugins(["toy"]), [low.path, high.path], tmp_path / "report")
    lined_up = {
        (row.metric, row.defense) for row in comparison([low.run, high.run]).rows if row.attack in ("none", "step")
    }
    everywhere = {"none", "bright", "over", "own", "same"}
    assert {d for m, d in lined_up if m == "auroc"} == everywhere - {"none"}
    assert {d for m, d in lined_up if m in ("robust_accuracy", "clean_accuracy")} == everywhere - {"over"}
    assert {d for m, d in lined_up if m in ("joint_robust_accuracy", "joint_clean_accuracy")} == {"none", "own"}
    assert "it keeps apart the measures at the threshold that it sets" in page.read_text()


def comparison(runs):
    from bench_report.build import build_report

    return build_report(runs).view.compare


def test_a_measure_reads_what_it_says():
    """Turning over what a measure says that it does not read changes nothing."""
    rng = np.random.default_rng(0)
    registry = load_plugins([])

    def answers(count: int) -> Answers:
        return Answers(
            rng.integers(0, 3, count), rng.integers(0, 3, count), rng.normal(size=count), rng.random(count) < 0.5
        )

    y, clean, attacked = rng.integers(0, 3, 200), answers(200), answers(200)
    for registration in registry.all("metric"):
        metric = registration.load()()
        if not registration.target.startswith("benchmark.metrics."):
            continue
        values = set()
        for seed in range(3):
            rng = np.random.default_rng(seed)
            others = [
                Answers(
                    **{
                        name: getattr(old, name) if name in metric.reads or name == "details" else getattr(new, name)
                        for name in ("base_label", "label", "score", "flagged", "details")
                    }
                )
                for old, new in ((clean, answers(200)), (attacked, answers(200)))
            ]
            under_attack = None if metric.scope == "clean" else others[1]
            for success in ("initially-correct",) if "success" in metric.reads else ("initially-correct", "any-wrong"):
                cell = Cell(y, others[0], under_attack, np.full(200, 0.1), "linf", 0.1, success=success)
                value = metric.compute([cell])
                values.add(None if value is None else value.value)
        assert len(values) == 1, registration.name


def test_a_second_answer_needs_flags_or_a_score(run_toy):
    finished = run_toy(defenses="{shy: {use: shy}}")
    assert finished.code == 1
    assert "neither flags nor a score" in finished.run.manifest["failures"][0]["reason"]
