"""What stands around an object, and before it."""

from __future__ import annotations

import math

import numpy as np

from bench_partshapes.canvas import (
    Canvas,
    Colour,
    Draw,
    any_colour,
    bar,
    corners,
    ellipse,
    limb,
    mix,
    shade,
    smooth,
)


def clutter(canvas: Canvas, draw: Draw, amount: float, tone: Colour) -> None:
    """Draw things behind the object: buildings, bushes, posts, discs, bars. None of them is annotated."""
    for _ in range(round(amount * draw.between(2, 16))):
        canvas.place((draw(), draw.between(0.1, 1.0)), draw.between(0.05, 0.3), draw.between(-0.6, 0.6))
        colour = mix(any_colour(draw), tone, draw.between(0.2, 0.8))
        region = canvas.region(colour, other=draw.between(0.2, 1.0), clear=draw.between(0.0, 0.3))
        kind = draw.integer(0, 7)
        if kind <= 1:  # a box with openings
            canvas.polygon(bar(-0.8, -1.2, 0.8, 1.2), region)
            hole = canvas.region(shade(colour, -0.45), other=0.2)
            for x in (-0.55, -0.1, 0.35):
                for y in (-0.9, -0.2):
                    canvas.polygon(bar(x, y, x + 0.25, y + 0.4), hole)
        elif kind == 2:  # a bush
            for _ in range(4):
                canvas.polygon(ellipse(draw.between(-0.7, 0.7), draw.between(-0.4, 0.4), 0.6, 0.5), region)
        elif kind == 3:  # a disc with a hub, like a wheel
            canvas.polygon(ellipse(0, 0, 0.5, 0.5), region)
            canvas.fill(ellipse(0, 0, 0.25, 0.25), shade(colour, 0.5))
        elif kind == 4:  # a post or a branch
            canvas.polygon(limb((0, -2), (draw.between(-1, 1), 2), 0.08, 0.12), region)
        elif kind == 5:
            canvas.polygon(corners((-1, 0.7), (draw.between(-1, 1), -1), (1, 0.7)), region)
        elif kind == 6:  # a limb
            middle = (draw.between(-0.3, 0.3), 0.0)
            canvas.polygon(limb((0, -0.8), middle, 0.18, 0.14), region)
            canvas.polygon(limb(middle, (draw.between(-0.4, 0.4), 0.8), 0.14, 0.1), region)
        else:
            canvas.polygon(
                smooth(
                    *[
                        (math.cos(a) * draw.between(0.4, 1.1), math.sin(a) * draw.between(0.4, 1.1))
                        for a in np.linspace(0, 2 * np.pi, 7)[:-1].tolist()
                    ]
                ),
                region,
            )


def occluder(canvas: Canvas, draw: Draw, tone: Colour) -> None:
    """Draw something before the object: a post, foliage, or the edge of a near thing."""
    colour = mix(any_colour(draw), tone, draw.between(0.1, 0.6))
    region = canvas.region(colour, other=draw.between(0.2, 1.0))
    kind = draw.integer(0, 3)
    if kind == 0:
        canvas.place((draw.between(0.25, 0.75), 0.5), 1.0, draw.between(-0.3, 0.3))
        width = draw.between(0.025, 0.07)
        canvas.polygon(bar(-width, -1, width, 1), region)
    elif kind == 1:
        canvas.place((draw.between(0.1, 0.9), draw.between(0.4, 1.0)), draw.between(0.12, 0.22))
        dark = canvas.region(shade(colour, -0.3), other=0.8)
        for number in range(7):
            canvas.polygon(
                ellipse(draw.between(-0.9, 0.9), draw.between(-0.9, 0.9), 0.45, 0.2, draw.between(0, 3)),
                dark if number % 2 else region,
            )
    elif kind == 2:
        canvas.place((0.5, 1.0), 1.0, draw.between(-0.15, 0.15))
        canvas.polygon(bar(-1, -draw.between(0.08, 0.25), 1, 0.5), region)
    else:
        canvas.place((draw.choice((0.0, 1.0)), 0.5), 1.0, draw.between(-0.2, 0.2))
        width = draw.between(0.1, 0.28)
        canvas.polygon(bar(-width, -1, width, 1), region)
