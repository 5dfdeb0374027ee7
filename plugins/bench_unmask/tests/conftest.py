from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bench_unmask
from benchmark.dataset import Dataset
from benchmark.plugins import Provenance, Registry

Make = Callable[..., Dataset]


@pytest.fixture(scope="session")
def make() -> Make:
    """Return what makes a data set from options as a suite writes them."""
    registry = Registry()
    registry.add_module("unmask", bench_unmask, Provenance("bench_unmask", "", "0"))

    def create(use: str, **options: Any) -> Any:
        return registry.create("dataset", use, options)

    return create


@pytest.fixture(scope="session")
def objects5() -> Path:
    folder = Path(__file__).resolve().parents[4] / "shared" / "data" / "parts" / "objects5"
    if not folder.is_dir():
        pytest.skip("no folder shared/data/parts/objects5 with part-annotated photos beside the repository")
    return folder


Photo = Callable[..., None]
Annotation = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def photo() -> Photo:
    """Return what writes a photo-like image, smooth colour noise, by path and seed."""

    def write(path: Path, seed: int, width: int = 40, height: int = 30, quality: int = 95) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.RandomState(seed).randint(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=quality)

    return write


@pytest.fixture(scope="session")
def annotation() -> Annotation:
    """Return what makes a COCO annotation: a rectangle of 20 x 10 pixels."""

    def entry(number: int, image: int, category: int = 3, **changes: Any) -> dict[str, Any]:
        plain = {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": [4, 6, 20, 10],
            "area": 200,
            "iscrowd": 0,
            "segmentation": [[4, 6, 24, 6, 24, 16, 4, 16]],
        }
        return {**plain, **changes}

    return entry


CATEGORIES = [{"id": 3, "name": "wheel"}, {"id": 7, "name": "eye"}]


@pytest.fixture
def coco(tmp_path: Path, photo: Photo, annotation: Annotation) -> Callable[..., Path]:
    """Return what writes a small data set of two classes in COCO form and gives back its folder.

    A function `change(split, data)` may damage the data before it is written.
    """

    def write(change: Callable[[str, dict[str, Any]], Any] = lambda split, data: None) -> Path:
        number = 0
        for split in ("train", "val", "test"):
            data: dict[str, Any] = {"images": [], "annotations": [], "categories": [dict(c) for c in CATEGORIES]}
            for class_name, category in (("car", 3), ("bird", 7)):
                for _ in range(2):
                    number += 1
                    name = f"{class_name}_{number}.jpg"
                    photo(tmp_path / "images" / name, number)
                    data["images"].append(
                        {"id": number, "file_name": name, "width": 40, "height": 30, "class_name": class_name}
                    )
                    data["annotations"].append(annotation(number, number, category))
            change(split, data)
            (tmp_path / "annotations").mkdir(exist_ok=True)
            (tmp_path / "annotations" / f"{split}.json").write_text(json.dumps(data))
        return tmp_path

    return write


@pytest.fixture(scope="session")
def pictures():
    """Return drawn cars and bottles, few and small."""
    from benchmark.plugins import load_plugins

    options = {"class_set": ["car", "bottle"], "size": 64, "train": 4, "val": 1, "test": 3}
    return load_plugins().create("dataset", "partshapes", options)


@pytest.fixture(scope="session")
def trained(pictures, tmp_path_factory):
    """Return a part extractor that has learnt them, and the folder with what it saved."""
    from bench_unmask.tests.small_extractors import context, extractor_of

    folder = tmp_path_factory.mktemp("extractor")
    extractor = extractor_of()
    extractor.build(context(pictures, folder / "work"))
    (folder / "saved").mkdir()
    extractor.save(folder / "saved")
    return extractor, folder / "saved"
