"""A column of a table as a trait, as labels or as units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from leakage.errors import LeakageError
from leakage.population import Trait, columns_that_tell

MOST_VALUES, MOST_LABELS = 50, 1000
UNKNOWN = ("", "?")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-][0-9]+)?|[+-]?inf")
_WHOLE = re.compile(r"[+-]?[0-9]+")


def texts_of(column: pd.Series[Any]) -> list[str | None]:
    """The values of a column as text, None where unknown; 1.0 is 1 in a column of whole numbers.

    >>> texts_of(pd.Series([1.0, None, 0.0])), texts_of(pd.Series(["01", "?", " a"]))
    (['1', None, '0'], ['01', None, 'a'])
    """
    cells = zip(column.tolist(), column.isna().tolist(), strict=True)
    stripped = ["" if unknown else str(cell).strip() for cell, unknown in cells]
    known = set(stripped).difference(UNKNOWN)
    name: dict[str, str | None] = {text: text for text in known}
    if _are_numbers(known) and not _any_fraction(known) and not all(map(_WHOLE.fullmatch, known)):
        name |= {text: str(int(float(text))) for text in known}  # floats, as beside a NaN
    return [name.get(text) for text in stripped]


def values_of(texts: Iterable[str | None]) -> list[str]:
    """The distinct known values, in numeric order where all are numbers, else alphabetically.

    >>> values_of(["10", "9", None]), values_of(["10", "9", "a"])
    (['9', '10'], ['10', '9', 'a'])
    """
    known = {text for text in texts if text is not None}
    numbers = _are_numbers(known)
    return sorted(known, key=lambda text: (float(text) if numbers else 0, text))


def codes_of(texts: Iterable[str | None], values: Sequence[str]) -> Tensor:
    """The position of each in `values`, int64 (N,), -1 where it is unknown."""
    position = {None: -1} | {value: code for code, value in enumerate(values)}
    return torch.tensor([position[text] for text in texts], dtype=torch.int64)


def trait_of(name: str, texts: Sequence[str | None], x: Tensor) -> Trait | str:
    """The trait in a column, and where x (N, d) tells it; or why it cannot be a secret."""
    values = values_of(texts)
    if not values:
        return "is unknown in every record, so there is nothing to infer"
    if len(values) > MOST_VALUES or _any_fraction(values):
        kind = "numbers with a fraction" if _any_fraction(values) else "values"
        return (
            f"has {len(values)} distinct {kind}, and a secret is one of at most {MOST_VALUES}"
            " values; add a column that groups them into bins"
        )
    codes = codes_of(texts, values)
    columns = columns_that_tell(x, codes, len(values))
    return Trait(name, tuple(values), codes, tuple(columns.tolist()), _one_hot(x, codes, columns))


def _one_hot(x: Tensor, codes: Tensor, columns: Tensor) -> tuple[int, ...]:
    """For each value the first column that is 1 for it and 0 elsewhere; empty if one has none."""
    known = codes >= 0
    told, codes = x[known][:, columns], codes[known]
    found: list[int] = []
    for code in range(int(codes.max()) + 1):
        exact = (told == (codes == code).unsqueeze(1)).all(0)
        if not exact.any():
            return ()
        found.append(int(columns[exact][0]))
    return tuple(found)


def label_codes(texts: Sequence[str | None], name: str, key: str = "attack") -> Tensor:
    """Labels 0, 1, ..., int64 (N,): values, or quarters of numbers that are no classes."""
    values = values_of(texts)
    if _any_fraction(values) or (_are_numbers(values) and len(values) > MOST_LABELS):
        numbers = np.sort([float(text) for text in texts if text is not None])
        distinct = [float(value) for value in values]
        below = np.searchsorted(numbers, distinct, side="left")
        up_to = np.searchsorted(numbers, distinct, side="right")
        bins = 2 * (below + up_to) // len(numbers)  # by middle rank: ties stay together
        quarter: dict[str | None, int] = dict(zip(values, bins.tolist(), strict=True))
        codes = torch.tensor([quarter.get(text, 4) for text in texts])
        dense: Tensor = codes.unique(return_inverse=True)[1]
        return dense
    if len(values) > MOST_LABELS:
        raise LeakageError(
            f"{key}.labels: the column {name!r} has {len(values)} distinct values, and a label is"
            f" one of at most {MOST_LABELS}; name another column"
        )
    codes = codes_of(texts, values)
    return torch.where(codes < 0, len(values), codes)


def _are_numbers(values: Iterable[str]) -> bool:
    return all(map(_NUMBER.fullmatch, values))


def _any_fraction(values: Iterable[str]) -> bool:
    """Whether they are numbers, not all of them whole."""
    values = list(values)
    return _are_numbers(values) and not all(float(value).is_integer() for value in values)
