"""`partshapes`: drawn pictures of objects with exact masks of their parts, a stand-in for annotated photos."""

from __future__ import annotations

from benchmark import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register `partshapes`."""
    register(
        "partshapes",
        "bench_partshapes.dataset:PartShapes",
        options="bench_partshapes.options:PartShapesOptions",
        version="1",
        summary="six objects composed of parts with exact masks, drawn by the program: a stand-in for photos",
    )
