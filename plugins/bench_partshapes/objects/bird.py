"""A bird."""

from __future__ import annotations

import math

from bench_partshapes.canvas import (
    Canvas,
    Draw,
    any_colour,
    coat,
    corners,
    ellipse,
    grey,
    hsv,
    limb,
    mix,
    shade,
    smooth,
)


def bird(canvas: Canvas, draw: Draw) -> None:
    """A bird from the side, standing or on the wing."""
    plumage = coat(draw) if draw.chance(0.45) else any_colour(draw)
    second = mix(plumage, any_colour(draw), 0.6) if draw.chance(0.6) else shade(plumage, -0.25)
    horn = draw.choice((hsv(0.11, 0.8, 0.85), hsv(0.06, 0.8, 0.8), grey(0.2), grey(0.45)))
    flying = draw.chance(0.35)
    scale = draw.between(0.42, 0.6) if flying else draw.between(0.52, 0.8)
    canvas.place(
        (draw.between(0.42, 0.58), draw.between(0.44, 0.56)),
        scale,
        draw.between(-0.35, 0.35),
        draw.chance(0.5),
        draw.between(-0.12, 0.12),
        draw.between(0.85, 1.15),
    )
    fat, neck_length = (
        draw.between(0.17, 0.26),
        (draw.between(0.0, 0.12) if draw.chance(0.65) else draw.between(0.2, 0.38)),
    )
    if flying:
        up = draw.between(0.35, 0.7) * (1 if draw.chance(0.7) else -0.8)
        far = canvas.part("wing")
        canvas.fill(
            smooth((-0.12, -0.04), (0.12, -0.04), (0.38, -up * 0.8), (0.3, -up * 1.05), (-0.02, -up * 0.6)),
            shade(second, -0.3),
            far,
            own=1.0,
        )
    tail = canvas.part("tail")
    long, spread = draw.between(0.28, 0.55), draw.between(0.05, 0.14)
    drop = draw.between(-0.05, 0.25)
    canvas.fill(
        corners(
            (0.25, -0.08), (0.3 + long, drop - spread), (0.36 + long, drop), (0.3 + long, drop + spread), (0.25, 0.1)
        ),
        second,
        tail,
        own=1.0,
    )
    if draw.chance(0.5):
        canvas.fill(limb((0.3, 0.0), (0.33 + long, drop), 0.012, 0.012), shade(second, -0.35), tail)
    legs = draw.between(0.15, 0.5) if not flying else draw.between(0.0, 0.12)
    if legs > 0.06:
        for side in (-1, 1):
            leg, foot = canvas.part("leg"), canvas.part("foot")
            hip = (0.05 + side * 0.07, fat * 0.7)
            ankle = (hip[0] + draw.between(-0.06, 0.06), fat * 0.7 + 0.1 + legs)
            canvas.fill(limb(hip, ankle, 0.035, 0.018), shade(horn, -0.1 * side), leg, other=0.2)
            region = canvas.region(shade(horn, -0.15), foot, other=0.2)
            for toe in (-0.12, -0.07, 0.07):
                canvas.polygon(limb(ankle, (ankle[0] + toe, ankle[1] + 0.035), 0.018, 0.01), region)
    neck = canvas.part("neck")
    base = (-0.22, -fat * 0.45)
    skull = draw.between(0.1, 0.15)
    lean = draw.between(0.3, 0.9)
    at = (base[0] - skull * 0.6 - neck_length * math.sin(lean), base[1] - skull * 0.8 - neck_length * math.cos(lean))
    canvas.fill(limb(base, at, fat * 0.62, skull * 0.72), shade(plumage, -0.08), neck, own=0.9)
    torso = canvas.part("torso")
    belly = mix(plumage, grey(0.85), 0.5) if draw.chance(0.5) else plumage
    canvas.shaded(
        smooth(
            (-0.36, -fat * 0.4),
            (-0.12, -fat * 0.95),
            (0.2, -fat * 0.7),
            (0.38, 0.0),
            (0.12, fat * 0.85),
            (-0.2, fat * 0.85),
        ),
        belly,
        torso,
        light=0.16,
        own=1.0,
    )
    wing = canvas.part("wing")
    if flying:
        shape = smooth(
            (-0.2, -0.06), (0.14, -0.06), (0.3, -up * 0.45), (0.1, -up * 1.25), (-0.1, -up * 1.05), (-0.2, -up * 0.5)
        )
    else:
        shape = smooth(
            (-0.2, -fat * 0.55),
            (0.05, -fat * 0.75),
            (0.34, -fat * 0.2),
            (0.55, 0.1),
            (0.14, fat * 0.35),
            (-0.16, fat * 0.2),
        )
    canvas.shaded(shape, second, wing, own=1.0)
    for line in range(2):
        if not flying:
            canvas.fill(
                limb((0.0 + 0.08 * line, fat * (0.1 - 0.25 * line)), (0.42, 0.06 - 0.05 * line), 0.01, 0.008),
                shade(second, -0.4),
                wing,
            )
    head = canvas.part("head")
    canvas.shaded(ellipse(*at, skull, skull * 0.92), plumage if draw.chance(0.7) else second, head, own=0.8)
    beak = canvas.part("beak", head)
    length, thick = draw.between(0.1, 0.3), draw.between(0.035, 0.07)
    hook = draw.between(-0.02, 0.06)
    canvas.fill(
        corners(
            (at[0] - skull * 0.8, at[1] - thick),
            (at[0] - skull - length, at[1] + hook),
            (at[0] - skull * 0.8, at[1] + thick),
        ),
        horn,
        beak,
        other=0.2,
    )
    eye = canvas.part("eye", head)
    spot = (at[0] - skull * 0.35, at[1] - skull * 0.2)
    canvas.fill(ellipse(*spot, 0.032, 0.032, count=10), draw.choice((grey(0.9), hsv(0.12, 0.8, 0.8), grey(0.08))), eye)
    canvas.fill(ellipse(*spot, 0.02, 0.02, count=8), grey(0.05), eye)
