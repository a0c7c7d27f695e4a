"""A stand-in for UCI Adult: made-up records in the official files, with the real correlations.

The model draws sex, then age, marital status, relationship, education, occupation, workclass,
hours and origin, each given some of the earlier ones, then the income from a logistic model and
capital gains and losses given the income. Its tables are rounded shares of the official
adult.data (Becker & Kohavi 1996, CC BY 4.0).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leakage.errors import LeakageError
from leakage.randomness import numpy_generator

MARKER = "standin.json"
"""The file that tells a folder of made-up files from one of real files."""

VERSION = 1
"""Goes up with each change of what the generator writes, so that older files are replaced."""

FEMALE_SHARE = 0.3308
COPIES_SHARE = 1 / 900
"""Share of the records that repeat another one in all 15 fields, over both files, as in Adult."""

Table = tuple[NDArray[np.str_], NDArray[np.float64]]
"""The names (c,) of a variable and their weights (groups, c)."""


def _table(text: str) -> Table:
    """Reads lines of a name and its weight in each group."""
    rows = [line.split() for line in text.strip().splitlines()]
    return np.array([row[0] for row in rows]), np.array([row[1:] for row in rows], dtype=float).T


# Ages from FIRST_AGE[b] to just below FIRST_AGE[b + 1] are band b; the last band is open.
FIRST_AGE = np.array([17, 20, 23, 26, 31, 36, 46, 56, 66])

# By sex (male, female).
AGE_BAND = _table("""
0  39  75
1  55  96
2  71  91
3 125 134
4 140 120
5 258 221
6 180 150
7  96  77
8  36  36
""")

# By sex and age band: nine columns of men, nine of women.
MARITAL = _table("""
Divorced                1   7  20  53  91 120 108  88  39   7  17  66 147 275 401 436 345 180
Married-AF-spouse       0   0   0   3   0   0   0   0   0   2   1   1   2   3   1   0   0   3
Married-civ-spouse     14 105 249 484 633 722 802 824 792  15  38 105 177 195 218 194 161  73
Married-spouse-absent   1   7   8   8  10  10  13   9  12   4  12  12  24  21  22  27  18  16
Never-married         981 875 706 433 241 120  55  46  57 965 913 777 592 405 237 141  95  94
Separated               1   7  17  19  24  25  15  14   6   6  17  38  54  86  83  85  47  23
Widowed                 1   0   0   1   1   3   8  20  94   0   2   1   6  16  38 116 335 612
""")

# The never married, by sex and age band up to 46 and more.
RELATIONSHIP_NEVER_MARRIED = _table("""
Not-in-family   96 242 425 564 644 731 763 118 282 426 557 573 582 649
Other-relative  70  79  61  83  43  37  62  61  52  45  40  38  35  64
Own-child      824 645 454 290 239 178 105 801 600 433 261 174 152  96
Unmarried       10  34  61  63  73  55  71  20  67  96 142 216 230 190
""")

# The others, by sex and marital status in the order of MARITAL (never married: no weight needed).
RELATIONSHIP = _table("""
Husband          0 1000 991   0 0   0   0   0   0   0   0 0   0   0
Not-in-family  693    0   1 648 1 650 577 440   0   3 356 1 260 545
Other-relative  25    0   5 113 0  53  36  24  71  32  39 0  54  51
Own-child      100    0   3  70 0 117  12  57  71  27 146 0  84  16
Unmarried      182    0   0 169 0 180 375 479   0   0 459 0 602 388
Wife             0    0   0   0 0   0   0   0 858 938   0 0   0   0
""")

# By sex and age 17-19, 20-22, 23-25, 26-55, 56-65, 66 and over.
EDUCATION = _table("""
Preschool      1   2   1   1   2   3   0   0   3   2   0   5
1st-4th        4   3   5   5  14  12   0   0   5   4   7  23
5th-6th        8  13  13  10  18  27   0   4   4   9  13  18
7th-8th       17   8  18  17  54  88   4   5   7  11  52  65
9th           32  21  18  13  30  31  15   8   7  13  22  34
10th         132  29  21  22  40  44  99  15  15  19  49  42
11th         244  33  34  23  31  35 227  23  21  25  31  29
12th          78  22  18   9  12   5  74   9   7   9  10   5
HS-grad      251 355 329 330 328 284 263 257 257 325 390 388
Some-college 231 430 255 191 156 158 311 558 272 220 205 161
Assoc-voc      1  28  35  47  30  13   2  33  43  56  28  65
Assoc-acdm     0  22  40  34  17   8   1  34  44  46  24  26
Bachelors      0  31 200 193 148 155   2  54 285 175  97  65
Masters        0   2  13  65  63  56   1   0  25  66  56  52
Prof-school    0   0   0  25  31  43   0   0   3  12   4   8
Doctorate      0   0   0  16  25  40   0   0   1  10  12  13
""")
EDUCATION_GROUP = np.array([0, 1, 2, 3, 3, 3, 3, 4, 5])

# By sex and education-num up to 8, 9, 10, 11-12, 13, 14-16, where the occupation is known.
OCCUPATION = _table("""
Adm-clerical       23  56  84  67  64  25  83 286 322 280 165  45
Armed-Forces        0   1   0   0   0   1   0   0   0   0   0   0
Craft-repair      222 256 183 227  57  14  26  30  17  22   9   4
Exec-managerial    27  76 130 121 278 240  21  78 105 119 205 179
Farming-fishing    82  54  34  41  20   8  13   6   7   3   2   0
Handlers-cleaners 118  73  54  30  12   3  29  26  10   7   2   0
Machine-op-inspct 109 106  53  52  15   4 131  80  26  18   9   4
Other-service     136  78  77  54  27   6 331 214 155 121  49  18
Priv-house-serv     1   0   0   1   1   0  49  14   6   5   3   1
Prof-specialty     12  19  58  92 245 571  16  29  61 181 358 668
Protective-serv    10  27  39  49  23   8   5   6  10   8   9   0
Sales              55  91 139 116 173  67 145 124 138  79 101  36
Tech-support        4  14  35  79  41  18   7  17  41  86  46  15
Transport-moving  115 109  58  40  16   7   8  15   7   7   1   0
""")
EDUCATION_NUM_ENDS = np.array([8.5, 9.5, 10.5, 12.5, 13.5])
UNKNOWN_OCCUPATION = np.array([165, 127, 45, 37, 29, 18, 28, 98, 264]) / 1000  # by age band
UNKNOWN_OCCUPATION_FACTOR = np.array([0.82, 1.3])  # by sex

# By occupation, in the order of OCCUPATION.
WORKCLASS = _table("""
Federal-gov       84 1000  16  44   8  17   7  11    0  42  43   4  73  16
Local-gov         75    0  36  53  29  34   6  59    0 170 468   2  41  72
Private          751    0 779 662 458 929 956 832 1000 559 293 806 793 793
Self-emp-inc       8    0  26  98  51   1   6   8    0  39   8  80   3  17
Self-emp-not-inc  13    0 130  96 433  11  18  53    0  90   9 105  28  76
State-gov         67    0  14  46  15   7   6  38    0 100 179   3  61  26
Without-pay        1    0   0   0   6   1   0   0    0   0   0   0   0   1
""")
NEVER_WORKED_SHARE = 0.004  # of the unknown occupations; the workclass of the others is unknown

# First and last hours; by sex, age 17-22, 23-65, 66 and over, and occupation of short, usual and
# long hours.
HOURS = _table("""
1-19  170 108  84  39  14   8 342 207 183 206 204 101  60  39  27 349 309 353
20-20 133  98  84  26  11  10 114  82 127 140 180  87  47  31  16 160 111  29
21-34 201 153 168  90  31  27 189 168 108 231 239 217 131  89  56 160 185 176
35-39  75  78  46  61  42  32  39  61  61  91  87  87 132 105  83  74  62  29
40-40 328 414 387 578 513 388 235 279 277 296 239 391 508 506 498 216 259 206
41-49  32  62  67  77 131 128  32  61  47  18  23  29  54  94 121   7   0  88
50-50  30  36  63  57 117 165  14  64  89   9   8  43  27  62 102   4  74  29
51-59  10  24  25  21  43  59   7  29  42   5   8  14  14  23  38   0   0  59
60-60  11  17  21  28  60 101  14  21  23   4  10  29  12  30  33   7   0   0
61-99  10  11  55  23  38  83  14  29  42   0   3   0  15  21  26  22   0  29
""")
SHORT_HOURS = ("?", "Other-service", "Priv-house-serv", "Adm-clerical", "Handlers-cleaners")
LONG_HOURS = ("Exec-managerial", "Farming-fishing", "Transport-moving")

# By sex.
RACE = _table("""
Amer-Indian-Eskimo   9  11
Asian-Pac-Islander  32  32
Black               72 144
Other                7  10
White              880 802
""")

# By race, in the order of RACE.
COUNTRY = _table("""
?                            0  80  31  66   14
Cambodia                     0  17   0   0    0
Canada                       0   1   0   4    4
China                        0  70   0   0    0
Columbia                     3   0   0  26    2
Cuba                         0   0   1   7    3
Dominican-Republic           0   1   4  66    1
Ecuador                      0   0   0  33  0.7
El-Salvador                  0   0   0  15    4
England                      0   1   3   0    3
France                       0   0   0   0    1
Germany                      3   3   3   4    4
Greece                       0   1   0   0    1
Guatemala                    0   0   0  15    2
Haiti                        0   1  14   0    0
Holand-Netherlands           0   0   0   0 0.05
Honduras                     0   0 0.3   0  0.4
Hong                         3  16   0   0  0.1
Hungary                      0   0   0   0  0.5
India                        0  82   1  18  0.3
Iran                         0   6   0   7    1
Ireland                      0   1   0   0    1
Italy                        0   0   0   0    3
Jamaica                      0   0  24   4  0.2
Japan                        0  37   1   7    1
Laos                         0  17   0   0    0
Mexico                      26   1   1 148   21
Nicaragua                    0   0   1  15    1
Outlying-US(Guam-USVI-etc)   0   0   2   0  0.3
Peru                         0   0   0   4    1
Philippines                  3 181   0   0  0.3
Poland                       0   1   0   0    2
Portugal                     0   1   0   0    1
Puerto-Rico                  3   1   3  77    3
Scotland                     0   0   0   0  0.4
South                        6  74   0   0    0
Taiwan                       0  46   0   4  0.1
Thailand                     0  15   0   0  0.1
Trinadad&Tobago              0   2   5   4    0
United-States              952 281 907 476  921
Vietnam                      0  63   0   0  0.1
Yugoslavia                   0   0   0   0  0.6
""")

# The logistic model of an income above 50K. Ages by band, the others by name.
INCOME_INTERCEPT = -3.12
INCOME_AGE = np.array([-2.31, -1.71, -1.07, -0.24, 0.22, 0.70, 0.97, 0.78, 0.42])
INCOME_EDUCATION_NUM = 0.29  # each above 10
INCOME_MARRIED = 2.19
INCOME_FEMALE = -0.16
INCOME_HOURS = 0.029  # each above 40
INCOME_JOB = {
    "?": -0.4,
    "Exec-managerial": 0.77,
    "Farming-fishing": -0.95,
    "Handlers-cleaners": -0.73,
    "Machine-op-inspct": -0.4,
    "Other-service": -0.9,
    "Priv-house-serv": -1.31,
    "Prof-specialty": 0.57,
    "Protective-serv": 0.55,
    "Sales": 0.28,
    "Tech-support": 0.57,
    "Transport-moving": -0.2,
    "Federal-gov": 0.4,
    "Local-gov": -0.2,
    "Self-emp-inc": 0.3,
    "Self-emp-not-inc": -0.4,
    "State-gov": -0.4,
}

# Values in dollars and weights, by income (up to 50K, above); shares of records that have one.
GAIN = _table("""
594 34 0
2174 48 0
2829 31 0
3325 53 0
3908 32 0
4064 42 0
4650 41 0
5013 69 0
3103 7 90
4386 12 58
6849 27 9
5178 0 97
7298 0 246
7688 0 284
8614 0 55
10520 0 43
14084 0 41
15024 0 347
20051 0 37
27828 0 34
99999 0 159
""")
GAIN_SHARE = np.array([0.042, 0.214])
LOSS = _table("""
1408 21 0
1485 20 31
1590 40 0
1602 47 0
1672 34 0
1740 42 0
1876 39 0
2001 24 0
2339 17 0
1564 0 25
1848 0 51
1887 0 159
1902 13 189
1977 0 168
2258 12 13
2415 0 49
2559 0 12
""")
LOSS_SHARE = np.array([0.030, 0.099])


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


def _write(path: Path, content: bytes) -> None:
    """Writes the file so that it is there as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def settings(size: int, seed: int) -> dict[str, int]:
    """What decides the content of the files, as the marker keeps it."""
    return {"size": size, "seed": seed, "version": VERSION}


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a stand-in, None in a folder without one.

    Raises:
        LeakageError: the marker is unreadable, or a file is not the one that it describes.
    """
    path = folder / MARKER
    if not path.exists():
        return None
    try:
        marker = json.loads(path.read_bytes())
        sums = dict(marker["sha256"])
        dict(marker["settings"])
    except (ValueError, TypeError, KeyError):
        raise LeakageError(
            f"{path}: found a file that is not the marker of a stand-in; delete the folder to have"
            " the stand-in written again"
        ) from None
    for name, expected in sums.items():
        file = folder / name
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise LeakageError(
                f"{file}: this is not the stand-in that {MARKER} beside it describes; delete"
                f" {MARKER} if the files are real, else delete both and have them written again"
            )
    return dict(marker)


def write_adult(folder: Path, *, size: int, seed: int) -> None:
    """Writes adult.data, adult.test and the marker; a run killed in here leaves a marker.

    The marker comes first and holds the checksums, so half-written files are never taken for
    real ones, and files that someone puts in their place are never taken for made-up ones.

    Args:
        folder: created where it is missing.
        size: rows of adult.data, at least 1; adult.test gets half as many.
        seed: of the random generator, the only source of randomness.

    Raises:
        LeakageError: the folder holds files that are not a stand-in.
    """
    if size < 1:
        raise LeakageError(f"data.standin_size is a number of rows of at least 1, got {size}")
    names = ("adult.data", "adult.test")
    folder.mkdir(parents=True, exist_ok=True)
    marker = read_marker(folder)
    if marker is None and any((folder / name).exists() for name in names):
        raise LeakageError(
            f"{folder}: the Adult files in it have no {MARKER} and count as real, so no stand-in"
            " was written; choose another folder"
        )
    rows = _rows(size + (size + 1) // 2, numpy_generator(seed, "standin", "adult"))
    data = "\n".join(rows[:size]) + "\n\n"
    test = "".join(f"{row}.\n" for row in rows[size:])
    contents = (data.encode(), f"|1x3 Cross validator\n{test}\n".encode())
    described: dict[str, Any] = {
        "about": "made-up records, written by leakage in the layout of UCI Adult",
        "settings": settings(size, seed),
        "sha256": {
            name: hashlib.sha256(content).hexdigest()
            for name, content in zip(names, contents, strict=True)
        },
    }
    if marker is not None and marker != described:
        for name in names:  # else a kill would leave files that the new marker does not describe
            (folder / name).unlink(missing_ok=True)
    _write(folder / MARKER, json.dumps(described, indent=2).encode())
    for name, content in zip(names, contents, strict=True):
        _write(folder / name, content)
