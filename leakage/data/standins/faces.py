"""What a made-up face is: the lasting features of a person, and what one picture shows of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ORIGINS = ("White", "Black", "Asian", "Indian", "Other")
"""The words and the order of UTKFace, for persons that are made up."""


@dataclass(frozen=True)
class Shape:
    """Proportions of a head, each a standard score among adults of all kinds."""

    width: float
    jaw: float
    chin: float
    fullness: float
    eyes: float
    lids: float
    slant: float
    spacing: float
    brows: float
    arch: float
    nose_width: float
    nose_length: float
    nose_tip: float
    mouth: float
    lips: float
    cheekbones: float


SHAPE = tuple(field.name for field in fields(Shape))
_SHIFT_MALE = {
    "width": 0.3, "jaw": 0.75, "chin": 0.4, "eyes": -0.35, "brows": 0.8, "arch": -0.6,
    "nose_width": 0.4, "nose_length": 0.3, "nose_tip": -0.3, "mouth": 0.2, "lips": -0.4,
    "cheekbones": -0.2,
}  # fmt: skip
_SHIFT_ORIGIN: dict[str, dict[str, float]] = {
    "White": {"nose_width": -0.4, "lips": -0.4, "nose_tip": 0.3},
    "Black": {"nose_width": 1.0, "lips": 1.0, "mouth": 0.3, "nose_tip": -0.4},
    "Asian": {"lids": 1.1, "slant": 0.9, "width": 0.5, "nose_length": -0.4, "brows": -0.3},
    "Indian": {"eyes": 0.5, "brows": 0.6, "lips": 0.2, "nose_length": 0.3},
    "Other": {"eyes": 0.2, "lips": 0.2},
}
_TONE = {"White": 0.14, "Black": 0.76, "Asian": 0.27, "Indian": 0.53, "Other": 0.38}
"""Of the skin, from the lightest of `_SKIN` (0) to the darkest (1)."""
_TONE_SPREAD = 0.1
_SKIN = np.array([(232, 198, 178), (214, 170, 142), (184, 136, 104), (138, 92, 66), (84, 55, 42)])
HAIR = {"black": (30, 25, 25), "brown": (92, 60, 38), "blond": (208, 172, 108)}
_HAIR_SHARES = {
    "White": (0.16, 0.47, 0.37), "Black": (0.86, 0.12, 0.02), "Asian": (0.88, 0.11, 0.01),
    "Indian": (0.9, 0.1, 0.0), "Other": (0.6, 0.33, 0.07),
}  # fmt: skip
GREY = (184, 181, 178)
_CURL = {"White": 0.3, "Black": 0.85, "Asian": 0.12, "Indian": 0.35, "Other": 0.45}
_IRIS = ((74, 48, 32), (92, 66, 40), (86, 104, 74), (92, 126, 156))


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of somebody.

    Args:
        male: whether it is a man.
        age: in years, 0..116.
        origin: one of `ORIGINS`.
        shape: of the head.
        tone: of the skin, 0 (light) to 1 (dark).
        skin: colour, 0..255 (3,).
        hair: the name of the natural colour.
        hair_colour: with grey in it, 0..255 (3,).
        iris: colour, 0..255 (3,).
        grey: share of the hair, 0..1.
        curl: 0 (straight) to 1.
        receding: how far the hairline has gone back, 0..1.
        bald: without hair on top.
        length: of the hair, -1 (shaved) over 0 (to the ears) to 1 (below the shoulders).
        makeup, beard, cheer: habits, standard scores; whoever cannot have a beard has -9.
        shaven: which part of a beard is worn, in 0..1.
        spectacles: the chance that they are worn.
    """

    male: bool
    age: float
    origin: str
    shape: Shape
    tone: float
    skin: Array
    hair: str
    hair_colour: Array
    iris: Array
    grey: float
    curl: float
    receding: float
    bald: bool
    length: float
    makeup: float
    beard: float
    cheer: float
    shaven: float
    spectacles: float

    @property
    def childhood(self) -> float:
        """1 for a newborn child, 0 from 17 years on."""
        return float(max(0.0, 1 - self.age / 17) ** 0.8)

    @property
    def wear(self) -> float:
        """What age does to the skin, 0 to about 1, from 25 years on."""
        return max(0.0, (self.age - 25) / 55)


@dataclass(frozen=True)
class Moment:
    """What differs between the pictures of somebody.

    Args:
        smile, opening: of the mouth, standard scores.
        turn, nod, tilt: of the head, in radians.
        shift: of the head, in distances between the eyes (2,).
        scale: of the head, about 1.
        light: where it comes from, -1 (left) to 1.
        contrast: of light and shade, about 1.
        exposure: about 1.
        warmth: of the light, about 0.
        lipstick, blush: how much is on, 0..1.
        stubble, moustache, goatee, sideburns: how much is there, 0..1.
        bangs: whether hair covers the forehead.
        glasses: 0 none, 1 clear, 2 dark ones.
        hat, earrings, necklace, necktie: whether they are worn.
        blur: radius in hundredths of the picture's width.
        noise: standard deviation, in 0..255.
    """

    smile: float
    opening: float
    turn: float
    nod: float
    tilt: float
    shift: Array
    scale: float
    light: float
    contrast: float
    exposure: float
    warmth: float
    lipstick: float
    blush: float
    stubble: float
    moustache: float
    goatee: float
    sideburns: float
    bangs: bool
    glasses: int
    hat: bool
    earrings: bool
    necklace: bool
    necktie: bool
    blur: float
    noise: float


def mixed(one: Array, other: Array, share: float) -> Array:
    """`one` with a share of `other` in it."""
    return one + share * (other - one)


def draw_person(male: bool, age: float, origin: str, rng: np.random.Generator) -> Person:
    """Somebody of this sex, age in years and origin."""
    z = dict(zip(SHAPE, rng.standard_normal(len(SHAPE)).tolist(), strict=True))
    grown = min(1.0, age / 17)
    for shifts, weight in (
        (_SHIFT_MALE, grown * (0.6 if male else -0.6)),
        (_SHIFT_ORIGIN[origin], 0.9),
    ):
        for name, shift in shifts.items():
            z[name] += weight * shift
    z["fullness"] += 0.012 * (min(age, 60.0) - 35) + 0.9 * (1 - grown)
    tone = float(np.clip(rng.normal(_TONE[origin], _TONE_SPREAD), 0, 1))
    position = tone * (len(_SKIN) - 1)
    skin = np.array([np.interp(position, range(len(_SKIN)), channel) for channel in _SKIN.T])
    skin += rng.normal(0, 5, 3) + (np.array([0, 2, -9]) if origin == "Asian" else 0)
    hair = str(rng.choice(list(HAIR), p=_HAIR_SHARES[origin]))
    grey = float(np.clip((age - rng.normal(51, 8)) / 16, 0, 1))
    colour = mixed(
        np.array(HAIR[hair]) * (rng.normal(1, 0.1) + rng.normal(0, 0.03, 3)),
        np.array(GREY, float),
        grey,
    )
    light_eyes = origin == "White" and hair != "black"
    iris = _IRIS[int(rng.integers(1, 4) if light_eyes else rng.integers(2))]
    loss = (age - 22) / 40 + rng.normal(0, 0.55) - (0.35 if male else 1.6)
    length = rng.normal(-0.35, 0.22) if male else rng.normal(0.45, 0.4) - max(0, age - 45) / 60
    if age < 2:
        length = rng.normal(-0.75, 0.15)
    return Person(
        male=male,
        age=age,
        origin=origin,
        shape=Shape(**z),
        tone=tone,
        skin=skin,
        hair=hair,
        hair_colour=colour,
        iris=np.array(iris, float),
        grey=grey,
        curl=float(np.clip(rng.normal(_CURL[origin], 0.22), 0, 1)),
        receding=float(np.clip(loss, 0, 1)),
        bald=bool(male and loss > 0.95),
        length=float(np.clip(length, -0.95, 1)),
        makeup=float(rng.normal(-3 if male or age < 14 else 0.75, 0.8)),
        beard=float(rng.normal(-0.35, 1)) if male and age > 17 else -9.0,
        cheer=float(rng.standard_normal()),
        shaven=float(rng.random()),
        spectacles=float(np.clip(rng.normal(0.02 + max(0, age - 35) / 220, 0.1), 0.01, 0.9)),
    )


def draw_moment(person: Person, rng: np.random.Generator) -> Moment:
    """One picture of the person; a smile opens the mouth, and turns with the person's cheer."""
    smile = 0.45 * person.cheer + 0.89 * rng.standard_normal()
    makeup = person.makeup + rng.normal(0, 0.6)
    beard = person.beard + rng.normal(0, 0.45)
    fully = float(np.clip(0.5 + 0.9 * (beard - 0.55), 0, 1)) * (beard > 0.55)
    parts = {  # which of moustache, goatee and sideburns a habit keeps
        "moustache": fully * (person.shaven < 0.75),
        "goatee": fully * (person.shaven > 0.3),
        "sideburns": fully * (0.3 < person.shaven < 0.65),
    }
    hair = person.length > -0.6 and not person.bald
    dressed = person.age >= 8
    return Moment(
        smile=smile,
        opening=0.6 * smile + 0.8 * rng.standard_normal(),
        turn=float(np.clip(rng.normal(0, 0.2), -0.5, 0.5)),
        nod=float(rng.normal(0, 0.1)),
        tilt=float(rng.normal(0, 0.05)),
        shift=rng.normal(0, 0.05, 2),
        scale=float(np.exp(rng.normal(0, 0.04))),
        light=float(rng.uniform(-1, 1)),
        contrast=float(np.exp(rng.normal(0, 0.35))),
        exposure=float(np.exp(rng.normal(0, 0.1))),
        warmth=float(rng.normal(0, 0.045)),
        lipstick=float(np.clip(0.55 + 0.45 * makeup, 0, 1)) * (makeup > -0.2),
        blush=float(np.clip(0.4 * makeup + rng.normal(-0.1, 0.3), 0, 1)) * (makeup > -0.2),
        stubble=float(np.clip(0.35 + 0.6 * beard, 0, 1)) * (beard > -0.2),
        bangs=bool(hair and rng.random() < (0.06 if person.male else 0.24)),
        glasses=int(rng.random() < person.spectacles) * (1 + (rng.random() < 0.2)),
        hat=bool(rng.random() < 0.06),
        earrings=bool(dressed and makeup > -1 and rng.random() < 0.33),
        necklace=bool(dressed and makeup > -1 and rng.random() < 0.22),
        necktie=bool(person.male and dressed and rng.random() < 0.2),
        blur=float(np.exp(rng.normal(-1.3, 0.5))) + 1.1 * (rng.random() < 0.05),
        noise=float(rng.uniform(1, 7)),
        **parts,
    )
