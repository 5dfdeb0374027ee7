"""A person."""

from __future__ import annotations

from bench_partshapes.canvas import (
    Canvas,
    Colour,
    Draw,
    any_colour,
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
