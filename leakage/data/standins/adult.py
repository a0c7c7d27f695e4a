"""A stand-in for UCI Adult: made-up records in the official files, with the real correlations.

The model draws sex, then age, marital status, relationship, education, occupation, workclass,
hours and origin, each given some of the earlier ones, then the income from a logistic model and
capital gains and losses given the income. Its tables are rounded shares of the official
adult.data (Becker & Kohavi 1996, CC BY 4.0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leakage.data.standins.adult_tables import (
    AGE_BAND,
    COPIES_SHARE,
    COUNTRY,
    EDUCATION,
    EDUCATION_GROUP,
    EDUCATION_NUM_ENDS,
    FEMALE_SHARE,
    FIRST_AGE,
    GAIN,
    GAIN_SHARE,
    HOURS,
    INCOME_AGE,
    INCOME_EDUCATION_NUM,
    INCOME_FEMALE,
    INCOME_HOURS,
    INCOME_INTERCEPT,
    INCOME_JOB,
    INCOME_MARRIED,
    LONG_HOURS,
    LOSS,
    LOSS_SHARE,
    MARITAL,
    NEVER_WORKED_SHARE,
    OCCUPATION,
    RACE,
    RELATIONSHIP,
    RELATIONSHIP_NEVER_MARRIED,
    SHORT_HOURS,
    UNKNOWN_OCCUPATION,
    UNKNOWN_OCCUPATION_FACTOR,
    WORKCLASS,
    Table,
)
from leakage.data.standins.marker import StandIn
from leakage.randomness import numpy_generator


def _draw(rng: np.random.Generator, table: Table, group: NDArray[Any]) -> NDArray[np.int64]:
    """For each group number (n,) the position of a name of the table (n,), by its weights."""
    ends = np.cumsum(table[1], axis=1)
    ends /= ends[:, -1:]
    drawn: NDArray[np.int64] = (rng.random(len(group))[:, None] >= ends[group]).sum(axis=1)
    return drawn


def _rows(n: int, rng: np.random.Generator) -> list[str]:
    """Draws n records as lines of adult.data, each by itself, and copies a few."""
    sex = (rng.random(n) < FEMALE_SHARE).astype(int)
    band = _draw(rng, AGE_BAND, sex)
    last = np.append(FIRST_AGE[1:] - 1, 90)[band]
    age = np.where(
        band == len(FIRST_AGE) - 1,
        np.minimum(66 + rng.exponential(6, n), 90).astype(int),
        rng.integers(FIRST_AGE[band], last, endpoint=True),
    )
    marital = _draw(rng, MARITAL, sex * 9 + band)
    marital_name = MARITAL[0][marital]
    relationship = np.where(
        marital_name == "Never-married",
        RELATIONSHIP_NEVER_MARRIED[0][
            _draw(rng, RELATIONSHIP_NEVER_MARRIED, sex * 7 + np.minimum(band, 6))
        ],
        RELATIONSHIP[0][_draw(rng, RELATIONSHIP, sex * 7 + marital)],
    )
    education = _draw(rng, EDUCATION, sex * 6 + EDUCATION_GROUP[band])
    education_num = education + 1
    education_group = np.searchsorted(EDUCATION_NUM_ENDS, education_num)
    occupation = _draw(rng, OCCUPATION, sex * 6 + education_group)
    unknown = rng.random(n) < UNKNOWN_OCCUPATION[band] * UNKNOWN_OCCUPATION_FACTOR[sex]
    occupation_name = np.where(unknown, "?", OCCUPATION[0][occupation])
    without = np.where(rng.random(n) < NEVER_WORKED_SHARE, "Never-worked", "?")
    workclass = np.where(unknown, without, WORKCLASS[0][_draw(rng, WORKCLASS, occupation)])

    length = 1 + np.isin(occupation_name, LONG_HOURS) - np.isin(occupation_name, SHORT_HOURS)
    stage = np.digitize(age, [23, 66])
    spans = np.array([span.split("-") for span in HOURS[0].tolist()], dtype=int)
    low, high = spans[_draw(rng, HOURS, sex * 9 + stage * 3 + length)].T
    # Short weeks are spread evenly, very long ones crowd at 61 and a little above.
    hours = np.where(
        low > 60,
        np.minimum(low + rng.exponential(11, n), high).astype(int),
        rng.integers(low, high, endpoint=True),
    )
    race = _draw(rng, RACE, sex)
    country = COUNTRY[0][_draw(rng, COUNTRY, race)]

    score = INCOME_INTERCEPT + INCOME_AGE[band] + INCOME_EDUCATION_NUM * (education_num - 10.0)
    score += INCOME_MARRIED * np.isin(marital_name, ["Married-civ-spouse", "Married-AF-spouse"])
    score += INCOME_FEMALE * sex + INCOME_HOURS * np.clip(hours - 40, -30, 30)
    for name, coefficient in INCOME_JOB.items():
        score += coefficient * ((occupation_name == name) | ((workclass == name) & (name != "?")))
    rich = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(int)
    gain = np.where(rng.random(n) < GAIN_SHARE[rich], GAIN[0][_draw(rng, GAIN, rich)], "0")
    loss = np.where(rng.random(n) < LOSS_SHARE[rich], LOSS[0][_draw(rng, LOSS, rich)], "0")
    loss = np.where(gain == "0", loss, "0")  # nobody in Adult has both
    weight = np.clip(rng.gamma(3.27, 58_000, n), 12_285, 1_484_705).astype(int)

    fields = [age, workclass, weight, EDUCATION[0][education], education_num, marital_name]
    fields += [occupation_name, relationship, RACE[0][race], np.array(["Male", "Female"])[sex]]
    fields += [gain, loss, hours, country, np.array(["<=50K", ">50K"])[rich]]
    rows = list(map(", ".join, zip(*(field.astype(str).tolist() for field in fields), strict=True)))
    for copy, original in rng.integers(n, size=(round(n * COPIES_SHARE), 2)).tolist():
        rows[copy] = rows[original]
    return rows


def _files(size: int, seed: int) -> list[tuple[str, bytes]]:
    """`size` rows of adult.data, half as many of adult.test."""
    rows = _rows(size + (size + 1) // 2, numpy_generator(seed, "standin", "adult"))
    test = "".join(f"{row}.\n" for row in rows[size:])
    return [
        ("adult.data", ("\n".join(rows[:size]) + "\n\n").encode()),
        ("adult.test", f"|1x3 Cross validator\n{test}\n".encode()),
    ]


ADULT = StandIn("Adult", "rows of adult.data", 1, 1, _files)
