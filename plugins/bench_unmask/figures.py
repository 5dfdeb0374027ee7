"""The pictures of `partshapes`: six kinds of objects built of parts, and what stands around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from bench_unmask.drawing import (
    NO_PART,
    Camera,
    Canvas,
    Colour,
    Draw,
    Face,
    Solids,
    any_colour,
    bar,
    block,
    circle,
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

# -- person -----------------------------------------------------------------------------------------------------------


def person(canvas: Canvas, draw: Draw) -> None:
    """A person from the front or half turned: whole, to the waist, or the face."""
    frame = draw()
    if frame < 0.4:
        canvas.place(
            (draw.between(0.32, 0.68), draw.between(0.46, 0.56)),
            draw.between(0.36, 0.52),
            draw.between(-0.15, 0.15),
            draw.chance(0.5),
            draw.between(-0.08, 0.08),
            draw.between(0.9, 1.2),
        )
    else:
        scale, above = (draw.between(0.6, 0.9), 0.55) if frame < 0.7 else (draw.between(1.1, 1.8), 0.78)
        canvas.place(
            (draw.between(0.4, 0.6), draw.between(0.42, 0.55) + scale * above),
            scale,
            draw.between(-0.12, 0.12),
            draw.chance(0.5),
            draw.between(-0.06, 0.06),
            draw.between(0.9, 1.15),
        )
    close = frame >= 0.7
    skin = hsv(draw.between(0.03, 0.09), draw.between(0.2, 0.6), draw.between(0.35, 0.95))
    hair = draw.choice((grey(0.1), hsv(0.07, 0.6, 0.25), hsv(0.09, 0.6, 0.5), hsv(0.12, 0.5, 0.8), grey(0.7)))
    top, trousers, shoes = any_colour(draw), any_colour(draw), mix(any_colour(draw), grey(0.15), 0.6)
    shoulder, hip = draw.between(0.19, 0.26), draw.between(0.12, 0.18)
    turn = draw.between(-1, 1)
    head = canvas.part("head")
    long_hair = draw.chance(0.45)
    hair_part = canvas.part("hair", head)
    bald = draw.chance(0.1)
    if long_hair and not bald:
        fall = draw.between(-0.68, -0.5)
        canvas.shaded(
            smooth((-0.13, -0.9), (0, -1.02), (0.13, -0.9), (0.15, fall), (0, fall + 0.04), (-0.15, fall)),
            hair,
            hair_part,
            own=0.1,
            other=0.5,
        )

    if not close:
        bare_legs, spread = draw.chance(0.3), draw.between(0.02, 0.3)
        stride = draw.between(-0.2, 0.2)
        for side in (-1, 1):
            leg, foot = canvas.part("leg"), canvas.part("foot")
            start = (side * hip * 0.55, -0.06)
            knee = end_of(start, 0.48, side * spread + stride)
            ankle = end_of(knee, 0.47, side * spread * 0.5 + stride - draw.between(0, 0.35))
            cloth = shade(trousers, side * 0.08)
            canvas.fill(limb(knee, ankle, 0.065, 0.045), shade(skin, side * 0.08) if bare_legs else cloth, leg, own=0.3)
            canvas.shaded(limb(start, knee, 0.1, 0.075), cloth, leg, own=0.5)
            toe = (ankle[0] + (side * 0.07 if abs(turn) < 0.4 else 0.12), ankle[1] + 0.05)
            canvas.fill(limb((ankle[0], ankle[1] + 0.03), toe, 0.05, 0.035), shoes, foot, other=0.2)

    neck = canvas.part("neck")
    canvas.fill(limb((0, -0.76), (0, -0.6), 0.062, 0.075), shade(skin, -0.15), neck, own=0.2)

    # arms behind the torso or before it
    torso = canvas.part("torso")
    skirt = draw.chance(0.2)
    body = smooth(
        (-0.08, -0.63),
        (0.08, -0.63),
        (shoulder, -0.56),
        (shoulder * 0.86, -0.3),
        (hip * 1.02, -0.1),
        (hip * (1.5 if skirt else 1.05), 0.1 if skirt else 0.0),
        (-hip * (1.5 if skirt else 1.05), 0.1 if skirt else 0),
        (-hip * 1.02, -0.1),
        (-shoulder * 0.86, -0.3),
        (-shoulder, -0.56),
    )
    arms_behind = draw.chance(0.25)
    if not arms_behind:
        canvas.shaded(body, top, torso, own=0.8)
    bare_arms = draw.chance(0.35)
    for side in (-1, 1):
        if draw.chance(0.06):
            continue
        arm, hand = canvas.part("arm"), canvas.part("hand")
        start = (side * (shoulder - 0.035), -0.54)
        raised = draw.chance(0.15)
        swing = draw.between(1.9, 2.9) if raised else draw.between(0.02, 0.6)
        elbow = end_of(start, 0.27, side * swing)
        bend = swing + draw.between(-0.5, 0.3) if raised else swing - draw.between(-0.3, 1.5)
        wrist = end_of(elbow, 0.25, side * bend)
        cloth = shade(top, -0.12 + 0.1 * side)
        canvas.fill(limb(elbow, wrist, 0.047, 0.036), skin if bare_arms else cloth, arm, own=0.4)
        canvas.shaded(limb(start, elbow, 0.065, 0.05), cloth, arm, own=0.7)
        palm = end_of(wrist, 0.05, side * bend)
        canvas.fill(ellipse(*palm, 0.042, 0.055, -side * bend), shade(skin, 0.05), hand, own=0.15)
    if arms_behind:
        canvas.shaded(body, top, torso, own=0.8)
    if draw.chance(0.3):  # an open jacket, a print
        canvas.fill(
            corners((-0.05, -0.62), (0.05, -0.62), (0.03, -0.05), (-0.03, -0.05)), any_colour(draw), torso, own=0.3
        )

    _face(canvas, draw, head, hair_part, skin, hair, turn, bald)


def _face(
    canvas: Canvas, draw: Draw, head: int, hair_part: int, skin: Colour, hair: Colour, turn: float, bald: bool
) -> None:
    y, rx, ry = -0.85, draw.between(0.095, 0.115), draw.between(0.125, 0.15)
    for side in (-1, 1):
        if side * turn < 0.55:  # the far ear is hidden
            ear = canvas.part("ear", head)
            canvas.fill(ellipse(side * rx, y + 0.01, 0.022, 0.038), shade(skin, -0.12), ear, own=0.1)
    canvas.shaded(
        smooth(
            (0, y - ry), (rx, y - 0.05), (rx * 0.85, y + 0.07), (0, y + ry), (-rx * 0.85, y + 0.07), (-rx, y - 0.05)
        ),
        skin,
        head,
        own=0.2,
    )
    shift = turn * rx * 0.35
    brow = shade(hair, -0.3)
    for side in (-1, 1):
        if side * turn > 0.9:
            continue
        x = shift + side * rx * 0.42
        eye, eyebrow = canvas.part("eye", head), canvas.part("eyebrow", head)
        canvas.fill(ellipse(x, y - 0.015, 0.026, 0.015, count=10), grey(0.92), eye)
        canvas.fill(ellipse(x + turn * 0.006, y - 0.015, 0.012, 0.014, count=8), hsv(draw(), 0.4, 0.2), eye)
        canvas.fill(
            corners(
                (x - 0.035, y - 0.042),
                (x, y - 0.056),
                (x + 0.035, y - 0.042),
                (x + 0.03, y - 0.033),
                (x, y - 0.044),
                (x - 0.03, y - 0.033),
            ),
            brow,
            eyebrow,
        )
    nose, mouth = canvas.part("nose", head), canvas.part("mouth", head)
    canvas.fill(
        corners((shift * 1.3, y - 0.02), (shift * 1.5 + 0.024, y + 0.045), (shift * 1.5 - 0.024, y + 0.045)),
        shade(skin, -0.22),
        nose,
    )
    canvas.fill(
        ellipse(shift * 1.1, y + 0.082, 0.038, draw.between(0.009, 0.02), count=10),
        mix(shade(skin, -0.3), (0.6, 0.15, 0.15), 0.5),
        mouth,
    )
    if not bald:
        line = draw.between(0.03, 0.07)
        part = draw.between(-0.05, 0.05)
        canvas.fill(
            smooth(
                (-rx * 1.08, y - 0.02),
                (-rx * 1.05, y - 0.1),
                (0, y - ry * 1.22),
                (rx * 1.05, y - 0.1),
                (rx * 1.08, y - 0.02),
                (rx * 0.82, y - line - 0.02),
                (part, y - ry + line),
                (-rx * 0.82, y - line - 0.02),
            ),
            hair,
            hair_part,
            own=0.1,
            other=0.5,
        )


# -- dog --------------------------------------------------------------------------------------------------------------


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


# -- bird -------------------------------------------------------------------------------------------------------------


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


# -- bottle -----------------------------------------------------------------------------------------------------------


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


# -- car and train ----------------------------------------------------------------------------------------------------


def car(canvas: Canvas, draw: Draw) -> None:
    """A car from any side, the camera at eye level or above."""
    heading = draw.between(0, 2 * math.pi)
    if draw.chance(0.5):  # most photos show a side or a corner
        heading = draw.choice((0.0, math.pi)) + draw.between(-0.75, 0.75)
    camera = Camera(heading, draw.between(0.03, 0.5), draw.between(5, 14), (0, 0, 0.7))
    canvas.place(
        (draw.between(0.4, 0.6), draw.between(0.44, 0.6)),
        draw.between(0.16, 0.25),
        draw.between(-0.1, 0.1),
        shear=draw.between(-0.05, 0.05),
        stretch=draw.between(0.9, 1.1),
    )
    _Car(canvas, draw, camera).paint()


class _Car:
    """A car of one of four kinds: lower body and cabin, wheels, and what is on them. Lengths in metres."""

    def __init__(self, canvas: Canvas, draw: Draw, camera: Camera) -> None:
        self.canvas, self.draw, self.solids = canvas, draw, Solids(canvas, camera)
        self.colour = any_colour(draw)
        self.glass = mix(hsv(0.57, 0.3, 0.35), grey(0.15), draw())
        self.half, self.wide = draw.between(1.9, 2.3), draw.between(0.82, 0.95)
        self.belt = draw.between(0.8, 0.98)
        self.kind = draw.choice(("saloon", "hatch", "van", "pickup"))
        self.back, self.front = {
            "saloon": (-1.35, 0.95),
            "hatch": (-self.half + 0.08, 0.95),
            "van": (-self.half + 0.05, 1.35),
            "pickup": (-0.4, 0.95),
        }[self.kind]
        half, wide, belt = self.half, self.wide, self.belt
        self.body = block(-half, half, wide, draw.between(0.22, 0.32), belt, (-half + 0.06, half - 0.12, wide * 0.97))
        roof = (
            self.back + (0.45 if self.kind == "saloon" else 0.12),
            self.front - draw.between(0.35, 0.7),
            wide * 0.78,
        )
        self.cabin = block(self.back, self.front, wide * 0.95, belt, belt + draw.between(0.45, 0.62), roof)
        self.seen = {name: self.solids.shows(face) for name, face in self.body.items()}
        self.side = {side: canvas.part(f"vehicle_{side}") for side in ("left", "right")}
        self.end = {"front": canvas.part("frontside"), "back": canvas.part("vehicle_back")}

    def paint(self) -> None:
        """Draw the car back to front."""
        half, wide, fill = self.half, self.wide, self.solids.fill
        ground = ((-half, -wide, 0.0), (half, -wide, 0.0), (half, wide, 0.0), (-half, wide, 0.0))
        fill(ground, grey(0.08), clear=0.4)  # its shadow
        for side in ("left", "right"):
            if not self.seen[side]:
                self._mirror(side)
                y = wide * (0.9 if side == "left" else -0.9)
                for x in self._axles():  # far wheels, seen under the body
                    fill(((x - 0.25, y, 0), (x + 0.25, y, 0), (x + 0.25, y, 0.4), (x - 0.25, y, 0.4)), grey(0.06))
        if self.seen["top"]:
            self._bonnet_and_boot()
        light = self.draw.between(-0.15, 0.15)
        for side, tone in (("left", light), ("right", -light)):
            if self.seen[side]:
                self._flank(side, shade(self.colour, tone))
        for end in ("front", "back"):
            if self.seen[end]:
                self._face(end)
        if self.solids.shows(self.cabin["top"]):
            fill(self.cabin["top"], shade(self.colour, 0.22), self.canvas.part("vehicle_top"), own=0.5)
        for side in ("left", "right"):
            if self.seen[side]:
                self._mirror(side)

    def _axles(self) -> tuple[float, float]:
        return -self.half * 0.62, self.half * 0.64

    def _mirror(self, side: str) -> None:
        y = self.wide * (1.1 if side == "left" else -1.1)
        ((x, y),) = self.solids.camera.project([(self.front - 0.35, y, self.belt + 0.1)]).tolist()
        mirror = self.canvas.part("mirror")
        self.canvas.fill(ellipse(x, y, 0.13, 0.1, count=10), shade(self.colour, -0.2), mirror, own=0.4)

    def _window(self, face: Face, s0: float, t0: float, s1: float, t1: float, within: int) -> None:
        pane = self.canvas.part("window", within)
        self.solids.fill(face, self.glass, pane, at=(s0, t0, s1, t1), own=0.1, clear=0.12)
        glare = s0 + (s1 - s0) * 0.1, t0 + (t1 - t0) * 0.55, s0 + (s1 - s0) * 0.45, t1
        self.solids.fill(face, shade(self.glass, 0.5), pane, at=glare, clear=0.2)

    def _bonnet_and_boot(self) -> None:
        top, length, fill = self.body["top"], 2 * self.half, self.solids.fill
        before, behind = (self.front + self.half) / length, (self.back + self.half) / length
        fill(top, shade(self.colour, 0.1), own=0.5)
        fill(top, shade(self.colour, 0.2), self.end["front"], at=(before, 0, 1, 1), own=0.5)
        if behind > 0.08:
            tone = -0.4 if self.kind == "pickup" else 0.15
            fill(top, shade(self.colour, tone), self.end["back"], at=(0, 0, behind, 1), own=0.5)

    def _flank(self, side: str, tone: Colour) -> None:
        draw, fill, instance = self.draw, self.solids.fill, self.side[side]
        face, upper = self.body[side], self.cabin[side]
        fill(face, shade(tone, -0.1), instance, own=0.6)
        fill(face, shade(tone, 0.06), instance, at=(0, 0.45, 1, 1), own=0.6)
        glazed = self.solids.shows(upper)
        if glazed:
            fill(upper, tone, instance, own=0.5)
        doors = 2 if self.kind in ("saloon", "hatch") and draw.chance(0.75) else 1
        start, stop = self.front - 0.3, self.back + (1.4 if self.kind == "van" else 0.35)
        marks = [(start + (stop - start) * n / doors + self.half) / (2 * self.half) for n in range(doors + 1)]
        if side == "left":  # its first corner is at the front
            marks = [1 - mark for mark in marks]
        for a, b in (sorted(pair) for pair in pairwise(marks)):
            door = self.canvas.part("door", instance)
            fill(face, shade(tone, -0.45), door, at=(a, 0.08, b, 1.0), own=0.4)
            fill(face, shade(tone, 0.02), door, at=(a + 0.008, 0.12, b - 0.008, 1.0), own=0.6)
            handle = b - 0.05 if side == "left" else a + 0.05
            fill(face, shade(tone, -0.5), door, at=(handle - 0.02, 0.68, handle + 0.02, 0.76))
        if glazed:
            panes = 1 if self.kind == "pickup" else 2
            for number in range(panes):
                self._window(
                    upper, 0.1 + 0.82 * number / panes, 0.12, 0.06 + 0.82 * (number + 1) / panes, 0.86, instance
                )
        y, radius = self.wide * (1.0 if side == "left" else -1.0), draw.between(0.3, 0.38)
        for x in self._axles():
            wheel = self.canvas.part("wheel")
            rim = grey(draw.between(0.4, 0.8))
            for size, colour, other in ((1.0, grey(0.07), 0.2), (0.58, rim, 0.4), (0.2, grey(0.2), 0.0)):
                across, up = (circle(18) * radius * size).T
                disc = np.stack([x + across, np.full(18, y), radius + up], axis=1)
                self.canvas.fill(self.solids.camera.project(disc), colour, wheel, other=other)

    def _face(self, end: str) -> None:
        draw, fill, instance = self.draw, self.solids.fill, self.end[end]
        face, upper = self.body[end], self.cabin[end]
        fill(face, shade(self.colour, -0.12), instance, own=0.6)
        if self.solids.shows(upper):
            fill(upper, shade(self.colour, -0.05), instance, own=0.4)
            self._window(upper, 0.08, 0.1, 0.92, 0.88, instance)
        fill(face, shade(self.colour, -0.5), instance, at=(0, 0, 1, 0.3), own=0.3)  # bumper
        if end == "front":
            fill(face, grey(0.1), instance, at=(0.28, 0.45, 0.72, 0.75), other=0.3)
            for a, b in ((0.03, 0.23), (0.77, 0.97)):
                lamp = self.canvas.part("headlight", instance)
                fill(face, grey(0.55), lamp, at=(a, 0.52, b, 0.82))
                fill(face, (0.97, 0.96, 0.85), lamp, at=(a + 0.03, 0.57, b - 0.03, 0.78))
        else:
            for a, b in ((0.02, 0.17), (0.83, 0.98)):
                fill(face, (0.6, 0.08, 0.06), instance, at=(a, 0.5, b, 0.85))
        if draw.chance(0.9):
            plate = self.canvas.part("licenseplate", instance)
            low = 0.1 if end == "front" else draw.between(0.1, 0.5)
            fill(face, draw.choice(((0.9, 0.9, 0.88), (0.9, 0.8, 0.3))), plate, at=(0.36, low, 0.64, low + 0.24))
            fill(face, grey(0.25), plate, at=(0.4, low + 0.08, 0.6, low + 0.16))


def train(canvas: Canvas, draw: Draw) -> None:
    """A train: an engine and its coaches, from the front, the side or behind, or a railcar without an engine."""
    engine = draw.chance(0.75)
    view = draw()
    towards = -1 if view < 0.65 else 1 if view < 0.8 else 0  # to the camera, away, along the image
    side = draw.sign()
    if towards:
        heading = towards * math.pi / 2 + side * draw.between(0.15, 1.1)
    else:
        heading = (0.0 if side > 0 else math.pi) + draw.between(-0.12, 0.12)
    high, long = draw.between(0.9, 1.1), draw.between(2.2, 3.2)
    lengths = [draw.between(1.6, 2.4) if engine else long] + [long] * draw.integer(1, 3)
    end = -sum(lengths) - 0.12 * len(lengths)
    if towards == 1:
        middle = end + long * draw.between(0.1, 0.5)
    else:
        middle = -lengths[0] * (draw.between(0.1, 0.7) if towards else draw.between(0.5, 1.3))
    camera = Camera(heading, draw.between(0.0, 0.38), draw.between(2.6, 6.0), (middle, 0.0, high * 0.55))
    canvas.place(
        (draw.between(0.42, 0.58), draw.between(0.46, 0.58)),
        draw.between(0.3, 0.48) if towards else draw.between(0.22, 0.34),
        draw.between(-0.08, 0.08),
        shear=draw.between(-0.04, 0.04),
        stretch=draw.between(0.9, 1.1),
    )
    _Train(canvas, draw, camera, engine, lengths, high).paint()


class _Train:
    """A row of vehicles, of which the first is an engine or a coach with lamps. The track lies along x."""

    def __init__(
        self, canvas: Canvas, draw: Draw, camera: Camera, engine: bool, lengths: list[float], high: float
    ) -> None:
        self.canvas, self.draw, self.solids = canvas, draw, Solids(canvas, camera)
        self.engine, self.lengths, self.high = engine, lengths, high
        self.livery, self.stripe = any_colour(draw), any_colour(draw)
        self.coaches = any_colour(draw) if engine and draw.chance(0.4) else self.livery
        self.glass = mix(hsv(0.57, 0.3, 0.3), grey(0.1), draw())
        self.wide, self.nose = draw.between(0.42, 0.5), draw.between(0.05, 0.6)
        self.windows = draw.integer(4, 7)

    def paint(self) -> None:
        """Draw track and vehicles, the farthest first."""
        fronts = [-sum(self.lengths[:number]) - 0.12 * number for number in range(len(self.lengths))]
        end = fronts[-1] - self.lengths[-1]

        def track(y0: float, y1: float) -> Face:
            return (2.5, y0, 0.0), (end - 2, y0, 0.0), (end - 2, y1, 0.0), (2.5, y1, 0.0)

        ballast = mix(grey(0.3), hsv(0.07, 0.4, 0.4), self.draw())
        self.solids.fill(track(-0.9, 0.9), ballast, other=0.5)
        for y in (-0.3, 0.3):
            self.solids.fill(track(y - 0.04, y + 0.04), grey(0.5))
        depth = self.solids.camera.depth
        order = sorted(range(len(fronts)), key=lambda n: -depth((fronts[n] - self.lengths[n] / 2, 0, 0.5)))
        for number in order:
            self._vehicle(number, fronts[number])

    def _vehicle(self, number: int, x1: float) -> None:
        canvas, solids, wide = self.canvas, self.solids, self.wide
        x0 = x1 - self.lengths[number]
        leading, last = number == 0, number == len(self.lengths) - 1
        is_engine = leading and self.engine
        roof = x0 + (self.nose * 0.3 if last else 0.0), x1 - (self.nose if leading else 0.0), wide * 0.9
        faces = block(x0, x1, wide, 0.16, self.high, roof)
        under = block(x0 + 0.2, x1 - 0.2, wide * 0.8, 0.02, 0.2, (x0 + 0.2, x1 - 0.2, wide * 0.8))
        for face in under.values():
            if solids.shows(face):
                solids.fill(face, grey(0.08), other=0.3)
        paint = self.livery if is_engine else self.coaches
        head = canvas.part("head") if is_engine else NO_PART
        if solids.shows(faces["top"]):
            colour = mix(shade(paint, 0.1), grey(0.55), 0.5)
            solids.fill(faces["top"], colour, head or canvas.part("coach_top"), own=0.5)
        for side in ("left", "right"):
            if solids.shows(faces[side]):
                self._flank(faces[side], side, paint, head)
        if leading and solids.shows(faces["front"]):
            self._front(faces["front"], paint, head or canvas.part("coach_front"))
        if solids.shows(faces["back"]):
            self._back(faces["back"], paint, head or canvas.part("coach_back"))

    def _flank(self, face: Face, side: str, paint: Colour, head: int) -> None:
        fill, instance = self.solids.fill, head or self.canvas.part(f"coach_{side}")
        fill(face, shade(paint, -0.08), instance, own=1.0)
        fill(face, self.stripe, instance, at=(0, 0.28, 1, 0.4), own=0.8)
        if head:
            a, b = (0.03, 0.16) if side == "left" else (0.84, 0.97)
            fill(face, self.glass, instance, at=(a, 0.55, b, 0.8), own=0.2, clear=0.1)
            fill(face, shade(paint, -0.4), instance, at=(0.3, 0.55, 0.7, 0.75), own=1.0)
            return
        for a in (0.1 + 0.8 * number / self.windows for number in range(self.windows)):
            fill(face, self.glass, instance, at=(a + 0.01, 0.5, a + 0.75 / self.windows, 0.78), own=0.2, clear=0.1)
        for a in (0.02, 0.92):  # doors, which PASCAL-Part does not annotate on trains
            fill(face, shade(self.stripe, -0.35), instance, at=(a, 0.08, a + 0.06, 0.82), own=0.6)

    def _front(self, face: Face, paint: Colour, instance: int) -> None:
        fill = self.solids.fill
        fill(face, shade(paint, 0.08), instance, own=0.8)
        fill(face, shade(self.stripe, -0.2), instance, at=(0, 0, 1, 0.18), own=0.5)
        for a, b in ((0.1, 0.46), (0.54, 0.9)) if self.draw.chance(0.5) else ((0.1, 0.9),):
            fill(face, self.glass, instance, at=(a, 0.55, b, 0.85), own=0.2)
        for s, t in ((0.2, 0.3), (0.8, 0.3), *(((0.5, 0.93),) if self.draw.chance(0.4) else ())):
            lamp = self.canvas.part("headlight", instance)
            fill(face, grey(0.4), lamp, at=(s - 0.09, t - 0.055, s + 0.09, t + 0.055))
            fill(face, (0.97, 0.95, 0.8), lamp, at=(s - 0.065, t - 0.04, s + 0.065, t + 0.04))

    def _back(self, face: Face, paint: Colour, instance: int) -> None:
        fill = self.solids.fill
        fill(face, shade(paint, -0.15), instance, own=0.8)
        fill(face, shade(paint, -0.4), instance, at=(0.36, 0.08, 0.64, 0.8), own=0.6)
        fill(face, self.glass, instance, at=(0.4, 0.5, 0.6, 0.75), own=0.1)
        for s in (0.15, 0.85):
            fill(face, (0.65, 0.08, 0.06), instance, at=(s - 0.05, 0.18, s + 0.05, 0.26))


FIGURES: dict[str, Callable[[Canvas, Draw], None]] = {
    "car": car,
    "person": person,
    "train": train,
    "dog": dog,
    "bird": bird,
    "bottle": bottle,
}


# -- what stands around -----------------------------------------------------------------------------------------------


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
