"""What of a release reaches an adversary: p entries become m, so that (n, p) never stands whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from leakage.gradients.telling import telling
from leakage.randomness import torch_generator
from leakage.releases import Reduce


class View(ABC):
    """A choice of what an adversary looks at; settings only."""

    @abstractmethod
    def fit(self, shadow: Iterable[Tensor], values: Tensor) -> Reduce:
        """Fixes the map on shadow releases.

        Args:
            shadow: blocks of rows, float32 (rows, p), in order; may be gone through once. Without
                the noise of M, which the adversary's own gradients do not have yet.
            values: the secret of each row, int64 (n,).
        """


@dataclass(frozen=True)
class Whole(View):
    """Every entry."""

    @override
    def fit(self, shadow: Iterable[Tensor], values: Tensor) -> Reduce:
        return lambda rows: rows


@dataclass(frozen=True)
class Columns(View):
    """Some entries, in this order.

    Args:
        columns: their positions.
    """

    columns: tuple[int, ...]

    @override
    def fit(self, shadow: Iterable[Tensor], values: Tensor) -> Reduce:
        columns = torch.tensor(self.columns, dtype=torch.int64)
        return lambda rows: rows[:, columns]


@dataclass(frozen=True)
class FTest(View):
    """The entries with the largest F statistic between the values of the secret, ascending.

    Args:
        count: how many, at least 1; all where there are fewer.
    """

    count: int

    @override
    def fit(self, shadow: Iterable[Tensor], values: Tensor) -> Reduce:
        blocks = iter(shadow)
        first = next(blocks)
        if self.count >= first.shape[1]:
            return lambda rows: rows
        columns = telling(chain([first], blocks), values, self.count)
        return lambda rows: rows[:, columns]


@dataclass(frozen=True)
class CountSketch(View):
    """Sums of entries with random signs (Charikar et al. 2002): it keeps distances on average.

    Entry j goes to the bucket (j + shift) mod count, with a shift for each run of `count` entries:
    two entries of a run never meet, two of different runs do with probability 1 / count.

    Args:
        count: m, the number of buckets.
        seed: of the signs and shifts.
    """

    count: int
    seed: int

    @override
    def fit(self, shadow: Iterable[Tensor], values: Tensor) -> Reduce:
        hashes = cache(self._hashes)  # no release is computed only to count its entries
        return lambda rows: self._sketch(rows, *hashes(rows.shape[1]))

    def _hashes(self, p: int) -> tuple[Tensor, Tensor]:
        """The sign of each of p entries, and the shift of each run of them."""
        generator = torch_generator(self.seed, "count sketch", p)
        runs = -(-p // self.count)
        signs = torch.randint(2, (p,), generator=generator, dtype=torch.int8) * 2 - 1
        return signs, torch.randint(self.count, (runs,), generator=generator)

    def _sketch(self, rows: Tensor, signs: Tensor, shifts: Tensor) -> Tensor:
        m, at_once = self.count, 64  # runs: so many entries that they stay in the caches
        if len(signs) <= m:
            return rows
        sums = torch.zeros(len(rows), m)
        for run in range(0, len(shifts), at_once):
            part = slice(run * m, (run + at_once) * m)
            signed = rows[:, part] * signs[part]
            signed = F.pad(signed, (0, -signed.shape[1] % m)).view(len(rows), -1, m)
            source = (torch.arange(m) - shifts[run : run + at_once].unsqueeze(1)) % m  # (runs, m)
            sums += signed.gather(2, source.expand(len(rows), -1, -1)).sum(1)
        return sums


@dataclass(frozen=True)
class Subspace(View):
    """The principal directions of gradients without noise: where an M that adds noise adds least.

    Noise as large in every direction drowns any single entry. Of gradients that vary in few
    directions, what lies along these keeps all of the signal and a share count / p of the noise.

    Args:
        count: how many directions, at least 1.
    """

    count: int

    @override
    def fit(self, shadow: Iterable[Tensor], values: Tensor) -> Reduce:
        rows = torch.cat(list(shadow))
        rows = rows - rows.mean(0)
        # From the n x n products: p is far larger than n.
        variance, sides = torch.linalg.eigh((rows @ rows.T).double())
        varies = variance > variance[-1] * 1e-10
        sides = sides[:, varies][:, -self.count :]
        directions = torch.linalg.qr(rows.T @ sides.float()).Q  # (p, m)
        return lambda seen: seen @ directions


_DIRECTIONS = 32
_SKETCHED = 2**16  # entries from which on an F-test would keep too many releases


def entries(reduce: str, count: int, p: int, seed: int, *, noisy: bool = False) -> View:
    """The view of p entries that `reduce` names: `f_test`, `sketch`, or `auto`."""
    if reduce == "auto" and noisy and p <= _SKETCHED:
        return Subspace(_DIRECTIONS)
    if reduce == "sketch" or (reduce == "auto" and p > _SKETCHED):
        return CountSketch(count, seed)
    return FTest(count)
