"""Numbers, durations and sizes as people read them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from bench_report.measures import Unit
from benchmark import seconds_text as whole_seconds_text

MINUS = "−"
KNOWLEDGE = {
    "gray-box": "knows the deployed classifier, but not the preprocessor, detector or rectifier beside it. Numbers of "
    "these are upper bounds: an attacker who knows them may do better. A hardened network is itself what is attacked.",
    "black-box": "trains a substitute network and transfers its adversarial examples.",
    "gray-box-retrained": "holds an independently trained copy of the same architecture and defense.",
    "white-box": "knows the whole defense, and attacks what it does beside the network too: the treated image, the "
    "rectified label or the detector's score.",
}
"""What an attacker of each knowledge holds, as a sentence after its name."""


def number_text(value: float, unit: Unit) -> str:
    """Return a number for people: rates in percent with one decimal, areas with three, the rest with four digits."""
    if value == math.inf:
        text = "∞"
    elif unit == "rate":
        text = f"{100 * value:.1f}"
    elif unit == "area":
        text = f"{value:.3f}"
    elif unit == "count" and float(value).is_integer():
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", MINUS)


def difference_text(value: float, unit: Unit) -> str:
    """Return a difference with its sign."""
    text = number_text(abs(value), unit)
    if not any(digit in text for digit in "123456789"):
        return text
    return (MINUS if value < 0 else "+") + text


def plural(count: int, word: str, many: str = "") -> str:
    """Return `1 model`, `2 models`, `1,200 images`."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def pairs_text(images: int, seeds: int) -> str:
    """Return how many images, under how many seeds, and how many pairs these are: images are not counted twice."""
    if seeds == 1:
        return plural(images, "image")
    return (
        f"{plural(images, 'image')} under {seeds} seeds each: {seeds * images:,} pairs, of {images:,} different images"
    )


def norm_text(norm: str) -> str:
    """Return how people write a norm."""
    return {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}.get(norm, norm)


def budget_text(norm: str, eps: str) -> str:
    """Return `L∞, ε = 8/255`."""
    parts = [norm_text(norm)] if norm else []
    parts.append(f"ε = {eps}" if eps else "unbounded")
    return ", ".join(parts)


def seconds_text(seconds: float) -> str:
    """Return a duration for people, a short one to a tenth of a second."""
    return f"{seconds:.1f} s" if seconds < 9.95 else whole_seconds_text(seconds)


def bytes_text(size: int) -> str:
    """Return a size of memory for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def moment(text: Any) -> datetime | None:
    """Return the time that an ISO 8601 text says, or None."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def moment_text(when: datetime) -> str:
    """Return `21 November 2025, 08:24 UTC`."""
    zone = when.strftime("%Z")
    return f"{when.day} {when:%B %Y, %H:%M}" + (f" {zone}" if zone else "")
