from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench_unmask.class_parts import (
    CLASS_SETS,
    PAPER,
    PARTS,
    ClassParts,
    class_parts_of,
    part_presence,
    read_class_parts,
)
from bench_unmask.prepare.options import PAPER_CLASS_SETS
from benchmark.dataset import ArraySplit, PartAnnotations
from benchmark.errors import InputError, MissingError


@pytest.mark.parametrize(
    ("name", "unique", "shared", "percent"),
    [("CS3a", 29, 2, "6.89"), ("CS3b", 18, 9, "50.00"), ("CS5a", 34, 8, "23.53"), ("CS5b", 34, 10, "29.41")],
)
def test_overlaps_are_those_of_the_papers_table_ii(name: str, unique: int, shared: int, percent: str) -> None:
    found = PAPER.select(CLASS_SETS[name]).overlap()
    assert (found.unique, found.shared) == (unique, shared)
    # The paper cuts 2/29 = 6.896... off and rounds the others.
    assert f"{int(found.share * 1e4) / 100:.2f}" == percent or f"{found.share:.2%}" == f"{percent}%"


def test_the_paper_has_16_classes_of_44_parts() -> None:
    assert len(PAPER.classes) == 16
    assert len(PARTS) == len(set(PARTS)) == 44
    assert set(PAPER.vocabulary) == set(PARTS)
    assert PAPER.matrix(PARTS).shape == (16, 44)
    assert PAPER.matrix(PARTS).sum() == sum(len(parts) for parts in PAPER.parts.values())


def test_matrix_columns_follow_the_parts_asked_for() -> None:
    matrix = PAPER.select(["bottle", "train"]).matrix(["cap", "head", "eye"])
    assert matrix.tolist() == [[True, False, False], [False, True, False]]


def test_options_name_what_the_parts_name() -> None:
    assert set(PAPER_CLASS_SETS) == set(CLASS_SETS)


def test_unknown_names_are_refused_with_a_near_match() -> None:
    with pytest.raises(InputError, match=r"'dgo'.*Did you mean 'dog'"):
        PAPER.select(["person", "dgo"])


def test_tables_read_back_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("car: [wheel, door]\nbird:\n  - wing\n  - eye\n")
    (tmp_path / "v.csv").write_text("class,wheel,door,wing,eye\ncar,1,1,0,0\nbird,0,0,1,1\n")
    expected = {"car": ("wheel", "door"), "bird": ("wing", "eye")}
    assert read_class_parts(tmp_path / "v.yaml").parts == expected
    assert read_class_parts(tmp_path / "v.csv").parts == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("v.yaml", "car: []\n", "'car' has no parts"),
        ("v.yaml", "car: [wheel]\nbird: [eye]\ncar: [door]\n", r"v\.yaml:3: 'car' occurs twice, in lines 1 and 3"),
        ("v.yaml", "car: [wheel, wheel]\n", "'car' lists the part 'wheel' twice"),
        ("v.yaml", "car: wheel\n", "class 'car': expected a list of part names"),
        ("v.yaml", "car: [wheel, 3]\n", "class 'car': expected a list of part names"),
        ("v.yaml", "no: [wheel]\n", "Quote names"),
        ("v.yaml", "- car\n- bird\n", "found list, expected a mapping"),
        ("v.yaml", "car: [wheel\n", r"v\.yaml:2: expected"),
        ("v.yaml", "car: !!python/object/apply:os.getcwd []\n", r"v\.yaml:1: could not determine a constructor"),
        ("v.yaml", "{}\n", "no classes"),
        ("v.csv", "class,wheel\ncar,2\n", r"v\.csv:2: found '2', allowed are 1 .* and 0"),
        ("v.csv", "class,wheel,door\ncar,1\n", r"v\.csv:2: 2 cells, the header has 3"),
        ("v.csv", "class,wheel\ncar,1\ncar,0\n", r"v\.csv:3: class 'car' occurs twice"),
        ("v.csv", "class,wheel,wheel\ncar,1,1\n", r"v\.csv:1: part names"),
        ("v.csv", "class,wheel\ncar,0\n", "'car' has no parts"),
        ("v.txt", "car: [wheel]\n", "must end in .yaml, .yml or .csv"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_parts(tmp_path / name)


def test_a_missing_table_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=str(tmp_path / "v.yaml")):
        read_class_parts(tmp_path / "v.yaml")


class Annotated(ArraySplit):
    """Images of zeros, with parts given per image."""

    def __init__(self, labels: list[int], parts: list[str]) -> None:
        super().__init__(np.zeros((len(labels), 3, 8, 8), np.uint8), np.array(labels), ("car", "bird"))
        self._parts = parts

    def part_annotations(self) -> PartAnnotations:
        names = sorted({part for image in self._parts for part in image.split()})
        pairs = [(100 + i, part) for i, image in enumerate(self._parts) for part in image.split()]
        return PartAnnotations(
            {
                "images": [{"id": 100 + i} for i in range(len(self))],
                "categories": [{"id": 5 + n, "name": name} for n, name in enumerate(names)],
                "annotations": [
                    {"id": n, "image_id": image, "category_id": 5 + names.index(part)}
                    for n, (image, part) in enumerate(pairs, 1)
                ],
            }
        )


def test_a_part_belongs_to_a_class_when_enough_of_its_images_show_it() -> None:
    # car: wheel in 4 of 4 (two of them in one image), door in 2 of 4, eye in 1 of 4
    split = Annotated([0, 0, 0, 0, 1, 1], ["wheel wheel door", "wheel door", "wheel eye", "wheel", "eye wing", "eye"])
    assert part_presence(split) == {"car": {"door": 0.5, "eye": 0.25, "wheel": 1.0}, "bird": {"eye": 1.0, "wing": 0.5}}
    assert class_parts_of(part_presence(split), 0.5).parts == {"car": ("door", "wheel"), "bird": ("eye", "wing")}
    assert class_parts_of(part_presence(split), 0.6).parts == {"car": ("wheel",), "bird": ("eye",)}
    assert class_parts_of(part_presence(split), 0.2).overlap().shared == 1


def test_learning_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(InputError, match=r"'bird' has no part .* in 60% .* 'wing', is in 50%"):
        class_parts_of(part_presence(Annotated([0, 1, 1], ["wheel", "wing", ""])), 0.6)
    with pytest.raises(InputError, match="'bird' has no part"):
        class_parts_of(part_presence(Annotated([0, 1], ["wheel", ""])), 0.5)
    with pytest.raises(InputError, match=r"0 is not in \(0, 1\]"):
        class_parts_of(part_presence(Annotated([0, 1], ["wheel", "eye"])), 0)
    plain = ArraySplit(np.zeros((2, 3, 8, 8), np.uint8), np.array([0, 1]), ("a", "b"))
    with pytest.raises(InputError, match="no part annotations"):
        part_presence(plain)


def test_a_matrix_of_ones_own_has_an_overlap() -> None:
    own = ClassParts({"ant": ("head", "eye"), "face": ("eye", "nose")}, "here")
    assert own.select(["ant", "face"]).overlap().share == 1 / 3
