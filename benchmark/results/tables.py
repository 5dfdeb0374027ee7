"""The tables of a run: which there are, their columns, and their files."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from benchmark.files import write_whole
from benchmark.names import IDENTITY
from benchmark.trust.alarms import Alarm
from benchmark.trust.marks import Trusted
from benchmark.trust.probe_kinds import Probed

METRIC_COLUMNS = (*IDENTITY, "metric", "value", "ci_low", "ci_high", "n", "status", "reference", "trust")
SAMPLE_COLUMNS = (*IDENTITY, "sample", "y", "base_label", "label", "score", "flagged", "success", "perturbation")
CURVE_COLUMNS = (*IDENTITY, "curve", "x", "y", "threshold")
COMPARISON_COLUMNS = (
    *(name for name in IDENTITY if name != "defense"),
    "metric",
    "defense_a",
    "defense_b",
    "value_a",
    "value_b",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "n",
    "only_a",
    "only_b",
)
GROUP_COLUMNS = ("dataset", "model", "knowledge", "attack", "member", "norm", "eps")
ARTIFACT_COLUMNS = ("artifact", "dataset", "seed", "metric", "value", "n", "status", "reference")
ALARM_COLUMNS = (*IDENTITY, "alarm", "finding", "value", "against", "n")
PROBE_COLUMNS = tuple(part.name for part in fields(Probed))
TRUST_COLUMNS = tuple(part.name for part in fields(Trusted))
GALLERY_COLUMNS = (
    *IDENTITY,
    "stratum",
    "stratum_n",
    "sample",
    "y",
    "clean",
    "adversarial",
    "perturbation",
    "scale",
    "size",
    "clean_base_label",
    "clean_label",
    "clean_score",
    "clean_flagged",
    "clean_details",
    "base_label",
    "label",
    "score",
    "flagged",
    "details",
    "explanation",
)
SHEET_COLUMNS = (*IDENTITY, "number", "file", "columns", "width", "height", "samples")
DETAIL_COLUMNS = (*IDENTITY, "sample", "details", "explanation")


@dataclass(frozen=True)
class Tables:
    """The tables of a run.

    Attributes:
        metrics: a row per cell and measure, then per group of attacks, then means and deviations over seeds.
        samples: a row per cell and image.
        curves: points of curves.
        comparisons: paired tests between defenses.
        groups: which attacks a group has, and the budget at which each counts.
        artifacts: a row per shared artifact and measure.
        alarms: a row per alarm and cell whose numbers it puts in doubt, and per group of attacks that it reaches.
        probes: a row per probe that the suite asks for, and defense and attacker, or attacked cell.
        trust: a row per cell, group and defense that has a mark of how far its numbers can be believed.
        raised: the alarms, each once.
        probed: what stands in `probes`.
        problems: measures that could not be computed, and why; their rows have the status `failed`.
    """

    metrics: pd.DataFrame
    samples: pd.DataFrame
    curves: pd.DataFrame
    comparisons: pd.DataFrame
    groups: pd.DataFrame
    artifacts: pd.DataFrame
    alarms: pd.DataFrame
    probes: pd.DataFrame
    trust: pd.DataFrame
    raised: tuple[Alarm, ...] = ()
    probed: tuple[Probed, ...] = ()
    problems: tuple[str, ...] = ()


TABLES: dict[str, tuple[str, ...]] = {
    "samples": SAMPLE_COLUMNS,
    "curves": CURVE_COLUMNS,
    "comparisons": COMPARISON_COLUMNS,
    "groups": GROUP_COLUMNS,
    "metrics": METRIC_COLUMNS,
    "artifacts": ARTIFACT_COLUMNS,
    "alarms": ALARM_COLUMNS,
    "probes": PROBE_COLUMNS,
    "trust": TRUST_COLUMNS,
    "costs": (
        "kind",
        "key",
        "label",
        "status",
        "cached",
        "seconds",
        "images",
        "forward",
        "backward",
        "peak_memory_bytes",
    ),
}
"""Tables of a run directory, each a Parquet file of that name, and the columns that they have at least."""


def write_tables(tables: Tables, folder: Path, key: str = "") -> None:
    """Write the tables as Parquet into a run directory, each whole or not at all; equal tables give equal bytes.

    `key` says what they were made from: the suite, and the keys of all artifacts that answer it.

    Raises:
        OSError: they cannot be written.
    """
    for name in ("samples", "curves", "comparisons", "groups", "artifacts", "alarms", "probes", "trust", "metrics"):
        write_whole(folder / f"{name}.parquet", parquet(getattr(tables, name), key))


def parquet(frame: pd.DataFrame, key: str) -> bytes:
    """Return a table as Parquet; `key` is read back as `frame.attrs["key"]`."""
    buffer = io.BytesIO()
    frame = frame.copy(deep=False)
    frame.attrs = {"key": key} if key else {}
    frame.to_parquet(buffer, engine="pyarrow", index=False, compression="zstd")
    return buffer.getvalue()
