"""A stand-in for CelebA: drawn faces of made-up persons, in the official files.

What a person and a picture show decides the 40 attributes, up to the doubts of whoever looked at
them. Their shares are about the official ones (Liu et al. 2015), and so is what goes together:
a smile raises the cheekbones and opens the mouth, women alone paint their lips, men alone have
beards. Attractive follows sex, age and makeup and is drawn no further.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from leakage.data.celeba_files import ATTRIBUTES, IMAGES, LISTS
from leakage.data.standins.face_drawing import as_jpeg, draw_face
from leakage.data.standins.face_features import raised_cheeks
from leakage.data.standins.faces import ORIGINS, Moment, Person, draw_moment, draw_person
from leakage.data.standins.marker import StandIn
from leakage.errors import LeakageError
from leakage.randomness import numpy_generator

STREAM = ("standin", "celeba")
SIZE, EYES, BETWEEN_EYES = (178, 218), (89.0, 106.0), 48.0
MOST, IDENTITIES = 202_599, 10_177
MALE_SHARE = 0.417
MALE_DOUBTED = 0.003
"""The share of images of whose sex the attribute tells the opposite."""
TYPICAL_AGE, AGE_SPREAD = {True: 34.0, False: 28.5}, 0.33
ORIGIN_SHARES = (0.72, 0.11, 0.08, 0.04, 0.05)
PARTITION_ENDS = (0.8, 0.9)
_DOUBT = 0.2
"""Standard deviation of what an eye adds to a standard score."""


def make_person(rng: np.random.Generator) -> Person:
    """Somebody of the age and the looks that are photographed."""
    male = bool(rng.random() < MALE_SHARE)
    age = float(np.clip(TYPICAL_AGE[male] * np.exp(rng.normal(0, AGE_SPREAD)), 15, 90))
    return draw_person(male, age, str(rng.choice(ORIGINS, p=ORIGIN_SHARES)), rng)


def attributes(person: Person, moment: Moment, rng: np.random.Generator) -> dict[str, bool]:
    """What somebody says who looks at the picture; each of `ATTRIBUTES`, in no order."""
    shape, natural = person.shape, not person.bald and person.grey < 0.5
    seen = not moment.hat or rng.random() < 0.6
    young = person.age < 39 + 4 * rng.standard_normal()

    def looks(score: float, share: float) -> bool:
        """Whether a standard score is one of the highest `share`, as an eye judges it."""
        judged = (score + _DOUBT * rng.standard_normal()) / np.hypot(1, _DOUBT)
        return bool(judged > NormalDist().inv_cdf(1 - share))

    def coloured(name: str) -> bool:
        return person.hair == name and natural and seen and rng.random() < 0.73

    painted = looks(max(person.makeup, -3), 0.3) and not person.male
    appeal = 0.6 * (not person.male) + 0.9 * young + 0.3 * painted - 0.25 * shape.fullness - 1.2
    told = {
        "5_o_Clock_Shadow": moment.stubble > 0.35 and not moment.sideburns and not moment.goatee,
        "Arched_Eyebrows": looks(shape.arch, 0.24),
        "Attractive": looks(appeal, 0.5),
        "Bags_Under_Eyes": looks(1.3 * person.wear + 0.7 * shape.fullness, 0.2),
        "Bald": person.bald and seen,
        "Bangs": moment.bangs and seen,
        "Big_Lips": looks(shape.lips, 0.24),
        "Big_Nose": looks(shape.nose_width, 0.28),
        "Black_Hair": coloured("black"),
        "Blond_Hair": coloured("blond"),
        "Blurry": moment.blur > 1,
        "Brown_Hair": coloured("brown"),
        "Bushy_Eyebrows": looks(shape.brows, 0.14),
        "Chubby": looks(shape.fullness, 0.058),
        "Double_Chin": looks(shape.fullness + 0.2 * person.wear, 0.047),
        "Eyeglasses": moment.glasses > 0,
        "Goatee": moment.goatee > 0.3,
        "Gray_Hair": person.grey > 0.5 and not person.bald and seen,
        "Heavy_Makeup": painted,
        "High_Cheekbones": looks(raised_cheeks(person, moment), 0.455),
        "Male": person.male != (rng.random() < MALE_DOUBTED),
        "Mouth_Slightly_Open": looks(moment.opening, 0.483),
        "Mustache": moment.moustache > 0.7,
        "Narrow_Eyes": looks(0.8 * shape.lids - 0.3 * shape.eyes + 0.3 * moment.smile, 0.115),
        "No_Beard": not max(moment.moustache, moment.goatee, moment.sideburns, moment.stubble)
        > 0.5,
        "Oval_Face": looks(0.4 * shape.chin - 0.7 * shape.jaw - 0.5 * shape.fullness, 0.284),
        "Pale_Skin": looks((0.25 - person.tone) / 0.16, 0.043),
        "Pointy_Nose": looks(0.8 * shape.nose_tip - 0.5 * shape.nose_width, 0.2),
        "Receding_Hairline": person.receding > 0.4 and seen and not moment.bangs,
        "Rosy_Cheeks": moment.blush > 0.7,
        "Sideburns": moment.sideburns > 0.3,
        "Smiling": looks(moment.smile, 0.482),
        "Straight_Hair": person.curl < 0.25 and not person.bald and rng.random() < 0.6,
        "Wavy_Hair": person.curl > 0.35 and person.length > -0.2 and rng.random() < 0.9,
        "Wearing_Earrings": moment.earrings,
        "Wearing_Hat": moment.hat,
        "Wearing_Lipstick": moment.lipstick > 0.35,
        "Wearing_Necklace": moment.necklace,
        "Wearing_Necktie": moment.necktie,
        "Young": young,
    }
    return {name: bool(value) for name, value in told.items()}


def draw_picture(person: Person, moment: Moment, rng: np.random.Generator) -> bytes:
    """The file of an aligned image."""
    return as_jpeg(draw_face(person, moment, SIZE, EYES, BETWEEN_EYES, rng))


def _owners(size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whose face each image shows, as 0.. (size,), and the partition of each (size,).

    An identity has 1 to 35 images, about 20 of them and fewer in a small set, which would have
    too few identities else. The images of a partition are mixed, and stand side by side.
    """
    rng = numpy_generator(seed, *STREAM, "identities")
    fewer = min(1.0, size / 800)
    counts = 1 + np.round(fewer * (rng.triangular(1, 25, 35, size) - 1)).astype(np.int64)
    owners = np.repeat(np.arange(size), counts)[:size]
    first = np.searchsorted(owners, owners)  # an identity is where its first image is
    partitions = np.searchsorted(np.array(PARTITION_ENDS) * size, first, side="right")
    return owners[np.lexsort((rng.random(size), partitions))], partitions


def _files(size: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`size` images, each from a random stream of its own, then the three lists."""
    if size > MOST:
        raise LeakageError(f"a stand-in of CelebA has at most {MOST} images, got {size}")
    owners, partitions = _owners(size, seed)
    rng = numpy_generator(seed, *STREAM, "numbers")
    numbers = 1 + rng.permutation(IDENTITIES)
    rows: list[list[str]] = [[], [], []]
    for i, (owner, partition) in enumerate(zip(owners.tolist(), partitions.tolist(), strict=True)):
        name = f"{i + 1:06d}.jpg"
        person = make_person(numpy_generator(seed, *STREAM, "person", owner))
        moment = draw_moment(person, numpy_generator(seed, *STREAM, "moment", i))
        told = attributes(person, moment, numpy_generator(seed, *STREAM, "attributes", i))
        yield f"{IMAGES}/{name}", draw_picture(person, moment, numpy_generator(seed, *STREAM, i))
        signs = (f"{1 if told[attribute] else -1:2d}" for attribute in ATTRIBUTES)
        for row, line in zip(
            rows,
            (" ".join([name, *signs]), f"{name} {numbers[owner]}", f"{name} {partition}"),
            strict=True,
        ):
            row.append(line)
    rows[0][:0] = [str(size), " ".join(ATTRIBUTES) + " "]
    for name, lines in zip(LISTS, rows, strict=True):
        yield name, "".join(f"{line}\r\n" for line in lines).encode()


CELEBA = StandIn("CelebA", "images", 200, 1, _files)
