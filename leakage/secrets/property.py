"""Property inference: a is a trait of the records that is no part of x (Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.errors import LeakageError, nearest
from leakage.population import Population, Trait
from leakage.secrets.base import Pool, Prior, check_prior, draw_holders, draw_of_class
from leakage.secrets.trait import TraitSecret

_WITH = 1


@dataclass(frozen=True)
class Property(TraitSecret):
    """A trait of the records that the model does not see.

    Args:
        attribute: the trait.
        scope: `all`: the k records of a batch agree: all have the value a or, with `value`, all
            have that value or none has. `any`: a number of the records hold `value`, or none.
        value: the value that holders have; `any` needs it.
        holders: for `any`, how many hold it where some do: `one`; `uniform` on 1..k; `natural`:
            as many as among k records of the data, given that it is at least one.
        prior: P(a), `uniform` or, for scope `all`, `natural` (the shares in the shadow data).
    """

    attribute: str = "sex"
    scope: Literal["all", "any"] = "all"
    value: str | None = None
    holders: Literal["one", "uniform", "natural"] = "uniform"
    prior: Prior = "uniform"

    def __post_init__(self) -> None:
        check_prior(self, self.prior)
        if self.scope not in ("all", "any"):
            raise LeakageError(
                f"{self.key}.scope: Property knows 'all' and 'any', got {self.scope!r}"
            )
        if self.holders not in ("one", "uniform", "natural"):
            raise LeakageError(
                f"{self.key}.holders: Property knows 'one', 'uniform' and 'natural',"
                f" got {self.holders!r}"
            )
        if self.scope == "any" and self.prior == "natural":
            raise LeakageError(f"{self.key}.prior: scope 'any' has a uniform prior only")

    @property
    @override
    def name(self) -> str:
        suffix = f"_any_{self.holders}" if self.scope == "any" else ""
        return f"property_{self.attribute}{suffix}"

    @property
    @override
    def holder(self) -> str | None:
        return self.value

    @override
    def support(self, population: Population) -> tuple[str, ...]:
        return self.class_names(population)

    @override
    def needs(self, value: int, k: int) -> int:
        return 1 if self._one and value == _WITH else k

    @override
    def draw(
        self, values: Tensor, k: int, pool: Pool, generator: Generator, targets: Tensor | None
    ) -> Tensor:
        if self.scope == "all":
            return draw_of_class(values, k, pool, generator)
        counts = self._count(len(values), k, pool, generator) * (values == _WITH)
        return draw_holders(counts, k, pool, generator)

    @override
    def changed(self, k: int, c: int) -> Tensor:
        return super().changed(1 if self._one else k, c)

    @property
    def _one(self) -> bool:
        """Whether one record of a batch holds the value at most."""
        return self.scope == "any" and self.holders == "one"

    def _count(self, n: int, k: int, pool: Pool, generator: Generator) -> Tensor:
        """How many of the k records hold the value, given that some do: int64 (n,)."""
        if self.holders == "one":
            return torch.ones(n, dtype=torch.int64)
        if self.holders == "uniform":
            return torch.randint(1, k + 1, (n,), generator=generator)
        share = len(pool.of(_WITH)) / int((pool.classes >= 0).sum())
        binomial = torch.distributions.Binomial(k, torch.tensor(share, dtype=torch.float64))
        chances = binomial.log_prob(torch.arange(1, k + 1, dtype=torch.float64)).exp()
        return torch.multinomial(chances, n, replacement=True, generator=generator) + 1

    @override
    def check_values(self, trait: Trait) -> None:
        if self.value is None and self.scope == "any":
            raise LeakageError(
                f"{self.key}.value: scope 'any' needs a value;"
                f" {nearest(str(self.value), trait.values)}"
            )
        super().check_values(trait)

    @override
    def misplaced(self, trait: Trait) -> str | None:
        if not trait.in_x:
            return None
        return (
            f"Property is about a trait that is no part of x, but {trait.name!r} is in x; add it to"
            " data.exclude, or use the secret Attribute"
        )
