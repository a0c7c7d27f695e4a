"""Canaries: the records whose presence or attribute is audited, from ordinary to made for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from typing_extensions import override

from leakage.audit.canaries.crafting import Crafting
from leakage.audit.canaries.form import Swap
from leakage.audit.canaries.hunt import Found, Hunt
from leakage.errors import LeakageError
from leakage.fields import Field, project, why_invalid, write

KEY = "audit.canaries"


class Canary(ABC):
    """How the record that is audited is found; settings only, the data come with the hunt."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for tags and tables."""

    @property
    def has_record(self) -> bool:
        """Whether the gradients are those of a record."""
        return True

    def check(  # noqa: B027 - most can always be found
        self, fields: Sequence[Field], labels: int, swap: Swap | None
    ) -> None:
        """Refuses what `find` could not find, before training.

        Args:
            fields: what the columns of x mean; empty where x is no row of a table.
            labels: how many there are.
            swap: sets the attribute; None for membership.
        """

    @abstractmethod
    def find(self, hunt: Hunt) -> Found:
        """The record; the same one for the same hunt."""

    def gradients(self, hunt: Hunt, found: Found, background: Tensor) -> Tensor:
        """What the canary adds to the sum over the others in either neighbour.

        Args:
            hunt: at the weights of the release.
            found: what `find` gave, at these or at earlier weights.
            background: the sum over the other records after every record-wise map, (p,).

        Returns:
            (2, p): without the record or with a0, and with it or with a1.
        """
        return hunt.pairs([found])[0]


@dataclass(frozen=True)
class RandomCanary(Canary):
    """A record drawn from the pool."""

    @property
    @override
    def name(self) -> str:
        return "random"

    @override
    def find(self, hunt: Hunt) -> Found:
        return hunt.found(hunt.sample(1)[0])


@dataclass(frozen=True)
class NaturalCanary(Canary):
    """The real record that is told best: the greatest distance between the two gradients.

    Where M clips both it is the one of the least cosine between them.

    Args:
        search: how many records are looked at, at least 1.
    """

    search: int = 2000

    def __post_init__(self) -> None:
        _check_search(self)

    @property
    @override
    def name(self) -> str:
        return "natural"

    @override
    def find(self, hunt: Hunt) -> Found:
        return _best(hunt, self.search, lambda own: [own])


@dataclass(frozen=True)
class MislabelledCanary(Canary):
    """The real record that is told best under a wrong label.

    Args:
        search: how many records are looked at, each under every wrong label, at least 1.
    """

    search: int = 2000

    def __post_init__(self) -> None:
        _check_search(self)

    @property
    @override
    def name(self) -> str:
        return "mislabelled"

    @override
    def find(self, hunt: Hunt) -> Found:
        if hunt.form.label is None or hunt.labels < 2:
            raise LeakageError(
                f"{KEY}: {type(self).__name__} gives a record a wrong label, but no part of a"
                " record is a label with two values or more; leave this canary out"
            )
        everyone = range(hunt.labels)
        return _best(hunt, self.search, lambda own: [y for y in everyone if y != own])


@dataclass(frozen=True)
class CraftedCanary(Canary):
    """A record made to be told: descent on x from the records that are told best.

    The objective is cos(g0, g1) + sum_a relu(1 - |g_a| / C)^2, for membership the second part
    alone, and where the background is unknown a penalty on what other records' gradients hide
    (after Maddock et al. 2023, CANIFE). The result is a valid record: the nearest one, then
    improved field by field, and never told worse than the best record it started from.

    Args:
        steps: of Adam, at least 0.
        restarts: how many records it starts from, at least two under each label.
        lr: of Adam, in shares of the range of an entry, above 0.
        penalty: the weight of the mean squared cosine with other records' gradients, in 0..1.
        search: how many records the starts are chosen from, at least 1.
    """

    steps: int = 50
    restarts: int = 8
    lr: float = 0.1
    penalty: float = 1.0
    search: int = 2000

    def __post_init__(self) -> None:
        _check_search(self)
        if self.steps < 0 or self.restarts < 1 or not self.lr > 0 or not 0 <= self.penalty <= 1:
            raise LeakageError(
                f"{KEY}: CraftedCanary needs steps >= 0, restarts >= 1, lr > 0 and a penalty in"
                f" 0..1, got {self}"
            )

    @property
    @override
    def name(self) -> str:
        return "crafted"

    @override
    def find(self, hunt: Hunt) -> Found:
        settings = (self.steps, self.restarts, self.lr, self.penalty, self.search)
        return Crafting(hunt, *settings).best()


@dataclass(frozen=True)
class GivenCanary(Canary):
    """A record that is named by its fields, as a crafted one is written out.

    Args:
        values: of every field by name, such as {age: 39, workclass: Private, ...}; those that the
            audited attribute sets may be left out.
        label: its label, at least 0.
    """

    values: dict[str, str | float] = field(repr=False)  # audit.json may be read by others
    label: int = field(repr=False)

    @property
    @override
    def name(self) -> str:
        return "given"

    @override
    def check(self, fields: Sequence[Field], labels: int, swap: Swap | None) -> None:
        if not fields:
            raise LeakageError(
                f"{KEY}: GivenCanary names a record by its fields, but x is no row of a table; use"
                " another canary"
            )
        if not 0 <= self.label < labels:
            raise LeakageError(
                f"{KEY}: the label of GivenCanary is one of 0 to {labels - 1}, got {self.label}"
            )
        free = set() if swap is None else set(swap.columns)
        missing = [
            part.name
            for part in fields
            if part.name not in self.values and not set(part.columns) <= free
        ]
        if missing:
            raise LeakageError(
                f"{KEY}: the record of GivenCanary is not a valid one: it has no value of"
                f" {', '.join(missing)}; give one for each field"
            )
        width = 1 + max(column for part in fields for column in part.columns)
        self._written(fields, torch.zeros(width))

    @override
    def find(self, hunt: Hunt) -> Found:
        base = hunt.found(hunt.sample(1)[0])
        return Found(self._written(hunt.fields, base.x), self.label, base.origin)

    def _written(self, fields: Sequence[Field], base: Tensor) -> Tensor:
        """A record (d,) of these values; of ones near a base where none is named."""
        x = write(fields, self.values, project(fields, base.unsqueeze(0))[0], KEY)
        if wrong := why_invalid(fields, x):
            raise LeakageError(f"{KEY}: the record of GivenCanary is not a valid one: {wrong}")
        return x


@dataclass(frozen=True)
class GradientCanary(Canary):
    """No record but a gradient of norm C where it is told best: the ceiling of all canaries.

    For an attribute C and -C on the entry that the others update least; for membership C against
    the sum of the others, where a mean that is divided by the realised batch shows, or, where the
    auditor does not know that sum, C on the least updated entry (Nasr et al. 2023).
    """

    @property
    @override
    def name(self) -> str:
        return "gradient"

    @property
    @override
    def has_record(self) -> bool:
        return False

    @override
    def find(self, hunt: Hunt) -> Found:
        return hunt.found(hunt.sample(1)[0])

    @override
    def gradients(self, hunt: Hunt, found: Found, background: Tensor) -> Tensor:
        C = self.norm(hunt)
        size = torch.linalg.vector_norm(background, dtype=torch.float64).to(background)
        one = torch.zeros_like(background)
        one[background.abs().argmin()] = C
        if hunt.swap is not None:
            return torch.stack([-one, one])
        if hunt.others is None and size > 0:
            one = background * (-C / size)
        return torch.stack([torch.zeros_like(one), one])

    @staticmethod
    def norm(hunt: Hunt) -> float:
        """C, or without clipping the median norm of what records of the pool add."""
        if hunt.clip is not None:
            return hunt.clip
        pairs = hunt.pairs([hunt.found(index) for index in hunt.sample(256)])
        return float(torch.linalg.vector_norm(pairs[:, 1], dim=1).median())


def _best(hunt: Hunt, search: int, labels: Callable[[int | None], Sequence[int | None]]) -> Found:
    keys, scores = hunt.search(search, labels)
    return hunt.found(*keys[int(scores.argmax())])


def _check_search(canary: NaturalCanary | MislabelledCanary | CraftedCanary) -> None:
    if canary.search < 1:
        raise LeakageError(
            f"{KEY}: {type(canary).__name__} searches at least 1 record, got {canary.search}"
        )
