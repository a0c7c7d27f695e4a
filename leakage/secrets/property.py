"""Property inference: a is a trait of the records that is no part of x (Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.errors import LeakageError, nearest
from leakage.population import Population, Trait
from leakage.secrets.base import Pool, Prior, Secret, draw_distinct, draw_of_class

_WITHOUT, _WITH = 0, 1


@dataclass(frozen=True)
class Property(Secret):
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
        self.check_prior()
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

    @override
    def support(self, population: Population) -> tuple[str, ...]:
        trait = population.traits[self.attribute]
        if self.value is None and self.scope == "all":
            return trait.values
        if self.value not in trait.values:
            found = "scope 'any' needs a value" if self.value is None else f"got {self.value!r}"
            raise LeakageError(
                f"{self.key}.value: {found}; {nearest(str(self.value), trait.values)}"
            )
        return (f"no {self.value}", self.value)

    @override
    def classes(self, population: Population) -> Tensor:
        trait = population.traits[self.attribute]
        if self.value is None:
            return trait.codes
        holds = (trait.codes == trait.values.index(self.value)).long()
        return torch.where(trait.codes < 0, -1, holds)

    @override
    def needs(self, value: int, k: int) -> int:
        return 1 if self._most(k) == 1 and value == _WITH else k

    @override
    def draw(self, values: Tensor, k: int, pool: Pool, generator: Generator) -> Tensor:
        if self.scope == "all":
            return draw_of_class(values, k, pool, generator)
        n = len(values)
        most = self._most(k)
        with_value = draw_distinct(pool.of(_WITH), n, most, generator)
        batches = draw_distinct(pool.of(_WITHOUT), n, k, generator)
        count = self._count(n, k, pool, generator) * (values == _WITH)
        held = torch.arange(most) < count.unsqueeze(1)  # (n, most)
        batches[:, :most] = torch.where(held, with_value, batches[:, :most])
        return batches

    def _most(self, k: int) -> int:
        """How many records of a batch can hold the value at most."""
        return 1 if self.scope == "any" and self.holders == "one" else k

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
    def misplaced(self, trait: Trait) -> str | None:
        if not trait.in_x:
            return None
        return (
            f"Property is about a trait that is no part of x, but {trait.name!r} is in x; add it to"
            " data.exclude, or use the secret Attribute"
        )
