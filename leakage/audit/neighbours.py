"""Neighbouring batches: the same records beside a canary of one value, of another, or none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import rows_at_once
from leakage.gradients.records import PerRecord
from leakage.secrets.base import draw_distinct

Side = Literal["zero", "one", "absent"]


class Neighbours(ABC):
    """The batch means (after every record-wise map) of the neighbours that an audit compares."""

    @abstractmethod
    def k(self, side: Side) -> int:
        """The records of a batch."""

    @abstractmethod
    def means(self, side: Side, n: int, generator: Generator) -> Iterator[Tensor]:
        """Blocks (rows, p) of the means of n batches."""

    @abstractmethod
    def one_batch(self, side: Side, n: int, generator: Generator) -> Tensor:
        """The mean of one and the same batch: (1, p), or (n, p) where a model draws at random."""

    def typical(self, side: Side) -> Tensor:
        """The mean that the auditor expects, (1, p)."""
        return self.one_batch(side, 1, Generator().manual_seed(0))


@dataclass(frozen=True)
class Fixed(Neighbours):
    """The same batch in every trial: the auditor knows all of it but for the canary.

    Args:
        background: the sum over the other records, (p,).
        adds: what the canary adds to that sum on each side, (p,); a side without it is left out.
        others: how many other records there are.
    """

    background: Tensor
    adds: Mapping[Side, Tensor]
    others: int

    @override
    def k(self, side: Side) -> int:
        return self.others + (side in self.adds)

    @override
    def one_batch(self, side: Side, n: int, generator: Generator) -> Tensor:
        return _mean(self.background.unsqueeze(0), self.adds.get(side), self.k(side))

    @override
    def means(self, side: Side, n: int, generator: Generator) -> Iterator[Tensor]:
        mean = self.one_batch(side, 1, generator)
        step = rows_at_once(mean.shape[1])
        for start in range(0, n, step):
            yield mean.repeat(min(step, n - start), 1)


@dataclass(frozen=True)
class Drawn(Neighbours):
    """Other records that are drawn anew in every trial, from the same pool on each side.

    Args:
        engine: at the weights of the round.
        record_map: what M does to the gradient of a record.
        pool: record indices that the others are drawn from, (m,).
        adds: what the canary adds to the sum on each side, (p,); a side without it is left out.
        others: how many there are.
        crowd: what each of some records that the auditor has adds to the sum, (m, p).
        fixed: the batch of `one_batch`.
    """

    engine: GradientEngine
    record_map: PerRecord | None
    pool: Tensor
    adds: Mapping[Side, Tensor]
    others: int
    crowd: Tensor
    fixed: Fixed

    @override
    def k(self, side: Side) -> int:
        return self.others + (side in self.adds)

    @override
    def one_batch(self, side: Side, n: int, generator: Generator) -> Tensor:
        return self.fixed.one_batch(side, n, generator)

    @override
    def typical(self, side: Side) -> Tensor:
        usual = self.others * self.crowd.mean(0, keepdim=True)
        return _mean(usual, self.adds.get(side), self.k(side))

    @override
    def means(self, side: Side, n: int, generator: Generator) -> Iterator[Tensor]:
        table = draw_distinct(self.pool, n, self.others, generator)
        for block in self.engine.blocks(table, generator, self.record_map):
            yield _mean(block * self.others, self.adds.get(side), self.k(side))


@dataclass(frozen=True)
class Whole(Neighbours):
    """Batches whose gradient is no mean over records: each is computed by itself.

    Args:
        engine: at the weights of the round.
        record_map: what M does to the gradient of a record, which the engine then refuses.
        pool: record indices that the other records are drawn from, (m,).
        background: the others of every trial, (k-1,); None where they are drawn anew.
        canary: the index of the canary on each side; a side without it is left out.
        others: how many other records there are.
        fixed: the others of `one_batch`, (k-1,).
    """

    engine: GradientEngine
    record_map: PerRecord | None
    pool: Tensor
    background: Tensor | None
    canary: Mapping[Side, int]
    others: int
    fixed: Tensor

    @override
    def k(self, side: Side) -> int:
        return self.others + (side in self.canary)

    @override
    def one_batch(self, side: Side, n: int, generator: Generator) -> Tensor:
        rows = self._rows(side, self.fixed.expand(n, -1))
        return self.engine.means(rows, generator, self.record_map)

    @override
    def means(self, side: Side, n: int, generator: Generator) -> Iterator[Tensor]:
        if self.background is not None:
            others = self.background.expand(n, -1)
        else:
            others = draw_distinct(self.pool, n, self.others, generator)
        yield from self.engine.blocks(self._rows(side, others), generator, self.record_map)

    def _rows(self, side: Side, others: Tensor) -> Tensor:
        if side not in self.canary:
            return others
        return torch.cat([torch.full((len(others), 1), self.canary[side]), others], 1)


def _mean(sums: Tensor, added: Tensor | None, k: int) -> Tensor:
    """The means of batches (rows, p) of k records; of none, 0."""
    total = sums if added is None else sums + added
    return total / max(1, k)
