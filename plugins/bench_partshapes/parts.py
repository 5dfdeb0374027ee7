"""Which objects are drawn, and of which parts: names and rows of UnMask's class-part matrix, as far as it is drawn.

Freitas, Chen, Wang, Chau: *UnMask: Adversarial Detection and Defense Through Robust Feature Alignment*, IEEE Big Data
2021, Table I, with the sub-features of `vehicle` and `coach` of its released code.
"""

from __future__ import annotations

_PARTS = """
    torso licenseplate cap eyebrow tail ear mouth frontside mirror wheel vehicle_left nose arm neck muzzle coach_left
    coach_back head headlight window coach_right coach_front beak leg hand vehicle_back paw vehicle_top vehicle_right
    eye wing hair door body coach_top foot
"""
PARTS: tuple[str, ...] = tuple(_PARTS.split())
"""The 36 parts of all classes, in the order of the released code: it numbers the categories of the annotations."""

CLASS_PARTS: dict[str, frozenset[str]] = {
    name: frozenset(parts.split())
    for name, parts in {
        "car": "vehicle_left vehicle_right vehicle_top vehicle_back frontside mirror door headlight wheel licenseplate "
        "window",
        "person": "ear nose eye foot torso arm mouth head neck hair hand leg eyebrow",
        "train": "coach_front coach_right coach_left coach_top coach_back headlight head",
        "dog": "paw nose ear eye torso head neck tail muzzle leg",
        "bird": "eye beak foot torso head neck tail wing leg",
        "bottle": "body cap",
    }.items()
}
"""Class → its parts. A picture follows from the place of its class in here."""

CLASS_SETS: dict[str, tuple[str, ...]] = {
    "CS3a": ("car", "person", "train"),
    "CS3b": ("person", "dog", "bird"),
    "CS5a": ("dog", "car", "bottle", "train", "person"),
    "CS5b": ("dog", "car", "bird", "train", "person"),
}
"""The paper's class sets (Table I, bottom)."""
