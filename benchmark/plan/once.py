"""Methods whose answers are remembered."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def once(method: Callable[Concatenate[Owner, Arguments], Answer]) -> Callable[Concatenate[Owner, Arguments], Answer]:
    """Remember what a method answers to the same arguments: thousands of cells share their tasks."""

    @wraps(method)
    def remembered(owner: Owner, *arguments: Arguments.args, **keywords: Arguments.kwargs) -> Answer:
        known: dict[Any, Answer] = vars(owner).setdefault("_remembered", {})
        asked = (method.__name__, arguments, tuple(keywords.items()))
        if asked not in known:
            known[asked] = method(owner, *arguments, **keywords)
        return known[asked]

    return remembered
