"""Which entries of gradients tell a value: the one-way F statistic (Fisher 1925)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def telling(blocks: Iterable[Tensor], values: Tensor, count: int) -> Tensor:
    """The entries with the largest F statistic, at most `count`, ascending; a constant one last.

    Args:
        blocks: gradients (n, p), some rows at a time.
        values: what each is of, int64 (n,).
        count: how many.
    """
    statistic = f_statistic(blocks, values).nan_to_num(nan=-1.0, posinf=torch.inf)
    return statistic.argsort(descending=True, stable=True)[:count].sort().values


def f_statistic(blocks: Iterable[Tensor], values: Tensor) -> Tensor:
    """The one-way F statistic of each entry between the values (Fisher 1925), float64 (p,).

    NaN where an entry is constant; inf where it separates the values without any spread.
    """
    c = int(values.max()) + 1
    holds = F.one_hot(values, c).double()  # (n, c)
    first, start = torch.empty(0), 0
    sums = squares = torch.empty(0)
    for block in blocks:
        if not start:  # differences to a release: a constant entry has no spread at all
            first = block[0].double()
            sums, squares = torch.zeros(c, len(first)).double(), torch.zeros(len(first)).double()
        shifted = block.double() - first
        sums += holds[start : start + len(block)].T @ shifted
        squares += shifted.square().sum(0)
        start += len(block)
    counts = holds.sum(0)
    present = counts > 0
    between_raw = (sums[present].square() / counts[present].unsqueeze(1)).sum(0)
    between = between_raw - sums.sum(0).square() / counts.sum()
    within = (squares - between_raw).clamp(min=0)
    degrees = int(present.sum())
    return (between / (degrees - 1)) / (within / (len(values) - degrees))
