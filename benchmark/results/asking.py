"""Measures and panels of plugins are asked about cells; what one of them changes costs its own answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from benchmark.cells import Cell, handed, spoilt
from benchmark.errors import TaskError
from benchmark.names import CellName

_T = TypeVar("_T")


class Asking:
    """Asks plugins of one kind.

    To read the state of the process takes longer than most answers. So those who left all as it was, and imported
    nothing, when they were last asked by themselves are asked together; where one of them then changes something or
    raises an error, nothing of what they said counts, and each is asked by itself. So it is without a word where one of
    them imported something: libraries change warning filters and the environment while they are imported, and who else
    changed them for once cannot be told from that.

    Args:
        kind: what messages call one of them: `panel`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._quiet: set[str] = set()

    def ask(
        self,
        point: CellName,
        own: Sequence[Cell],
        questions: Mapping[str, Callable[[list[Cell]], _T]],
        problems: dict[str, str],
    ) -> dict[str, _T]:
        """Return the answers by name, without those of whom changed something or raised an error.

        Args:
            point: what `own` are the cells of, for messages.
            own: as they are; copies are handed out.
            questions: by the name of whom they ask.
            problems: gets who failed, and why.
        """
        from benchmark.isolation.process import Process  # needs torch, which those who read tables need not wait for

        together = {name: question for name, question in questions.items() if name in self._quiet}
        answers: dict[str, _T] = {}
        trouble: list[str] = []
        if together:
            given, before, modules = list(map(handed, own)), Process(), len(sys.modules)
            asked = ""
            try:
                for asked, question in together.items():
                    answers[asked] = question(given)
            except SystemExit as error:
                trouble.append(f"{asked!r} called sys.exit({error.code!r})")
            except Exception as error:  # asked by himself he says it again, or somebody has disturbed him
                trouble.append(f"{asked!r} failed ({type(error).__name__}: {error})")
            finally:
                if changed := before.restore():
                    trouble.append(f"one of them changed {changed}")
            if any(map(spoilt, given, own)):
                trouble.append("one of them wrote into the cells that they were handed")
            if trouble or len(sys.modules) > modules:
                answers = {}
        failed = False
        for name in [name for name in questions if name not in answers]:
            try:
                answers[name] = self._alone(name, own, questions[name])
            except (Exception, SystemExit) as error:  # a plugin's trouble must not cost the run
                failed = failed or name in together
                reason = str(error) if isinstance(error, TaskError) else f"{type(error).__name__}: {error}"
                problems.setdefault(
                    self._kind + " " + name, f"{self._kind} {name!r} failed, first for {point.words()}: {reason}"
                )
        if trouble and not failed:
            problems.setdefault(
                f"{self._kind}s together",
                f"the {self._kind}s {', '.join(map(repr, together))} were asked together for {point.words()}: "
                f"{', and '.join(trouble)}. Asked each by itself none did so again; that answer is kept.",
            )
        return {name: answers[name] for name in questions if name in answers}

    def _alone(self, name: str, own: Sequence[Cell], question: Callable[[list[Cell]], _T]) -> _T:
        from benchmark.isolation.process import isolated

        self._quiet.discard(name)
        given, modules = list(map(handed, own)), len(sys.modules)
        with isolated("it"):
            answer = question(given)
        if any(map(spoilt, given, own)):
            raise TaskError("it wrote into the cells that it was handed")
        if len(sys.modules) == modules:
            self._quiet.add(name)
        return answer
