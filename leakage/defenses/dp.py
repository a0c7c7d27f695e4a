"""DP: clipped records, Gaussian noise on their sum (DP-SGD, Abadi et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.accounting.training import Adjacency, noise_multiplier
from leakage.defenses.base import Defense, Training
from leakage.errors import LeakageError
from leakage.gradients.clip import Clip
from leakage.gradients.layout import Layout


@dataclass(frozen=True, repr=False)
class DP(Defense):
    """Releases (sum of clipped gradients + N(0, sigma^2 C^2 I)) / B.

    B is the declared number of records, public and the same for every batch: to divide by the
    realised one would double the sensitivity. In training, batches are Poisson samples with B
    records on average.

    Args:
        clip: C, the greatest l2 norm that a record's gradient keeps, above 0.
        batch: B, at least 1.
        sigma: the noise multiplier, at least 0 (0 proves nothing); found from the target where
            left out.
        epsilon: the target of all of training, for one record added or removed; needs delta.
        delta: at which epsilon is told, in (0, 1).
    """

    clip: float = 1.0
    batch: int = 64
    sigma: float | None = None
    epsilon: float | None = None
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise LeakageError(f"defense.clip: a finite norm above 0 is needed, got {self.clip}")
        if isinstance(self.batch, bool) or int(self.batch) != self.batch or self.batch < 1:
            raise LeakageError(
                "defense.batch: a declared batch of a whole number of records, at least 1, is"
                f" needed, got {self.batch}"
            )
        if not 0 < self.delta < 1:
            raise LeakageError(f"defense.delta: a number in (0, 1) is needed, got {self.delta}")
        if self.sigma is None and self.epsilon is None:
            raise LeakageError(
                "defense.sigma: DP needs the noise, sigma, or the target that it follows from,"
                " epsilon; got neither"
            )
        if self.sigma is not None and not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise LeakageError(
                f"defense.sigma: a finite number of at least 0 is needed, got {self.sigma}"
            )
        if self.sigma and not 1e-30 <= self.sigma * self.clip <= 1e30:
            raise LeakageError(
                f"defense.sigma: noise of sigma * clip = {self.sigma * self.clip:g} is beyond what"
                " gradients can hold; between 1e-30 and 1e+30 is needed"
            )
        if self.epsilon is not None and not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise LeakageError(
                f"defense.epsilon: a finite target above 0 is needed, got {self.epsilon}"
            )
        if self.sigma is not None and self.epsilon is not None:
            raise LeakageError(
                f"defense.epsilon: sigma = {self.sigma:g} is given, and a target of"
                f" {self.epsilon:g} would ask for a noise of its own; give one of them and null for"
                " the other"
            )

    @override
    def __repr__(self) -> str:
        noise = f"sigma={self.sigma:g}" if self.sigma is not None else f"epsilon={self.epsilon:g}"
        told = f"clip={self.clip:g}, batch={self.batch}, {noise}, delta={self.delta:g}"
        return f"{type(self).__name__}({told})"

    def sensitivity(self, adjacency: Adjacency) -> float:
        """How far the sum moves at most between neighbours: C, or 2C if a record is replaced."""
        return self.clip * (2 if adjacency == "replace_one" else 1)

    @override
    def settled(self, training: Training) -> Defense:
        if self.epsilon is None:
            return self
        q = self.batch / training.records
        sigma = noise_multiplier(self.epsilon, self.delta, q, training.steps)
        return replace(self, sigma=math.ceil(sigma * 1e4) / 1e4, epsilon=None)  # as it is told

    @override
    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        return Clip(self.clip)(gradients)

    @override
    def record_map(self, layout: Layout) -> Callable[[Tensor], Tensor]:
        return Clip(self.clip)  # the engine then scales what a gradient is made of

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        if self.sigma is None:
            raise LeakageError(
                f"defense.sigma: it follows from epsilon = {self.epsilon} only once the training"
                " is known; train with the callback Defend, or give sigma"
            )
        noise = torch.empty_like(means)
        for row in noise:  # parameter by parameter, as an optimizer of Opacus draws it
            for part in row.split(list(layout.sizes)):
                part.normal_(0, self.sigma * self.clip, generator=generator)
        return (means * k + noise) / self.batch
