"""A run directory, read back."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import InputError, unknown_name
from benchmark.results.tables import DETAIL_COLUMNS, GALLERY_COLUMNS, SHEET_COLUMNS, TABLES
from benchmark.rundir import DETAILS, GALLERY, IMAGES, REPORT, SHEETS, read_manifest
from benchmark.store.location import default_cache
from benchmark.store.store import Store
from benchmark.suite.file import Published, Reference


@dataclass
class Run:
    """A run directory, read as it is asked for; what is read is verified against its checksum.

    Attributes:
        path: the folder.
        manifest: what was run, where, with which versions, and how it ended.
    """

    path: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def key(self) -> str:
        """What the tables were made from: a digest of the suite and of all artifacts that answer it."""
        return str(self.manifest.get("key", ""))

    @property
    def report(self) -> Path:
        """The folder where `bench run` puts reports."""
        return self.path / REPORT

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Measures: a row per cell and measure."""
        return self.table("metrics")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Verdicts: a row per cell and image."""
        return self.table("samples")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Points of curves."""
        return self.table("curves")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Paired tests between defenses."""
        return self.table("comparisons")

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Groups of attacks: a row per group and attack in it, with the budget at which it counts."""
        return self.table("groups")

    @cached_property
    def artifacts(self) -> pd.DataFrame:
        """Measures of shared artifacts: a row per artifact and measure."""
        return self.table("artifacts")

    @cached_property
    def alarms(self) -> pd.DataFrame:
        """Signs that a number does not mean what it seems to: a row per alarm and cell."""
        return self.table("alarms")

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Checks of attacks and defenses: a row per probe that the suite asks for, and attacked cell or attacker."""
        return self.table("probes")

    @cached_property
    def trust(self) -> pd.DataFrame:
        """How far numbers can be believed: a row per cell, group of attacks and defense (`attack` is "")."""
        return self.table("trust")

    @cached_property
    def gallery(self) -> pd.DataFrame:
        """Images that the report shows first: a row per cell, stratum and image; files lie in the folder `images`."""
        return self._pictured(GALLERY, GALLERY_COLUMNS)

    @cached_property
    def sheets(self) -> pd.DataFrame:
        """All images, many in one file: a row per cell and sheet.

        Where `attack` and `defense` are empty, the sheets have the clean images of the data set, and `samples` their
        names in order, as JSON; the sheets of an attacked cell have its versions of the same images at the same
        places. Images stand row by row, `columns` in a row, each `width` × `height` pixels.
        """
        return self._pictured(SHEETS, SHEET_COLUMNS)

    @cached_property
    def details(self) -> pd.DataFrame:
        """What explains the verdicts on images in sheets: a row per cell and image, `details` as JSON."""
        return self._pictured(DETAILS, DETAIL_COLUMNS)

    def _pictured(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        if "finished" in self.manifest and name not in self._sums:
            return pd.DataFrame(columns=list(columns))
        return self._read(name, columns)

    def image(self, name: str) -> bytes:
        """Return a file that the gallery names: an image as PNG, or an explanation as JSON.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self.path / IMAGES / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._damaged(path, error) from None
        if content_name(content, path.suffix) != name:
            raise self._damaged(path, "its checksum differs")
        return content

    @cached_property
    def costs(self) -> pd.DataFrame:
        """What each task cost: seconds, images, passes, memory."""
        return self.table("costs")

    @cached_property
    def suite(self) -> dict[str, Any]:
        """The suite as it was resolved."""
        import yaml

        try:
            suite = yaml.safe_load(self.read("suite.yaml").decode())
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise self._damaged(self.path / "suite.yaml", error) from None
        if not isinstance(suite, dict):
            raise self._damaged(self.path / "suite.yaml", f"a mapping was expected, found {type(suite).__name__}")
        return suite

    @property
    def published(self) -> tuple[Published, ...]:
        """Published numbers of the suite, to stand beside the measured ones."""
        try:
            return Reference.model_validate_json(json.dumps(self.suite.get("reference") or {})).rows
        except ValueError as error:
            raise self._damaged(self.path / "suite.yaml", error) from None

    def artifact(self, name: str, cache: str | Path | None = None) -> Path:
        """Return the folder of the one shared artifact that a defense of the run calls `name`: what its `save` wrote.

        Args:
            name: such as `extractor`.
            cache: of the run; BENCH_CACHE, or the user's, unless given.

        Raises:
            InputError: the run built none, or several, or the cache does not hold it.
            DamagedArtifactError: a file of it is missing, or not as it was written.
        """
        keys = {
            line["key"]
            for line in self.journal
            if line.get("kind") == "artifact" and line["label"].startswith(f"build {name} on ")
        }
        if len(keys) != 1:
            raise InputError(f"{self.path}: expected a run that built one {name}, found {len(keys)}.")
        (key,), store = keys, Store(cache or default_cache())
        if not store.has(key):
            raise InputError(f"{store.location} does not hold the {name} of {self.path}: the run had another --cache.")
        return store.open(key)

    @cached_property
    def journal(self) -> list[dict[str, Any]]:
        """What happened, in order; lines that were torn by a crash are left out."""
        path = self.path / "journal.jsonl"
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise self._damaged(path, error) from None
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def table(self, name: str) -> pd.DataFrame:
        """Return the table `name`.

        Raises:
            InputError: there is no such table, or its file is missing or damaged.
        """
        if name not in TABLES:
            raise InputError(unknown_name("table", name, TABLES))
        return self._read(f"{name}.parquet", TABLES[name])

    def read(self, name: str) -> bytes:
        """Return the content of a file with results, or of `suite.yaml`.

        Raises:
            InputError: the run has not come to its end, or the file is missing or damaged.
        """
        path = self.path / name
        if name not in self._sums:
            if "finished" in self.manifest and self._sums:
                raise InputError(
                    f"the run in {str(self.path)!r} has no {name}: another version of this program wrote it. "
                    f"{self._cure('writes it anew, from the cache')}"
                )
            started = self.manifest.get("started", "at some time")
            why = self.manifest.get("ended_by")
            how = "is at work, or was stopped before it came to its end" if why is None else f"ended early: {why}"
            raise InputError(
                f"the run in {str(self.path)!r} has no {name}: it was started {started} and {how.rstrip('.')}. "
                f"{self._cure('goes on with it')}"
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._damaged(path, error) from None
        if hashlib.sha256(content).hexdigest() != self._sums[name]:
            raise self._damaged(path, "its checksum differs")
        return content

    @property
    def _sums(self) -> dict[str, str]:
        sums: dict[str, str] = self.manifest.get("files", {})
        return sums

    def _read(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        content = self.read(name)
        try:
            frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
        except Exception as error:  # pyarrow raises many kinds for a file that is not what it should be
            raise self._damaged(self.path / name, error) from None
        lacking = [column for column in columns if column not in frame.columns]
        if lacking:  # its checksum is right: so it was written
            raise InputError(
                f"{str(self.path / name)!r} lacks the columns {', '.join(lacking)}: another version of this program "
                f"wrote it. {self._cure('writes it anew, from the cache')}"
            )
        return frame

    def _damaged(self, path: Path, what: object) -> InputError:
        return _damaged(path, what, self._cure("writes it anew, from the cache"))

    def _cure(self, does: str) -> str:
        command = [str(word) for word in self.manifest.get("command") or ("bench", "run", "SUITE")]
        kept = [
            word
            for before, word in zip(["", *command], command)
            if "--output" not in (before, word) and not word.startswith("--output=")
        ]
        # Where it lies now: the folder may have been moved or copied since.
        return f"The same command {does}: `{shlex.join([*kept, '--output', str(self.path)])}`."


def _damaged(path: Path, what: object, cure: str) -> InputError:
    if isinstance(what, FileNotFoundError):
        return InputError(f"{str(path)!r} is missing. {cure}")
    found = f"{type(what).__name__}: {what}" if isinstance(what, Exception) else str(what)
    return InputError(f"{str(path)!r} is damaged ({found.splitlines()[0][:300]}). {cure}")


def content_name(content: bytes, suffix: str) -> str:
    """Return the name of a file that is called by its content."""
    return hashlib.blake2b(content, digest_size=10).hexdigest() + suffix


def load_run(path: str | Path) -> Run:
    """Return the run in a folder; its tables are read when they are asked for.

    Raises:
        InputError: there is no such folder, or no run in it, or its manifest is damaged.
    """
    folder = Path(path)
    manifest = folder / "manifest.json"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{str(path)!r} {what}. Give the folder that `bench run` wrote to (--output).")
    if not manifest.exists():
        raise InputError(
            f"{str(path)!r} is no run directory: there is no manifest.json in it. "
            "Give the folder that `bench run` wrote to (--output)."
        )
    try:
        return Run(folder, read_manifest(folder))
    except (OSError, ValueError) as error:
        cure = (
            f"`bench run SUITE --output {shlex.quote(str(folder))}` of the same suite writes it anew, from the cache."
        )
        raise _damaged(manifest, error, cure) from None
