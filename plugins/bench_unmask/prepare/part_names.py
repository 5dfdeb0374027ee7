"""Names of PASCAL-Part's masks → the paper's parts: as the paper says, as its released code does, and without slips.

Freitas et al., IEEE Big Data 2021, section IV-A; Chen et al., *Detect What You Can*, CVPR 2014 (PASCAL-Part).
"""

from __future__ import annotations

import re
from typing import Literal

from bench_unmask.class_parts import PAPER_CLASS_PARTS, PARTS

NameMapping = Literal["paper", "released", "corrected"]

# -- part names -------------------------------------------------------------------------------------------------------

_RULES: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("ear",), "ear"),
    (("eye",), "eye"),
    (("leg",), "leg"),
    (("pa",), "paw"),
    (("brow",), "eyebrow"),
    (("hand",), "hand"),  # and so handlebar becomes a hand: the error that the paper admits
    (("arm",), "arm"),
    (("horn",), "horn"),
    (("wheel",), "wheel"),
    (("foot",), "foot"),
    (("cleftside",), "coach_left"),
    (("crightside",), "coach_right"),
    (("cfrontside",), "coach_front"),
    (("cbackside",), "coach_back"),
    (("croofside",), "coach_top"),
    (("hroofside", "hleftside", "hrightside", "hfrontside", "hbackside", "coach"), None),
    (("rightside",), "vehicle_right"),
    (("leftside",), "vehicle_left"),
    (("roofside",), "vehicle_top"),
    (("backside",), "vehicle_back"),
    (("wing",), "wing"),
    (("engine",), "engine"),
    (("window",), "window"),
    (("headlight",), "headlight"),
    (("door",), "door"),
    (("plate",), "licenseplate"),
    (("mirror",), "mirror"),
    (("lbho", "lfho", "rbho", "rfho"), "hoof"),
)
"""Texts that a PASCAL-Part name contains → part; the first rule that fits decides."""

_OBJECTS = frozenset(PAPER_CLASS_PARTS) | {"boat", "chair", "diningtable", "sofa"}

CORRECTED_CLASS_PARTS: dict[str, tuple[str, ...]] = {
    **PAPER_CLASS_PARTS,
    "bicycle": ("wheel", "saddle", "handlebar", "chainwheel", "headlight"),
    "motorbike": ("wheel", "saddle", "handlebar", "headlight"),
}
"""V with the parts that the paper's mapping lost: the handlebar and the chain wheel, and the bicycle's headlight."""

_EXACT: dict[str, str] = {
    name: part
    for part, names in {
        "ear": "lear rear",
        "eye": "leye reye",
        "eyebrow": "lebrow rebrow",
        "hand": "lhand rhand",
        "arm": "llarm luarm rlarm ruarm",
        "horn": "lhorn rhorn",
        "foot": "lfoot rfoot",
        "wing": "lwing rwing",
        "leg": "lleg rleg llleg luleg rlleg ruleg lfleg rfleg lbleg rbleg "
        "lfuleg lflleg rfuleg rflleg lbuleg lblleg rbuleg rblleg",
        "paw": "lfpa rfpa lbpa rbpa",
        "hoof": "lfho rfho lbho rbho",
        "wheel": "wheel fwheel bwheel",
        "mirror": "leftmirror rightmirror",
        "licenseplate": "fliplate bliplate",
        "vehicle_left": "leftside",
        "vehicle_right": "rightside",
        "vehicle_top": "roofside",
        "vehicle_back": "backside",
        "coach_left": "cleftside",
        "coach_right": "crightside",
        "coach_front": "cfrontside",
        "coach_back": "cbackside",
        "coach_top": "croofside",
    }.items()
    for name in names.split()
}
"""PASCAL-Part name without its number → part, where they differ."""


def part_of(name: str, object_class: str, mapping: str = "paper") -> str | None:
    """Return the part that a PASCAL-Part annotation is of, or None where it is ignored.

    Args:
        name: the annotation's part name, such as `lfuleg` or `window_3`.
        object_class: the class of its object.
        mapping: `paper`: the rules of the released code, by which a handlebar is a hand and a chain wheel a wheel.
            `released`: as `paper`, and a headlight is a head: the released code looks a mask's category up as the
            first of the 44 names that its file name contains, and `head` comes before `headlight`. `corrected`: by
            whole names; handlebar and chain wheel are parts of their own, and a part that the class does not have
            (the `body` of a train) is ignored.
    """
    stem = re.sub(r"_\d+$", "", name)
    if mapping == "corrected":
        exact = _EXACT.get(stem, stem)
        return exact if exact in CORRECTED_CLASS_PARTS.get(object_class, ()) else None
    for texts, part in _RULES:
        if any(text in name for text in texts):
            return "head" if mapping == "released" and part == "headlight" else part
    return None if stem in _OBJECTS or stem not in PARTS else stem
