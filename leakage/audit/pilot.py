"""Releases of one and the same batch, before any trial: does M draw noise, and is it fresh?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from leakage.defenses import Defense, dp_of, final_dp
from leakage.defenses.checks import checked_release
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout, rows_at_once

_AT_ONCE = 8  # releases of each call


@dataclass(frozen=True)
class Pilot:
    """What some releases of two neighbouring batches show.

    Args:
        zero: releases of the one batch, (m, p).
        one: those of the other, (m, p).
        draws: whether M took anything from its generator: else it is the same for ever.
    """

    zero: Tensor
    one: Tensor
    draws: bool

    @property
    def constant(self) -> Tensor:
        """The entries that are the same to the bit in all releases of each batch, bool (p,)."""
        same = [(side == side[0]).all(0) for side in (self.zero, self.one)]
        return same[0] & same[1]

    @property
    def silent(self) -> Tensor:
        """Those of them that differ between the two batches: each tells them apart for certain."""
        return self.constant & (self.zero[0] != self.one[0])

    @property
    def deterministic(self) -> bool:
        """Whether no entry ever varies: what is rare may be missed, but not that M could draw."""
        return bool(self.constant.all()) and not self.draws


def released(
    defense: Defense,
    means: Iterator[Tensor],
    k: int,
    value: int,
    layout: Layout,
    generator: Generator,
) -> Iterator[Tensor]:
    """The releases of blocks of means over k records, a number of rows at once that p decides.

    A batch without a record has the mean 0. An M that reads the secret is told its `value`.
    """
    for block in means:
        for rows in block.split(rows_at_once(layout.p)):
            knowing = defense
            if defense.reads_secret:
                knowing = defense.told(torch.full((len(rows),), value))
            yield checked_release(knowing, rows, max(1, k), layout, generator)


def check_fresh(defense: Defense, pilot: Pilot, layout: Layout) -> None:
    """Refuses an M that claims noise and draws it once for several releases, in any layer.

    Raises:
        LeakageError: which layers.
    """
    dp = final_dp(defense)
    if dp is None or not dp.sigma:
        return
    stale = []
    for name in layout.names:
        span = layout.span(name)
        for side in (pilot.zero[:, span], pilot.one[:, span]):
            distinct = len(side.unique(dim=0))
            if 2 * distinct <= len(side) and (distinct > 1 or bool(pilot.constant.all())):
                stale.append((name, distinct))
                break
    if stale:
        name, distinct = stale[0]
        where = "everywhere" if len(stale) == len(layout.names) else f"in {name}"
        raise LeakageError(
            f"defense: the noise of {defense.label} is not fresh: {len(pilot.zero)} releases of the"
            f" same batch hold {distinct} different ones {where}; draw the noise of every release"
            " anew from the generator that release is given"
        )


def pilot_of(
    defense: Defense,
    means: tuple[Tensor, Tensor],
    ks: tuple[int, int],
    values: tuple[int, int],
    layout: Layout,
    generator: Generator,
    rows: int,
) -> Pilot:
    """Releases each of two batches some times, in several calls of M.

    Args:
        defense: M.
        means: (1, p) each, or one row for each release where the model itself draws at random.
        ks: the records of each.
        values: the position of the secret of each.
        layout: of a gradient.
        generator: of M.
        rows: how many releases, where the means do not say.
    """
    sides, before = [], generator.get_state()
    for mean, k, value in zip(means, ks, values, strict=True):
        every = mean.expand(rows, -1) if len(mean) == 1 else mean
        blocks = (block.clone() for block in every.split(_AT_ONCE))
        sides.append(torch.cat(list(released(defense, blocks, k, value, layout, generator))))
    dp = dp_of(defense)
    silent = dp is not None and dp.sigma == 0  # which draws noise and multiplies it by 0
    draws = not silent and not torch.equal(before, generator.get_state())
    return Pilot(sides[0], sides[1], draws)
