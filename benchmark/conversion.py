"""`bench data prepare`: a converter's options on the command line, and its progress."""

from __future__ import annotations

import sys
import time
import typing
from collections.abc import Sequence
from typing import Any

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from benchmark.document import core_scalar
from benchmark.errors import InputError
from benchmark.options import meanings
from benchmark.plugins import Registration, validate_options
from benchmark.progress import Progress
from benchmark.wording import printable, say, seconds_text


def convert(registration: Registration, arguments: Sequence[str], program: str) -> str:
    """Run a converter with options as they stand on the command line, and return what it did, in words.

    Args:
        registration: of the converter.
        arguments: behind its name.
        program: what stands before the name, for messages.

    Raises:
        click.UsageError: an option is unknown or missing.
        InputError: an option is wrong, or the source data is.
    """
    options_type = registration.options_type()
    told = meanings(options_type)
    command = click.Command(
        registration.name,
        params=[_option(name, info, told.get(name, "")) for name, info in options_type.model_fields.items()],
        help=registration.summary,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    parsed = command.make_context(f"{program} {registration.name}", list(arguments)).params
    try:
        options = validate_options(options_type, {name: value for name, value in parsed.items() if value is not None})
    except ValidationError as error:
        lines = [f"--{'.'.join(map(str, e['loc'])).replace('_', '-')}: {e['msg']}" for e in error.errors()]
        raise InputError(
            f"data prepare {registration.name}: " + "; ".join(lines) + f". `bench data prepare {registration.name} "
            "--help` lists the options."
        ) from None
    text: str = registration.load()(options).convert(Progress(_Line(), every=0.5))
    print(file=sys.stderr)
    return text


def _option(name: str, info: FieldInfo, meaning: str) -> click.Option:
    """Return an option of the command line for one of the converter's; what it may be, the converter's type says."""
    several = typing.get_origin(info.annotation) is tuple

    def read(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            return [core_scalar(part) for part in text.split(",")] if several else core_scalar(text)
        except ValueError as error:
            raise InputError(f"{parameter.opts[0]}: {error}.") from None

    return click.Option(
        [f"--{name.replace('_', '-')}"],
        required=info.is_required(),
        metavar="VALUE,..." if several else "VALUE",
        help=" ".join(meaning.split()) or None,
        callback=read,
    )


class _Line:
    """Shows progress with the time left: one moving line on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._started = self._said = time.monotonic()

    def __call__(self, kind: str, *values: Any) -> None:
        if kind == "warning":
            say(f"warning: {values[0]}", err=True)
            return
        done, total, unit = values
        now = time.monotonic()
        left = seconds_text((now - self._started) * (total - done) / max(done, 1))
        text = f"{done} of {total} {unit}, about {left} left"
        if sys.stderr.isatty():
            print(f"\r{printable(text):<70}", end="", file=sys.stderr, flush=True)
        elif now - self._said > 10 or done >= total:
            self._said = now
            say(text, err=True)
