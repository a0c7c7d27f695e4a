"""The proportions of a made-up head, in distances between its eyes, from the middle of these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leakage.data.standins.faces import Array, Person


@dataclass(frozen=True)
class Head:
    """Where things are; y grows downwards, x to the right, and both halves are alike.

    Args:
        top, hairline, nose, mouth, chin: heights of the crown, the hairline, the base of the
            nose, the line between the lips and the lowest point of the face.
        temple, cheek, jaw, tip: half the width of the face there, from top to bottom.
        spacing: of the eyes, from the middle.
        eye_width, eye_height: half the sides of an open eye.
        nose_width, mouth_width: half of them.
        lip: thickness of the lower lip.
        brow: thickness of an eyebrow.
    """

    top: float
    hairline: float
    nose: float
    mouth: float
    chin: float
    temple: float
    cheek: float
    jaw: float
    tip: float
    spacing: float
    eye_width: float
    eye_height: float
    nose_width: float
    mouth_width: float
    lip: float
    brow: float

    @property
    def outline(self) -> Array:
        """Points around skull and face, from the crown over the right half, (m, 2)."""
        half = [
            (0.55 * self.temple, 0.85 * self.top),
            (0.9 * self.temple, 0.62 * self.top),
            (self.temple, -0.5),
            (self.cheek, 0.2),
            ((self.cheek + self.jaw) / 2 + 0.05, 0.55 * self.mouth + 0.25),
            (self.jaw, self.mouth + 0.04),
            (self.tip, self.chin - 0.12),
        ]
        return np.concatenate([[(0.0, self.top)], mirrored(half, (0.0, self.chin))])


def mirrored(half: list[tuple[float, float]], lowest: tuple[float, float]) -> Array:
    """A right half from top to bottom, the lowest point, and the left half upwards, (m, 2)."""
    return np.array([*half, lowest, *((-x, y) for x, y in reversed(half))])


def measure(person: Person) -> Head:
    """The head of a person: a child's has large eyes, set low, and an old one a longer nose."""
    s, child = person.shape, person.childhood
    old = min(person.wear, 1.2)
    nose = 0.68 + 0.07 * s.nose_length + 0.06 * old - 0.2 * child
    mouth = nose + 0.4 + 0.015 * s.chin - 0.09 * child
    return Head(
        top=-1.56 - 0.16 * child,
        hairline=-0.98 - 0.14 * child,
        nose=nose,
        mouth=mouth,
        chin=max(mouth + 0.6 + 0.07 * s.chin - 0.13 * child, mouth + 0.38),
        temple=0.97 + 0.03 * s.width + 0.05 * child,
        cheek=1.04 + 0.045 * s.width + 0.045 * s.fullness + 0.03 * child,
        jaw=0.83 + 0.055 * s.jaw + 0.075 * s.fullness + 0.04 * old + 0.06 * child,
        tip=0.4 + 0.06 * s.jaw + 0.045 * s.fullness,
        spacing=0.5 + 0.02 * s.spacing,
        eye_width=0.25 * (1 + 0.07 * s.eyes) * (1 + 0.22 * child),
        eye_height=0.112
        * (1 + 0.12 * s.eyes)
        * (1 - 0.15 * np.clip(s.lids, -1.5, 2.5))
        * (1 + 0.4 * child)
        * (1 - 0.16 * old),
        nose_width=0.29 * (1 + 0.13 * s.nose_width) * (1 - 0.2 * child) * (1 + 0.1 * old),
        mouth_width=0.43 * (1 + 0.08 * s.mouth) * (1 - 0.2 * child),
        lip=0.11 * float(np.exp(0.22 * s.lips)) * (1 - 0.3 * old),
        brow=0.072 * float(np.exp(0.28 * s.brows)) * (1 - 0.5 * child),
    )
