"""A secret a with finite support and a prior, and the draw of batches D_a ~ P(x, y | a)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from leakage.errors import LeakageError
from leakage.population import CALIBRATE, CHALLENGE, GAME_SPLITS, Population

Prior = Literal["uniform", "natural"]


@dataclass(frozen=True)
class Sizes:
    """How many records are averaged.

    Args:
        k: records of the client's batch.
        others: records of other clients.
        shadow_k: what the adversary takes k for.
    """

    k: int
    others: int
    shadow_k: int

    def of(self, split: str) -> int:
        """K of a batch of one split: the challenger knows it, shadow batches are a guess."""
        return self.k if split == CHALLENGE else self.shadow_k

    def most(self, split: str) -> int:
        """The most of both that are drawn: baselines know the labels, and how many there are."""
        return self.of(split) if split != CALIBRATE else max(self.k, self.shadow_k)


@dataclass(frozen=True)
class Pool:
    """The records from which batches are drawn.

    Args:
        split: the name of the split they come from.
        records: record indices, int64 (N,).
        classes: the class of each in the eyes of the secret, int64 (N,), -1 where it has none.
    """

    split: str
    records: Tensor
    classes: Tensor

    def of(self, value: int) -> Tensor:
        """The records of one class."""
        return self.records[self.classes == value]


@dataclass(frozen=True)
class Hand:
    """The batches of one split in one round, and what the challenger knows of them.

    Args:
        batches: record indices, int64 (n, k + others), the client's k first.
        k: records of the client.
        values: what each was drawn for, int64 (n,); the number of the user among those of its
            split where the secret is about users, else the position of the secret.
        targets: the target record of each, int64 (n,), where the secret has targets.
        candidates: where the secret is about users, the c of whom each may be, int64 (n, c), by
            their positions among those enrolled.
    """

    batches: Tensor
    k: int
    values: Tensor
    targets: Tensor | None = None
    candidates: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """The records of which phi(z) may be known: the target alone where there is one."""
        return self.batches[:, : self.k] if self.targets is None else self.targets.unsqueeze(1)


@dataclass(frozen=True)
class Seats:
    """Who takes which part in a game.

    Args:
        support: the names of the c values of a.
        pools: by split of the game, what its batches are drawn from.
        enrolled: int64 (U, e, k): of each user whom the adversary has met, e batches of records;
            first the users of the calibrate split, in the order of their classes, then the c
            candidates. None where the secret is not about users.
    """

    support: tuple[str, ...]
    pools: Mapping[str, Pool]
    enrolled: Tensor | None = None


class Secret(ABC):
    """The sensitive variable a: settings only; data and a generator come with the call."""

    key = "attack.secret"

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for tags and tables."""

    @abstractmethod
    def seats(self, population: Population, sizes: Sizes) -> Seats:
        """Who takes which part; the population has passed `check`."""

    @abstractmethod
    def draw(
        self, values: Tensor, k: int, pool: Pool, generator: Generator, targets: Tensor | None
    ) -> Tensor:
        """Draws one batch of k distinct records for each value of a, batches independently.

        Args:
            values: what each is drawn for, a class or a position in the support, int64 (n,).
            k: the records of a batch.
            pool: where they come from.
            generator: the only source of randomness.
            targets: the target of each, int64 (n,), where the secret has targets.

        Returns:
            Record indices, int64 (n, k).
        """

    @abstractmethod
    def check(self, population: Population, sizes: Sizes) -> None:
        """Refuses a secret that the population cannot play, before anything is computed."""

    def probabilities(self, pool: Pool, c: int) -> Tensor:
        """P(a), float64 (c,); uniform unless a secret says otherwise."""
        return torch.full((c,), 1 / c, dtype=torch.float64)

    def aim(self, values: Tensor, pool: Pool, generator: Generator) -> Tensor | None:
        """The target of each trial, int64 (n,), the same in every round; None without targets."""
        return None

    @property
    def has_targets(self) -> bool:
        """Whether each trial is about one record; see `aim`."""
        return False

    @property
    def reveals_targets(self) -> bool:
        """Whether the adversary knows a target wholly, not but for the secret."""
        return False

    @property
    def levels(self) -> tuple[float, ...]:
        """The number that each value stands for, ascending, where a is a quantity."""
        return ()

    def changed(self, k: int, c: int) -> Tensor:
        """The records by which batches of k of two values differ at most, int64 (c, c).

        Batches that are drawn alike but for the secret; all k records, unless a secret says less.
        """
        return k * (1 - torch.eye(c, dtype=torch.int64))


def check_prior(secret: Secret, prior: str) -> None:
    """Refuses a prior of another name."""
    if prior not in ("uniform", "natural"):
        raise LeakageError(
            f"{secret.key}.prior: {type(secret).__name__} knows 'uniform' and 'natural',"
            f" got {prior!r}"
        )


def check_others(population: Population, sizes: Sizes, beside: int = 0) -> None:
    """Refuses more records of other clients than a split has beside some that they cannot be."""
    for split in GAME_SPLITS:
        held = len(population.splits[split]) - beside
        wanted = sizes.most(split) + sizes.others
        if held < wanted:
            raise LeakageError(
                f"attack.others: k + others = {wanted} records are more than the {split} split"
                f" holds ({held})"
            )


def draw_of_class(values: Tensor, k: int, pool: Pool, generator: Generator) -> Tensor:
    """Batches (n, k) whose records all have the class that `values` (n,) names."""
    batches = torch.empty(len(values), k, dtype=torch.int64)
    for value in values.unique().tolist():
        rows = values == value
        batches[rows] = draw_distinct(pool.of(value), int(rows.sum()), k, generator)
    return batches


def draw_holders(counts: Tensor, k: int, pool: Pool, generator: Generator) -> Tensor:
    """Batches (n, k) in which `counts` (n,) records are of class 1 and the others of class 0."""
    n, most, rest = len(counts), int(counts.max()), int((k - counts).max())
    batches = torch.empty(n, k, dtype=torch.int64)
    place = torch.arange(k)
    if rest:  # from the end, so that a batch without holders is whole
        batches[:, k - rest :] = draw_distinct(pool.of(0), n, rest, generator)
    if most:
        holders = draw_distinct(pool.of(1), n, most, generator)
        held = place[:most] < counts.unsqueeze(1)  # (n, most)
        batches[:, :most] = torch.where(held, holders, batches[:, :most])
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


def draw_beside(taken: Tensor, records: Tensor, count: int, generator: Generator) -> Tensor:
    """Draws `count` distinct records for each row of `taken` (n, j), none of which is in it."""
    n, j = taken.shape
    drawn = draw_distinct(records, n, count + j, generator)  # (n, count + j)
    return _first_of(drawn, (drawn.unsqueeze(2) == taken.unsqueeze(1)).any(2), count)


def draw_strangers(
    taken: Tensor, units: Tensor, records: Tensor, count: int, generator: Generator
) -> Tensor:
    """Draws `count` distinct records for each row of `taken` (n, j), of other units than its own.

    Args:
        taken: rows of records of one unit each.
        units: the unit of each record, int64 (N,).
        records: those that can be drawn, (M,).
        count: how many.
        generator: the only source of randomness.
    """
    most = count + largest_unit(units, records)
    drawn = draw_distinct(records, len(taken), most, generator)
    return _first_of(drawn, units[drawn] == units[taken[:, :1]], count)


def largest_unit(units: Tensor, records: Tensor) -> int:
    """The number of records of the unit that has most of them."""
    return int(units[records].unique(return_counts=True)[1].max())


def _first_of(drawn: Tensor, met: Tensor, count: int) -> Tensor:
    """The first `count` of each row that are not met."""
    order = met.to(torch.int8).argsort(dim=1, stable=True)[:, :count]
    return drawn.gather(1, order)
