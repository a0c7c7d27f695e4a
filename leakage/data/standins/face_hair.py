"""Hair, beards and what people wear, as they are painted around a made-up face."""

from __future__ import annotations

import numpy as np

from leakage.data.standins.face_canvas import Canvas
from leakage.data.standins.face_features import DARK, SIDES
from leakage.data.standins.face_head import Head, mirrored
from leakage.data.standins.faces import Array, Moment, Person, mixed


def thickness(person: Person) -> float:
    """How far the hair stands off the head."""
    if person.bald or person.length < -0.6:
        return 0.02
    return 0.1 + 0.16 * person.curl + 0.06 * max(0.0, person.length)


def paint_back_hair(canvas: Canvas, head: Head, person: Person, rng: np.random.Generator) -> None:
    """The hair behind the head and, where it is long, beside the neck."""
    if person.bald or person.length < -0.6:
        return
    off = thickness(person)
    low = 0.45 + 1.9 * max(0.0, person.length)
    wide = head.cheek + off + 0.12 * max(0.0, person.length)
    half = [
        (0.55, head.top - 0.6 * off),
        (head.temple + 0.8 * off, -0.95),
        (wide, 0.1),
        (wide + 0.04, 0.45 * low + 0.2),
        (wide - 0.02, low),
        (0.6, low + 0.1),
    ]
    points = mirrored(half, (0.0, low))
    points += rng.normal(0, 0.02 + 0.07 * person.curl, points.shape)
    canvas.area(points, mixed(person.hair_colour, DARK, 0.3))
    if person.length > 0:
        _strands(canvas, person, rng, [(wide - 0.12, -0.1), (wide - 0.1, low)], 8)


def _strands(
    canvas: Canvas,
    person: Person,
    rng: np.random.Generator,
    along: list[tuple[float, float]],
    number: int,
) -> None:
    """Lighter and darker lines beside the line from one point to the other, and mirrored."""
    t = np.linspace(0, 1, 6)[:, None]
    start, end = np.array(along)
    for i in range(number):
        path = start + t * (end - start) + rng.normal(0, 0.06, 2)
        path[:, 0] += 0.09 * person.curl * np.sin(9 * t[:, 0] + rng.uniform(0, 6))
        tint = np.full(3, 255.0) if rng.random() < 0.5 else DARK
        colour = mixed(person.hair_colour, tint, 0.3)
        canvas.line(path * [(-1) ** i, 1], colour, 0.03, 0.6)


def paint_front_hair(
    canvas: Canvas, head: Head, person: Person, moment: Moment, rng: np.random.Generator
) -> None:
    """The hair upon the head, down to the hairline, with bangs or without."""
    colour = person.hair_colour
    off, temple = thickness(person), head.temple
    if person.bald:
        for side in SIDES:
            fringe = [(1.0, -0.55), (1.1, -0.3), (1.07, 0.1), (0.97, 0.0), (0.95, -0.4)]
            canvas.area(np.array(fringe) * [side * head.cheek, 1], colour, 0.85)
        return
    angle = np.linspace(0, np.pi, 11)
    wide, high = temple + 0.8 * off, 0.5 + head.top - off
    arch = np.stack([wide * np.cos(angle), high * np.sin(angle) - 0.5], axis=1)
    ear = np.array([(head.cheek + 0.3 * off, 0.12)])
    crown = np.concatenate([ear, arch, ear * [-1, 1]])
    back = person.receding
    line = head.hairline - 0.3 * back
    inner = [
        (-0.96 * temple, -0.1),
        (-0.93 * temple, -0.5),
        (-0.66, line + 0.12 - 0.3 * back),
        (-0.25, line - 0.02),
        (0.25, line - 0.04),
        (0.66, line + 0.12 - 0.3 * back),
        (0.93 * temple, -0.5),
        (0.96 * temple, -0.1),
    ]
    if moment.bangs:
        inner[2:6] = [(-0.72, -0.42), (-0.25, -0.47), (0.25, -0.45), (0.72, -0.4)]
    crown += rng.normal(0, 0.07 * person.curl * min(1.0, 5 * off), crown.shape)
    alpha = 0.97 if person.length > -0.6 else 0.55
    canvas.area(np.concatenate([crown, np.array(inner)]), colour, alpha)
    if person.length > -0.6:
        part = rng.uniform(-0.5, 0.5)
        edge = np.array(inner[4:])
        for _ in range(14):
            x = rng.uniform(-0.9, 0.9)
            root = np.array([part + 0.25 * x, head.top - 0.4 * off])
            ends = np.interp(abs(x * temple), edge[:, 0], edge[:, 1])
            tip = np.array([x * temple, min(ends - 0.1, -0.55)])
            bend = (root + tip) / 2 + [0.25 * (x - part), -0.12]
            tint = np.full(3, 255.0) if rng.random() < 0.45 else DARK
            path = np.array([root, bend, tip])
            canvas.line(path, mixed(colour, tint, 0.25), 0.03, 0.5)


def paint_beard(
    canvas: Canvas, head: Head, person: Person, moment: Moment, rng: np.random.Generator
) -> None:
    """Stubble, a moustache, a goatee and sideburns, before the mouth is painted."""
    colour = mixed(person.hair_colour, DARK, 0.35 * (1 - person.grey))
    if moment.stubble:
        jaw, mouth = head.jaw, head.mouth
        half = [
            (0.0, head.nose + 0.09),
            (0.5, head.nose + 0.2),
            (jaw + 0.05, mouth - 0.3),
            (jaw, mouth + 0.05),
            (head.tip, head.chin - 0.12),
        ]
        area = mirrored(half[1:], (0.0, head.chin - 0.01))
        area = np.concatenate([area, [half[0]]])
        canvas.area(area, mixed(colour, np.array([70.0, 78, 86]), 0.4), 0.32 * moment.stubble)
    if moment.sideburns:
        for side in SIDES:
            strip = [
                (1.0 * head.cheek, 0.0),
                (head.cheek, 0.35),
                (head.jaw + 0.04, head.mouth),
                (head.tip + 0.1, head.chin - 0.1),
                (head.tip - 0.1, head.chin - 0.22),
                (head.jaw - 0.22, head.mouth + 0.05),
                (head.cheek - 0.16, 0.3),
            ]
            canvas.area(np.array(strip) * [side, 1], colour, 0.85 * moment.sideburns)
    if moment.goatee:
        half = [
            (head.mouth_width * 0.75, head.mouth + 0.2),
            (head.mouth_width * 0.95, head.chin - 0.25),
            (head.tip * 0.8, head.chin - 0.03),
        ]
        chin = mirrored(half, (0.0, head.chin + 0.05 + 0.1 * rng.random()))
        canvas.area(chin, colour, 0.9 * moment.goatee)
    if moment.moustache:
        w = head.mouth_width * 1.05
        top = [(0.5 * w, head.nose + 0.1), (w, head.mouth - 0.1), (1.12 * w, head.mouth + 0.08)]
        half = [*top, (0.6 * w, head.mouth - 0.07)]
        lip = mirrored(half, (0.0, head.mouth - 0.1))
        lip = np.concatenate([lip, [(0.0, head.nose + 0.12)]])
        canvas.area(lip, colour, 0.9 * moment.moustache)


def paint_shoulders(
    canvas: Canvas,
    head: Head,
    person: Person,
    moment: Moment,
    cloth: Array,
    rng: np.random.Generator,
) -> None:
    """The neck, clothes, and what is worn there."""
    thick = 0.62 + 0.1 * person.male + 0.04 * person.shape.fullness - 0.1 * person.childhood
    neck = [(thick, 0.8), (thick, head.chin + 0.25), (1.4, head.chin + 0.55)]
    canvas.area(mirrored(neck, (0.0, head.chin + 1.6)), mixed(person.skin, DARK, 0.3))
    shadow = [(thick - 0.01, 0.8), (thick - 0.01, head.chin - 0.1)]
    canvas.area(mirrored(shadow, (0.0, head.chin + 0.25)), DARK, 0.3)
    base = head.chin + 0.34
    deep = 0.15 if moment.necktie else rng.uniform(0.1, 0.6)
    half = [(2.1, base + 0.35), (2.5, base + 2.5)]
    inside = mirrored([(thick + 0.12, base - 0.08)], (0.0, base + deep))
    body = np.concatenate([[(half[0])], [half[1]], [(-2.5, base + 2.5)], [(-2.1, base + 0.35)]])
    canvas.area(np.concatenate([inside[::-1], body]), cloth, curved=False)
    if moment.necktie:
        collar = mirrored([(thick + 0.1, base - 0.15), (0.35, base + 0.45)], (0.0, base + 0.1))
        canvas.area(collar, (240, 240, 242), curved=False)
        tie = mirrored([(0.13, base + 0.12), (0.2, base + 2.0)], (0.0, base + 2.2))
        canvas.area(tie, rng.uniform(20, 170, 3), curved=False)
    if moment.necklace:
        bow = [(x, base + 0.12 - 0.4 * x**2) for x in np.linspace(-0.75, 0.75, 9)]
        metal = (232, 200, 110) if rng.random() < 0.6 else (225, 225, 232)
        canvas.line(np.array(bow), metal, 0.07)
        canvas.oval(0, base + 0.16, 0.08, 0.1, metal)


def paint_earrings(canvas: Canvas, head: Head, rng: np.random.Generator) -> None:
    """One at each ear, of gold or silver."""
    metal = (236, 204, 112) if rng.random() < 0.6 else (230, 232, 240)
    size = rng.uniform(0.07, 0.13)
    for side in SIDES:
        x = side * (head.cheek + 0.04)
        canvas.oval(x, 0.52 + size, size, 1.7 * size, metal)
        canvas.oval(x, 0.52 + size, 0.4 * size, 0.8 * size, (255, 250, 235), 0.8)


def paint_hat(
    canvas: Canvas, head: Head, colour: Array, brim: float, rng: np.random.Generator
) -> None:
    """A hat with a brim, or a cap without one, over the hair."""
    low = head.hairline + 0.18
    half = [(0.62, head.top - 0.32), (1.02, head.top + 0.1), (head.temple + 0.14, low)]
    canvas.area(mirrored(half, (0.0, low + 0.1)), colour)
    band = mixed(colour, rng.uniform(0, 255, 3), 0.5)
    wide = head.temple + 0.16 + brim
    edge = mirrored([(wide - 0.08, low - 0.14), (wide, low + 0.02)], (0.0, low + 0.16))
    canvas.area(edge, band if brim < 0.1 else mixed(colour, DARK, 0.25))
