"""A car and a train: solids seen by a camera."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from bench_partshapes.canvas import (
    NO_PART,
    Camera,
    Canvas,
    Colour,
    Draw,
    Face,
    Solids,
    any_colour,
    block,
    circle,
    ellipse,
    grey,
    hsv,
    mix,
    shade,
)


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
