"""Fields of x where nobody says what its columns mean: what the records themselves show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from leakage.fields.base import Category, Field, Number

MOST_LEVELS = 50
UNKNOWN = "?"


class Told(Protocol):
    """A trait: the names of its values, that of each record, and the columns of x that tell it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def values(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def codes(self) -> Tensor: ...  # noqa: D102
    @property
    def columns(self) -> tuple[int, ...]: ...  # noqa: D102


class Described(Protocol):
    """What a population says of its records."""

    @property
    def fields(self) -> tuple[Field, ...]: ...  # noqa: D102
    @property
    def features(self) -> Tensor: ...  # noqa: D102
    @property
    def traits(self) -> Mapping[str, Told]: ...  # noqa: D102


def fields_of(population: Described) -> tuple[Field, ...]:
    """What the columns of x mean, as the population says it, else as its records show it.

    Columns that tell a trait take the entries that some record has, and so do neighbouring ones
    of which always one is 1 and the others 0. Any other column with at most 50 different entries
    takes one of them, and the rest are numbers in the range of the records.

    Returns:
        The fields in the order of x; none where records are no vectors.
    """
    if population.fields or not population.features.shape[1] or not len(population.features):
        return population.fields
    x = population.features
    found: list[Field] = []
    free = torch.ones(x.shape[1], dtype=torch.bool)
    for trait in population.traits.values():
        columns = list(trait.columns)
        if columns and free[columns].all() and (field := _of_trait(trait, x[:, columns])):
            found.append(field)
            free[columns] = False
    binary = ((x == 0) | (x == 1)).all(0)
    column = 0
    while column < x.shape[1]:
        if not free[column]:
            column += 1
            continue
        width = _one_hot_width(x[:, column:], (free & binary)[column:])
        span = tuple(range(column, column + width))
        found.append(_number(x, column) if width == 1 else _one_hot(span))
        column += width
    return tuple(sorted(found, key=lambda field: field.columns[0]))


def _of_trait(trait: Told, blocks: Tensor) -> Category | None:
    """A trait whose every value has entries (w,) of its own, all records with it the same ones."""
    codes, levels = [], []
    for code in trait.codes.unique().tolist():
        rows = blocks[trait.codes == code]
        if (rows != rows[0]).any():
            return None
        codes.append(code)
        levels.append(rows[0].float())
    table = torch.stack(levels)
    if len(table.unique(dim=0)) < len(table):
        return None
    names = tuple(UNKNOWN if code < 0 else trait.values[code] for code in codes)
    return Category(trait.name, trait.columns, names, table)


def _one_hot_width(x: Tensor, usable: Tensor) -> int:
    """How many of the first columns of x (N, d) are 1 once and 0 else in each record; 1 if none."""
    total = torch.zeros(len(x))
    for width, column in enumerate(x.T, start=1):
        if not usable[width - 1]:
            return 1
        total += column
        if total.max() > 1:
            return 1
        if total.min() == 1:
            return width
    return 1


def _one_hot(span: Sequence[int]) -> Category:
    names = tuple(f"x[{column}]" for column in span)
    return Category(f"x[{span[0]}..{span[-1]}]", tuple(span), names, torch.eye(len(span)))


def _number(x: Tensor, column: int) -> Field:
    entries = x[:, column].unique()
    if len(entries) > MOST_LEVELS:
        return Number(f"x[{column}]", (column,), float(entries[0]), float(entries[-1]))
    names = tuple(f"{entry:.9g}" for entry in entries.tolist())
    return Category(f"x[{column}]", (column,), names, entries.float().unsqueeze(1))
