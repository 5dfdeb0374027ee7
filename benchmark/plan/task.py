"""Tasks: pieces of work whose answers are artifacts, by what each kind is called and which version it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from benchmark.model import Passes

TaskKind = Literal[
    "train",
    "artifact",
    "assess",
    "fit",
    "craft",
    "predict",
    "observe",
    "judge",
    "threshold",
    "look",
    "separate",
    "examine",
    "verify",
]


VERSIONS: dict[TaskKind, str] = {**dict.fromkeys(get_args(TaskKind), "1"), "separate": "2", "examine": "3"}
"""What the host itself does in a task, by its kind: raised when its answers change. "1" is not in keys."""

KEYED: dict[TaskKind, str] = {"look": "probe"}
"""What keys call a kind that has got another name: a word moves no result."""


@dataclass(frozen=True)
class Task:
    """A piece of work whose answer is an artifact.

    Attributes:
        key: digest of all that changes the answer: the identity, and the source of plugins that are being written.
        identity: digest of what the suite says and of the versions of what it names. Random draws come from it, so they
            are the same whether a plugin is installed or edited, and after an edit that changes nothing.
        kind: what `benchmark.tasks` does.
        label: what people read.
        spec: plain data from which any process can do the work.
        needs: keys of the tasks that must be finished before.
        work: estimated passes, None where they depend on the data.
    """

    key: str
    identity: str
    kind: TaskKind
    label: str
    spec: dict[str, Any]
    needs: tuple[str, ...] = ()
    work: Passes | None = None
