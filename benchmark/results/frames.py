"""Tables with a row per value: measures, artifacts, alarms, probes, trust, groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pandas as pd

from benchmark.cells import ArtifactResult
from benchmark.names import IDENTITY, CellName
from benchmark.results.groups import Group
from benchmark.results.measures import Row
from benchmark.results.references import References
from benchmark.results.tables import (
    ALARM_COLUMNS,
    ARTIFACT_COLUMNS,
    GROUP_COLUMNS,
    METRIC_COLUMNS,
    PROBE_COLUMNS,
    TRUST_COLUMNS,
)
from benchmark.trust.alarms import Alarm
from benchmark.trust.marks import Marks, Subject, Trusted
from benchmark.trust.probe_kinds import Probed


def metrics_frame(rows: Sequence[Row], references: References, marks: Mapping[CellName, str]) -> pd.DataFrame:
    """Return the table of measures, with the published value and the trust mark of each row."""
    columns: dict[str, Any] = {
        name: pd.Series([getattr(row.point, name) for row in rows], dtype="str") for name in IDENTITY
    }
    columns["metric"] = pd.Series([row.metric for row in rows], dtype="str")
    for name in ("value", "ci_low", "ci_high"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=np.float64)
    columns["n"] = np.array([row.n for row in rows], dtype=np.int64)
    columns["status"] = pd.Series([row.status for row in rows], dtype="str")
    columns["reference"] = np.array([references.find(row) for row in rows], dtype=np.float64)
    columns["trust"] = pd.Series([marks.get(row.point, "") for row in rows], dtype="str")
    return pd.DataFrame(columns, columns=list(METRIC_COLUMNS))


def artifacts_frame(artifacts: Sequence[ArtifactResult], references: References) -> pd.DataFrame:
    """Return the table of shared artifacts."""
    rows: list[tuple[Any, ...]] = []
    for result in artifacts:
        about = (result.artifact, result.dataset, str(result.seed))
        for name, (value, n) in result.measures.items():
            point = CellName(result.dataset, "", "", "", "", "", "", str(result.seed))
            reference = references.find(Row(point, name, value, value, value, n, "ok"), result.artifact)
            rows.append((*about, name, value, n, result.status, reference))
        if not result.measures:
            rows.append((*about, "", math.nan, 0, result.status, math.nan))
    types = {"value": "float64", "n": "int64", "reference": "float64"}
    return pd.DataFrame(rows, columns=list(ARTIFACT_COLUMNS)).astype(
        {name: types.get(name, "str") for name in ARTIFACT_COLUMNS}
    )


def alarms_frame(alarms: Sequence[Alarm], subjects: Sequence[Subject], marks: Marks) -> pd.DataFrame:
    """Return the table of alarms: a row per alarm and what it reaches."""
    of_alarm: dict[int, list[Subject]] = {}
    for one in subjects if alarms else ():
        for alarm in marks.reaching(one) if one.attack else ():
            of_alarm.setdefault(id(alarm), []).append(one)
    rows: list[tuple[Any, ...]] = []
    for alarm in alarms:
        told = (alarm.kind.name, alarm.finding, alarm.value, alarm.against, alarm.n)
        rows += [(*(getattr(one, name) for name in IDENTITY), *told) for one in of_alarm.get(id(alarm), ())]
    types = {"value": "float64", "against": "float64", "n": "int64"}
    return pd.DataFrame(rows, columns=list(ALARM_COLUMNS)).astype(
        {name: types.get(name, "str") for name in ALARM_COLUMNS}
    )


def probes_frame(rows: Sequence[Probed]) -> pd.DataFrame:
    """Return the table of probes."""
    numbers = ("value", "ci_low", "ci_high", "p_value")
    types = {**dict.fromkeys(numbers, "float64"), "n": "int64"}
    return pd.DataFrame([astuple(row) for row in rows], columns=list(PROBE_COLUMNS)).astype(
        {name: types.get(name, "str") for name in PROBE_COLUMNS}
    )


def trust_frame(rows: Sequence[Trusted]) -> pd.DataFrame:
    """Return the table of trust marks."""
    types = {part.name: {"float": "float64", "int": "int64"}.get(str(part.type), "str") for part in fields(Trusted)}
    return pd.DataFrame([astuple(row) for row in rows], columns=list(TRUST_COLUMNS)).astype(types)


def groups_frame(groups: Sequence[Group]) -> pd.DataFrame:
    """Return the table of groups: a row per group and attack in it."""
    rows = {
        (point.dataset, point.model, point.knowledge, point.attack, attack, norm, eps): None
        for point, members in ((group.point, group.members) for group in groups)
        for attack, (norm, eps) in members.items()
    }
    return pd.DataFrame(list(rows), columns=list(GROUP_COLUMNS)).astype("str")
