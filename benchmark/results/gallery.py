"""Which images the report shows, and their files: the folder `images` of a run directory.

Per cell and stratum the same few images are chosen, by a digest of their names: not the first ones, which data sets
tend to order by class, and not the best ones. Beside them all images lie in sheets, many in one file; where that would
be more than `MOST_PIXELS`, those that come first by that digest, the same ones of each attack on a data set. The files
are named by their content, so that cells share them."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from benchmark.cells import Answers, Cell, CellResult, initially_right, rejected, right, successful
from benchmark.errors import InputError
from benchmark.files import make_folder, remove, write_whole
from benchmark.names import IDENTITY
from benchmark.results.read import content_name
from benchmark.results.tables import DETAIL_COLUMNS, GALLERY_COLUMNS, SHEET_COLUMNS, parquet
from benchmark.rundir import DETAILS, GALLERY, IMAGES, SHEETS
from benchmark.store.arrays import ArrayReader

PER_STRATUM = 3
MOST_ROWS = 1000
"""A grid of many cells shows fewer images of each on its page: all that are kept stand in the sheets anyway."""
MOST_DETAILS = 4096
"""Numbers per image and array that the gallery keeps of what explains a verdict."""
MOST_EXPLAINED = 20_000
"""Verdicts of a run that are explained: cells of more get a share each."""
MOST_PIXELS = 1 << 28
"""Bytes that the pixels of all sheets of a run may take before they are compressed."""
FEWEST = 12
"""Images of a data set that are kept in sheets, however many attacks there are."""
SHEET_PIXELS, MOST_ON_SHEET = 1 << 20, 256
"""A sheet has at most so many pixels and images: a reader opens it for one page of images."""
Stratum = Literal["missed", "caught", "rectified", "misled", "failed", "wrong-before", "false-alarm", "wrong"]
OF_A_CELL = len(get_args(Stratum)) - 1
"""Most strata of a cell: an attacked one has no `wrong`."""


def strata(cell: Cell) -> dict[Stratum, np.ndarray]:
    """Return which images of a cell belong to each stratum, (N,) bool, by the first of several judgements.

    Attacked cells: `missed`, `caught` and `rectified` share the successful attacks between them (label wrong and not
    flagged; label wrong and flagged; label right). Of the others `wrong-before` has those that the deployed classifier
    did not label rightly before the attack; it still labels the rest rightly by itself: `misled` are those that the
    defended system labels wrongly and does not flag, as an attacker who knows it wants, `failed` those that it labels
    rightly or flags. `false-alarm` are the images whose clean version is flagged. Clean cells: `false-alarm`, and
    `wrong`, labelled wrongly and not flagged.
    """
    alarm = rejected(cell.clean)[0]
    if cell.attacked is None:
        return {"false-alarm": alarm, "wrong": ~right(cell.clean, cell.y)[0] & ~alarm}
    success, is_right, flagged = successful(cell), right(cell.attacked, cell.y)[0], rejected(cell.attacked)[0]
    through, before = ~is_right & ~flagged, initially_right(cell)
    return {
        "missed": success & through,
        "caught": success & ~is_right & flagged,
        "rectified": success & is_right,
        "misled": ~success & before & through,
        "failed": ~success & before & ~through,
        "wrong-before": ~success & ~before,
        "false-alarm": alarm,
    }


@dataclass(frozen=True)
class _Added:
    """What a cell brings into the three tables of images."""

    dataset: str
    rows: Sequence[dict[str, Any]]
    sheets: Sequence[dict[str, Any]]
    details: Sequence[dict[str, Any]]


class Gallery:
    """Chooses images while the tables are made, writes their files, and at last the table that lists them.

    Args:
        run: the run directory.
        cells: how many cells the run has.
        crafted: how many sets of adversarial examples they share.
    """

    def __init__(self, run: Path, cells: int, crafted: int) -> None:
        self._folder = run / IMAGES
        self._tables = {name: run / name for name in (GALLERY, SHEETS, DETAILS)}
        self._cells, self._crafted = max(cells, 1), crafted
        self._per_stratum = max(1, min(PER_STRATUM, MOST_ROWS // (OF_A_CELL * max(cells, 1))))
        self._added: dict[int, _Added] = {}
        self._kept: dict[str, np.ndarray] = {}  # data set → indices of the images in sheets
        self._clean_rows: dict[str, list[dict[str, Any]]] = {}  # data set → rows of its clean images
        self._sheets: dict[tuple[str, ...], list[dict[str, Any]]] = {}  # of what → rows without their cell
        self._used: set[str] = set()
        self._names: dict[bytes, str] = {}  # digest of pixels → file
        self._orders: dict[int, tuple[Sequence[str], np.ndarray]] = {}
        self._clean = lru_cache(maxsize=128)(self._read_clean)

    def add(
        self,
        number: int,
        result: CellResult,
        images: Callable[[Sequence[int]], Any],
        adversarial: ArrayReader | None,
        explanation: Path | None,
    ) -> None:
        """Choose images of a cell that has a result, and write their files; cells may be added in any order.

        Args:
            number: of the cell, in the order in which the rows shall stand; what was added by it before is replaced.
            result: what the tables are made of.
            images: the test images by index, (n, C, H, W) in [0, 1]. Equal functions for the same data set.
            adversarial: the adversarial test images, array `x_adv`; None in a clean cell.
            explanation: a JSON file in which the defense says what explains its verdicts; it need not exist.

        Raises:
            OSError: a file cannot be written.
        """
        cell = result.cell
        if cell is None:
            return
        identity = vars(result.name())
        order = self._order(result.sample_ids)
        explained = self._explanation(explanation)
        self._keep_clean(result.dataset, result.sample_ids, images)
        sheets = self._sheets_of(identity, cell, images, adversarial)
        details = self._details_of(identity, result.sample_ids, cell, explained)
        rows: list[dict[str, Any]] = []
        pictures: dict[int, dict[str, Any]] = {}
        for stratum, member in strata(cell).items():
            for index in map(int, order[member[order]][: self._per_stratum]):
                if index not in pictures:
                    pictures[index] = self._pictures(cell, index, images, adversarial)
                rows.append(
                    {
                        **identity,
                        "stratum": stratum,
                        "stratum_n": int(member.sum()),
                        "sample": str(result.sample_ids[index]),
                        "y": int(cell.y[index]),
                        **pictures[index],
                        "explanation": explained,
                    }
                )
        self._added[number] = _Added(result.dataset, rows, sheets, details)

    def drop(self, number: int) -> None:
        """Leave out a cell, if it was added."""
        self._added.pop(number, None)

    def close(self, key: str = "") -> None:
        """Write the table and remove files of an earlier one that it does not name.

        `key` says what the run's tables were made from.

        Raises:
            OSError: they cannot be written.
        """
        if not self._added and not self._folder.exists():
            return
        rows: list[dict[str, Any]] = []
        sheets: list[dict[str, Any]] = []
        details: list[dict[str, Any]] = []
        shown: set[str] = set()
        for _, added in sorted(self._added.items()):
            if added.dataset not in shown:
                shown.add(added.dataset)
                sheets += self._clean_rows[added.dataset]
            rows += added.rows
            sheets += added.sheets
            details += added.details
        frames = {
            GALLERY: pd.DataFrame(rows, columns=list(GALLERY_COLUMNS)).astype(_TYPES),
            SHEETS: pd.DataFrame(sheets, columns=list(SHEET_COLUMNS)),
            DETAILS: pd.DataFrame(details, columns=list(DETAIL_COLUMNS), dtype="str"),
        }
        make_folder(self._folder)
        for name, frame in frames.items():
            write_whole(self._tables[name], parquet(frame, key))
        named = set(frames[GALLERY][["clean", "adversarial", "perturbation", "explanation"]].to_numpy().flat)
        named |= {*frames[SHEETS]["file"], *frames[DETAILS]["explanation"]}
        for file in self._folder.iterdir():
            if file.name not in named and file not in self._tables.values():
                remove(file)

    def _keep_clean(self, dataset: str, sample_ids: Sequence[str], images: Callable[[Sequence[int]], Any]) -> None:
        """Write the clean images of a data set, unless a cell before has brought them; the first one of any cell.

        Images that can be read no more are left out, of all cells alike: each cell that would show one says so itself.
        """
        if dataset in self._kept:
            return
        order = self._order(sample_ids)
        shown = next((image for index in order if (image := _readable(images, index)) is not None), np.zeros(1))
        kept = np.sort(order[: max(FEWEST, MOST_PIXELS // (shown.size * (self._crafted + 1)))])
        try:
            rows = self._clean_sheets(dataset, kept, sample_ids, images)
        except InputError:
            kept = np.array([index for index in kept if _readable(images, index) is not None], dtype=np.int64)
            rows = self._clean_sheets(dataset, kept, sample_ids, images)
        self._kept[dataset], self._clean_rows[dataset] = kept, rows

    def _clean_sheets(
        self, dataset: str, kept: np.ndarray, sample_ids: Sequence[str], images: Callable[[Sequence[int]], Any]
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        of = dict.fromkeys(IDENTITY, "") | {"dataset": dataset}
        for number, row in enumerate(self._written(kept, lambda indices: np.asarray(images(indices.tolist())))):
            most = on_sheet(row["width"], row["height"])
            names = [str(sample_ids[index]) for index in kept[number * most : (number + 1) * most]]
            rows.append({**of, "number": number, **row, "samples": json.dumps(names)})
        return rows

    def _sheets_of(
        self,
        identity: Mapping[str, str],
        cell: Cell,
        images: Callable[[Sequence[int]], Any],
        reader: ArrayReader | None,
    ) -> list[dict[str, Any]]:
        """Write all adversarial images of a cell that no other cell has brought yet, many in one file; return rows."""
        if reader is None or cell.attacked is None:
            return []
        dataset = identity["dataset"]
        moved = np.ones(len(cell.y), dtype=bool) if cell.perturbation is None else cell.perturbation > 0
        key = (dataset, str(reader.folder), hashlib.blake2b(np.packbits(moved).tobytes()).hexdigest())
        if key not in self._sheets:

            def attacked(indices: np.ndarray) -> np.ndarray:
                read = reader.take("x_adv", indices.tolist())
                # A minimum-norm attack may have gone beyond the budget of the cell, where the clean image stands in.
                if not moved[indices].all():
                    read = np.where(moved[indices, None, None, None], read, np.asarray(images(indices.tolist())))
                return read

            self._sheets[key] = self._written(self._kept[dataset], attacked)
        return [{**identity, "number": number, **row, "samples": ""} for number, row in enumerate(self._sheets[key])]

    def _written(self, kept: np.ndarray, read: Callable[[np.ndarray], np.ndarray]) -> list[dict[str, Any]]:
        """Write the images of the indices `kept` as `read` gives them, (n, C, H, W), and return a row per sheet."""
        rows: list[dict[str, Any]] = []
        at = 0
        while at < len(kept):
            height, width = read(kept[at : at + 1]).shape[2:] if not rows else (rows[0]["height"], rows[0]["width"])
            most = on_sheet(width, height)
            images = _levels(read(kept[at : at + most]))
            columns = math.ceil(math.sqrt(most))
            sheet = np.zeros((images.shape[1], math.ceil(len(images) / columns) * height, columns * width), np.uint8)
            for place, image in enumerate(images):
                y, x = (place // columns) * height, (place % columns) * width
                sheet[:, y : y + height, x : x + width] = image
            rows.append({"file": self._write_levels(sheet), "columns": columns, "width": width, "height": height})
            at += most
        return rows

    def _details_of(
        self, identity: Mapping[str, str], sample_ids: Sequence[str], cell: Cell, explanation: str
    ) -> list[dict[str, Any]]:
        """Return rows of what explains the verdicts on the images that are kept in sheets."""
        answers = cell.clean if cell.attacked is None else cell.attacked
        rows: list[dict[str, Any]] = []
        if not answers.details:
            return rows
        for index in self._kept[identity["dataset"]][: max(1, MOST_EXPLAINED // self._cells)].tolist():
            told = _details(answers.details, index)
            if told:
                row = {"sample": str(sample_ids[index]), "details": told, "explanation": explanation}
                rows.append({**identity, **row})
        return rows

    def _order(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Return the indices of images in the order of the digests of their names."""
        kept = self._orders.get(id(sample_ids))
        if kept is None:
            digests = [hashlib.blake2b(str(name).encode("utf-8", "replace")).digest() for name in sample_ids]
            order = np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
            kept = self._orders[id(sample_ids)] = (sample_ids, order)
        return kept[1]

    def _pictures(
        self, cell: Cell, index: int, images: Callable[[Sequence[int]], Any], reader: ArrayReader | None
    ) -> dict[str, Any]:
        clean, name = self._clean(images, index)
        row: dict[str, Any] = {"clean": name, **_verdict(cell.clean, index, "clean_")}
        if reader is not None and cell.attacked is not None:
            # A minimum-norm attack may have gone beyond the budget of the cell, where the clean image stands in.
            moved = cell.perturbation is None or cell.perturbation[index] > 0
            attacked = reader.read(index, index + 1, ["x_adv"])["x_adv"][0] if moved else clean
            delta = attacked.astype(np.float64) - clean
            scale = _scale(float(np.abs(delta).max()))
            row |= {
                "adversarial": self._write(attacked),
                "perturbation": self._write(0.5 + delta * scale / 2),
                "scale": scale,
                "size": math.nan if cell.perturbation is None else float(cell.perturbation[index]),
                **_verdict(cell.attacked, index, ""),
            }
        return row

    def _read_clean(self, images: Callable[[Sequence[int]], Any], index: int) -> tuple[np.ndarray, str]:
        pixels = np.asarray(images([index])[0])
        return pixels, self._write(pixels)

    def _write(self, pixels: np.ndarray) -> str:
        """Write (C, H, W) in [0, 1] as a PNG file, and return its name."""
        return self._write_levels(_levels(pixels))

    def _write_levels(self, pixels: np.ndarray) -> str:
        from PIL import Image

        levels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
        seen = hashlib.blake2b(levels.tobytes() + str(levels.shape).encode()).digest()
        if seen not in self._names:
            buffer = io.BytesIO()
            Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(buffer, "PNG", compress_level=3)
            self._names[seen] = self._keep(buffer.getvalue(), ".png")
        return self._names[seen]

    def _keep(self, content: bytes, suffix: str) -> str:
        """Write a file that is named by its content, and return the name."""
        make_folder(self._folder)
        name = content_name(content, suffix)
        if name not in self._used:
            path = self._folder / name
            # What an earlier try left there may be damaged.
            if not path.is_file() or path.read_bytes() != content:
                write_whole(path, content, synced=False)
            self._used.add(name)
        return name

    def _explanation(self, path: Path | None) -> str:
        """Copy the explanation of a defense, and return the name of the copy, empty where there is none."""
        if path is None or not path.is_file():
            return ""
        return self._keep(path.read_bytes(), ".json")


def _readable(images: Callable[[Sequence[int]], Any], index: int) -> np.ndarray | None:
    """Return an image, None where it can be read no more."""
    try:
        return np.asarray(images([int(index)]))
    except InputError:
        return None


def _levels(pixels: np.ndarray) -> np.ndarray:
    """Return values in [0, 1] as the levels of 8 bits, uint8 of the same shape."""
    levels: np.ndarray = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    return levels


def on_sheet(width: int, height: int) -> int:
    """Return how many images of that size a sheet holds."""
    return max(1, min(MOST_ON_SHEET, SHEET_PIXELS // (width * height)))


def _verdict(answers: Answers, index: int, prefix: str) -> dict[str, Any]:
    """Return what was answered on an image, by the first of several judgements."""
    return {
        f"{prefix}base_label": int(answers.base_label[index]),
        f"{prefix}label": int(np.atleast_2d(answers.label)[0, index]),
        f"{prefix}score": None if answers.score is None else float(np.atleast_2d(answers.score)[0, index]),
        f"{prefix}flagged": None if answers.flagged is None else bool(np.atleast_2d(answers.flagged)[0, index]),
        f"{prefix}details": _details(answers.details, index),
    }


def _details(details: Mapping[str, np.ndarray], index: int) -> str:
    """Return arrays that explain a verdict as JSON, numbers rounded to five digits."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, float):
            return float(f"{value:.5g}") if math.isfinite(value) else None
        return value

    kept = {name: array[index] for name, array in details.items() if np.size(array[index]) <= MOST_DETAILS}
    return json.dumps({name: plain(np.asarray(array).tolist()) for name, array in kept.items()}) if kept else ""


def _scale(largest: float) -> float:
    """Return the factor 1, 2 or 5 times a power of ten that brings the largest change of a pixel near to 1."""
    if largest <= 0:
        return 1.0
    exact = 1 / largest
    power = 10.0 ** math.floor(math.log10(exact))
    return max((step * power for step in (1.0, 2.0, 5.0) if step * power <= exact * (1 + 1e-6)), default=power)


_TYPES: dict[str, str] = (
    dict.fromkeys(GALLERY_COLUMNS, "str")
    | dict.fromkeys(("scale", "size", "score", "clean_score"), "Float64")
    | dict.fromkeys(("stratum_n", "y", "base_label", "label", "clean_base_label", "clean_label"), "Int64")
    | dict.fromkeys(("flagged", "clean_flagged"), "boolean")
)
