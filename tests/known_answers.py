"""A table of probes and alarms by known answers, with their values: `python tests/known_answers.py` prints it.

docs/measures.md has what it printed. The suite is that of `test_known_answers` with all probes, and with the rows that
they need: one step, a budget that makes all images grey, an attacker who knows less.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from inline import start_inline
from test_known_answers import CAUGHT, HONEST, SUITE

from benchmark import load_run
from benchmark.plugins import load_plugins
from benchmark.suite import load_suite
from benchmark.trust.probe_kinds import PROBES

ASKED_OF = "pgd"
"""The attack whose probes are shown; the probes of defenses compare several."""
MORE = """
  fgsm: {use: fgsm, norm: linf, eps: 0.1}
  grey: {use: pgd, norm: linf, eps: 1.0, steps: 10}
"""


def suite_text() -> str:
    """Return the suite."""
    other = "\n  other: {use: small_cnn, width: 12, train: {epochs: 8, batch_size: 32, lr: 0.05}}\nattacks:"
    text = SUITE.replace("\ndefenses:", f"{MORE}defenses:", 1).replace("\nattacks:", other, 1)
    grid = f"""grid:
  - {{models: cnn, attacks: [pgd, square, fgsm, grey], defenses: all}}
  - {{models: cnn, attacks: pgd, defenses: all, knowledge: black-box, substitute: other}}
probes: [{", ".join(PROBES)}]
"""
    return text[: text.index("grid:")] + grid


def shown(rows: pd.DataFrame) -> str:
    """Return value and n of a probe, bold where it fails."""
    rows = rows[rows.verdict != "not run"]
    if rows.empty:
        return "–"
    row = rows.sort_values("verdict").iloc[0]  # "fail" before "pass"
    value = f"{row.value:.3f}".replace("0.", ".", 1) + f" ({row.n})"
    return f"**{value}**" if row.verdict == "fail" else value


def main(folder: Path) -> None:
    """Run the suite in a folder and print the table."""
    (folder / "suite.yaml").write_text(suite_text())
    registry = load_plugins(["masked", "inline"])
    suite = load_suite(str(folder / "suite.yaml"), registry=registry)
    _, said = start_inline(suite, registry, folder / "run", folder / "cache")
    print(said, file=sys.stderr)
    run = load_run(folder / "run")
    print("| known answer | alarms |", " | ".join(PROBES), "|")
    print("| --- | --- |" + " --- |" * len(PROBES))
    for defense in (*HONEST, *CAUGHT):
        alarms = sorted(set(run.alarms[run.alarms.defense == defense].alarm))
        rows = run.probes[run.probes.defense == defense]
        rows = rows[(rows.attack == "") | ((rows.attack == ASKED_OF) & (rows.knowledge == "gray-box"))]
        values = [shown(rows[rows.probe == probe]) for probe in PROBES]
        print(f"| {defense} | {', '.join(alarms) or '–'} |", " | ".join(values), "|")


if __name__ == "__main__":
    with TemporaryDirectory() as found:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else found))
