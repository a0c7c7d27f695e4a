"""Distribution inference: a is the proportion of records with a trait (Suri & Evans 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.errors import LeakageError, nearest
from leakage.population import Population, Trait
from leakage.secrets.base import Pool, Sizes, draw_holders
from leakage.secrets.trait import TraitSecret


@dataclass(frozen=True)
class Distribution(TraitSecret):
    """The proportion of the records of a batch that hold a value; a is on a grid, all as likely.

    Args:
        attribute: the trait, part of x or not.
        value: the value that holders have.
        proportions: the grid, distinct shares in [0, 1], ascending.
        composition: `exact`: a * k of the records hold the value; `random`: each of them does
            with probability a, so that no adversary is always right.
    """

    attribute: str = "sex"
    value: str = ""
    proportions: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    composition: Literal["exact", "random"] = "exact"

    def __post_init__(self) -> None:
        grid = self.proportions
        if len(grid) < 2 or not all(0 <= a <= 1 for a in grid):
            raise LeakageError(
                f"{self.key}.proportions: two or more shares in [0, 1] are needed, got {grid}"
            )
        if any(b <= a for a, b in pairwise(grid)):
            raise LeakageError(
                f"{self.key}.proportions: distinct shares in ascending order are needed, got {grid}"
            )
        if self.composition not in ("exact", "random"):
            raise LeakageError(
                f"{self.key}.composition: Distribution knows 'exact' and 'random',"
                f" got {self.composition!r}"
            )

    @property
    @override
    def name(self) -> str:
        return f"distribution_{self.attribute}"

    @property
    @override
    def holder(self) -> str | None:
        return self.value

    @property
    @override
    def levels(self) -> tuple[float, ...]:
        return tuple(self.proportions)

    @override
    def support(self, population: Population) -> tuple[str, ...]:
        return tuple(f"{a:g}" for a in self.proportions)

    @override
    def needs(self, value: int, k: int) -> int:
        shares = self.proportions if value else [1 - a for a in self.proportions]
        if self.composition == "exact":
            return max(round(share * k) for share in shares)
        return k if max(shares) > 0 else 0

    @override
    def draw(
        self, values: Tensor, k: int, pool: Pool, generator: Generator, targets: Tensor | None
    ) -> Tensor:
        shares = torch.tensor(self.proportions, dtype=torch.float64)[values]
        if self.composition == "exact":
            counts = (shares * k).round().long()
        else:
            draws = torch.rand(len(values), k, generator=generator, dtype=torch.float64)
            counts = (draws < shares.unsqueeze(1)).sum(1)
        return draw_holders(counts, k, pool, generator)

    @override
    def changed(self, k: int, c: int) -> Tensor:
        if self.composition == "random":  # each record may be drawn otherwise
            return super().changed(k, c)
        held = (torch.tensor(self.proportions, dtype=torch.float64) * k).round().long()
        return (held.unsqueeze(0) - held.unsqueeze(1)).abs()

    @override
    def check_values(self, trait: Trait) -> None:
        if not self.value:
            raise LeakageError(
                f"{self.key}.value: Distribution needs the value whose share is asked for;"
                f" {nearest('', trait.values)}"
            )
        super().check_values(trait)

    @override
    def check(self, population: Population, sizes: Sizes) -> None:
        if self.composition == "exact":
            for key, k in (("k", sizes.k), ("shadow_k", sizes.shadow_k)):
                self._check_whole(key, k)
        super().check(population, sizes)

    def _check_whole(self, key: str, k: int) -> None:
        """Refuses a batch that no whole number of holders can divide like that."""
        for a in self.proportions:
            if not _is_whole(a * k):
                fits = [n for n in range(1, 10_001) if all(_is_whole(b * n) for b in self.levels)]
                nearby = (
                    f"the nearest that does is {min(fits, key=lambda n: abs(n - k))}, or use"
                    if fits
                    else "use"
                )
                raise LeakageError(
                    f"attack.{key}: k = {k} records cannot be divided so that a share of {a:g}"
                    f" holds {self.value!r} ({a * k:g} records); {nearby}"
                    f" {self.key}.composition random"
                )

    @override
    def misplaced(self, trait: Trait) -> str | None:
        return None


def _is_whole(x: float) -> bool:
    return math.isclose(x, round(x), abs_tol=1e-9)
