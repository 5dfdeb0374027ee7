"""The epsilon of adversarial training is chosen as UnMask's paper words it: best under most attacks."""

from __future__ import annotations

import pandas as pd
import pytest
from click.testing import CliRunner

from bench_advtrain.line_search import choose, line_search, main
from benchmark.errors import InputError

SUITE = {
    "defenses": {
        "none": {"use": "none"},
        "at-8": {"use": "adversarial_training", "eps": "8/255"},
        "at-4": {"use": "adversarial_training", "eps": "4/255"},
        "at-16": {"use": "adversarial_training", "eps": "16/255"},
    }
}


def metrics(values, **changes):
    """Return a table of measures from {(data set, attack, defense): robust accuracy}."""
    rows = [
        {
            "dataset": dataset,
            "model": "cnn",
            "attack": attack,
            "defense": defense,
            "knowledge": "gray-box",
            "seed": seed,
            "metric": metric,
            "value": value,
            "status": "ok",
        }
        for (dataset, attack, defense), value in values.items()
        for seed, metric in (("0", "robust_accuracy"), ("0", "base_robust_accuracy"), ("mean", "robust_accuracy"))
    ]
    return pd.DataFrame(rows).assign(**changes)


def grid(**of_dataset):
    """Return values from data set → attack → accuracies at 4, 8 and 16."""
    return {
        (dataset, attack, defense): value
        for dataset, attacks in of_dataset.items()
        for attack, accuracies in attacks.items()
        for defense, value in zip(("at-4", "at-8", "at-16"), accuracies, strict=True)
    } | {(dataset, "pgd", "none"): 1.0 for dataset in of_dataset}


def table(rows, columns=("4/255", "8/255", "16/255")):
    return pd.DataFrame(rows, columns=list(columns))


@pytest.mark.parametrize(
    ("rows", "eps", "why"),
    [
        ([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1], [0.0, 0.9, 0.1]], "4/255", "most attacks, though not the best mean"),
        ([[0.5, 0.4, 0.1], [0.3, 0.9, 0.1]], "8/255", "as many attacks, a better mean"),
        ([[0.5, 0.5, 0.1]], "4/255", "equal in both: the smaller one"),
    ],
)
def test_the_rule(rows, eps, why):
    assert choose(table(rows)).eps == eps, why


def test_figure_2_is_the_mean_and_epsilons_are_ordered_by_size():
    choice = choose(table([[0.1, 0.2, 0.3], [0.3, 0.2, 0.3]], columns=("16/255", "8/255", "4/255")))
    assert list(choice.accuracy) == ["4/255", "8/255", "16/255"]
    assert list(choice.accuracy.values()) == pytest.approx([0.3, 0.2, 0.2])
    assert choice.wins == {"4/255": 2, "8/255": 0, "16/255": 1}
    assert choice.attacks == 2


def test_every_data_set_has_its_choice_and_all_of_them_one():
    values = grid(
        easy={"pgd": (0.9, 0.8, 0.1), "mia": (0.9, 0.8, 0.1), "l2": (0.9, 0.8, 0.1)},
        hard={"pgd": (0.1, 0.2, 0.3), "mia": (0.1, 0.2, 0.3)},
    )
    choices = line_search(SUITE, metrics(values))
    assert {name: choice.eps for name, choice in choices.items()} == {"easy": "4/255", "hard": "16/255", "": "4/255"}
    assert choices[""].attacks == 5


def test_what_is_no_line_search_is_refused():
    whole = grid(easy={"pgd": (0.9, 0.8, 0.1)})
    one = {"defenses": {"at": {"use": "adversarial_training", "eps": "4/255"}, "none": {"use": "none"}}}
    interval = {"defenses": {"at": {"use": "adversarial_training", "eps": [0.02, 0.05]}}}
    twice = {"defenses": {"a": SUITE["defenses"]["at-4"], "b": SUITE["defenses"]["at-4"]}}
    failed = metrics(whole)
    failed.loc[(failed.defense == "at-8") & (failed.metric == "robust_accuracy"), "status"] = "failed"
    uneven = whole | {("easy", "mia", "at-4"): 0.5}
    for suite, rows, words in (
        (one, metrics(whole), "at: 4/255"),
        (interval, metrics(whole), "defenses.at: eps is an interval"),
        (twice, metrics(whole), "a: 4/255, b: 4/255"),
        (SUITE, failed, "at-8 on easy under pgd"),
        (SUITE, metrics(uneven), "same attacks for every epsilon"),
    ):
        with pytest.raises(InputError, match=words):
            line_search(suite, rows)


def test_a_folder_that_is_no_run_is_one_message(tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "does not exist" in result.output
    assert "Traceback" not in result.output


def test_the_choice_of_a_run_is_printed_and_fits_a_command_line(tmp_path, monkeypatch):
    import benchmark

    class Run:
        suite = SUITE
        metrics = metrics(grid(CS3a={"pgd": (0.9, 0.8, 0.1)}, CS3b={"pgd": (0.4, 0.6, 0.1)}))

    monkeypatch.setattr(benchmark, "load_run", lambda path: Run())
    shown = CliRunner().invoke(main, [str(tmp_path)], catch_exceptions=False).output
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.startswith(("CS", "all"))}
    assert [rows[name][-1] for name in ("CS3a", "CS3b", "all")] == ["4/255", "8/255", "8/255"]
    sets = CliRunner().invoke(main, [str(tmp_path), "--sets", "--defense", "mine"], catch_exceptions=False).output
    assert sets == "--set defenses.mine.eps=8/255\n"
