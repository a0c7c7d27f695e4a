"""A stand-in for the Heritage Health Prize: made-up members, claims, drugs and labs in its files.

The model draws age and sex, then the years with claims, then the conditions of each year: chronic
ones mostly stay, and all depend on age, sex and a frailty of the member. Claims are about these
conditions, with a specialty, place and procedure that follow from them; the Charlson index depends
on conditions, age and what no claim tells. No column gives a sex away by itself: some women have
claims of women's conditions, and a few men have them by a wrong code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leakage.data.health_files import (
    AGES,
    CHARLSON,
    LONGEST_DELAY,
    MONTHS,
    MOST_DRUGS,
    MOST_LABS,
    SEXES,
    STAYS,
    TABLES,
    YEARS,
)
from leakage.data.standins import health_tables as tables
from leakage.data.standins.health_tables import CONDITIONS, PLACES, PROCEDURES, SPECIALTIES
from leakage.data.standins.marker import StandIn
from leakage.randomness import numpy_generator

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]

CHUNK = 4000
"""Members whose claims are in memory at a time."""

_INTERNAL, _GENERAL, _PEDIATRICS, _GYNECOLOGY = map(
    SPECIALTIES.index, ("Internal", "General Practice", "Pediatrics", "Obstetrics and Gynecology")
)
_INPATIENT, _URGENT = map(PLACES.index, ("Inpatient Hospital", "Urgent Care"))
_KINDS = list(tables.SPECIALTY)
_KIND_OF_CONDITION = np.array(
    [next((_KINDS.index(k) for k, of in tables.KIND.items() if c in of), 0) for c in CONDITIONS]
)


@dataclass(frozen=True)
class _People:
    """Members, one entry each."""

    number: Whole  # MemberID
    age: Whole  # position in AGES
    woman: NDArray[np.bool_]
    frailty: Numbers  # about N(0, 1)
    doctor: Whole  # the usual PCP, by its position

    def __getitem__(self, part: slice) -> _People:
        return _People(*(getattr(self, field.name)[part] for field in fields(self)))


@dataclass(frozen=True)
class _Years:
    """Members in a year with claims, one entry each."""

    person: Whole
    year: Whole
    present: NDArray[np.bool_]  # (r, conditions)
    claims: Whole  # how many
    ill: NDArray[np.bool_]  # Charlson index above 0


def _ends(weights: Numbers) -> Numbers:
    """The upper end of each choice on 0..1, of weights (..., c)."""
    ends = np.cumsum(weights, axis=-1)
    ends /= ends[..., -1:]
    return ends


def _choose(rng: np.random.Generator, ends: Numbers, n: int) -> Whole:
    """The position of a choice for each of n, of ends (c,) or (n, c)."""
    chosen: Whole = (rng.random(n)[:, None] >= ends).sum(axis=1)
    return chosen


def _sigmoid(logits: Numbers) -> Numbers:
    odds: Numbers = 1 / (1 + np.exp(-logits))
    return odds


def _people(size: int, rng: np.random.Generator) -> _People:
    return _People(
        number=rng.choice(100_000_000, size, replace=False),
        age=_choose(rng, _ends(tables.AGE), size),
        woman=rng.random(size) < tables.WOMEN,
        frailty=rng.normal(size=size),
        doctor=rng.integers(tables.PCPS, size=size),
    )


def _years(people: _People, rng: np.random.Generator) -> _Years:
    """Draws the years with claims, the conditions in them, and what follows from these."""
    n = len(people.number)
    pattern = tables.YEARS_OF_MEMBER[_choose(rng, _ends(tables.YEARS_SHARE), n)]
    person, year = pattern.nonzero()
    share = np.log(tables.CONDITION[:, :3] / (100 - tables.CONDITION[:, :3]))  # log-odds
    women, stays, _, charlson = tables.CONDITION[:, 3:].T
    middle = 5 + 10 * np.arange(len(AGES))
    by_age = np.stack([np.interp(middle, [5, 35, 75], knots) for knots in share], axis=1)
    logits = by_age[people.age] + np.where(people.woman, 0.5, -0.5)[:, None] * women
    chance = _sigmoid(logits + 0.5 * people.frailty[:, None])[person]
    # What stays is drawn once a member, the rest anew each year: the shares are the same.
    once = rng.random(logits.shape)[person]
    anew = rng.random((len(person), len(CONDITIONS)))
    present = np.where(rng.random(anew.shape) < stays, once, anew) < chance
    present[:, CONDITIONS.index("MSC2a3")] = True  # what is miscellaneous, so that each has some
    burden = present.sum(1)
    mean = np.exp(1.75 + 0.16 * burden + 0.15 * people.frailty[person])
    claims = np.minimum(1 + rng.poisson(rng.gamma(1.6, mean / 1.6)), tables.MOST_CLAIMS)
    age = middle[people.age][person]
    hidden = (0.4 * people.frailty + rng.normal(0, 0.3, n))[person]
    score = tables.CHARLSON_BASE + 1.4 * (present @ charlson) + 0.012 * (age - 40) + hidden
    ill = rng.random(len(person)) < _sigmoid(score + 0.35 * np.log(claims / 8))
    return _Years(person, year, present, claims, ill)


class _Text:
    """The texts of coded columns, with a code for what is empty."""

    def __init__(self, names: Iterable[object]) -> None:
        self._names = np.array([*map(str, names), ""], dtype=object)

    def __call__(self, codes: NDArray[Any]) -> list[str]:
        """A text for each code; -1 is empty."""
        texts: list[str] = self._names[codes].tolist()
        return texts


_TEXT = {
    "Year": _Text(YEARS),
    "Specialty": _Text(SPECIALTIES),
    "PlaceSvc": _Text(PLACES),
    "PayDelay": _Text([*range(LONGEST_DELAY), f"{LONGEST_DELAY}+"]),
    "LengthOfStay": _Text(STAYS),
    "DSFS": _Text(MONTHS),
    "PrimaryConditionGroup": _Text(CONDITIONS),
    "CharlsonIndex": _Text(CHARLSON),
    "ProcedureGroup": _Text(PROCEDURES),
    "SupLOS": _Text("01"),
    "DrugCount": _Text([*range(MOST_DRUGS), f"{MOST_DRUGS}+"]),
    "LabCount": _Text([*range(MOST_LABS), f"{MOST_LABS}+"]),
}


def _lines(columns: Iterable[Sequence[str]]) -> bytes:
    """The rows of these columns, each with its line end."""
    return "".join(f"{row}\n" for row in map(",".join, zip(*columns, strict=True))).encode()


def _claims(
    people: _People, years: _Years, network: dict[str, Any], rng: np.random.Generator
) -> bytes:
    """The rows of Claims.csv, in a random order."""
    of = rng.permutation(np.repeat(np.arange(len(years.year)), years.claims))
    person, n = years.person[of], len(of)
    condition = _choose(rng, _ends(years.present * tables.CONDITION[:, 5])[of], n)
    wrong = rng.random(n) < 0.006
    condition[wrong] = rng.integers(len(CONDITIONS), size=wrong.sum())
    kinds = _ends(np.array(list(tables.SPECIALTY.values())))
    specialty = _choose(rng, kinds[_KIND_OF_CONDITION[condition]], n)
    age, doctor = people.age[person], np.isin(specialty, [_INTERNAL, _GENERAL])
    specialty[doctor & (rng.random(n) < tables.PEDIATRICS[age])] = _PEDIATRICS
    women = tables.GYNECOLOGY[age] * people.woman[person]
    specialty[doctor & (rng.random(n) < women)] = _GYNECOLOGY
    place = _choose(rng, _ends(tables.PLACE)[specialty], n)
    delay = rng.gamma(1.2, 34, n) + 15 * (place == _INPATIENT)
    stays = (place == _INPATIENT) | ((place == _URGENT) & (rng.random(n) < tables.STAY_URGENT))
    suppressed = stays & (rng.random(n) < tables.STAY_SUPPRESSED)
    told = stays & ~suppressed & (rng.random(n) < tables.STAY_KNOWN)
    level = 1 + _choose(rng, _ends(tables.CHARLSON_LEVEL), n)
    charlson = level * (years.ill[of] & (rng.random(n) < tables.CHARLSON_TOLD))
    month = np.where(rng.random(n) < 0.2, 0, rng.integers(len(MONTHS), size=n))
    month[np.unique(of, return_index=True)[1]] = 0  # the first of a year is never later
    usual = network["usual"][people.doctor[person], specialty]
    provider = np.where(rng.random(n) < 0.6, usual, rng.integers(tables.PROVIDERS, size=n))
    pcp = np.where(rng.random(n) < 0.9, people.doctor[person], rng.integers(tables.PCPS, size=n))
    coded: dict[str, NDArray[Any]] = {
        "ProviderID": provider,
        "Vendor": network["vendor"][provider],
        "PCP": pcp,
        "Year": years.year[of],
        "Specialty": specialty,
        "PlaceSvc": place,
        "PayDelay": np.minimum(delay, LONGEST_DELAY).astype(int),
        "LengthOfStay": np.where(told, _choose(rng, _ends(tables.STAY), n), -1),
        "DSFS": month,
        "PrimaryConditionGroup": condition,
        "CharlsonIndex": charlson,
        "ProcedureGroup": _choose(rng, _ends(tables.PROCEDURE)[specialty], n),
        "SupLOS": suppressed.astype(int),
    }
    for name, share in tables.MISSING.items():
        coded[name] = np.where(rng.random(n) < share, -1, coded[name])
    texts = [(network["text"] | _TEXT)[name](codes) for name, codes in coded.items()]
    return _lines([_Text(people.number)(person), *texts])


def _counts(
    people: _People,
    years: _Years,
    name: str,
    logits: Numbers,
    mean: Numbers,
    rng: np.random.Generator,
) -> bytes:
    """The rows of DrugCount.csv or LabCount.csv: months with any by `logits`, and how many."""
    chance = _sigmoid(logits + rng.normal(size=len(logits)))
    of, month = (rng.random((len(chance), len(MONTHS))) < chance[:, None]).nonzero()
    most = MOST_DRUGS if name == "DrugCount" else MOST_LABS
    count = np.minimum(1 + rng.poisson(mean[of]), most)
    order = rng.permutation(len(of))
    texts = [
        _Text(people.number)(years.person[of[order]]),
        _TEXT["Year"](years.year[of[order]]),
        _TEXT["DSFS"](month[order]),
        _TEXT[name](count[order]),
    ]
    return _lines(texts)


def _members(people: _People, rng: np.random.Generator) -> bytes:
    size = len(people.number)
    age = np.where(rng.random(size) < tables.AGE_MISSING, -1, people.age)
    sex = np.where(rng.random(size) < tables.SEX_MISSING, -1, np.where(people.woman, 0, 1))
    return _lines([people.number.astype(str).tolist(), _Text(AGES)(age), _Text(SEXES)(sex)])


def _files(size: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`size` members and what they had in three years."""
    rng = numpy_generator(seed, "standin", "health")
    everybody = _people(size, rng)
    network: dict[str, Any] = {
        "usual": rng.integers(tables.PROVIDERS, size=(tables.PCPS, len(SPECIALTIES))),
        "vendor": rng.integers(tables.VENDORS, size=tables.PROVIDERS),
        "text": {
            name: _Text(rng.choice(10**digits, how_many, replace=False))
            for name, how_many, digits in (
                ("ProviderID", tables.PROVIDERS, 7),
                ("Vendor", tables.VENDORS, 6),
                ("PCP", tables.PCPS, 5),
            )
        },
    }
    content = {name: bytearray(",".join(of).encode() + b"\n") for name, of in TABLES.items()}
    content["Members.csv"] += _members(everybody, rng)
    for start in range(0, size, CHUNK):
        people = everybody[start : start + CHUNK]
        years = _years(people, rng)
        content["Claims.csv"] += _claims(people, years, network, rng)
        burden = years.present.sum(1)
        woman, old = people.woman[years.person], people.age[years.person] - 4.0
        logits = -0.6 + 0.2 * (burden - 6) + 0.25 * old + 0.4 * woman
        content["DrugCount.csv"] += _counts(
            people, years, "DrugCount", logits, 0.3 + 0.18 * burden, rng
        )
        logits = -1.9 + 0.12 * (burden - 6) + 0.12 * old + 0.3 * woman
        content["LabCount.csv"] += _counts(
            people, years, "LabCount", logits, 2.5 + 0.2 * burden, rng
        )
    for name in TABLES:
        yield name, bytes(content.pop(name))


HEALTH = StandIn("Health", "members", 20, 1, _files)
