"""`bench cache`: what the cache holds, whether it is intact, and what of it may go (`benchmark.holdings`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.errors import InputError
from benchmark.wording import json_text, say

if TYPE_CHECKING:
    from benchmark.store.store import Store


class Place(click.Path):
    """A folder or a file, or an address; a variable of the shell that is not set is not taken for the default."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what is named.

        Raises:
            InputError: an empty text, which would be the current folder.
        """
        if value == "" and param is not None:
            name = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name
            raise InputError(f"{name}: it is empty. Name a place, or leave it out.")
        return super().convert(value, param, ctx)


PATH = Place(path_type=Path)
LOCATION = Place(readable=False)
"""A folder or an address, as it is written."""
cache_option = click.option(
    "--cache",
    metavar="DIR|URL",
    type=LOCATION,
    help="Cache: a folder, or an address such as s3://BUCKET/FOLDER [~/.cache/unmask-bench or BENCH_CACHE].",
)


@click.group()
def cache() -> None:
    """Say what the cache holds, look whether it is intact, and remove of it what may go."""


kind_option = click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only these: craft, train, …, unfinished, damaged."
)


@cache.command("ls")
@cache_option
@click.option(
    "--by",
    type=click.Choice(["kind", "run", "artifact"]),
    default="kind",
    show_default=True,
    help="What a line is about.",
)
@kind_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable: all artifacts.")
def list_cache(cache: str | None, by: str, kinds: Sequence[str], as_json: bool) -> None:
    """List what the cache holds: how much, how old, and when it was last used."""
    from dataclasses import asdict

    from benchmark.holdings import Choice, holdings, in_words, known_kinds

    store = opened(cache)
    held = holdings(store)
    held = Choice(kinds=known_kinds(kinds, held)).of(held)
    say(json_text([asdict(one) for one in held]) if as_json else in_words(store, held, by))


@cache.command("verify")
@cache_option
@kind_option
@click.option("--remove", is_flag=True, help="Remove what is damaged; who needs it makes it again.")
def verify_cache(cache: str | None, kinds: Sequence[str], remove: bool) -> int:
    """Hold all artifacts against their checksums."""
    from benchmark.holdings import Choice, damaged, holdings, known_kinds, prune

    store = opened(cache)
    held = holdings(store)
    held = Choice(kinds=known_kinds(kinds, held)).of(held)
    found = damaged(store, held)
    for one, reason in found:
        say(f"{one.label or one.kind}: {reason}")
    say(f"{len(held) - len(found)} of {len(held)} intact in {store.location}")
    if found and remove:
        pruned = prune(store, [one for one, _ in found], damaged_only=True)
        mended = len(found) - len(pruned.removed) - len(pruned.busy)  # by an intact copy here, or by another process
        say(f"{f'{mended} intact again, ' if mended else ''}{len(pruned.removed)} removed")
        return 1 if pruned.busy else 0
    return 1 if found else 0


@cache.command("prune")
@cache_option
@kind_option
@click.option("--older-than", metavar="AGE", help="What was made before, such as 30d, 12h, 90m.")
@click.option("--unused-for", metavar="AGE", help="What no run has asked for since.")
@click.option(
    "--unused-by",
    multiple=True,
    type=PATH,
    metavar="RUN",
    help="What none of these run directories needs.",
)
@click.option("--to", metavar="SIZE", help="Least recently used first, until the cache holds no more, such as 50GB.")
@click.option("--yes", is_flag=True, help="Remove it; without this, only say what would be removed.")
def prune_cache(
    cache: str | None,
    kinds: Sequence[str],
    older_than: str | None,
    unused_for: str | None,
    unused_by: Sequence[Path],
    to: str | None,
    yes: bool,
) -> int:
    """Remove what meets all that is asked for; a run that needs it makes it again."""
    from benchmark.holdings import Choice, age, describe_prune, holdings, known_kinds, needed_by, prune, size

    if not (kinds or older_than or unused_for or unused_by or to):
        raise InputError(
            "bench cache prune: say what may go, by --older-than, --unused-for, --unused-by, --to or --kind."
        )
    store = opened(cache)
    needed = [needed_by(store, run) for run in unused_by]
    held = holdings(store)
    chosen = Choice(
        kinds=known_kinds(kinds, held),
        made_before=None if older_than is None else time.time() - age("--older-than", older_than),
        used_before=None if unused_for is None else time.time() - age("--unused-for", unused_for),
        unused_by=set().union(*needed) if unused_by else None,
        leaving=None if to is None else size("--to", to),
    ).of(held)
    pruned = prune(store, chosen) if yes else None
    say(describe_prune(store, held, chosen, pruned))
    return 1 if pruned is not None and pruned.busy else 0


def opened(cache: str | None) -> Store:
    """Return the cache that is meant, after a look whether it can be read.

    Raises:
        InputError, StorageError: it cannot.
    """
    from benchmark.store.location import default_cache
    from benchmark.store.store import Store

    store = Store(cache or default_cache())
    store.check()
    return store
