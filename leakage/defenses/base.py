"""A defense M in two stages: g~ = release(mean over the batch of per_record(g_p))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor
from typing_extensions import override

from leakage.gradients.layout import Layout


@dataclass(frozen=True)
class Training:
    """What a defense may know of the training that it protects, before it starts.

    Args:
        records: N, of the training set.
        steps: of the optimizer, in all.
    """

    records: int
    steps: int


@dataclass(frozen=True)
class Rehearsal:
    """Batches of the defender's own whose secrets it knows, to fit M on at one state of a model.

    Args:
        means: their batch gradients, after every record-wise map, float32 (n, p).
        values: the position of each secret among its c values, int64 (n,).
        prior: P(a), float64 (c,).
        k: records of a batch.
        layout: where each parameter lies in a row.
        seed: of the fit.
    """

    means: Tensor
    values: Tensor
    prior: Tensor
    k: int
    layout: Layout
    seed: int


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

    @property
    def maps_means(self) -> bool:
        """Whether it does anything after the mean."""
        return type(self).release is not Defense.release

    @property
    def rehearses(self) -> int:
        """Batches that it has to be `fitted` on in every round before it can release; 0: none."""
        return 0

    @property
    def reads_secret(self) -> bool:
        """Whether it has to be `told` the secret of each batch: it can then leak it."""
        return False

    def settled(self, training: Training) -> Defense:
        """The defense once training is known, for settings that follow from it."""
        return self

    def fitted(self, rehearsal: Rehearsal) -> Defense:
        """The defense at one state of the model, where it `rehearses`."""
        return self

    def told(self, values: Tensor) -> Defense:
        """The defense for n batches whose secrets (n,) it knows, where it `reads_secret`."""
        return self

    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        """Maps record gradients (k, p) to (k, p), each row by itself, before the mean."""
        return gradients

    def record_map(self, layout: Layout) -> Callable[[Tensor], Tensor] | None:
        """`per_record` as the engine takes it; None for the identity."""
        return (lambda gradients: self.per_record(gradients, layout)) if self.record_wise else None

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
