"""Traits of records, with the values that some record has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leakage.population import Trait


def make_trait(
    name: str,
    values: Sequence[str],
    codes: Tensor,
    columns: Sequence[int] = (),
    one_hot: Sequence[int] = (),
) -> Trait:
    """A trait without the values that no record has.

    Args:
        name: the name that configs use.
        values: of all that there could be.
        codes: the position in `values` of each record, int64 (N,), -1 where it is unknown.
        columns: those of x that tell it; none where it is no part of x.
        one_hot: the column of x of each of the values, where there are such columns.
    """
    held = codes[codes >= 0].unique()
    position = torch.full((len(values) + 1,), -1)  # the last is for an unknown one
    position[held] = torch.arange(len(held))
    return Trait(
        name,
        tuple(values[code] for code in held),
        position[codes],
        tuple(columns),
        tuple(one_hot[code] for code in held) if one_hot else (),
    )
