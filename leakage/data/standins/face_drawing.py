"""Draws a made-up face as a picture, in the pose, the light and the sharpness of one moment."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from leakage.data.standins.face_canvas import Canvas
from leakage.data.standins.face_features import (
    paint_eyes,
    paint_glasses,
    paint_mouth,
    paint_nose,
    paint_skin,
)
from leakage.data.standins.face_hair import (
    paint_back_hair,
    paint_beard,
    paint_earrings,
    paint_front_hair,
    paint_hat,
    paint_shoulders,
)
from leakage.data.standins.face_head import measure
from leakage.data.standins.faces import Moment, Person

_QUALITY = 92


def draw_face(
    person: Person,
    moment: Moment,
    size: tuple[int, int],
    centre: tuple[float, float],
    unit: float,
    rng: np.random.Generator,
) -> Image.Image:
    """Paints the person.

    Args:
        person: who.
        moment: when.
        size: width and height of the picture in pixels.
        centre: where the middle of the eyes is about, in pixels.
        unit: pixels between the eyes, about.
        rng: of what nobody asks for: the background, clothes, single hairs and noise.
    """
    head = measure(person)
    canvas = Canvas(size, centre, unit, moment)
    canvas.backdrop(_background(rng))
    cloth = 0.5 * rng.uniform(15, 240, 3) + 0.5 * rng.uniform(15, 240)
    wearable = rng.uniform(15, 150, 3)
    paint_back_hair(canvas, head, person, rng)
    paint_shoulders(canvas, head, person, moment, cloth, rng)
    paint_skin(canvas, head, person, moment)
    paint_beard(canvas, head, person, moment, rng)
    paint_nose(canvas, head, person, moment)
    paint_mouth(canvas, head, person, moment)
    paint_eyes(canvas, head, person, moment)
    paint_front_hair(canvas, head, person, moment, rng)
    if moment.earrings:
        paint_earrings(canvas, head, rng)
    if moment.hat:
        paint_hat(canvas, head, wearable, rng.choice([0.02, 0.4]), rng)
    if moment.glasses:
        paint_glasses(canvas, head, moment, 0.5 * wearable)
    return _photograph(canvas.picture(), moment, rng)


def as_jpeg(picture: Image.Image) -> bytes:
    """The content of a file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _background(rng: np.random.Generator) -> Image.Image:
    """A few blurred patches of colour."""
    middle = 0.3 * rng.uniform(0, 255, 3) + 0.7 * rng.uniform(20, 235)
    patches = middle + rng.normal(0, rng.uniform(3, 30), (5, 4, 1)) + rng.normal(0, 9, (5, 4, 3))
    return Image.fromarray(np.clip(patches, 0, 255).astype(np.uint8))


def _photograph(picture: Image.Image, moment: Moment, rng: np.random.Generator) -> Image.Image:
    """Blur, the colour of the light, and noise."""
    picture = picture.filter(ImageFilter.BoxBlur(moment.blur * picture.width / 100))
    levels = np.array(picture, dtype=np.float32)
    across = np.linspace(1 - 0.1 * moment.light, 1 + 0.1 * moment.light, picture.width)[:, None]
    tint = moment.exposure * np.array([1 + moment.warmth, 1, 1 - moment.warmth])
    levels *= (across * tint).astype(np.float32)
    noise = rng.standard_normal((*levels.shape[:2], 1), dtype=np.float32)
    levels += np.float32(moment.noise) * noise
    return Image.fromarray(np.clip(levels, 0, 255, out=levels).astype(np.uint8))
