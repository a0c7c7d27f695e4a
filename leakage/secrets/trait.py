"""Secrets about a trait of the records: what they share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from leakage.errors import LeakageError, nearest
from leakage.population import GAME_SPLITS, Population, Trait, columns_that_tell
from leakage.secrets.base import Pool, Seats, Secret, Sizes, check_others


class TraitSecret(Secret):
    """A secret about a trait; batches are drawn by the class of a record in its eyes.

    Attributes:
        attribute: the trait.
        prior: `uniform`, or `natural`: the shares of the classes in the shadow data.
    """

    attribute: str
    prior: str = "uniform"  # a plain type: parsers look for it in the module of each leaf

    @abstractmethod
    def support(self, population: Population) -> tuple[str, ...]:
        """The names of the c values of a."""

    @abstractmethod
    def needs(self, value: int, k: int) -> int:
        """How many records of one class a batch of k can need at most."""

    @abstractmethod
    def misplaced(self, trait: Trait) -> str | None:
        """Why this kind of secret cannot be about a trait that is (not) a part of x, or None."""

    @property
    def holder(self) -> str | None:
        """The value that makes a record one of class 1; None where each value is a class."""
        return None

    def one_hot(self, trait: Trait) -> tuple[int, ...]:
        """The column of x that is 1 for each value of a, where x encodes the secret like that."""
        return ()

    def classes(self, population: Population) -> Tensor:
        """The class of each record, int64 (N,), by which batches are drawn; -1 where unknown."""
        trait = population.traits[self.attribute]
        if self.holder is None:
            return trait.codes
        holds = (trait.codes == trait.values.index(self.holder)).long()
        return torch.where(trait.codes < 0, -1, holds)

    def class_names(self, population: Population) -> tuple[str, ...]:
        """What each class is called."""
        values = population.traits[self.attribute].values
        return values if self.holder is None else (f"no {self.holder}", self.holder)

    def check_values(self, trait: Trait) -> None:
        """Refuses a holder that the trait does not know."""
        if self.holder is not None and self.holder not in trait.values:
            raise LeakageError(
                f"{self.key}.value: got {self.holder!r}; {nearest(self.holder, trait.values)}"
            )

    @override
    def seats(self, population: Population, sizes: Sizes) -> Seats:
        classes, splits = self.classes(population), population.splits
        pools = {name: Pool(name, splits[name], classes[splits[name]]) for name in GAME_SPLITS}
        return Seats(self.support(population), pools)

    @override
    def probabilities(self, pool: Pool, c: int) -> Tensor:
        if self.prior == "uniform":
            return super().probabilities(pool, c)
        counts = torch.bincount(pool.classes[pool.classes >= 0], minlength=c).double()
        return counts / counts.sum()

    @override
    def check(self, population: Population, sizes: Sizes) -> None:
        trait = population.trait(self.attribute, f"{self.key}.attribute")
        if len(trait.values) < 2:
            found_values = (
                f"the one value {trait.values[0]!r}" if trait.values else "no known value"
            )
            raise LeakageError(
                f"{self.key}.attribute: {trait.name!r} has {found_values} in"
                " the data, so there is nothing to infer; choose an attribute with two or more"
            )
        if reason := self.misplaced(trait):
            raise LeakageError(f"{self.key}: {reason}")
        self.check_values(trait)
        if not trait.in_x:
            found = columns_that_tell(population.features, trait.codes, len(trait.values))
            if len(found):
                raise LeakageError(
                    f"{self.key}: {trait.name!r} is said to be no part of x, but column"
                    f" {int(found[0])} of x tells its value in every record; leave the column out"
                    " of x, or name it in Trait.columns and use the secret Attribute"
                )
        pools = self.seats(population, sizes).pools
        for split, pool in pools.items():
            k = sizes.most(split)
            for value, name in enumerate(self.class_names(population)):
                size, needed = len(pool.of(value)), self.needs(value, k)
                if size < needed:
                    key = "attack.k" if k == sizes.k else "attack.shadow_k"
                    raise LeakageError(
                        f"{key}: a batch of k = {k} needs {needed} records with {trait.name} ="
                        f" {name}, but the {split} split holds {size}; lower {key} or choose an"
                        " attribute whose values are less rare"
                    )
        check_others(population, sizes)
