"""The official files of UCI Adult (Becker & Kohavi 1996): rows, columns of x, traits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from leakage.data.blocks import spans_of
from leakage.data.files import text_of
from leakage.data.traits import make_trait
from leakage.errors import LeakageError
from leakage.fields import Category, Field, Number
from leakage.population import Trait

FILES = ("adult.data", "adult.test")
# fmt: off
# The fields of a row in their order, with the values that adult.names lists; none: a number.
COLUMNS: dict[str, tuple[str, ...]] = {
    "age": (),
    "workclass": (
        "Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov",
        "Without-pay", "Never-worked",
    ),
    "fnlwgt": (),
    "education": (
        "Bachelors", "Some-college", "11th", "HS-grad", "Prof-school", "Assoc-acdm", "Assoc-voc",
        "9th", "7th-8th", "12th", "Masters", "1st-4th", "10th", "Doctorate", "5th-6th", "Preschool",
    ),
    "education-num": (),
    "marital-status": (
        "Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed",
        "Married-spouse-absent", "Married-AF-spouse",
    ),
    "occupation": (
        "Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial",
        "Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical",
        "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv", "Armed-Forces",
    ),
    "relationship": (
        "Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried",
    ),
    "race": ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black"),
    "sex": ("Female", "Male"),
    "capital-gain": (),
    "capital-loss": (),
    "hours-per-week": (),
    "native-country": (
        "United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany",
        "Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba", "Iran",
        "Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam", "Mexico", "Portugal",
        "Ireland", "France", "Dominican-Republic", "Laos", "Ecuador", "Taiwan", "Haiti", "Columbia",
        "Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand", "Yugoslavia", "El-Salvador",
        "Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands",
    ),
}
# fmt: on
LABELS = ("<=50K", ">50K")
UNKNOWN = "?"
MAY_BE_UNKNOWN = ("workclass", "occupation", "native-country")
WIDTHS = {
    name: len(values) + (name in MAY_BE_UNKNOWN) if values else 1
    for name, values in COLUMNS.items()
}
"""The columns of x that each column takes."""
LARGEST = 1e9
"""No field comes near; a larger number would swamp the standard deviation of its column."""

AGE_BANDS = ("under 30", "30 to 44", "45 to 59", "60 and over")
AGE_BAND_STARTS = (30, 45, 60)


def read_rows(path: Path) -> NDArray[np.float64]:
    """Reads and checks one official file.

    Returns:
        (n, 15): numbers as they are, a category as its position in `COLUMNS` or, where it is
        unknown, -1, and last the label, 0 or 1.

    Raises:
        LeakageError: by file, row (the first line is 1) and column, what is wrong.
    """
    lines = text_of(path, "the rows of Adult").split("\n")
    # adult.test opens with a comment, and both files end in a blank line.
    kept = [n for n, line in enumerate(lines) if line.strip() and not (n == 0 and line[0] == "|")]
    if not kept:
        raise LeakageError(f"{path}: found no row, expected at least one with 15 fields")
    fields = [lines[n].split(",") for n in kept]
    for n, row_fields in zip(kept, fields, strict=True):
        if len(row_fields) != len(COLUMNS) + 1:
            raise LeakageError(
                f"{path}, row {n + 1}: found {len(row_fields)} fields, expected"
                f" {len(COLUMNS) + 1} with a comma between them"
            )
    table = np.empty((len(fields), len(COLUMNS) + 1))
    names = (*COLUMNS, "label")
    for j, (name, values) in enumerate(zip(names, zip(*fields, strict=True), strict=True)):
        found = [value.strip() for value in values]
        categories = LABELS if name == "label" else COLUMNS[name]
        if name == "label":
            found = [value.removesuffix(".") for value in found]  # adult.test has the dot
        if categories:
            allowed = [*categories, UNKNOWN] if name in MAY_BE_UNKNOWN else list(categories)
            codes = (
                pd.Index(allowed, dtype=object)
                .get_indexer(pd.Index(found, dtype=object))
                .astype(float)
            )
            bad = codes < 0
            codes[codes == len(categories)] = -1
            expected = f"one of {', '.join(allowed)}"
        else:
            codes = pd.to_numeric(pd.Series(found, dtype=object), errors="coerce").to_numpy(float)
            bad = ~((codes >= 0) & (codes <= LARGEST))  # also where it is NaN
            expected = f"a number from 0 to {LARGEST:.0f}"
        if bad.any():
            first = int(bad.argmax())
            raise LeakageError(
                f"{path}, row {kept[first] + 1}, column {name}: found {found[first]!r},"
                f" expected {expected}"
            )
        table[:, j] = codes
    return table


def check_shadow_root(folder: Path, root: Path) -> None:
    """Refuses a folder of shadow records that is missing, lacks adult.data or is the root."""
    if folder.resolve() == root.resolve():
        raise LeakageError(
            f"data.shadow_root: found the folder of data.root, {folder}; name another one, or leave"
            " data.shadow_root out to take the shadow records from data.root"
        )
    if not (folder / "adult.data").is_file():
        found = "no adult.data in it" if folder.is_dir() else "no such folder"
        raise LeakageError(
            f"data.shadow_root: {folder}: found {found}; point it at a folder with adult.data, and"
            " adult.test if there is one, in the official layout"
        )


def encode(
    table: NDArray[np.float64], widths: dict[str, int], train: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features x (N, d): one-hot categories and numbers standardised over the train records."""
    blocks = []
    for j, (name, values) in enumerate(COLUMNS.items()):
        column = table[:, j]
        if name not in widths:
            continue
        if values:
            # An unknown value has the code -1, which picks the last row: its own column.
            blocks.append(np.eye(widths[name])[column.astype(int)])
        else:
            mean, spread = _standard(column[train])
            blocks.append((column - mean)[:, None] / spread)
    return np.concatenate(blocks, axis=1).astype(np.float32)


def _standard(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and the standard deviation, 1 where that is 0."""
    return float(numbers.mean()), float(numbers.std()) or 1.0


def make_fields(
    table: NDArray[np.float64], widths: dict[str, int], train: NDArray[np.int64], x: Tensor
) -> tuple[Field, ...]:
    """What the columns of x (N, d) mean; the arguments are those of `encode`."""
    spans, fields = spans_of(widths), list[Field]()
    both = _education(table, spans, x)
    for j, (name, values) in enumerate(COLUMNS.items()):
        if name not in spans or (both is not None and set(spans[name]) & set(both.columns)):
            continue
        span, column = tuple(spans[name]), table[:, j]
        if values:
            known = (*values, UNKNOWN)[: len(span)]
            fields.append(Category(name, span, known, torch.eye(len(span))))
        else:
            mean, spread = _standard(column[train])
            whole = bool((column == column.round()).all())
            low, high = float(column.min()), float(column.max())
            fields.append(Number(name, span, low, high, mean, spread, whole))
    fields += [] if both is None else [both]
    return tuple(sorted(fields, key=lambda field: field.columns[0]))


def _education(table: NDArray[np.float64], spans: dict[str, range], x: Tensor) -> Category | None:
    """Education and education-num as one field where each level has a number of its own."""
    if not {"education", "education-num"} <= spans.keys():
        return None
    columns = (*spans["education"], *spans["education-num"])
    held, first, codes = np.unique(
        table[:, list(COLUMNS).index("education")], return_index=True, return_inverse=True
    )
    levels = x[first][:, columns]
    if not torch.equal(x[:, columns], levels[codes]):
        return None
    return Category(
        "education", columns, tuple(COLUMNS["education"][int(code)] for code in held), levels
    )


def make_traits(table: NDArray[np.float64], widths: dict[str, int]) -> dict[str, Trait]:
    """Every category and the age band, with the columns of x that tell them."""
    spans = spans_of(widths)
    traits = {}
    for j, (name, values) in enumerate(COLUMNS.items()):
        if not values:
            continue
        codes, span = torch.from_numpy(table[:, j].astype(np.int64)), spans.get(name, range(0))
        # Education-num numbers the very same levels, so it tells the education too.
        also = spans.get("education-num", range(0)) if name == "education" else range(0)
        traits[name] = make_trait(name, values, codes, (*span, *also), span)
    bands = np.digitize(table[:, list(COLUMNS).index("age")], AGE_BAND_STARTS)
    columns = spans.get("age", range(0))
    traits["age-band"] = make_trait("age-band", AGE_BANDS, torch.from_numpy(bands), columns)
    return traits
