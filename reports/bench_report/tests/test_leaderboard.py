"""Leaderboards: ranks within equal conditions only, ties by the paired test, nothing doubtful first, safe output."""

from __future__ import annotations

import shutil
from itertools import combinations, permutations

import pandas as pd
import pytest

from bench_report.render import HtmlReporter
from benchmark import WORST_OF, load_run
from benchmark.errors import InputError
from benchmark.statistics import compare_paired, holm

DEFENSES = ("none", "at", "jpeg", "mahalanobis")
ABOUT = {
    "models": ("mlp",), "attacks": ("fgsm", "pgd"), "defenses": DEFENSES, "families": {"jpeg": "preprocessor"},
    "detectors": ("mahalanobis",), "n": 200,
}  # fmt: skip


def shares(table):
    """Return what is labelled rightly under attack, by defense or by defense and attacker."""

    def right(model, attack, defense, knowledge):
        if attack == "none":
            return 0.95
        return table.get((defense, knowledge), table.get(defense, 0.05))

    return right


def alarms_of(rate):
    return lambda attack, defense, knowledge: rate if attack == "none" else 0.7


def ranked(folder, *runs):
    """Return the rows of the table that a leaderboard writes beside its page."""
    page = HtmlReporter().rank(runs, folder)
    assert page == folder / "index.html"
    return pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)


def rows_of(page):
    return [row for row in page.one("table", data_table="leaderboard").all("tr") if row.get("data-defense")]


def withstood(run, defense, joint):
    mine = run.samples[(run.samples.defense == defense) & (run.samples.attack != "none")]
    good = (mine.y == mine.label) | (mine.flagged.fillna(False).astype(bool) if joint else False)
    return good.groupby(mine["sample"]).min().to_numpy().astype(float)


def test_rows_are_ranked_by_what_the_paired_test_tells_apart(make_run, tmp_path, parse):
    about = {**ABOUT, "flags": alarms_of(0.04), "knowledge": ("gray-box",)}
    runs = [
        make_run("a", **about, right=shares({"at": 0.5, "jpeg": 0.9}), manifest={"key": "a1" * 32}),
        make_run("b", **about, right=shares({"at": 0.75, "jpeg": 0.9}), manifest={"key": "b2" * 32}),
    ]
    HtmlReporter().write(runs[:1], runs[0].path / "report")
    table = ranked(tmp_path / "board", *runs)
    bare = [(run, name) for run in runs for name in ("none", "at")]
    p_of = {}
    for one, two in combinations(range(len(bare)), 2):
        first, second = (withstood(*bare[n], joint=False) for n in (one, two))
        p_of[one, two] = compare_paired(first, second)
    corrected = dict(zip(p_of, holm([found.p_value for found in p_of.values()])))
    better = {
        n: sum(
            corrected[min(n, m), max(n, m)] <= 0.05
            and withstood(*bare[m], joint=False).mean() > withstood(*bare[n], joint=False).mean()
            for m in range(len(bare))
            if m != n
        )
        for n in range(len(bare))
    }
    wanted = {(run.path.name, name): 1 + better[n] for n, (run, name) in enumerate(bare)}
    assert sorted(wanted.values()) == [1, 2, 3, 3]  # undefended twice: what is equal shares a rank
    found = {(row.run, row.defense): row.rank for row in table.itertuples() if row.rank != ""}
    assert {key: int(value) for key, value in found.items()} == wanted
    # A detector and a preprocessor whose attacker does not know them would be first: they have no rank.
    assert set(table[table.upper_bound != ""].no_rank) == {"bound"}
    assert table[table.defense == "jpeg"].value.astype(float).min() > table[table.defense == "at"].value.max()
    page = parse((tmp_path / "board" / "index.html").read_text())
    rows = rows_of(page)
    assert [(row.get("data-run"), row.get("data-defense")) for row in rows] == list(zip(table.run, table.defense))
    for row, told in zip(rows, table.itertuples()):
        (number,) = (c for c in row.all("td") if c.get("data-metric").startswith("worst_case"))
        assert float(number.get("data-value")) == pytest.approx(told.value, rel=1e-5)
        assert int(number.get("data-n")) == told.n == 200
        assert row.get("data-rank") == (str(told.rank) if told.rank != "" else "at most")
        assert ("this attacker does not know the defense" in row.text) == (told.no_rank == "bound")
    # Links to the report and to the cell of the run that has one, whatever the folder.
    linked = {row.get("data-run"): [a.get("href") for a in row.all("a")] for row in rows}
    assert linked["b"] == []
    assert all((tmp_path / "board" / href).resolve().is_file() for href in linked["a"])
    assert {href.rpartition("/")[2] for href in linked["a"]} >= {"index.html"}
    assert "0.05" in set(table.threshold_false_positive_rate.astype(str))


def test_other_versions_of_an_attack_or_a_network_are_other_conditions(make_run, tmp_path, site_of, parse):
    """What answers otherwise has another version, whatever its options; other versions of a defense are told."""
    about = {**ABOUT, "defenses": ("none", "at"), "detectors": (), "right": shares({"at": 0.5})}
    methods = {"attack": {"pgd": "1"}, "model": {"small_cnn": "1"}, "defense": {"some_defense": "1"}}
    runs = []
    for name, kind in (("first", ""), ("same", ""), ("attack", "attack"), ("model", "model"), ("defense", "defense")):
        mine = methods | ({kind: dict.fromkeys(methods[kind], "2")} if kind else {})
        runs.append(make_run(name, **about, manifest={"methods": mine, "key": name}))
    table = ranked(tmp_path / "board", *runs)
    alike = {frozenset(found) for _, found in table.groupby("condition").run}
    assert alike == {frozenset({"first", "same", "defense"}), frozenset({"attack"}), frozenset({"model"})}
    text = parse((tmp_path / "board" / "index.html").read_text()).text
    assert (
        "fgsm method version 2, pgd method version 2" in text or "fgsm method version 1, pgd method version 1" in text
    )
    for what in ("attack pgd", "model small_cnn", "defense some_defense"):
        assert f"Other versions of {what}:" in text
    page = site_of(runs[0], runs[2]).index
    assert "version of attack pgd" in page.text
    row = next(row for row in page.one("table", data_table="compare").all("tr") if row.get("data-attack") == "fgsm")
    assert "other options or version: attack" in row.text


def test_unequal_conditions_stay_apart_and_equal_ones_meet_whatever_their_labels(make_run, tmp_path, parse):
    about = {**ABOUT, "defenses": ("none", "at"), "detectors": (), "right": shares({"at": 0.5})}
    first = make_run("first", **about)
    suite = {"models": {"net": {"use": "small_cnn", "width": 16}}}
    same = make_run("same", **{**about, "models": ("net",)}, suite=suite)
    other = {"protocol": {"false_positive_rate": 0.2, "success": "any-wrong", "repeats": 5}}
    runs = [first, same, make_run("loose", **about, manifest=other)]  # nothing here rejects, or counts successes
    for run in runs:
        run.manifest["thresholds"] = []
    table = ranked(tmp_path / "equal", *runs)
    assert set(table.condition) == {1}
    assert dict(table.groupby("run").size()) == {"first": 2, "same": 2, "loose": 2}

    def apart(**changes):
        """Return the table, after a look at whether the headings of its conditions tell these apart."""
        run = make_run(f"other{len(list(tmp_path.iterdir()))}", **{**about, **changes.pop("about", {})}, **changes)
        table = ranked(tmp_path / f"board-{run.path.name}", first, run)
        page = parse((tmp_path / f"board-{run.path.name}" / "index.html").read_text())
        heads = [head.text for head in page.all("th") if head.get("scope") == "rowgroup"]
        assert len(set(heads)) == len(heads) == table.condition.nunique()
        return table

    attacks = {name: {"use": "pgd", "steps": 20} for name in about["attacks"]}
    others = [
        apart(suite={"attacks": {**attacks, "fgsm": {"use": "pgd", "steps": 40}}}),
        apart(suite={"models": {"mlp": {"use": "small_cnn", "width": 32}}}),
        apart(manifest={"protocol": {"false_positive_rate": 0.05, "success": "initially-correct", "split": "val"}}),
        apart(about={"attacks": ("fgsm", "pgd", "pgd-l2")}),
        apart(about={"knowledge": ("black-box",)}),
    ]
    for table in others:
        shared = table.groupby("condition").run.nunique()
        # Where one run has more attacks, the worst case of the budget that both have may stand beside the other's.
        more = {"fgsm; pgd"} if "fgsm; pgd; pgd-l2" in set(table.attacks) else set()
        assert set(table[table.condition.isin(shared[shared > 1].index)].attacks) == more
        assert table.run.nunique() == 2


def test_rows_that_no_rate_moves_stand_beside_the_detectors_of_each_rate(make_run, tmp_path):
    about = {**ABOUT, "defenses": ("none", "mahalanobis"), "flags": alarms_of(0.04), "right": shares({})}
    runs = []
    for rate in (0.05, 0.1):
        protocol = {"false_positive_rate": rate, "success": "initially-correct", "repeats": 5}
        run = make_run(f"at-{rate}", **about, manifest={"protocol": protocol, "key": str(rate) * 8})
        moved = ["joint_robust_accuracy", "joint_clean_accuracy", "worst_case_joint_robust_accuracy", "clean_fpr"]
        where = {"dataset": "digits", "model": "mlp", "defense": "mahalanobis"}
        run.manifest["thresholds"] = [{**where, "moves": moved}]
        runs.append(run)
    table = ranked(tmp_path / "board", *runs)
    found = {rate: sorted(zip(mine.defense, mine.run)) for rate, mine in table.groupby("threshold_false_positive_rate")}
    both = [("none", "at-0.05"), ("none", "at-0.1")]
    assert found == {rate: [("mahalanobis", f"at-{rate}"), *both] for rate in (0.05, 0.1)}


def test_a_randomised_defense_shares_conditions_with_what_its_repeats_do_not_move(make_run, tmp_path, parse):
    about = {**ABOUT, "defenses": ("none", "noise"), "detectors": (), "right": shares({"noise": 0.5})}
    runs = []
    for repeats, draws in ((5, 10), (9, 10), (9, 20)):
        protocol = {"false_positive_rate": 0.05, "success": "initially-correct", "repeats": repeats, "draws": draws}
        name = f"{repeats}-{draws}"
        run = make_run(name, **about, manifest={"protocol": protocol, "key": name * 8, "thresholds": []})
        run.manifest["defenses"]["noise"]["randomised"] = True
        runs.append(run)
    bare = [("none", run.path.name) for run in runs]
    table = ranked(tmp_path / "gray-box", *runs)  # who does not know the defense draws nothing
    found = {repeats: sorted(zip(mine.defense, mine.run)) for repeats, mine in table.groupby("protocol_repeats")}
    noise = {5: [("noise", "5-10")], 9: [("noise", "9-10"), ("noise", "9-20")]}
    assert found == {repeats: sorted(bare + mine) for repeats, mine in noise.items()}
    assert set(table[table.defense == "noise"]["rank"]) == {1}
    page = parse((tmp_path / "gray-box" / "index.html").read_text())
    heads = [head.text for head in page.all("th") if head.get("scope") == "rowgroup"]
    assert [f"repeats {n}" in text for n, text in zip((5, 9), heads)] == [True, True]
    assert set(ranked(tmp_path / "one", runs[0]).condition) == {1}  # with `none` of its own run


@pytest.mark.parametrize("same", [True, False])
def test_the_substitute_of_an_attacker_is_compared_by_content(make_run, tmp_path, parse, same):
    about = {**ABOUT, "defenses": ("none", "at"), "detectors": (), "knowledge": ("black-box",), "right": shares({})}
    runs = []
    for name, width in (("one", 16), ("two", 16 if same else 32)):
        label = f"sub-{name}" if same else "sub"  # labels are equal where the networks are not
        models = {"mlp": {"use": "small_cnn", "width": 8}, label: {"use": "small_cnn", "width": width}}
        grid = [{"datasets": ["digits"], "knowledge": "black-box", "substitute": {"model": label}}]
        right = shares({("at", "black-box"): 0.5})
        suite = {"models": models, "grid": grid}
        runs.append(make_run(name, **{**about, "right": right}, suite=suite, manifest={"key": name * 20}))
    table = ranked(tmp_path / "board", *runs)
    assert table.condition.nunique() == (1 if same else 2)
    page = parse((tmp_path / "board" / "index.html").read_text())
    heads = [head.text for head in page.all("th") if head.get("scope") == "rowgroup"]
    assert all("width 16" in text or "width 32" in text for text in heads) or same
    HtmlReporter().write(runs, tmp_path / "report")
    text = parse((tmp_path / "report" / "index.html").read_text()).text
    assert ("substitute of the black-box attacker" in text) != same
    assert ("other substitute of the attacker" in text) != same


@pytest.mark.parametrize("doubt", ["alarm", "probe", "flags all", "guesses", "halved", "failed"])
def test_what_may_not_be_believed_is_never_ranked(make_run, tmp_path, doubt):
    about = {**ABOUT, "defenses": ("none", "at", "mahalanobis"), "knowledge": ("white-box",), "flags": alarms_of(0.03)}
    right = shares({"at": 0.3})
    if doubt == "flags all":
        about["flags"] = alarms_of(0.3)
    if doubt in ("guesses", "halved"):
        clean = {"guesses": 0.1, "halved": 0.3}[doubt]
        kept = right
        right = lambda m, a, d, k: clean if (a, d) == ("none", "mahalanobis") else kept(m, a, d, k)  # noqa: E731
    if doubt == "failed":
        about["failed"] = lambda ds, m, attack, defense, s: "no" if (attack, defense) == ("fgsm", "mahalanobis") else ""
    run = make_run("run", **about, right=right)
    place = ("digits", "mlp", "pgd", "mahalanobis", "white-box")
    if doubt == "alarm":
        row = dict.fromkeys(run.alarms.columns, "")
        row |= dict(zip(("dataset", "model", "attack", "defense", "knowledge"), place))
        row |= {"seed": "0", "alarm": "gradient", "finding": "zero", "value": 1.0, "against": None, "n": 16}
        groups = [attack for attack in run.metrics.attack.unique() if attack.startswith(WORST_OF)]
        run.alarms = pd.DataFrame([row, *({**row, "attack": group} for group in groups)])
    if doubt == "probe":
        mine = (run.trust.defense == "mahalanobis") & (run.trust.knowledge == "white-box")
        marked = {"trust": "flagged", "why": "probe tried", "because": "probe one-step failed", "failed": 1}
        run.trust = run.trust.assign(**{name: run.trust[name].mask(mine, new) for name, new in marked.items()})
    table = ranked(tmp_path / "board", run)
    (row,) = table[table.defense == "mahalanobis"].itertuples()
    others = table[table.defense != "mahalanobis"]
    if doubt != "failed":
        assert row.value > others.value.astype(float).max()  # by its number alone it would be first
    assert row.rank == ""
    wanted = {"alarm": "flagged", "probe": "flagged", "flags all": "alarms", "guesses": "guessing", "halved": "costly"}
    assert row.no_rank == wanted.get(doubt, "incomplete")
    assert {int(rank) for rank in others["rank"]} == {1, 2}
    page = (tmp_path / "board" / "index.html").read_text()
    said = {
        "alarm": "alarm: Gradients are zero or not finite",
        "probe": "gradient checks: 1 failed",
        "flags all": "more false alarms than",
        "guesses": "no better than guessing",
        "halved": "loses more than half",
        "failed": "1 of 2 attacks without a result",
    }
    assert said[doubt] in page


def test_runs_of_other_seeds_are_told_apart_by_intervals_and_the_page_says_so(make_run, tmp_path, parse):
    about = {**ABOUT, "defenses": ("at",), "detectors": ()}
    runs = [
        make_run("few", **about, seeds=(0, 1), right=shares({"at": 0.5})),
        make_run("more", **about, seeds=(0, 2), right=shares({"at": 0.52})),
        make_run("best", **about, seeds=(3, 4), right=shares({"at": 0.9})),
    ]
    table = ranked(tmp_path / "board", *runs).set_index("run")
    assert dict(table["rank"].astype(int)) == {"best": 1, "more": 2, "few": 2}
    text = parse((tmp_path / "board" / "index.html").read_text()).text
    assert "no pair shares images and seeds: told apart by intervals that do not overlap" in text


def test_the_same_numbers_count_once_and_other_versions_are_told(make_run, tmp_path, parse):
    about = {**ABOUT, "defenses": ("none", "at"), "detectors": (), "right": shares({"at": 0.5})}
    one = make_run("one", **about, manifest={"key": "k" * 64})
    copy = load_run(shutil.copytree(one.path, tmp_path / "copy"))
    plugin = {"module": "bench_gradient", "distribution": "unmask-bench", "version": "0.2.0"}
    newer = {"key": "n" * 64, "versions": {"torch": "9.9.9", "timm": "1.0"}, "plugins": [plugin]}
    newer = make_run("newer", **about, manifest=newer)
    about |= {"failed": lambda *cell: "no" if cell[2] != "none" else ""}
    failed = make_run("failed", **about)
    nothing = make_run("nothing", **{**about, "knowledge": ("black-box",)})
    table = ranked(tmp_path / "board", one, copy, newer, failed, nothing)
    assert set(table.run) == {"one", "newer", "failed"}
    assert set(table[table.run == "failed"].no_rank) == {"none"}
    page = parse((tmp_path / "board" / "index.html").read_text())
    text = page.text
    # Said in a line before the ranks, however many there are; which, after them.
    (line,) = (li.text for li in page.all("li") if li.text.startswith("Runs of other versions:"))
    assert "torch, plugin bench_gradient and timm. Numbers may differ for that alone." in line
    order = [e.get("id") or e.get("data-table") or e.get("class") for e in page.all()]
    assert order.index("notices") < order.index("leaderboard") < order.index("versions")
    assert "copy has the key of one:" in text
    assert "Other versions of torch: 2.6.0: one, failed, nothing; 9.9.9: newer." in text
    assert "Other versions of timm: not known: one, failed, nothing; 1.0: newer." in text
    assert "Other versions of plugin bench_gradient: 0.1.0: one, failed, nothing; 0.2.0: newer." in text
    assert "No row of: nothing." in text
    with pytest.raises(InputError, match="nothing to rank: no attack has a result in 'nothing'"):
        HtmlReporter().rank([nothing], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_names_are_text_in_page_and_table(make_run, tmp_path, parse):
    hostile = "=cmd|' /C calc'!A0<script>alert(1)</script>\u202e"
    run = make_run(
        "run", models=("mlp",), attacks=("fgsm", "pgd"), defenses=("none", hostile), detectors=(), n=200,
        right=shares({hostile: 0.5}), manifest={"title": hostile},
    )  # fmt: skip
    table = ranked(tmp_path / "board", run)
    assert "'" + hostile in set(table.defense)
    page = parse((tmp_path / "board" / "index.html").read_text())
    assert hostile in {row.get("data-defense") for row in rows_of(page)}
    assert len([script for script in page.all("script") if "alert(1)" in script.text]) == 0


def test_only_what_is_ours_is_overwritten(make_run, tmp_path):
    run = make_run("run", **{**ABOUT, "defenses": ("none", "at"), "detectors": ()}, right=shares({"at": 0.5}))
    board, report = tmp_path / "board", tmp_path / "report"
    ranked(board, run)
    first = (board / "index.html").read_bytes()
    ranked(board, run)
    assert (board / "index.html").read_bytes() == first
    HtmlReporter().write([run], report)
    for name, content in (("index.html", "mine"), ("leaderboard.csv", "mine")):
        folder = tmp_path / f"mine-{name}"
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(InputError, match=f"has '{name}' in it, which no leaderboard wrote"):
            HtmlReporter().rank([run], folder)
        assert [path.name for path in folder.iterdir()] == [name]
    with pytest.raises(InputError, match="which no leaderboard wrote"):
        HtmlReporter().rank([run], report)
    with pytest.raises(InputError, match="which no report wrote"):
        HtmlReporter().write([run], board)
    assert (board / "index.html").read_bytes() == first


def test_every_pair_of_runs_gives_the_same_ranks_in_any_order(make_run, tmp_path):
    about = {**ABOUT, "defenses": ("none", "at"), "detectors": ()}
    runs = [make_run(name, **about, right=shares({"at": at})) for name, at in (("a", 0.5), ("b", 0.55), ("c", 0.8))]
    found = set()
    for number, order in enumerate(permutations(runs)):
        table = ranked(tmp_path / f"board{number}", *order)
        found.add(tuple(sorted(zip(table.run, table.defense, table["rank"].astype(str)))))
    assert len(found) == 1
