"""Which epsilon of adversarial training to take: `python -m bench_advtrain.line_search RUN`.

UnMask (Freitas et al., IEEE Big Data 2021), section IV-A, chooses "the best performance on most attacks" on validation
data, per class set (Figures 2 and 3). RUN is the directory of a run such as that of suites/unmask_line_search.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmark import SUMMARIES, BenchError, Budget, InputError

PLUGIN = "adversarial_training"


@dataclass(frozen=True)
class Choice:
    """The epsilon that a line search chooses.

    Attributes:
        eps: as the suite writes it, `4/255`.
        accuracy: epsilon, ascending → mean robust accuracy over the attacks (Figure 2).
        wins: epsilon → attacks under which it is the best, or one of several equals, models counted one by one.
        attacks: how many attacks there were.
    """

    eps: str
    accuracy: Mapping[str, float]
    wins: Mapping[str, int]
    attacks: int


def choose(accuracies: pd.DataFrame) -> Choice:
    """Return the epsilon that is best under most attacks; of equals the one of the best mean, then the smallest.

    Args:
        accuracies: a row per attack, a column per epsilon: robust accuracy, none missing.
    """
    ordered = sorted(accuracies.columns, key=Budget)
    table = accuracies[ordered]
    means = table.mean()
    wins = table.eq(table.max(axis=1), axis=0).sum()
    best = max(ordered, key=lambda eps: (wins[eps], means[eps], -Budget(eps)))
    return Choice(
        best,
        {eps: float(means[eps]) for eps in ordered},
        {eps: int(wins[eps]) for eps in ordered},
        len(table),
    )


def line_search(suite: Mapping[str, Any], metrics: pd.DataFrame) -> dict[str, Choice]:
    """Return data set → choice, and under "" the choice for all of them together.

    Args:
        suite: the run's resolved suite.
        metrics: the run's table of measures.

    Raises:
        InputError: fewer than two epsilons were run, one was run twice, or cells are missing.
    """
    eps_of: dict[str, str] = {}
    for label, options in suite["defenses"].items():
        if options["use"] == PLUGIN:
            eps = options["eps"]
            if isinstance(eps, list):
                raise InputError(f"defenses.{label}: eps is an interval, {eps}; a line search needs single values.")
            eps_of[label] = str(Budget(eps))
    if len(eps_of) < 2 or len(set(eps_of.values())) < len(eps_of):
        found = ", ".join(f"{label}: {eps}" for label, eps in eps_of.items()) or "none"
        raise InputError(
            f"a line search needs two or more defenses `use: {PLUGIN}` that differ in eps; this run has {found}."
        )
    rows = metrics[(metrics.metric == "robust_accuracy") & metrics.defense.isin(list(eps_of))]
    rows = rows[~rows.seed.isin(SUMMARIES)].assign(eps_trained=rows.defense.map(eps_of))
    if rows.empty or (rows.status != "ok").any():
        gone = rows[rows.status != "ok"]
        where = ", ".join(dict.fromkeys(f"{r.defense} on {r.dataset} under {r.attack}" for r in gone.itertuples()))
        raise InputError(f"a line search needs all of its cells; not done: {where or 'any'}. Run the suite again.")
    table = rows.pivot(index=["dataset", "model", "attack", "knowledge", "seed"], columns="eps_trained", values="value")
    if table.isna().any(axis=None):
        raise InputError("a line search needs the same attacks for every epsilon; this run's grid leaves some out.")
    names = table.index.get_level_values("dataset")
    choices = {str(name): choose(table[names == name]) for name in dict.fromkeys(names)}
    return {**choices, "": choose(table)}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--sets", is_flag=True, help="Print nothing but the --set for another suite.")
@click.option("--defense", default="at", show_default=True, help="Label that the other suite gives it.")
def main(run: Path, sets: bool, defense: str) -> None:
    """Print mean robust accuracy and wins per epsilon for each data set of RUN, and the choice."""
    from benchmark import load_run

    try:
        loaded = load_run(run)
        choices = line_search(loaded.suite, loaded.metrics)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    together = choices.pop("")
    change = f"--set defenses.{defense}.eps={together.eps}"
    if sets:
        click.echo(change)
        return
    epsilons = list(together.accuracy)
    width = max(len("all"), *map(len, choices))
    click.echo("mean robust accuracy over the attacks (attacks under which it is the best)")
    click.echo(f"{'':{width}}  " + "".join(f"{eps:>13}" for eps in epsilons) + "   choice")
    for name, choice in [*choices.items(), ("all", together)]:
        cells = "".join(f"{choice.accuracy[eps]:>8.3f} ({choice.wins[eps]:>2})" for eps in epsilons)
        click.echo(f"{name:{width}}  {cells}   {choice.eps}")
    click.echo(f"\nfor another suite: {change}")


if __name__ == "__main__":
    main()
