"""Traits of records that are no part of x."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leakage.population import Trait


def make_trait(name: str, values: Sequence[str], codes: Tensor) -> Trait:
    """A trait that is no part of x, without the values that no record has.

    Args:
        name: the name that configs use.
        values: of all that there could be.
        codes: the position in `values` of each record, int64 (N,), -1 where it is unknown.
    """
    held = codes[codes >= 0].unique()
    position = torch.full((len(values) + 1,), -1)  # the last is for an unknown one
    position[held] = torch.arange(len(held))
    return Trait(name, tuple(values[code] for code in held), position[codes])
