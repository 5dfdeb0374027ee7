"""A dog."""

from __future__ import annotations

import math

from bench_partshapes.canvas import (
    Canvas,
    Colour,
    Draw,
    coat,
    corners,
    ellipse,
    end_of,
    grey,
    hsv,
    limb,
    mix,
    shade,
    smooth,
)


def dog(canvas: Canvas, draw: Draw) -> None:
    """A dog from the side, standing or sitting, or facing the camera."""
    fur = coat(draw)
    second = mix(fur, coat(draw), 0.6) if draw.chance(0.5) else shade(fur, 0.15)
    ear_colour = shade(second if draw.chance(0.5) else fur, -0.25)
    if draw.chance(0.45):
        _dog_front(canvas, draw, fur, second, ear_colour)
    else:
        _dog_side(canvas, draw, fur, second, ear_colour)


def _dog_side(canvas: Canvas, draw: Draw, fur: Colour, second: Colour, ear_colour: Colour) -> None:
    close = draw.chance(0.25)
    zoom = draw.between(0.8, 1.1) if close else draw.between(0.5, 0.7)
    flip = draw.chance(0.5)
    # close up, the head (left of the origin unless flipped) comes to the middle
    aside = (-0.22 if flip else 0.22) * zoom if close else 0.0
    canvas.place(
        (draw.between(0.44, 0.56) + aside, draw.between(0.48, 0.58) + (0.08 if close else 0.0)),
        zoom,
        draw.between(-0.16, 0.16),
        flip,
        draw.between(-0.12, 0.12),
        draw.between(0.85, 1.15),
    )
    sitting = draw.chance(0.3)
    thick, leg_length = draw.between(0.14, 0.22), draw.between(0.3, 0.5)
    # back (hip) and front (chest) of the torso
    hip = (0.4, 0.18 if sitting else 0.0)
    chest = (-0.28, -0.14 if sitting else 0.0)
    ground = hip[1] + thick * 0.4 + leg_length * (0.55 if sitting else 1.0)
    tail = canvas.part("tail")
    bend = draw.between(-0.9, 0.9)
    root, angle = (hip[0] + thick * 0.6, hip[1] - thick * 0.4), draw.between(1.3, 2.7)
    width = draw.between(0.03, 0.06)
    tail_region = canvas.region(shade(fur, -0.05), tail, own=0.8)
    for _ in range(3):
        tip = end_of(root, 0.15, angle)
        canvas.polygon(limb(root, tip, width, width * 0.8), tail_region)
        root, angle, width = tip, angle + bend * 0.6, width * 0.75

    def leg(x: float, y: float, far: bool, folded: bool) -> None:
        part, paw = canvas.part("leg"), canvas.part("paw")
        colour = shade(fur, -0.3 if far else -0.06)
        lean = draw.between(-0.35, 0.35)
        length = max(0.1, ground - y)
        if folded:
            canvas.shaded(ellipse(x - 0.05, y + 0.1, 0.17, 0.2), colour, part, own=0.9)
            foot = (x - 0.18, ground)
        else:
            knee = (x + math.sin(lean) * length * 0.5, y + length * 0.5)
            foot = (knee[0] - math.sin(lean) * length * draw.between(0, 0.6), ground)
            canvas.fill(limb((x, y), knee, 0.085, 0.055), colour, part, own=0.9)
            canvas.fill(limb(knee, foot, 0.055, 0.045), shade(colour, 0.06), part, own=0.9)
        canvas.fill(
            limb((foot[0] + 0.01, foot[1] + 0.02), (foot[0] - 0.07, foot[1] + 0.025), 0.045, 0.035),
            shade(second, -0.2 if far else 0.05),
            paw,
            own=0.5,
        )

    leg(hip[0] - 0.02, hip[1] + thick * 0.3, far=True, folded=sitting)
    leg(chest[0] + 0.1, chest[1] + thick * 0.4, far=True, folded=False)
    neck = canvas.part("neck")
    head_at = (chest[0] - draw.between(0.22, 0.34), chest[1] - draw.between(0.22, 0.42))
    skull = draw.between(0.13, 0.17)
    canvas.fill(
        limb((chest[0] + 0.04, chest[1] - 0.04), (head_at[0] + 0.05, head_at[1] + 0.03), thick * 0.8, skull * 0.75),
        shade(fur, -0.04),
        neck,
        own=1.0,
    )
    torso = canvas.part("torso")
    canvas.shaded(
        smooth(
            (chest[0] - 0.08, chest[1] - thick * 0.5),
            (chest[0] + 0.06, chest[1] - thick),
            (0.1, hip[1] * 0.4 - thick * 0.85),
            (hip[0], hip[1] - thick * 0.9),
            (hip[0] + thick * 0.75, hip[1]),
            (hip[0] - 0.02, hip[1] + thick * 0.85),
            (0.08, hip[1] * 0.5 + thick * 0.75),
            (chest[0] + 0.04, chest[1] + thick * 1.05),
            (chest[0] - 0.1, chest[1] + thick * 0.4),
        ),
        fur,
        torso,
        light=0.16,
        own=1.0,
    )
    if draw.chance(0.35):
        canvas.fill(ellipse(draw.between(-0.1, 0.3), hip[1] * 0.5 - 0.04, 0.13, 0.09, draw()), second, torso, own=1.0)
    leg(hip[0] + 0.02, hip[1] + thick * 0.3, far=False, folded=sitting)
    leg(chest[0] + 0.04, chest[1] + thick * 0.4, far=False, folded=False)
    _dog_profile(canvas, draw, head_at, skull, fur, second, ear_colour)


def _dog_profile(
    canvas: Canvas, draw: Draw, at: tuple[float, float], skull: float, fur: Colour, second: Colour, ear_colour: Colour
) -> None:
    x, y = at
    head = canvas.part("head")
    canvas.shaded(ellipse(x, y, skull, skull * 0.92), fur, head, own=0.9)
    length, droop = draw.between(0.13, 0.26), draw.between(0.02, 0.12)
    muzzle, nose = canvas.part("muzzle", head), canvas.part("nose", head)
    tip = (x - skull * 0.7 - length, y + droop)
    canvas.fill(
        limb((x - skull * 0.45, y + 0.04), tip, skull * 0.55, skull * draw.between(0.28, 0.42)), second, muzzle, own=0.7
    )
    canvas.fill(
        limb((x - skull * 0.6, y + 0.09 + droop * 0.4), (tip[0] + 0.01, tip[1] + skull * 0.2), 0.008, 0.008),
        shade(second, -0.5),
        muzzle,
    )
    canvas.fill(ellipse(tip[0] - skull * 0.22, tip[1] - 0.02, 0.035, 0.03, count=10), grey(0.08), nose)
    eye = canvas.part("eye", head)
    at_eye = (x - skull * 0.35, y - skull * 0.25)
    canvas.fill(ellipse(*at_eye, 0.027, 0.024, count=10), hsv(0.08, 0.7, 0.25), eye)
    canvas.fill(ellipse(at_eye[0] - 0.008, at_eye[1] - 0.008, 0.009, 0.009, count=6), grey(0.9), eye)
    ear = canvas.part("ear", head)
    if draw.chance(0.5):
        shape = smooth(
            (x + 0.0, y - skull * 0.85),
            (x + skull * 0.75, y - skull * 0.6),
            (x + skull * 0.95, y + skull * 0.6),
            (x + skull * 0.5, y + skull * 0.95),
            (x + skull * 0.2, y + skull * 0.1),
        )
    else:
        shape = corners(
            (x - 0.03, y - skull * 0.75), (x + skull * 0.6, y - skull * 1.9), (x + skull * 0.85, y - skull * 0.3)
        )
    canvas.fill(shape, ear_colour, ear, own=0.8)


def _dog_front(canvas: Canvas, draw: Draw, fur: Colour, second: Colour, ear_colour: Colour) -> None:
    close = draw.chance(0.4)
    scale = draw.between(0.75, 1.1) if close else draw.between(0.46, 0.62)
    canvas.place(
        (draw.between(0.4, 0.6), draw.between(0.46, 0.56) + (0.22 * scale if close else 0.0)),
        scale,
        draw.between(-0.2, 0.2),
        draw.chance(0.5),
        draw.between(-0.1, 0.1),
        draw.between(0.85, 1.15),
    )
    if draw.chance(0.5):
        tail = canvas.part("tail")
        side = draw.sign()
        canvas.fill(
            limb((side * 0.2, 0.35), (side * draw.between(0.4, 0.55), draw.between(0.0, 0.5)), 0.06, 0.03),
            shade(fur, -0.1),
            tail,
            own=0.8,
        )
    width = draw.between(0.22, 0.3)
    back = []
    for side in (-1, 1):
        leg = canvas.part("leg")
        back.append(leg)
        canvas.shaded(ellipse(side * width * 0.95, 0.5, 0.14, 0.24), shade(fur, -0.2), leg, own=0.9)
        paw = canvas.part("paw")
        canvas.fill(ellipse(side * (width + 0.06), 0.72, 0.1, 0.055), shade(second, -0.1), paw, own=0.5)
    torso = canvas.part("torso")
    canvas.shaded(
        smooth(
            (-width * 0.7, -0.12),
            (width * 0.7, -0.12),
            (width, 0.25),
            (width * 0.9, 0.6),
            (-width * 0.9, 0.6),
            (-width, 0.25),
        ),
        fur,
        torso,
        light=0.16,
        own=1.0,
    )
    if draw.chance(0.6):
        canvas.fill(ellipse(0, 0.15, width * 0.45, 0.2), second, torso, own=1.0)
    for side in (-1, 1):
        leg, paw = canvas.part("leg"), canvas.part("paw")
        foot = (side * width * draw.between(0.45, 0.75), draw.between(0.68, 0.76))
        canvas.fill(limb((side * width * 0.5, 0.2), foot, 0.09, 0.07), shade(fur, 0.04 * side), leg, own=0.9)
        canvas.fill(ellipse(foot[0], foot[1] + 0.04, 0.1, 0.06), shade(second, 0.05), paw, own=0.5)
    neck = canvas.part("neck")
    canvas.fill(
        corners((-0.16, -0.26), (0.16, -0.26), (width * 0.75, -0.03), (-width * 0.75, -0.03)),
        shade(fur, -0.15),
        neck,
        own=1.0,
    )
    tilt, skull = draw.between(-0.06, 0.06), draw.between(0.2, 0.26)
    x, y = tilt, -0.42
    head = canvas.part("head")
    floppy = draw.chance(0.55)
    ears = []
    for side in (-1, 1):
        ear = canvas.part("ear", head)
        if floppy:
            shape = smooth(
                (x + side * skull * 0.6, y - skull * 0.85),
                (x + side * skull * 1.25, y - skull * 0.45),
                (x + side * skull * 1.35, y + skull * 0.7),
                (x + side * skull * 0.9, y + skull * 0.5),
            )
        else:
            shape = corners(
                (x + side * skull * 0.2, y - skull * 0.85),
                (x + side * skull * 0.85, y - skull * 1.75),
                (x + side * skull * 0.98, y - skull * 0.3),
            )
        ears.append((shape, canvas.region(ear_colour, ear, own=0.8)))
    if not floppy:
        for shape, region in ears:
            canvas.polygon(shape, region)
    canvas.shaded(ellipse(x, y, skull, skull * 0.98), fur, head, own=0.9)
    if floppy:
        for shape, region in ears:
            canvas.polygon(shape, region)
    muzzle, nose = canvas.part("muzzle", head), canvas.part("nose", head)
    canvas.shaded(ellipse(x, y + skull * 0.48, skull * 0.5, skull * 0.48), second, muzzle, own=0.7)
    canvas.fill(
        limb((x - 0.05, y + skull * 0.75), (x + 0.05, y + skull * 0.75), 0.012, 0.012), shade(second, -0.5), muzzle
    )
    if draw.chance(0.3):
        canvas.fill(ellipse(x, y + skull * 0.88, 0.035, 0.06), (0.75, 0.35, 0.4), muzzle)
    canvas.fill(
        smooth(
            (x - 0.06, y + skull * 0.2),
            (x + 0.06, y + skull * 0.2),
            (x + 0.03, y + skull * 0.45),
            (x - 0.03, y + skull * 0.45),
        ),
        grey(0.08),
        nose,
    )
    for side in (-1, 1):
        eye = canvas.part("eye", head)
        at = (x + side * skull * 0.42, y - skull * 0.15)
        canvas.fill(ellipse(*at, 0.038, 0.034, count=10), hsv(0.08, 0.7, 0.25), eye)
        canvas.fill(ellipse(at[0] - 0.01, at[1] - 0.01, 0.012, 0.012, count=6), grey(0.9), eye)
