"""g~ = M(g) of many batches, some rows at a time, and what adversaries keep of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from leakage.defenses import Defense
from leakage.defenses.checks import checked_release
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import rows_at_once
from leakage.gradients.plan import Plan

Reduce = Callable[[Tensor], Tensor]
"""Maps rows (n, p) to (n, m), each by itself and linearly: the mean of maps is the map of means."""


def release(
    engine: GradientEngine,
    batches: Tensor,
    defense: Defense,
    generator: Generator,
    clients: int = 1,
    values: Tensor | None = None,
    repeats: int = 1,
) -> Iterator[Tensor]:
    """g~ = M(g) for each row of record indices (n, clients * k), as blocks of float32 (rows, p).

    M sees a number of rows that p alone decides, and stochastic layers have a stream of their own:
    so no release depends on the memory. An M that reads the secret is told `values` (n,).
    Each row is released `repeats` times, one after the other.
    """
    layout = engine.layout
    stochastic = Generator().manual_seed(generator.initial_seed())
    for means in engine.blocks(batches, stochastic, defense.record_map(layout), None, clients):
        for some in means.split(rows_at_once(layout.p)):
            if repeats > 1:
                some = some.repeat_interleave(repeats, 0)
            knowing = defense
            if values is not None and defense.reads_secret:
                knowing, values = defense.told(values[: len(some)]), values[len(some) :]
            yield checked_release(knowing, some, batches.shape[1], layout, generator)


@dataclass(frozen=True)
class Releases:
    """The releases of one split in one round, computed whenever they are gone through.

    Args:
        engine: at the weights of the round.
        batches: record indices, int64 (n, clients * k).
        defense: M.
        seed: of M and of stochastic layers.
        columns: the entries that adversaries see of a release.
        clients: whose records stand in a row; 0: nobody trains on them.
        values: the secret of each row, int64 (n,), for an M that reads it.
        repeats: how often each row is released, one after the other.
    """

    engine: GradientEngine
    batches: Tensor
    defense: Defense
    seed: int
    columns: Tensor
    clients: int = 1
    values: Tensor | None = None
    repeats: int = 1

    def __iter__(self) -> Iterator[Tensor]:
        generator = Generator().manual_seed(self.seed)
        given = (self.defense, generator, self.clients, self.values, self.repeats)
        for block in release(self.engine, self.batches, *given):
            yield self._seen(block)

    def kept(self) -> Sequence[Tensor] | Releases:
        """Its blocks, to go through again at no cost, where the memory holds all of them."""
        return list(self) if self._fits else self

    def through(self, reduces: Sequence[Reduce]) -> list[Tensor]:
        """What each of some linear maps leaves of all releases, float32 (n, m) each."""
        if not reduces:
            return []
        if self._fits or not self._linear:
            return reduced(self, reduces)
        # The map of a mean is the mean of maps: a record is mapped once, however many hold it.
        layout, per_record = self.engine.layout, self.defense.per_record
        widths = [r(self._seen(torch.zeros(1, layout.p))).shape[1] for r in reduces]

        def mapped(gradients: Tensor) -> Tensor:
            seen = self._seen(per_record(gradients, layout).cpu())
            return torch.cat([reduce(seen) for reduce in reduces], 1).to(gradients.device)

        generator = Generator().manual_seed(self.seed)
        try:
            blocks = list(
                self.engine.blocks(self.batches, generator, mapped, sum(widths), self.clients)
            )
        except LeakageError:
            if self._linear or self.defense.record_wise:
                raise
            return reduced(self, reduces)  # the first batch has shown that records mix
        return list(torch.cat(blocks).split(widths, 1))

    @property
    def _plan(self) -> Plan:
        return self.engine.plan_for(self.batches, self.clients)

    @property
    def _fits(self) -> bool:
        return len(self.batches) * self.repeats <= self._plan.rows

    @property
    def _linear(self) -> bool:
        """Whether M is the identity after the mean, of gradients that records have."""
        return not self.defense.maps_means and self._plan.path not in ("batch-wise", "updates")

    def _seen(self, block: Tensor) -> Tensor:
        return block if len(self.columns) == self.engine.layout.p else block[:, self.columns]


def reduced(blocks: Sequence[Tensor] | Releases, reduces: Sequence[Reduce]) -> list[Tensor]:
    """What each map leaves of all blocks, float32 (n, m) each."""
    parts = [[reduce(block) for reduce in reduces] for block in blocks]
    return [torch.cat(columns) for columns in zip(*parts, strict=True)]
