"""The six kinds of objects, each drawn of its parts."""

from __future__ import annotations

from collections.abc import Callable

from bench_partshapes.canvas import Canvas, Draw
from bench_partshapes.objects.bird import bird
from bench_partshapes.objects.bottle import bottle
from bench_partshapes.objects.dog import dog
from bench_partshapes.objects.person import person
from bench_partshapes.objects.vehicles import car, train

DRAWN_BY: dict[str, Callable[[Canvas, Draw], None]] = {
    "car": car,
    "person": person,
    "train": train,
    "dog": dog,
    "bird": bird,
    "bottle": bottle,
}
"""Class → what draws one of it."""
