"""A bottle."""

from __future__ import annotations

import math

from bench_partshapes.canvas import (
    Canvas,
    Draw,
    any_colour,
    bar,
    corners,
    ellipse,
    grey,
    hsv,
    mix,
    shade,
)


def bottle(canvas: Canvas, draw: Draw) -> None:
    """One to three bottles, upright or lying."""
    count = 1 if draw.chance(0.7) else draw.integer(2, 3)
    lying = draw.chance(0.18)
    for number in range(count):
        scale = draw.between(0.36, 0.5) * (1 if count == 1 else 0.85)
        x = 0.5 + (number - (count - 1) / 2) * 0.26 + draw.between(-0.1, 0.1)
        angle = draw.between(-0.25, 0.25) + (draw.sign() * math.pi / 2 if lying else 0)
        centre = (0.5 + draw.between(-0.05, 0.05), x) if lying else (x, draw.between(0.45, 0.58))
        canvas.place(centre, scale, angle, False, draw.between(-0.05, 0.05), draw.between(0.8, 1.3))
        _bottle(canvas, draw)


def _bottle(canvas: Canvas, draw: Draw) -> None:
    kind = draw.choice(("wine", "beer", "plastic", "squat"))
    glass = draw.choice(
        (hsv(0.3, 0.6, 0.3), hsv(0.08, 0.7, 0.35), hsv(0.5, 0.25, 0.75), hsv(draw(), 0.6, 0.6), grey(0.8))
    )
    clear = draw.between(0.15, 0.5) if draw.chance(0.6) else 0.0
    width = draw.between(0.2, 0.28)
    neck, shoulder, neck_end = {
        "wine": (0.08, draw.between(-0.35, -0.2), -0.86),
        "beer": (0.075, draw.between(-0.2, 0.0), -0.84),
        "plastic": (0.11, draw.between(-0.62, -0.5), -0.84),
        "squat": (0.13, draw.between(-0.3, -0.1), -0.6),
    }[kind]
    if kind == "squat":
        width *= 1.3
    slope = shoulder - draw.between(0.1, 0.25)
    body, cap = canvas.part("body"), canvas.part("cap")
    left = [
        (-neck, neck_end),
        (-neck, slope),
        (-width * 0.75, slope + (shoulder - slope) * 0.5),
        (-width, shoulder),
        (-width, 0.86),
        (-width * 0.85, 0.92),
    ]
    right = [(-x, y) for x, y in reversed(left)]
    shape = corners(*left, *right)
    canvas.fill(shape, shade(glass, -0.2), body, own=0.5, clear=clear * 0.6)
    canvas.fill(shape * (0.8, 0.97), glass, body, own=0.6, clear=clear)
    if clear and draw.chance(0.6):
        level = draw.between(shoulder, 0.5)
        canvas.fill(
            bar(-width * 0.84, level, width * 0.84, 0.86),
            mix(glass, any_colour(draw), 0.5),
            body,
            own=0.5,
            clear=clear * 0.4,
        )
    if draw.chance(0.75):
        top, colour = draw.between(shoulder + 0.05, 0.25), any_colour(draw)
        bottom = top + draw.between(0.25, 0.5)
        canvas.fill(bar(-width * 0.98, top, width * 0.98, bottom), colour, body, other=0.5)
        canvas.fill(bar(-width * 0.98, top + 0.06, width * 0.98, top + 0.12), shade(colour, -0.4), body)
        canvas.fill(ellipse(0, (top + bottom) / 2 + 0.03, width * 0.4, (bottom - top) * 0.2), any_colour(draw), body)
    canvas.fill(bar(-width * 0.7, shoulder, -width * 0.52, 0.8), shade(glass, 0.6), body, own=0.3, clear=0.2)
    metal = any_colour(draw)
    high = draw.between(0.07, 0.14) if kind != "wine" else draw.between(0.06, 0.25)
    wide = neck * draw.between(1.1, 1.35)
    canvas.fill(bar(-wide, neck_end - high * 0.5, wide, neck_end + high * 0.5), metal, cap, other=0.5)
    canvas.fill(
        bar(-wide, neck_end - high * 0.5, -wide * 0.3, neck_end + high * 0.5), shade(metal, 0.25), cap, other=0.4
    )
