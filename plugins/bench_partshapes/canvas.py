"""What the pictures of `partshapes` are drawn with: draws from a stream, a canvas of regions, shapes, colours, solids.

Objects are drawn back to front as polygons. A polygon belongs to a region (one colour and material), a region to an
instance of a part or to none, an instance perhaps to the one that contains it (an eye to a head).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
"""Red, green, blue in [0, 1]."""
Points = np.ndarray
"""(n, 2): x to the right, y down, in units of the figure."""
Item = TypeVar("Item")

MOST_REGIONS = 255
NO_PART = 0


class Draw:
    """Random draws from one stream of uniform numbers, handed out in order."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._values: Iterator[float] = iter(())

    def __call__(self) -> float:
        """Return a number in [0, 1)."""
        for value in self._values:
            return value
        self._values = iter(self._generator.random(512).tolist())
        return next(self._values)

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self()

    def chance(self, probability: float) -> bool:
        """Return true with the given probability."""
        return self() < probability

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int(self() * (high - low + 1))

    def choice(self, items: Sequence[Item]) -> Item:
        """Return one of the items."""
        return items[int(self() * len(items))]

    def sign(self) -> int:
        """Return -1 or 1."""
        return -1 if self() < 0.5 else 1


class Canvas:
    """Polygons drawn back to front into a map of regions, at `supersample` times the image's resolution.

    Attributes:
        size: height and width of the image in pixels.
        labels: map of region numbers; 0 is the background.
        colours: colour per region.
        materials: per region how much of the object's texture, of the other texture and of the background it shows.
        instance_of: instance per region, 0 for none.
        parts: (part, containing instance) per instance, from 1; 0 contains nothing.
    """

    def __init__(self, size: int, supersample: int) -> None:
        self.size = size
        self.supersample = supersample
        self.labels = Image.new("L", (size * supersample, size * supersample), 0)
        self.colours: list[Colour] = [(0.0, 0.0, 0.0)]
        self.materials: list[Colour] = [(0.0, 0.0, 1.0)]
        self.instance_of: list[int] = [NO_PART]
        self.parts: list[tuple[str, int]] = [("", 0)]
        self._draw = ImageDraw.Draw(self.labels)
        self.place((0.5, 0.5), 1.0)

    def place(
        self,
        centre: tuple[float, float],
        scale: float,
        angle: float = 0.0,
        flip: bool = False,
        shear: float = 0.0,
        stretch: float = 1.0,
    ) -> None:
        """Say where the following polygons go.

        Args:
            centre: where the figure's origin lies, as shares of the image.
            scale: length of the figure's unit, as a share of the image.
            angle: rotation in radians.
            flip: mirror left and right.
            shear: shift of x per y.
            stretch: factor of x.
        """
        side = self.size * self.supersample
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[cos, sin], [-sin, cos]])  # for row vectors
        shape = np.array([[-stretch if flip else stretch, 0.0], [shear, 1.0]])
        self._matrix = shape @ turn * (scale * side)
        self._origin = np.array(centre) * side

    def part(self, name: str, within: int = NO_PART) -> int:
        """Return a new instance of the part `name`; it also counts as pixels of the instance `within`."""
        self.parts.append((name, within))
        return len(self.parts) - 1

    def region(
        self, colour: Colour, instance: int = NO_PART, *, own: float = 0.0, other: float = 0.0, clear: float = 0.0
    ) -> int:
        """Return a new region.

        Args:
            colour: its colour.
            instance: what it is part of.
            own: amplitude of the object's texture, in [0, 1].
            other: amplitude of the other texture, in [0, 1].
            clear: how far the background shines through, in [0, 1].
        """
        if len(self.colours) > MOST_REGIONS:
            return MOST_REGIONS  # a very crowded picture: the last region is used on
        self.colours.append((colour[0] * (1 - clear), colour[1] * (1 - clear), colour[2] * (1 - clear)))
        self.materials.append((own, other, clear))
        self.instance_of.append(instance)
        return len(self.colours) - 1

    def polygon(self, points: Points, region: int) -> None:
        """Draw a polygon into a region."""
        self._draw.polygon((points @ self._matrix + self._origin).ravel().tolist(), fill=region)

    def fill(self, points: Points, colour: Colour, instance: int = NO_PART, **material: float) -> None:
        """Draw a polygon into a region of its own; the arguments are those of `region`."""
        self.polygon(points, self.region(colour, instance, **material))

    def shaded(self, points: Points, colour: Colour, instance: int, light: float = 0.12, **material: float) -> None:
        """Draw a polygon that is darker along its lower edge, for a rounded look."""
        self.fill(points, shade(colour, -light), instance, **material)
        centre = points.mean(axis=0)
        inner = (points - centre) * (0.86, 0.82) + centre - (0.0, 0.03 * float(np.ptp(points[:, 1])))
        self.fill(inner, shade(colour, light * 0.4), instance, **material)


# -- shapes -----------------------------------------------------------------------------------------------------------


@cache
def circle(count: int) -> Points:
    """Return a circle of radius 1 around the origin."""
    angle = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@cache
def _spline(count: int, between: int) -> np.ndarray:
    """Return the matrix that turns `count` corners into a closed Catmull-Rom curve of `count * between` points."""
    matrix = np.zeros((count * between, count))
    for corner in range(count):
        for step in range(between):
            t = step / between
            weights = (
                -0.5 * t + t * t - 0.5 * t**3,
                1 - 2.5 * t * t + 1.5 * t**3,
                0.5 * t + 2 * t * t - 1.5 * t**3,
                -0.5 * t * t + 0.5 * t**3,
            )
            for offset, weight in enumerate(weights, start=-1):
                matrix[corner * between + step, (corner + offset) % count] += weight
    return matrix


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, count: int = 18) -> Points:
    """Return an ellipse around (x, y)."""
    points = circle(count) * (rx, ry)
    if angle:
        cos, sin = math.cos(angle), math.sin(angle)
        points = points @ np.array([[cos, sin], [-sin, cos]])
    return points + np.array((x, y))


def smooth(*corners: tuple[float, float]) -> Points:
    """Return a smooth closed curve through the corners."""
    return _spline(len(corners), 4) @ np.array(corners)


def corners(*points: tuple[float, float]) -> Points:
    """Return a polygon with these corners."""
    return np.array(points, dtype=float)


def limb(p: tuple[float, float], q: tuple[float, float], width_p: float, width_q: float) -> Points:
    """Return a rounded bar from p to q with the given half widths at its ends."""
    angle = math.atan2(q[1] - p[1], q[0] - p[0])
    half = np.linspace(np.pi / 2, 3 * np.pi / 2, 7) + angle
    start = np.stack([np.cos(half), np.sin(half)], axis=1) * width_p + p
    half = half + np.pi
    end = np.stack([np.cos(half), np.sin(half)], axis=1) * width_q + q
    return np.concatenate([start, end])


def bar(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return an upright rectangle."""
    return corners((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def end_of(p: tuple[float, float], length: float, angle: float) -> tuple[float, float]:
    """Return the point `length` away from p; angle 0 points down, positive to the right."""
    return p[0] + length * math.sin(angle), p[1] + length * math.cos(angle)


# -- colours ----------------------------------------------------------------------------------------------------------


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour by hue, saturation and value in [0, 1]."""
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def shade(colour: Colour, amount: float) -> Colour:
    """Return a lighter (above 0) or darker (below 0) colour."""
    red, green, blue = (min(1.0, max(0.0, channel * (1 + amount) + 0.15 * max(0.0, amount))) for channel in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return `share` of the second colour in the first."""
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(first, second))
    return red, green, blue


def grey(value: float) -> Colour:
    """Return a grey."""
    return value, value, value


def any_colour(draw: Draw) -> Colour:
    """Return a colour as paint and cloth have it, often a greyish one."""
    if draw.chance(0.35):
        return mix(grey(draw.between(0.12, 0.9)), hsv(draw(), 0.6, 0.6), draw.between(0, 0.2))
    return hsv(draw(), draw.between(0.25, 0.85), draw.between(0.25, 0.9))


def coat(draw: Draw) -> Colour:
    """Return a colour of fur or plumage."""
    if draw.chance(0.3):
        return mix(grey(draw.between(0.1, 0.9)), hsv(0.08, 0.5, 0.6), draw.between(0, 0.4))
    return hsv(draw.between(0.03, 0.13), draw.between(0.2, 0.75), draw.between(0.2, 0.85))


# -- solids -----------------------------------------------------------------------------------------------------------


class Camera:
    """A pinhole camera on a vehicle: x forward, y to its left, z up.

    Args:
        heading: where the vehicle goes, in radians: 0 to the right of the image, positive away from the camera.
        pitch: how far the camera looks down, in radians.
        distance: from the camera to the point it aims at; small makes the perspective strong.
        aim: point of the vehicle in the middle of the image.
    """

    def __init__(self, heading: float, pitch: float, distance: float, aim: tuple[float, float, float]) -> None:
        self._turn = math.cos(heading), math.sin(heading)
        self._pitch = math.cos(pitch), math.sin(pitch)
        self._distance = distance
        self._aim = np.array(aim)
        cos, sin = self._turn
        #         image x,        depth before pitch,  height
        basis = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        level, dip = self._pitch
        down = np.array([[1.0, 0.0, 0.0], [0.0, level, dip], [0.0, -dip, level]])
        self._matrix = basis @ down  # rows: x, y, z of the vehicle to (right, depth, up)

    def project(self, points: Sequence[tuple[float, float, float]] | np.ndarray) -> Points:
        """Return where points (n, 3) of the vehicle lie in the image plane, in units of the vehicle at the aim."""
        seen = (np.asarray(points, dtype=float) - self._aim) @ self._matrix
        depth = np.maximum(seen[:, 1] + self._distance, 0.15 * self._distance)
        return np.stack([seen[:, 0], -seen[:, 2]], axis=1) * (self._distance / depth)[:, None]

    def depth(self, point: tuple[float, float, float]) -> float:
        """Return how far away a point is."""
        return float((np.array(point) - self._aim) @ self._matrix[:, 1])


Face = tuple[tuple[float, float, float], ...]


def block(x0: float, x1: float, y: float, z0: float, z1: float, top: tuple[float, float, float]) -> dict[str, Face]:
    """Return the faces of a block whose top runs from top[0] to top[1] with half width top[2].

    Each begins at its lower left corner as seen from outside, anticlockwise.
    """
    t0, t1, w = top
    return {
        "left": ((x1, y, z0), (x0, y, z0), (t0, w, z1), (t1, w, z1)),
        "right": ((x0, -y, z0), (x1, -y, z0), (t1, -w, z1), (t0, -w, z1)),
        "front": ((x1, -y, z0), (x1, y, z0), (t1, w, z1), (t1, -w, z1)),
        "back": ((x0, y, z0), (x0, -y, z0), (t0, -w, z1), (t0, w, z1)),
        "top": ((t0, -w, z1), (t1, -w, z1), (t1, w, z1), (t0, w, z1)),
    }


class Solids:
    """Draws faces of solids, as a camera sees them, onto a canvas.

    A face is given anticlockwise as seen from outside, from its lower left corner.
    """

    def __init__(self, canvas: Canvas, camera: Camera) -> None:
        self.canvas = canvas
        self.camera = camera

    def shows(self, face: Face) -> bool:
        """Return whether a face turns towards the camera."""
        x, y = self.camera.project(face).T
        return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) < -1e-3

    def fill(
        self,
        face: Face,
        colour: Colour,
        instance: int = NO_PART,
        at: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
        **material: float,
    ) -> None:
        """Draw the rectangle `at` of a face: left, lower, right and upper end as shares of its width and height."""
        s0, t0, s1, t1 = at
        s, t = np.array([s0, s1, s1, s0])[:, None], np.array([t0, t0, t1, t1])[:, None]
        a, b, c, d = np.array(face, dtype=float)
        points = a * (1 - s) * (1 - t) + b * s * (1 - t) + c * s * t + d * (1 - s) * t
        self.canvas.fill(self.camera.project(points), colour, instance, **material)
