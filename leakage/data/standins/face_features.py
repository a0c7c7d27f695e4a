"""The features of a made-up face as they are painted: skin, eyes, nose, mouth, and its years."""

from __future__ import annotations

import numpy as np

from leakage.data.standins.face_canvas import Canvas
from leakage.data.standins.face_head import Head
from leakage.data.standins.faces import Array, Moment, Person, mixed

DARK = np.array([32.0, 20, 18])
SIDES = (-1.0, 1.0)


def raised_cheeks(person: Person, moment: Moment) -> float:
    """How far the cheekbones stand out, a standard score; a smile raises them."""
    return 0.68 * person.shape.cheekbones + 0.73 * moment.smile


def paint_skin(canvas: Canvas, head: Head, person: Person, moment: Moment) -> None:
    """The face, its light and shade, and what the years wrote upon it."""
    skin, child = person.skin, person.childhood
    for side in SIDES:
        canvas.oval(side * (head.cheek + 0.02), 0.25, 0.13, 0.3, mixed(skin, DARK, 0.12))
    canvas.area(head.outline, skin)
    canvas.form(moment.light, 52 * moment.contrast)
    cheeks = raised_cheeks(person, moment)
    for side in SIDES:
        x = side * 0.68
        canvas.shade(x, 0.44 - 0.03 * cheeks, 0.22, 0.13, 10 + 16 * cheeks)
        canvas.shade(side * 0.74, 0.9, 0.13, 0.2, -9 - 12 * cheeks + 5 * person.shape.fullness)
        canvas.shade(x, 0.5, 0.22, 0.17, *(moment.blush * level for level in (24, -16, -10)))
        canvas.shade(side * head.spacing, -0.12, 0.3, 0.12, -18)
        bags = 6 + 9 * max(0.0, person.shape.fullness) + 24 * min(person.wear, 1.2)
        canvas.shade(side * head.spacing, 0.25, 0.2, 0.05, -bags)
        canvas.shade(side * 0.3, 0.75 * head.nose, 0.07, 0.22, -13 * (1 - side * moment.light))
    canvas.shade(0, 0.5 * head.nose, 0.07, 0.3, 14)
    canvas.shade(0, head.nose - 0.1, 0.1 - 0.02 * person.shape.nose_tip, 0.08, 16)
    canvas.shade(0, head.mouth + 0.27, 0.25, 0.05, -14)
    canvas.shade(0, head.chin - 0.2, 0.2, 0.1, 9 + 4 * child)
    canvas.apply_shade(canvas.mask(head.outline))
    _paint_years(canvas, head, person, moment)


def _paint_years(canvas: Canvas, head: Head, person: Person, moment: Moment) -> None:
    """Wrinkles of the forehead, the eyes and the mouth, and sagging cheeks."""
    fold = mixed(person.skin, DARK, 0.62)
    wear = min(person.wear, 1.3)
    smile = float(np.clip(0.5 + 0.5 * moment.smile, 0, 1.5))
    deep = min(1.0, 0.06 + 0.5 * wear + 0.25 * smile * (1 - person.childhood))
    for side in SIDES:
        nose = side * (head.nose_width + 0.06)
        out = side * (head.mouth_width + 0.14 + 0.05 * smile)
        folds = np.array([(nose, head.nose - 0.12), (out, head.mouth - 0.16), (out, head.mouth)])
        canvas.line(folds, fold, 0.035, 0.6 * deep)
        if wear > 0.2:
            jowl = [(out, head.mouth + 0.12), (1.05 * out, head.mouth + 0.28)]
            canvas.line(np.array(jowl), fold, 0.035, 0.45 * wear)
            corner = head.spacing + 1.1 * head.eye_width
            for rise in (-0.1, 0.0, 0.1):
                ends = [(side * corner, rise * 0.4), (side * (corner + 0.2), rise * 1.5)]
                canvas.line(np.array(ends), fold, 0.02, 0.5 * wear)
            bag = [(side * (head.spacing + x), 0.2 - 0.5 * x**2) for x in (-0.2, -0.05, 0.1, 0.22)]
            canvas.line(np.array(bag), fold, 0.03, 0.5 * wear)
    for height in (-0.62, -0.74, -0.86):
        if wear > 0.25:
            across = [(x, height + 0.09 * x**2) for x in (-0.55, -0.2, 0.2, 0.55)]
            canvas.line(np.array(across), fold, 0.024, 0.55 * (wear - 0.15))
    if person.shape.fullness > 1:
        under = [(-0.45, head.chin - 0.06), (0, head.chin + 0.05), (0.45, head.chin - 0.06)]
        canvas.line(np.array(under), fold, 0.035, 0.55)


def paint_eyes(canvas: Canvas, head: Head, person: Person, moment: Moment) -> None:
    """Eyes and brows; a smile narrows the eyes."""
    wide = head.eye_width
    high = head.eye_height * float(1 - 0.22 * np.clip(moment.smile, -0.7, 1.4))
    brow = mixed(person.hair_colour, DARK, 0.55 * (1 - person.grey))
    made_up = max(0.0, moment.lipstick - 0.2)
    t = np.linspace(-1, 1, 13)
    for side in SIDES:
        x = side * (head.spacing + wide * t)  # outwards
        lean = -0.14 * person.shape.slant * t * wide
        upper = -high * 1.15 * (1 - t**2) ** 0.75 + lean
        lower = high * 0.85 * (1 - t**2) + lean
        top, bottom = np.stack([x, upper], axis=1), np.stack([x, lower], axis=1)
        if made_up:
            shadow = np.concatenate([top * [1, 1] - [0, 0.1], top[::-1]])
            canvas.area(shadow, mixed(person.skin, DARK, 0.6), 0.7 * made_up, curved=False)
        canvas.area(np.concatenate([top, bottom[::-1]]), (236, 232, 228), curved=False)
        for radius, colour in ((0.54 * wide, person.iris), (0.25 * wide, np.zeros(3))):
            angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            across = side * head.spacing + radius * np.cos(angle)
            at = (side * across - head.spacing) / wide
            floor, ceiling = (np.interp(at, t, lid) for lid in (lower, upper))
            down = np.clip(radius * np.sin(angle) - 0.01, ceiling, floor)
            canvas.area(np.stack([across, down], axis=1), colour, curved=False)
        canvas.oval(side * head.spacing + 0.04, -0.04, 0.022, 0.022, (255, 255, 255), 0.85)
        lash = 0.035 + 0.035 * made_up
        canvas.line(top, DARK, lash, 0.9, curved=False)
        canvas.line(bottom, mixed(person.skin, DARK, 0.5 + 0.3 * made_up), 0.02, 0.7, curved=False)
        if person.shape.lids < 0.8:
            crease = top[2:-1] * [1, 1.3] - [0, 0.05]
            canvas.line(crease, mixed(person.skin, DARK, 0.5), 0.02, 0.7, curved=False)
        _paint_brow(canvas, head, person, side, brow)


def _paint_brow(canvas: Canvas, head: Head, person: Person, side: float, colour: Array) -> None:
    t = np.linspace(0, 1, 7)
    bow = 0.09 + 0.055 * person.shape.arch
    y = -0.33 - bow * np.sin(np.pi * t * 0.85) - 0.02 * t
    half = head.brow * np.array([0.75, 1, 1, 0.95, 0.8, 0.55, 0.15])
    x = side * (head.spacing - 0.3 + 0.68 * t)
    outline = np.concatenate([np.stack([x, y - half], 1), np.stack([x, y + half], 1)[::-1]])
    canvas.area(outline, colour, float(np.clip(0.78 + 0.1 * person.shape.brows, 0.4, 0.95)))


def paint_nose(canvas: Canvas, head: Head, person: Person, moment: Moment) -> None:
    """Its wings and nostrils; its ridge is of light and shade."""
    w, y = head.nose_width, head.nose
    dim = mixed(person.skin, DARK, 0.5)
    lit = -1.0 if moment.light > 0 else 1.0
    ridge = [(lit * 0.13, -0.1), (lit * 0.1, 0.45 * y), (lit * (0.13 + 0.2 * w), y - 0.14)]
    canvas.line(np.array(ridge), dim, 0.03, 0.3 + 0.15 * abs(moment.light))
    for side in SIDES:
        wing = [(0.72, -0.26), (1.02, -0.14), (0.97, -0.01), (0.66, 0.0)]
        canvas.line(np.array(wing) * [side * w, 1] + [0, y], dim, 0.035, 0.75)
        canvas.oval(side * 0.45 * w, y - 0.01, 0.3 * w, 0.03, mixed(person.skin, DARK, 0.75))
    under = [(-0.35 * w, y + 0.035), (0, y + 0.06), (0.35 * w, y + 0.035)]
    canvas.line(np.array(under), dim, 0.03, 0.6)


def paint_mouth(canvas: Canvas, head: Head, person: Person, moment: Moment) -> None:
    """Lips, and teeth and the dark of the mouth where it is open."""
    # A face smiles or does not: there is little in between, and corners hang less than they rise.
    smile = float(np.tanh(1.5 * moment.smile) + 0.15 * np.clip(moment.smile, -2, 2))
    bent = smile if smile > 0 else 0.35 * smile
    open_by = float(np.clip(0.09 * (moment.opening + 0.1) + 0.045 * max(0.0, smile), 0, 0.34))
    wide = head.mouth_width * (1 + 0.24 * bent)
    t = np.linspace(-1, 1, 17)
    bow = 1 - t**2
    middle = head.mouth + (0.25 * bent + 0.01) * (bow - 0.6) - 0.03 * max(0.0, smile)
    thin = 1 - 0.1 * smile
    upper = middle - 0.25 * open_by * bow
    lower = middle + open_by * bow
    top = upper - 0.72 * head.lip * thin * bow**0.7 * (1 - 0.3 * np.exp(-((t / 0.14) ** 2)))
    bottom = lower + head.lip * thin * bow**0.6
    bare = mixed(person.skin, np.array([158.0, 62, 66]), 0.48)
    red = (200, 30, 62) if person.shape.mouth > 0 else (186, 60, 92)
    lips = mixed(bare, np.array(red, float), 0.8 * moment.lipstick)
    rims = [np.stack([wide * t, edge], axis=1) for edge in (top, upper, lower, bottom)]
    canvas.area(np.concatenate([rims[0], rims[3][::-1]]), lips, curved=False)
    canvas.area(np.concatenate([rims[0], rims[1][::-1]]), DARK, 0.16, curved=False)
    if open_by > 0.01:
        canvas.area(np.concatenate([rims[1], rims[2][::-1]]), (58, 18, 20), curved=False)
        edge = upper + np.minimum(0.8 * (lower - upper), 0.15) * (0.75 + 0.25 * (smile > 0))
        inner = slice(2, -2)
        teeth = np.stack([wide * t, edge], axis=1)[inner]
        canvas.area(np.concatenate([rims[1][inner], teeth[::-1]]), (238, 234, 224), curved=False)
    else:
        canvas.line(rims[1], mixed(lips, DARK, 0.7), 0.032, curved=False)
    for side in SIDES:  # dimples, or the shade beneath corners that hang
        x = side * wide * 1.03
        corner = np.array([(x, middle[0] - 0.03), (x * 1.06, middle[0] + 0.05)])
        canvas.line(corner, mixed(person.skin, DARK, 0.6), 0.035, 0.6)


def paint_glasses(canvas: Canvas, head: Head, moment: Moment, colour: Array) -> None:
    """Clear or dark ones."""
    for side in SIDES:
        rim = np.array([(-0.36, -0.2), (0.36, -0.24), (0.37, 0.13), (0.2, 0.26), (-0.27, 0.24)])
        rim = rim * [side, 1] + [side * (head.spacing + 0.01), 0.02]
        if moment.glasses == 2:
            canvas.area(rim, (26, 24, 28), 0.93)
        else:
            canvas.area(rim, (235, 240, 245), 0.14)
        canvas.line(np.concatenate([rim, rim[:1]]), colour, 0.055)
        arm = np.array([(side * (head.spacing + 0.37), -0.1), (side * (head.cheek + 0.06), -0.06)])
        canvas.line(arm, colour, 0.06, curved=False)
    canvas.line(np.array([(-0.17, -0.06), (0, -0.11), (0.17, -0.06)]), colour, 0.055)
