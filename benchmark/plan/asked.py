"""What components declare, asked in such a way that what goes wrong in one is told with its place."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, NoneType
from typing import Any, TypeVar, get_args

from benchmark.defense import ArtifactRequest, Observation
from benchmark.document import shorten
from benchmark.errors import BenchError, InputError, first_line
from benchmark.isolation.process import isolated
from benchmark.model import Passes
from benchmark.options import Options
from benchmark.plugins import Registration
from benchmark.randomness import Rng
from benchmark.source import INSTALLED

Answer = TypeVar("Answer")


_ANSWERS: dict[str, tuple[Any, Any]] = {
    "artifacts": (dict, ArtifactRequest),
    "observations": (dict, Observation),
    **dict.fromkeys(("layers", "training_attacks", "remarks"), (tuple | list, str)),
    **dict.fromkeys(("fingerprint", "caption"), (str, None)),
    "ensemble_size": (int, None),
    **dict.fromkeys(
        ("minimum_norm", "gives_scores", "needs_classifier", "replaces_classifier", "bare", "detects", "keeps_labels"),
        (bool, None),
    ),
    "passes": (Passes | None, None),
    "passes_per_answer": (Passes, None),
    "iterations": (int | None, None),
}
"""What hooks answer with, and what that is made of: another answer would end the plan, or be read as another."""


class Asked:
    """A component that the plan asks for what it declares: what goes wrong in it is told with its place.

    Hooks are called on it as on the component, without arguments only once, and raise nothing but InputError. What they
    change of this process is put back, and told.

    Attributes:
        plugin: the component itself.
    """

    def __init__(self, plugin: Any, who: str, place: str) -> None:
        self.plugin, self._who, self._place = plugin, who, place
        self._known: dict[str, Any] = {}

    @classmethod
    def made(cls, registration: Registration, options: Options, place: str) -> Asked:
        """Return the component with these options; `place` is where the suite asks for it."""
        asked = cls(None, registration.who, place)
        asked.plugin = asked.asked("__init__", lambda _: registration.create(options))
        return asked

    def on(self, other: str) -> Asked:
        """Return the same, where it meets another component of the suite."""
        return Asked(self.plugin, self._who, f"{self._place} on {other}")

    def __getattr__(self, name: str) -> Any:
        if name not in self._known:
            if _runs_nothing(self.plugin, name):
                value = getattr(self.plugin, name)
            else:
                value = self.asked(name, lambda plugin: getattr(plugin, name))
            self._known[name] = self._hook(name, value) if callable(value) else self._checked(name, value)
        return self._known[name]

    def _hook(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        answers: list[Any] = []

        def hook(*arguments: Any) -> Any:
            if answers and not arguments:
                return answers[0]
            answer = self._checked(name, self.asked(name, lambda _: method(*arguments)))
            if not arguments:
                answers.append(answer)
            return answer

        return hook

    def _checked(self, name: str, answer: Any) -> Any:
        kind, part = _ANSWERS.get(name, (object, None))
        parts = () if part is None or not isinstance(answer, kind) else answer
        wrong = [one for one in (parts.values() if isinstance(parts, dict) else parts) if not isinstance(one, part)]
        if wrong or not isinstance(answer, kind):
            names = ["None" if one is NoneType else one.__name__ for one in get_args(kind) or (kind,)]
            of = "" if part is None else f" of {part.__name__}"
            raise InputError(
                f"{self._place}: `{name}` of the {self._who} is {shorten(repr(answer))}, which must be "
                f"{' or '.join(names)}{of}."
            )
        return answer

    def asked(self, hook: str, question: Callable[[Any], Answer]) -> Answer:
        """Return the answer to a question that is put to the component.

        Raises:
            InputError: of the kind that the component raised, if it raised one.
        """
        try:
            with isolated("the plugin"), Rng(0).seeded_globals():
                return question(self.plugin)
        except BenchError as error:
            kind = type(error) if isinstance(error, InputError) else InputError
            raise kind(f"{self._place}: {error}") from error
        except Exception as error:
            hook, where = _told_by_traceback(error, hook)
            raise InputError(
                f"{self._place}: `{hook}` of the {self._who} raised {first_line(error)}{where}. This looks like a "
                "fault of the plugin: what a suite has to change is told by InputError."
            ) from error


def _runs_nothing(plugin: Any, name: str) -> bool:
    """Tell whether an attribute is a method or a value that is looked up without code of the plugin."""
    found = inspect.getattr_static(plugin, name, property())
    usual = type(plugin).__getattribute__ is object.__getattribute__
    return usual and (isinstance(found, FunctionType) or not hasattr(found, "__get__"))


def _told_by_traceback(error: BaseException, hook: str) -> tuple[str, str]:
    """Return which function of others the host called, `hook` where none was reached, and where the error was raised.

    That is the last line of code that is not installed, or that of the function.
    """
    tops = (
        frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    steps = zip(tops, traceback.extract_tb(error.__traceback__), strict=True)
    foreign = [step for top, step in steps if top not in ("benchmark", "contextlib")]
    if not foreign:
        return hook, ""
    last = [step for step in foreign if not any(part in INSTALLED for part in Path(step.filename).parts)] or foreign[:1]
    return foreign[0].name, f" ({last[-1].filename}:{last[-1].lineno})"
