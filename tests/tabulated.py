"""Tables of cells that are all there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmark.cells import ArtifactResult, CellResult
from benchmark.metrics.metric import Metric
from benchmark.names import ProbeName
from benchmark.panel import Panel
from benchmark.results.tables import Tables
from benchmark.results.tabulation import Tabulation
from benchmark.suite import Published


def tabulate(
    results: Iterable[CellResult],
    metrics: Mapping[str, Metric],
    groups: Mapping[str, Sequence[str]],
    references: Sequence[Published],
    artifacts: Sequence[ArtifactResult] = (),
    panels: Sequence[Panel] = (),
    probes: Sequence[ProbeName] = (),
) -> Tables:
    tabulation = Tabulation(metrics, panels)
    for number, result in enumerate(results):
        tabulation.add(number, result)
    return tabulation.tables(groups, references, artifacts, probes)
