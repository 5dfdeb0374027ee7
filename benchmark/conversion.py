"""`bench data prepare`: a converter's options from the command line, and its progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

from pydantic import ValidationError

from benchmark.document import core_scalar
from benchmark.engine import seconds_text
from benchmark.errors import InputError, unknown_name
from benchmark.plugins import Registration, validate_options
from benchmark.progress import Progress
from benchmark.wording import printable, say


def convert(registration: Registration, arguments: Sequence[str]) -> str:
    """Run a converter with options as they stand on the command line, and return what it did, in words.

    Raises:
        InputError: an option is unknown, missing or wrong, or the source data is.
    """
    options_type = registration.options_type()
    given: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in options_type.model_fields:
            known = [f"--{field.replace('_', '-')}" for field in options_type.model_fields]
            raise InputError(f"data prepare {registration.name}: {unknown_name('option', flag, known)}")
        if not equals:
            if not words:
                raise InputError(f"data prepare {registration.name}: {flag} needs a value")
            value = words.pop(0)
        listed = "tuple" in str(options_type.model_fields[name].annotation)
        given[name] = [core_scalar(part) for part in value.split(",")] if listed else core_scalar(value)
    try:
        options = validate_options(options_type, given)
    except ValidationError as error:
        lines = [f"--{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg']}" for e in error.errors()]
        raise InputError(
            f"data prepare {registration.name}: " + "; ".join(lines) + f". `bench show converter {registration.name}` "
            "lists the options."
        ) from None
    text: str = registration.load()(options).convert(Progress(_Line(), every=0.5))
    print(file=sys.stderr)
    return text


class _Line:
    """Shows progress with the time left: one moving line on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._started = self._said = monotonic()

    def __call__(self, kind: str, *values: Any) -> None:
        if kind == "warning":
            say(f"warning: {values[0]}", err=True)
            return
        done, total, unit = values
        now = monotonic()
        left = seconds_text((now - self._started) * (total - done) / max(done, 1))
        text = f"{done} of {total} {unit}, about {left} left"
        if sys.stderr.isatty():
            print(f"\r{printable(text):<70}", end="", file=sys.stderr, flush=True)
        elif now - self._said > 10 or done >= total:
            self._said = now
            say(text, err=True)
