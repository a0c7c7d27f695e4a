"""A secret a with finite support and a prior, and the draw of batches D_a ~ P(x, y | a)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from leakage.errors import LeakageError
from leakage.population import GAME_SPLITS, Population, Trait

Prior = Literal["uniform", "natural"]


@dataclass(frozen=True)
class Pool:
    """The records from which batches are drawn.

    Args:
        split: the name of the split they come from.
        records: record indices, int64 (N,).
        classes: the class of each in the eyes of the secret, int64 (N,), -1 where unknown.
    """

    split: str
    records: Tensor
    classes: Tensor

    def of(self, value: int) -> Tensor:
        """The records of one class."""
        return self.records[self.classes == value]


class Secret(ABC):
    """The sensitive variable a: settings only; data and a generator come with the call.

    Attributes:
        attribute: the trait of the records that it is about.
        prior: `uniform`, or `natural`: the shares of the classes in the shadow data.
    """

    attribute: str
    prior: Prior
    key = "attack.secret"

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for tags and tables."""

    @abstractmethod
    def support(self, population: Population) -> tuple[str, ...]:
        """The names of the c values of a."""

    @abstractmethod
    def classes(self, population: Population) -> Tensor:
        """The class of each record, int64 (N,), by which batches are drawn; -1 where unknown."""

    @abstractmethod
    def draw(self, values: Tensor, k: int, pool: Pool, generator: Generator) -> Tensor:
        """Draws one batch of k distinct records for each value of a, batches independently.

        Args:
            values: positions in the support, int64 (n,).
            k: the records of a batch.
            pool: where they come from.
            generator: the only source of randomness.

        Returns:
            Record indices, int64 (n, k).
        """

    @abstractmethod
    def needs(self, value: int, k: int) -> int:
        """How many records of one class a batch of k can need at most."""

    @abstractmethod
    def misplaced(self, trait: Trait) -> str | None:
        """Why this kind of secret cannot be about a trait that is (not) a part of x, or None."""

    @property
    def targets(self) -> bool:
        """Whether the first record of a batch is a target whose other features are known."""
        return False

    def one_hot(self, trait: Trait) -> tuple[int, ...]:
        """The column of x that is 1 for each value of a, where x encodes the secret like that."""
        return ()

    def check_prior(self) -> None:
        """Refuses a prior of another name."""
        if self.prior not in ("uniform", "natural"):
            raise LeakageError(
                f"{self.key}.prior: {type(self).__name__} knows 'uniform' and 'natural',"
                f" got {self.prior!r}"
            )

    def probabilities(self, shadow: Pool, c: int) -> Tensor:
        """P(a), float64 (c,)."""
        if self.prior == "uniform":
            return torch.full((c,), 1 / c, dtype=torch.float64)
        counts = torch.bincount(shadow.classes[shadow.classes >= 0], minlength=c).double()
        return counts / counts.sum()

    def check(self, population: Population, k: int, others: int) -> None:
        """Refuses a secret that the population cannot play, before anything is computed."""
        trait = population.trait(self.attribute, f"{self.key}.attribute")
        if len(trait.values) < 2:
            raise LeakageError(
                f"{self.key}.attribute: {trait.name!r} has the one value {trait.values[0]!r} in"
                " the data, so there is nothing to infer; choose an attribute with two or more"
            )
        if reason := self.misplaced(trait):
            raise LeakageError(f"{self.key}: {reason}")
        support = self.support(population)
        if not trait.in_x and (column := _column_that_tells(population, trait)) is not None:
            raise LeakageError(
                f"{self.key}: {trait.name!r} is said to be no part of x, but column {column} of x"
                " tells its value in every record; leave the column out of x, or name it in"
                " Trait.columns and use the secret Attribute"
            )
        for split in GAME_SPLITS:
            pool = pool_of(self, population, split)
            for value, value_name in enumerate(support):
                size, needed = len(pool.of(value)), self.needs(value, k)
                if size < needed:
                    raise LeakageError(
                        f"attack.k: a batch of k = {k} needs {needed} records with {trait.name} ="
                        f" {value_name}, but the {split} split holds {size}; lower attack.k or"
                        " choose an attribute whose values are less rare"
                    )
            if len(pool.records) < k + others:
                raise LeakageError(
                    f"attack.others: k + others = {k + others} records are more than the {split}"
                    f" split holds ({len(pool.records)})"
                )


def _column_that_tells(population: Population, trait: Trait) -> int | None:
    """The first column of x that is 1 (or any one number) for a value of the trait alone."""
    known = trait.codes >= 0
    x = population.features[known].double()
    holds = torch.nn.functional.one_hot(trait.codes[known], len(trait.values)).double()
    x, holds = x - x.mean(0), holds - holds.mean(0)
    scale = x.norm(dim=0).unsqueeze(1) * holds.norm(dim=0)  # (d, c)
    tells = ((x.T @ holds).abs() > scale * (1 - 1e-9)) & (scale > 0)
    columns = tells.any(1).nonzero().flatten()
    return int(columns[0]) if len(columns) else None


def pool_of(secret: Secret, population: Population, split: str) -> Pool:
    """The records of a split as the secret sees them."""
    records = population.splits[split]
    return Pool(split, records, secret.classes(population)[records])


def draw_of_class(values: Tensor, k: int, pool: Pool, generator: Generator) -> Tensor:
    """Batches (n, k) whose records all have the class that `values` (n,) names."""
    batches = torch.empty(len(values), k, dtype=torch.int64)
    for value in values.unique().tolist():
        rows = values == value
        batches[rows] = draw_distinct(pool.of(value), int(rows.sum()), k, generator)
    return batches


def draw_distinct(records: Tensor, n: int, k: int, generator: Generator) -> Tensor:
    """Draws k distinct ones of N records, n times independently: (n, k), each order as likely."""
    rows = max(1, 2**24 // len(records))  # bounds the matrix of random keys
    parts = [
        torch.rand(min(rows, n - start), len(records), generator=generator, dtype=torch.float64)
        .topk(k, dim=1)
        .indices
        for start in range(0, n, rows)
    ]
    return records[torch.cat(parts)] if parts else records.new_empty(0, k)


def draw_beside(taken: Tensor, pool: Pool, count: int, generator: Generator) -> Tensor:
    """Draws `count` distinct records for each row of `taken` (n, j), none of which is in it."""
    n, j = taken.shape
    drawn = draw_distinct(pool.records, n, count + j, generator)  # (n, count + j)
    met = (drawn.unsqueeze(2) == taken.unsqueeze(1)).any(2)
    order = met.to(torch.int8).argsort(dim=1, stable=True)[:, :count]
    return drawn.gather(1, order)
