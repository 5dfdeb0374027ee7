"""Probes: checks for masked gradients, on networks that deserve their verdict and on drawn cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tabulated import tabulate
from test_alarms import bench

from benchmark import InputError, load_run
from benchmark.cells import Answers, Attacker, Cell, CellResult
from benchmark.results.export import export
from benchmark.trust.probe_kinds import PROBES as ALL_PROBES

PROBES = {name: kind for name, kind in ALL_PROBES.items() if not kind.asks}
SUITE = """
suite: probed
seeds: [0]
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}, saturates: {use: saturates}}
attacks:
  fgsm: {use: fgsm, norm: linf, eps: 0.3}
  pgd: {use: pgd, norm: linf, eps: [0.3, 1.0], steps: 5}
  from elsewhere: {like: pgd, eps: 0.3}
  lame: {use: bim, norm: linf, eps: 0.3, step: 0.001, steps: 2}
  square: {use: square, norm: linf, eps: 0.3, steps: 200}
  cw: {use: cw-l2, steps: 5}
defenses: {none: {use: plain}, misleading: {use: misleading}, sturdy: {use: plain}}
grid:
  - {attacks: [fgsm, pgd, square], defenses: none}
  - {models: linear, attacks: [fgsm, lame], defenses: sturdy}
  - {models: linear, attacks: pgd, defenses: misleading, knowledge: [gray-box, white-box]}
  - {models: linear, attacks: cw, defenses: sturdy, knowledge: white-box}
  - {models: linear, attacks: from elsewhere, defenses: none, knowledge: black-box, substitute: saturates}
probes: [random-search, one-step, large-budget, knowledge]
"""


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("probed"), SUITE)


def verdict(run, model: str, defense: str, knowledge: str, probe: str):
    table = run.probes.set_index(["model", "defense", "knowledge", "probe"])
    return table.loc[model, defense, knowledge, probe]


def test_a_plain_network_passes_all_of_them(probed):
    code, run, _ = probed
    assert code == 0
    assert list(dict.fromkeys(run.probes.probe[run.probes.attack == ""])) == list(PROBES)
    for probe in PROBES:
        found = verdict(run, "linear", "none", "gray-box", probe)
        assert (found.verdict, found.n) == ("pass", 60), found.finding
        assert found.ci_low <= found.value <= found.ci_high
        assert found.norm == "linf"
    assert verdict(run, "linear", "none", "gray-box", "large-budget").value == 0
    assert verdict(run, "linear", "none", "gray-box", "knowledge").value > 0
    # One attack under two labels, as where each substitute has its own.
    assert "black-box" in verdict(run, "linear", "none", "gray-box", "knowledge").finding


def test_a_softmax_that_saturates_is_found_by_random_search_and_by_large_budgets(probed):
    _, run, said = probed
    search = verdict(run, "saturates", "none", "gray-box", "random-search")
    assert search.verdict == "fail"
    assert search.value > 0.3
    assert f"{round(60 * search.value)} of 60 images" in search.finding
    assert f"fail: {search.finding}" in said
    large = verdict(run, "saturates", "none", "gray-box", "large-budget")
    assert (large.verdict, large.eps) == ("fail", "1.0")


@pytest.mark.parametrize(
    ("defense", "knowledge", "probe"), [("sturdy", "gray-box", "one-step"), ("misleading", "white-box", "knowledge")]
)
def test_who_should_be_stronger_and_is_weaker_for_sure_fails(probed, defense, knowledge, probe):
    found = verdict(probed[1], "linear", defense, knowledge, probe)
    assert found.verdict == "fail"
    assert found.ci_high < 0
    assert found.p_value < 0.01


@pytest.mark.parametrize(
    ("defense", "knowledge", "probe", "why"),
    [
        ("misleading", "gray-box", "one-step", "no attack of one step was run"),
        ("misleading", "gray-box", "knowledge", "under gray-box and where the attacker knows less"),
        ("misleading", "gray-box", "random-search", "no attack without gradients was run"),
        ("sturdy", "gray-box", "large-budget", "the largest budget is linf 0.3"),
        ("sturdy", "white-box", "large-budget", "the largest budget is none"),
        ("sturdy", "white-box", "one-step", "no attack of one step and none iterative was run with a budget"),
    ],
)
def test_what_a_suite_lacks_is_told_where_a_probe_was_not_run(probed, defense, knowledge, probe, why):
    _, run, said = probed
    found = verdict(run, "linear", defense, knowledge, probe)
    assert (found.verdict, found.n, found.norm, found.eps) == ("not run", 0, "", "")
    assert np.isnan([found.value, found.ci_low, found.ci_high, found.p_value]).all()
    assert why in found.finding
    assert PROBES[probe].needs in found.finding
    assert f"probe {probe} of blobs / linear / {defense} / {knowledge} / 0: not run: {found.finding}" in said


def test_a_defense_that_only_transferred_attacks_meet_is_not_looked_at():
    elsewhere = cell("pgd", 50, attacker={"aim": None}, knowledge="black-box")
    found = decided("random-search", elsewhere)
    assert (found.verdict, found.knowledge) == ("not run", "")
    assert "all attacks are transferred from other networks (black-box)" in found.finding


@pytest.mark.parametrize(("eps", "lacks"), [("1.9", ["the largest budget is l2 1.9"]), ("2.0", [])])
def test_a_large_budget_in_l2_reaches_grey_from_everywhere(tmp_path, eps, lacks):
    text = SUITE[: SUITE.index("attacks:")] + "attacks: {far: {use: pgd, norm: l2, eps: " + eps + ", steps: 2}}\n"
    text += "defenses: {none: {use: plain}}\ngrid: [{models: linear}]\nprobes: [large-budget]\n"
    found = [one["lacks"] for one in planned(tmp_path, text)["probes_not_run"]]  # half the root of 16 pixels is 2
    assert [lack.partition(". ")[0] for lack in found] == lacks


def planned(tmp_path, text):
    from benchmark.inspection import plan_facts
    from benchmark.plan.planner import make_plan
    from benchmark.plugins import load_plugins
    from benchmark.store.store import Store
    from benchmark.suite import load_suite

    (tmp_path / "suite.yaml").write_text(text)
    registry = load_plugins(["toy", "alarming", "probing"])
    plan = make_plan(load_suite(str(tmp_path / "suite.yaml"), registry=registry), registry)
    return plan_facts(plan, Store(tmp_path / "cache"), registry)


def test_a_plan_tells_what_probes_lack_before_any_work(probed, tmp_path):
    from benchmark.inspection import describe_plan

    facts = planned(tmp_path, SUITE)
    rows = probed[1].probes
    told = {tuple(one[name] for name in ("probe", "model", "defense", "knowledge")) for one in facts["probes_not_run"]}
    lacking = rows[rows.verdict == "not run"][["probe", "model", "defense", "knowledge"]]
    assert told == set(lacking.itertuples(index=False, name=None)) != set()
    for finding in rows[rows.verdict == "not run"].finding:
        assert f" will not be run: {finding}" in describe_plan(facts)


def test_the_table_is_exported_and_read(probed, tmp_path):
    _, run, _ = probed
    export(run, "probes", "csv", tmp_path / "probes.csv")
    assert len(pd.read_csv(tmp_path / "probes.csv")) == len(load_run(run.path).probes) > 0
    assert run.suite["probes"] == ["random-search", "one-step", "large-budget", "knowledge"]


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ("[one-step, two-step]", r"suite\.yaml:20: probes\.1: .*two-step.*one-step"),
        ("one-step", r"suite\.yaml:20: probes: .*list"),
    ],
)
def test_an_unknown_probe_is_refused_with_its_place(tmp_path, probes, message):
    text = SUITE.replace("[random-search, one-step, large-budget, knowledge]", probes)
    with pytest.raises(InputError, match=message) as refused:
        bench(tmp_path, text)
    assert str(refused.value).count("\n") == 0


def cell(attack: str, wrong: int, *, first: int = 0, steps: int = 10, eps: str = "0.1", attacker=None, **more):
    """A cell of 200 images of which `wrong`, from number `first` on, are turned wrong."""
    y = np.zeros(200, dtype=np.int64)
    label = y.copy()
    label[first : first + wrong] = 1
    usual = {
        "knowledge": "gray-box",
        "status": "ok",
        "reason": "",
        "cell": Cell(y, Answers(y, y), Answers(label, label), np.full(200, 0.1), "linf", float(eps)),
        "sample_ids": [str(number) for number in range(200)],
        "details": {},
        "attacker": Attacker(**{"uses_gradient": True, "steps": steps, "aim": "base", **(attacker or {})}),
    }
    where = {"dataset": "d", "model": "m", "attack": attack, "defense": "at", "seed": 0, "norm": "linf", "eps": eps}
    return CellResult(**{**where, **usual, **more})


def decided(probe, *cells):
    frame = tabulate(cells, {}, {}, (), probes=[probe]).probes
    frame = frame[frame.probe == probe]
    assert len(frame) == 1
    return frame.iloc[0]


def test_values_of_drawn_cells():
    one_step = decided("one-step", cell("fgsm", 40, steps=1), cell("bim", 80), cell("pgd", 60, first=40))
    assert one_step.value == pytest.approx(0.3)  # 100 of 200 under one of the two, against 40
    assert (one_step.verdict, one_step.n) == ("pass", 200)
    search = {"uses_gradient": False, "steps": 0}
    missed = decided("random-search", cell("pgd", 50), cell("square", 20, first=44, attacker=search))
    assert missed.value == pytest.approx(14 / 200)
    assert missed.verdict == "fail"
    # What gradients find within a smaller budget lies within a larger one.
    smaller = cell("pgd-less", 20, first=45, eps="0.05")
    found = decided("random-search", cell("pgd", 50), smaller, cell("square", 20, first=44, attacker=search))
    assert (found.verdict, found.value) == ("pass", 0)
    erases = {"erases": True}
    half = cell("pgd", 150, eps="0.5", attacker=erases)
    left = decided("large-budget", half, cell("fgsm", 60, first=138, eps="1.0", attacker=erases))
    assert (left.verdict, left.value, left.eps) == ("pass", pytest.approx(2 / 200), "1.0")
    assert decided("large-budget", half).verdict == "fail"


def test_chance_fails_nothing_and_an_attack_that_is_set_up_badly_decides_nothing():
    # 4 images more by one step of 200 in which the two differ on 8: p = 0.29.
    assert decided("one-step", cell("fgsm", 66, first=0, steps=1), cell("pgd", 62, first=2)).verdict == "pass"
    badly = decided("one-step", cell("fgsm", 66, steps=1), cell("pgd", 150), cell("bim", 5))
    assert badly.verdict == "pass"
    assert decided("one-step", cell("fgsm", 66, steps=1), cell("bim", 5)).verdict == "fail"


def test_a_cell_that_failed_leaves_its_probe_not_run():
    broken = cell("pgd", 0, status="failed", reason="diverged", cell=None)
    single, many = cell("fgsm", 40, steps=1), cell("bim", 50)
    found = decided("one-step", single, broken, many)
    assert (found.verdict, found.finding) == ("not run", "no numbers of pgd, which failed or were not run")
    larger = cell("fgsm-more", 60, steps=1, eps="0.2"), cell("pgd-more", 90, eps="0.2")
    found = decided("one-step", single, broken, many, *larger)
    assert (found.verdict, found.eps, found.value) == ("pass", "0.2", pytest.approx(0.15))
    assert found.finding.endswith("; left out: pgd, which failed or were not run")


def test_cells_that_share_a_crafting_make_one_comparison():
    y = np.zeros(64, dtype=np.int64)

    def more_steps(keys: list[str]) -> set[str]:
        # 9 of 64 images more: p = 0.004, once.
        cells = [
            cell(
                "pgd",
                0,
                defense=f"detector {number}",
                examined={"doubled": {"y": y, "before.base_label": y, "after.base_label": (np.arange(64) < 9) * 1}},
                examinations={"doubled": key},
            )
            for number, key in enumerate(keys)
        ]
        return set(tabulate(cells, {}, {}, (), probes=["more-steps"]).probes.verdict)

    assert more_steps(["one"] * 8) == {"fail"}
    assert more_steps([str(number) for number in range(8)]) == {"pass"}


def test_the_docs_have_the_words_of_the_probes():
    docs = (Path(__file__).parents[1] / "docs" / "measures.md").read_text()
    for kind in ALL_PROBES.values():
        assert f"| `{kind.name}` | {kind.title}. {kind.value} | {kind.fails} | {kind.needs} | {kind.source} |\n" in docs
