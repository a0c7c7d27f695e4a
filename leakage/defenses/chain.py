"""A list of defenses, applied in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.defenses.base import Defense, Rehearsal, Training
from leakage.defenses.dp import DP
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout


@dataclass(frozen=True)
class Chain(Defense):
    """Applies defenses in order: all record-wise ones before the mean, then the others.

    Args:
        stages: the defenses; one that maps records cannot follow one that maps the mean. Before
            DP stand only maps of records, after it only what reads no data.
    """

    stages: list[Defense]

    def __post_init__(self) -> None:
        if not self.stages:
            raise LeakageError("defense.stages: an empty list defends nothing; use NoDefense")
        before: list[Defense] = []
        for stage in _flat(self.stages):
            after_mean = [other for other in before if other.maps_means]
            proof = [other for other in before if isinstance(other, DP)]
            if isinstance(stage, DP) and after_mean:
                raise LeakageError(
                    f"defense.stages: {after_mean[0].label} maps the mean and stands before"
                    f" {stage.label}, whose noise is made for a sum of clipped records; put DP"
                    " before it"
                )
            if stage.record_wise and after_mean:
                raise LeakageError(
                    f"defense.stages: {stage.label} maps the gradient of each record, so it must"
                    " come before every stage that maps the mean"
                )
            if proof and (stage.rehearses or stage.reads_secret):
                raise LeakageError(
                    f"defense.stages: {stage.label} is fitted on records, so after"
                    f" {proof[0].label} it would undo what DP proves; leave one of them out"
                )
            before.append(stage)

    @property
    @override
    def record_wise(self) -> bool:
        return any(stage.record_wise for stage in self.stages)

    @property
    @override
    def maps_means(self) -> bool:
        return any(stage.maps_means for stage in self.stages)

    @property
    @override
    def rehearses(self) -> int:
        return max(stage.rehearses for stage in self.stages)

    @property
    @override
    def reads_secret(self) -> bool:
        return any(stage.reads_secret for stage in self.stages)

    @override
    def settled(self, training: Training) -> Defense:
        return replace(self, stages=[stage.settled(training) for stage in self.stages])

    @override
    def fitted(self, rehearsal: Rehearsal) -> Defense:
        if not self.rehearses:
            return self
        fitted, generator = [], torch.Generator().manual_seed(rehearsal.seed)
        for stage in self.stages:  # each on what reaches it
            stage = stage.fitted(rehearsal)
            fitted.append(stage)
            means = stage.told(rehearsal.values).release(
                rehearsal.means, k=rehearsal.k, layout=rehearsal.layout, generator=generator
            )
            rehearsal = replace(rehearsal, means=means)
        return replace(self, stages=fitted)

    @override
    def told(self, values: Tensor) -> Defense:
        return replace(self, stages=[stage.told(values) for stage in self.stages])

    @override
    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        for stage in self.stages:
            gradients = stage.per_record(gradients, layout)
        return gradients

    @override
    def record_map(self, layout: Layout) -> Callable[[Tensor], Tensor] | None:
        maps = [stage for stage in self.stages if stage.record_wise]
        return maps[0].record_map(layout) if len(maps) == 1 else super().record_map(layout)

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        for stage in self.stages:
            means = stage.release(means, k=k, layout=layout, generator=generator)
        return means


def dp_of(defense: Defense) -> DP | None:
    """The DP among the stages of a defense, where there is one: what it proves, the whole does."""
    return next((stage for stage in _flat([defense]) if isinstance(stage, DP)), None)


def noiseless(defense: Defense) -> Defense | None:
    """What a defense under DP adds its noise to, divided by B; None where it adds none."""
    stages = list(_flat([defense]))
    at = next((i for i, stage in enumerate(stages) if isinstance(stage, DP)), None)
    if at is None:
        return None
    dp = stages[at]
    assert isinstance(dp, DP)
    return Chain([*stages[:at], replace(dp, sigma=0.0, epsilon=None)]) if dp.sigma else None


def final_dp(defense: Defense) -> DP | None:
    """The DP whose noise is the last thing that happens to a release; None where nothing is."""
    last = list(_flat([defense]))[-1]
    return last if isinstance(last, DP) else None


def at_sigma(defense: Defense, sigma: float) -> Defense:
    """The same defense with another noise multiplier of its DP."""
    stages = [
        replace(stage, sigma=sigma, epsilon=None) if isinstance(stage, DP) else stage
        for stage in _flat([defense])
    ]
    return Chain(stages) if isinstance(defense, Chain) else stages[0]


def _flat(stages: list[Defense]) -> Iterator[Defense]:
    """The stages with chains among them taken apart."""
    for stage in stages:
        yield from _flat(stage.stages) if isinstance(stage, Chain) else (stage,)
