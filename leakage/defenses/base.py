"""A defense M in two stages: g~ = release(mean over the batch of per_record(g_p))."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor
from typing_extensions import override

from leakage.gradients.layout import Layout


class Defense:
    """A defense M: what is released in place of a gradient; each stage starts as the identity.

    Holds public settings only, neither data nor randomness, so that training, the challenger
    and an adaptive adversary run one and the same object, each on gradients of its own.
    """

    @property
    def label(self) -> str:
        """The defense and its settings, for tables."""
        plain = type(self).__repr__ is object.__repr__  # which would show an address
        return type(self).__name__ if plain else repr(self)

    @property
    def record_wise(self) -> bool:
        """Whether it needs the gradient of each record, before the mean."""
        return type(self).per_record is not Defense.per_record

    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        """Maps record gradients (k, p) to (k, p), each row by itself, before the mean."""
        return gradients

    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        """Maps n batch means (n, p), each over k records, to n releases (n, p).

        Args:
            means: one batch gradient a row.
            k: the records of a batch.
            layout: where each parameter lies in a row.
            generator: the only source of randomness.
        """
        return means


@dataclass(frozen=True)
class NoDefense(Defense):
    """Releases the gradient as it is."""

    @property
    @override
    def label(self) -> str:
        return "none"
