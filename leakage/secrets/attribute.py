"""Attribute inference: a is a feature of the records, part of x (Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.population import Population, Trait
from leakage.secrets.base import Pool, Prior, check_prior, draw_beside, draw_of_class
from leakage.secrets.trait import TraitSecret


@dataclass(frozen=True)
class Attribute(TraitSecret):
    """A feature of the records that the model sees.

    Args:
        attribute: the feature.
        scope: `all`: the k records of a batch have the value a. `target`: the first record has
            it, and the adversary knows the rest of that record, phi(z). It stays the target in
            every round; the k - 1 others are redrawn from everybody (with `fresh` batches).
        prior: P(a), `uniform` or `natural` (the shares of the values in the shadow data).
    """

    attribute: str = "sex"
    scope: Literal["all", "target"] = "all"
    prior: Prior = "uniform"

    def __post_init__(self) -> None:
        check_prior(self, self.prior)
        if self.scope not in ("all", "target"):
            raise LeakageError(
                f"{self.key}.scope: Attribute knows 'all' and 'target', got {self.scope!r}"
            )

    @property
    @override
    def name(self) -> str:
        return f"attribute_{self.attribute}" + ("_target" if self.has_targets else "")

    @property
    @override
    def has_targets(self) -> bool:
        return self.scope == "target"

    @override
    def one_hot(self, trait: Trait) -> tuple[int, ...]:
        return trait.one_hot

    @override
    def support(self, population: Population) -> tuple[str, ...]:
        return population.traits[self.attribute].values

    @override
    def needs(self, value: int, k: int) -> int:
        return 1 if self.has_targets else k

    @override
    def changed(self, k: int, c: int) -> Tensor:
        return super().changed(1 if self.has_targets else k, c)

    @override
    def aim(self, values: Tensor, pool: Pool, generator: Generator) -> Tensor | None:
        if not self.has_targets:
            return None
        return draw_of_class(values, 1, pool, generator)[:, 0]

    @override
    def draw(
        self, values: Tensor, k: int, pool: Pool, generator: Generator, targets: Tensor | None
    ) -> Tensor:
        if targets is None:
            return draw_of_class(values, k, pool, generator)
        target = targets.unsqueeze(1)
        return torch.cat([target, draw_beside(target, pool.records, k - 1, generator)], dim=1)

    @override
    def misplaced(self, trait: Trait) -> str | None:
        if trait.in_x:
            return None
        return (
            f"Attribute is about a feature of x, but {trait.name!r} is excluded from x; take it out"
            " of data.exclude, or use the secret Property"
        )
