"""A stand-in for UTKFace: drawn faces of made-up persons of all ages, one picture of each.

The margins of age, gender and race are about the official ones (Zhang et al. 2017), and so are
the oddities: names that lack the gender or the race, names whose end is misspelt, and copies of
an image, some under another age.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from leakage.data.standins.face_drawing import as_jpeg, draw_face
from leakage.data.standins.face_head import measure
from leakage.data.standins.faces import ORIGINS, Moment, Person, draw_moment, draw_person
from leakage.data.standins.marker import StandIn
from leakage.randomness import numpy_generator

STREAM = ("standin", "utkface")
SIDE = 200
AGES = (1, 3, 10, 18, 30, 45, 60, 80, 100, 117)
AGE_SHARES = (0.08, 0.075, 0.04, 0.335, 0.24, 0.125, 0.08, 0.023, 0.002)
"""Of the ages from each of `AGES` to below the next."""
MALE_SHARE = 0.523
ORIGIN_SHARES = (0.425, 0.191, 0.145, 0.168, 0.071)
FIRST_TIME = datetime(2017, 1, 9, 14, 24)
MALFORMED, MISSPELT, COPIED = 500, 1000, 250
"""Of so many images one has such a name, or is a copy."""
_ENDS = ("jpg", " .jpg", ".pg")


def make_person(rng: np.random.Generator) -> Person:
    """Somebody of any age."""
    band = int(rng.choice(len(AGE_SHARES), p=AGE_SHARES))
    age = int(rng.integers(AGES[band], AGES[band + 1]))
    origin = str(rng.choice(ORIGINS, p=ORIGIN_SHARES))
    return draw_person(bool(rng.random() < MALE_SHARE), float(age), origin, rng)


def draw_picture(person: Person, moment: Moment, rng: np.random.Generator) -> bytes:
    """The file of an aligned image, which a face fills from the hair to the chin."""
    unit = 0.62 * SIDE / (measure(person).chin + 0.3)
    return as_jpeg(draw_face(person, moment, (SIDE, SIDE), (SIDE / 2, 0.42 * SIDE), unit, rng))


def _files(size: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`size` images, each from a random stream of its own but the copies of the image before."""
    rng = numpy_generator(seed, *STREAM, "oddities")
    numbers = [size // every for every in (MALFORMED, MISSPELT, COPIED)]
    odd = rng.permutation(np.arange(1, size))[: sum(numbers)].tolist()
    malformed, rest = odd[: numbers[0]], odd[numbers[0] :]
    misspelt, copied = rest[: numbers[1]], rest[numbers[1] :]
    time = FIRST_TIME
    for i in range(size):
        time += timedelta(milliseconds=int(1 + rng.exponential(30_000)))
        if i not in copied:
            person = make_person(numpy_generator(seed, *STREAM, "person", i))
            moment = draw_moment(person, numpy_generator(seed, *STREAM, "moment", i))
            content = draw_picture(person, moment, numpy_generator(seed, *STREAM, i))
        mistaken = i in copied[::2]
        age = str(round(person.age) + (-7 if person.age > 60 else 7) * mistaken)
        known = [age, str(int(not person.male)), str(ORIGINS.index(person.origin))]
        if i in malformed:
            known = known[:2] if malformed.index(i) % 2 else [age, "", known[2]]
        end = _ENDS[misspelt.index(i) % len(_ENDS)] if i in misspelt else ".jpg.chip.jpg"
        told = f"{time:%Y%m%d%H%M%S}{time.microsecond // 1000:03d}"
        yield "_".join([*known, told]) + end, content


UTKFACE = StandIn("UTKFace", "images", 200, 1, _files)
