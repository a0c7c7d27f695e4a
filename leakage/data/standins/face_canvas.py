"""A canvas in the coordinates of a head that may be turned and tilted: curves, light and shade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from leakage.data.standins.faces import Array, Moment

FINER = 2
"""Pixels of the canvas along one of the picture; they are averaged, which smooths all edges."""
_COARSER = 8
"""Pixels of the canvas along one of the light and shade."""
_STEPS = np.linspace(0, 1, 6, endpoint=False)[:, None] ** np.arange(4)  # powers 0..3
# Catmull and Rom (1974): a cubic through the middle two of four points.
_CUBIC = _STEPS @ (
    np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], dtype=float) / 2
)

Colour = Sequence[float] | Array


def smooth(points: Array, closed: bool = True) -> Array:
    """A smooth curve through points (m, 2), as points (6 m, 2)."""
    m = len(points)
    positions = np.arange(m)[:, None] + np.arange(-1, 3)
    around = positions % m if closed else np.clip(positions, 0, m - 1)
    curve: Array = np.einsum("sf,mfd->msd", _CUBIC, points[around]).reshape(-1, 2)
    return curve if closed else np.concatenate([curve[: -len(_STEPS)], points[-1:]])


class Canvas:
    """Paints in distances between the eyes, from their middle, on a picture that is finer.

    Args:
        size: width and height of the picture in pixels.
        centre: where the middle of the eyes is, in pixels.
        unit: pixels between the eyes.
        moment: how the head is held.
    """

    def __init__(
        self, size: tuple[int, int], centre: tuple[float, float], unit: float, moment: Moment
    ) -> None:
        self.size = size
        self.unit = unit * FINER * moment.scale
        self._centre = np.array(centre) * FINER + self.unit * moment.shift
        self._turned = np.sin([moment.turn, moment.nod]) * [0.85, 0.5]
        cos, sin = np.cos(moment.tilt), np.sin(moment.tilt)
        self._rotation = np.array([[cos, sin], [-sin, cos]])
        width, height = size[0] * FINER, size[1] * FINER
        self.image = Image.new("RGB", (width, height))
        self._pen = ImageDraw.Draw(self.image, "RGBA")
        coarse = -(-width // _COARSER), -(-height // _COARSER)
        grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in coarse)), axis=-1) * _COARSER
        self._grid = (grid - self._centre) @ self._rotation.T / self.unit  # (rows, columns, 2)
        self._form = np.zeros(grid.shape[:2])
        self._spots: list[tuple[float, ...]] = []

    def place(self, points: Array, raised: float = 0.0) -> Array:
        """Pixels of the canvas (n, 2) of points (n, 2) on the head, `raised` from its surface."""
        placed: Array = self._centre + self.unit * (self._turn(points, raised) @ self._rotation)
        return placed

    def _turn(self, points: Array, raised: float = 0.0) -> Array:
        """Where points (n, 2) of the head are seen, once it has turned and nodded."""
        x, y = points[:, :1] / 1.12, points[:, 1:] / 1.95 - 0.1
        depth = np.sqrt(np.maximum(0, 1 - x * x - y * y)) + raised
        turned: Array = points + depth * self._turned
        return turned

    def area(self, points: Array, colour: Colour, alpha: float = 1, *, curved: bool = True) -> None:
        """Fills what the points (m, 2) surround; they are corners unless `curved`."""
        placed = self.place(smooth(points) if curved else points)
        self._pen.polygon(_flat(placed), fill=_ink(colour, alpha))

    def line(
        self, points: Array, colour: Colour, width: float, alpha: float = 1, *, curved: bool = True
    ) -> None:
        """Draws along the points (m, 2), as wide as `width`."""
        placed = self.place(smooth(points, closed=False) if curved else points)
        thick = max(1, round(width * self.unit))
        # Joints are circles, which would show on a line that one can see through.
        joint = "curve" if alpha == 1 else None
        self._pen.line(_flat(placed), fill=_ink(colour, alpha), width=thick, joint=joint)

    def oval(
        self, x: float, y: float, wide: float, high: float, colour: Colour, alpha: float = 1
    ) -> None:
        """Fills an ellipse around (x, y) with these half axes."""
        self.area(oval(x, y, wide, high), colour, alpha, curved=False)

    def mask(self, points: Array) -> Image.Image:
        """White within what the points surround."""
        made = Image.new("L", self.image.size)
        ImageDraw.Draw(made).polygon(_flat(self.place(smooth(points))), fill=255)
        return made

    def shade(self, x: float, y: float, wide: float, high: float, *amount: float) -> None:
        """Brightens (or darkens) softly around (x, y), all alike or by red, green and blue."""
        self._spots.append((x, y, wide, high, *(amount if len(amount) == 3 else 3 * amount)))

    def form(self, light: float, amount: float) -> None:
        """Shades the head like a ball that is lit from the side and above."""
        x, y = ((self._grid - [0, 0.3]) / [1.25, 1.8]).transpose(2, 0, 1)
        z = np.sqrt(np.maximum(0, 1 - x**2 - y**2))
        lit = 0.55 * light * x - 0.25 * y + 0.8 * z - 0.55
        self._form += amount * lit

    def apply_shade(self, mask: Image.Image) -> None:
        """Puts the light and shade upon what is painted within the mask."""
        box = mask.getbbox()
        if box is None:
            return
        spots = np.array(self._spots)  # (spots, 7)
        away = self._grid[..., None, :] - self._turn(spots[:, :2])
        away /= spots[:, 2:4]
        near = np.exp(-0.5 * (away[..., 0] ** 2 + away[..., 1] ** 2))  # (rows, columns, spots)
        levels = 128 + self._form[..., None] + near @ spots[:, 4:]
        levels = np.clip(levels, 0, 255).astype(np.uint8)
        shade = Image.fromarray(levels).resize(
            (box[2] - box[0], box[3] - box[1]),
            Image.Resampling.BILINEAR,
            (box[0] / _COARSER, box[1] / _COARSER, box[2] / _COARSER, box[3] / _COARSER),
        )
        shaded = ImageChops.overlay(self.image.crop(box), shade)
        self.image.paste(shaded, box, mask.crop(box))

    def backdrop(self, picture: Image.Image) -> None:
        """Fills the canvas with a picture of any size, smoothly."""
        width, height = self.image.size
        small = picture.resize((width // _COARSER, height // _COARSER), Image.Resampling.BICUBIC)
        self.image.paste(small.resize((width, height), Image.Resampling.BILINEAR))

    def picture(self) -> Image.Image:
        """What was painted, in the size of the picture."""
        return self.image.reduce(FINER)


def oval(x: float, y: float, wide: float, high: float, corners: int = 20) -> Array:
    """Points around an ellipse with these half axes, (corners, 2)."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + wide * np.cos(angle), y + high * np.sin(angle)], axis=1)


def _ink(colour: Colour, alpha: float) -> tuple[int, ...]:
    return tuple(min(max(int(level), 0), 255) for level in (*colour, 255 * alpha))


def _flat(points: Array) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat
