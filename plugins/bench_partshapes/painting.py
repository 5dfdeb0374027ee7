"""Scene, texture, light and camera: what makes a picture of drawn regions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from bench_partshapes.canvas import Canvas, Draw, hsv

_TEXTURE_OF = {"car": "gloss", "person": "weave", "train": "ribs", "dog": "fur", "bird": "feathers", "bottle": "sheen"}
_SCENES = {
    #          above: hue, saturation, value           below                    horizon, roughness above and below
    "road": ((0.58, 0.25, 0.75), (0.1, 0.05, 0.42), (0.3, 0.7), (0.05, 0.04)),
    "street": ((0.07, 0.25, 0.5), (0.1, 0.05, 0.45), (0.5, 0.8), (0.13, 0.05)),
    "track": ((0.55, 0.2, 0.75), (0.09, 0.2, 0.38), (0.3, 0.65), (0.05, 0.14)),
    "meadow": ((0.33, 0.35, 0.35), (0.28, 0.5, 0.45), (0.15, 0.6), (0.14, 0.1)),
    "sky": ((0.57, 0.35, 0.85), (0.57, 0.2, 0.8), (0.2, 0.9), (0.04, 0.04)),
    "leaves": ((0.3, 0.45, 0.35), (0.25, 0.5, 0.25), (0.2, 0.9), (0.2, 0.2)),
    "room": ((0.1, 0.2, 0.65), (0.08, 0.4, 0.4), (0.55, 0.85), (0.03, 0.05)),
    "table": ((0.08, 0.3, 0.35), (0.07, 0.45, 0.5), (0.5, 0.8), (0.08, 0.06)),
}
_SCENES_OF = {
    "car": ("road", "street"),
    "person": ("street", "room", "meadow"),
    "train": ("track", "road"),
    "dog": ("meadow", "room"),
    "bird": ("sky", "leaves"),
    "bottle": ("table", "room"),
}


def paint(canvas: Canvas, name: str, generator: np.random.Generator, noise: float) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 of drawn regions: scene, texture, light, camera.

    As on photos, texture and scene go with the class most of the time, so that a network finds weak fine patterns
    that predict the class beside the shapes that define it.
    """
    draw = Draw(generator)
    size = canvas.size
    colour = _levels(canvas, canvas.colours)
    own, other, clear = np.moveaxis(_levels(canvas, canvas.materials), 2, 0)
    texture = _TEXTURE_OF[name] if draw.chance(0.85) else draw.choice(sorted(_TEXTURE_OF.values()))
    pattern = own * _texture(texture, size, draw) * draw.between(0.03, 0.075)
    pattern += (
        other * _texture(draw.choice(("grain", "weave", "clouds", "ribs")), size, draw) * draw.between(0.03, 0.08)
    )
    scene = draw.choice(_SCENES_OF[name]) if draw.chance(0.65) else draw.choice(sorted(_SCENES))
    image = colour + _scene(scene, size, draw) * clear[:, :, None]
    image += pattern[:, :, None] * np.array([draw.between(0.8, 1.2) for _ in range(3)], dtype=np.float32)

    angle, strength = draw.between(0, 6.3), draw.between(0, 0.28)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + strength * (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None])
    light += _texture("clouds", size, draw) * draw.between(0, 0.08)
    image *= light[:, :, None]
    contrast = 1 - noise * draw.between(-0.1, 0.75)
    middle = draw.between(0.38, 0.6)
    cast = [middle + noise * draw.between(-0.06, 0.06) for _ in range(3)]
    image = (image - 0.5) * contrast + np.array(cast, dtype=np.float32)
    if draw.chance(0.5):
        blurred = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
        blurred = blurred.filter(ImageFilter.GaussianBlur(noise * draw.between(0.2, 1.3) * max(1.0, size / 96)))
        image = np.asarray(blurred, dtype=np.float32) / 255
    grain = noise * draw.between(0.01, 0.07)
    image = image + generator.standard_normal(image.shape, dtype=np.float32) * np.float32(grain)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _levels(canvas: Canvas, values: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Return three values per region as an anti-aliased image: (H, W, 3) float32 in [0, 1]."""
    table = bytes(round(min(1.0, max(0.0, value)) * 255) for row in values for value in row)
    image = canvas.labels.copy()
    image.putpalette(table)
    return np.asarray(image.convert("RGB").reduce(canvas.supersample), dtype=np.float32) / 255


def _scene(name: str, size: int, draw: Draw) -> np.ndarray:
    """Return a background: (H, W, 3) float32."""
    above, below, horizon, rough = _SCENES[name]

    def tint(base: tuple[float, float, float]) -> np.ndarray:
        hue, saturation, value = base
        return np.array(
            hsv(
                hue + draw.between(-0.06, 0.06),
                min(1.0, saturation * draw.between(0.3, 1.5)),
                min(1.0, value * draw.between(0.65, 1.3)),
            ),
            dtype=np.float32,
        )

    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    edge = draw.between(*horizon) + draw.between(-0.2, 0.2) * (np.linspace(0, 1, size, dtype=np.float32)[None, :] - 0.5)
    share = (0.5 + (y - edge) / draw.between(0.01, 0.25)).clip(0, 1)[:, :, None]
    clouds, fine = _texture("clouds", size, draw), _texture("grain", size, draw)
    amount = rough[0] * (1 - share[:, :, 0]) + rough[1] * share[:, :, 0]
    pattern = amount * (clouds * draw.between(0.5, 1.3) + fine * draw.between(0.1, 0.6))
    return tint(above) * (1 - share) + tint(below) * share + pattern[:, :, None]


def _texture(name: str, size: int, draw: Draw) -> np.ndarray:
    """Return a window (size, size) of a texture, float32 of mean 0 and deviation 1."""
    tile = _tiles(size)[name]
    top, left = draw.integer(0, tile.shape[0] - size), draw.integer(0, tile.shape[1] - size)
    window = tile[top : top + size, left : left + size]
    return window[:, ::-1] if draw.chance(0.5) else window


@lru_cache(maxsize=4)
def _tiles(size: int) -> dict[str, np.ndarray]:
    """Return texture → tile (3 size, 3 size); always the same ones, so pictures stay functions of their number."""
    side = 3 * size
    random = np.random.RandomState(20210)
    unit = max(1.0, size / 96)  # the coarse patterns grow with the picture
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")

    def filtered(response: np.ndarray) -> np.ndarray:
        white = np.fft.rfft2(random.standard_normal((side, side)))
        return np.fft.irfft2(white * response, s=(side, side))

    def blurred(down: float, along: float) -> np.ndarray:
        return filtered(np.exp(-2 * np.pi**2 * ((rows * down) ** 2 + (columns * along) ** 2)))

    y, x = np.mgrid[:side, :side] / unit
    wobble = blurred(9 * unit, 9 * unit)
    wobble /= wobble.std()
    tiles = {
        "grain": filtered(np.ones_like(frequency)),
        "clouds": filtered(1 / np.maximum(frequency, 1.0 / size) ** 1.2),
        "fur": blurred(2.6, 0.5) * 4 + blurred(6 * unit, 6 * unit) * 3 * unit,
        "feathers": np.maximum(np.sin(1.1 * y + wobble), np.sin(0.9 * x + 0.55 * y + wobble)),
        "gloss": blurred(8 * unit, 30 * unit) * 20 * unit + blurred(0.4, 5) * 0.8,
        "ribs": np.sin(2.0 * x + 0.3 * wobble) + 0.4 * blurred(0.5, 0.5),
        "weave": np.sin(2.2 * x) * np.sin(2.2 * y) + 0.7 * blurred(0.6, 0.6),
        "sheen": blurred(25 * unit, 2.5) * 12 * unit + 0.3 * blurred(0.5, 0.5),
    }
    return {name: ((tile - tile.mean()) / tile.std()).astype(np.float32) for name, tile in tiles.items()}
