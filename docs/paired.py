"""Of the runs named: PGD on the network alone against attacks that know the defense, paired by image, as a table."""

import sys

import pandas as pd

from benchmark import load_run
from benchmark.statistics import mcnemar, wilson

CELL = ["dataset", "model", "norm", "eps", "seed", "defense"]


def interval(held: int, n: int) -> str:
    """Return a share with its Wilson interval."""
    found = wilson(held, n)
    return f"{held / n:.3f} [{found.low:.3f}, {found.high:.3f}]".replace("0.", ".")


def main(paths: list[str]) -> None:
    """Print a row per defense and informed attack: images held, of how many, held under one alone, and McNemar's p."""
    samples = pd.concat([load_run(path).samples for path in paths])
    samples = samples[samples.attack != "none"]
    flagged = samples.flagged.fillna(False).astype(bool)
    samples = samples.assign(held=(samples.label == samples.y) | flagged)
    print("| defense | attack | n | held under PGD | held under it | PGD alone gets through | it alone | p |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for cell, rows in samples.groupby(CELL, sort=False):
        table = rows.pivot(index="sample", columns=["knowledge", "attack"], values="held")
        (plain,) = [column for column in table if column[0] == "gray-box"]
        for informed in [column for column in table if column[0] == "white-box"]:
            held, still = table[plain].astype(bool), table[informed].astype(bool)
            lost, won = int((~held & still).sum()), int((held & ~still).sum())
            shares = f"{interval(held.sum(), len(table))} | {interval(still.sum(), len(table))}"
            p = mcnemar(lost, won)
            print(f"| {cell[-1]} | {informed[1]} | {len(table)} | {shares} | {lost} | {won} | {p:.1g} |")


main(sys.argv[1:])
