"""The parts panel of the report."""

from __future__ import annotations

import pytest

from bench_unmask.panel import PartsPanel
from benchmark.panel import Bars, Facts, GalleryImage, ImageVerdict, Picture

ABOUT = {
    "parts": ["wheel", "wing", "beak"],
    "classes": ["car", "bird"],
    "matrix": [[1, 0, 0], [0, 1, 1]],
    "part_score": 0.5,
    "threshold": 0.5,
}
BOXES = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.9, 0.9], [0, 0, 0, 0]]


def image(base=0, label=1, scores=(0.9, 0.5, 0.1), use="unmask", explanation=ABOUT):
    verdict = ImageVerdict(
        base, label, 0.5, True, {"part_scores": list(scores), "part_boxes": BOXES, "similarity": [0.5, 1 / 3]}
    )
    return GalleryImage(use, ("car", "bird"), 1, verdict, None, explanation)


def test_boxes_are_of_the_parts_found_and_say_whether_they_were_expected():
    picture, facts, bars = PartsPanel().of_image(image())
    assert isinstance(picture, Picture)
    assert [(box.name, box.tone) for box in picture.boxes] == [("wheel", "good"), ("wing", "bad")]
    assert (picture.boxes[1].x0, picture.boxes[1].y1) == (0.5, 0.9)
    assert isinstance(facts, Facts)
    assert dict(facts.rows) == {
        "Expected of car": "wheel",
        "Found": "wheel, wing",
        "Expected, not found": "none",
        "Found, not expected": "wing",
    }
    assert isinstance(bars, Bars)
    assert [(bar.name, bar.text, bar.marked) for bar in bars.rows] == [("car", "0.50", False), ("bird", "0.33", True)]


def test_a_part_at_the_part_score_counts_as_found_and_one_below_does_not():
    (picture, *_) = PartsPanel().of_image(image(scores=(0.5, 0.4999, 0.0)))
    assert [box.name for box in picture.boxes] == ["wheel"]


@pytest.mark.parametrize("other", [image(use="i-defender"), image(explanation=None)])
def test_other_defenses_have_no_parts(other):
    assert not PartsPanel().of_image(other)


def test_both_versions_are_shown():
    both = GalleryImage("unmask", ("car", "bird"), 1, image().clean, image().clean, ABOUT)
    pictures = [part for part in PartsPanel().of_image(both) if isinstance(part, Picture)]
    assert [picture.which for picture in pictures] == ["clean", "adversarial"]
