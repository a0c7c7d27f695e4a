"""A list of defenses, applied in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Generator, Tensor
from typing_extensions import override

from leakage.defenses.base import Defense
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout


@dataclass(frozen=True)
class Chain(Defense):
    """Applies defenses in order: all record-wise ones before the mean, then the others.

    Args:
        stages: the defenses; one that maps records cannot follow one that maps the mean.
    """

    stages: list[Defense]

    def __post_init__(self) -> None:
        if not self.stages:
            raise LeakageError("defense.stages: an empty list defends nothing; use NoDefense")
        maps_means = False
        for stage in _flat(self.stages):
            if maps_means and stage.record_wise:
                raise LeakageError(
                    f"defense.stages: {stage.label} maps the gradient of each record, so it must"
                    " come before every stage that maps the mean"
                )
            maps_means = maps_means or type(stage).release is not Defense.release

    @property
    @override
    def record_wise(self) -> bool:
        return any(stage.record_wise for stage in self.stages)

    @override
    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        for stage in self.stages:
            gradients = stage.per_record(gradients, layout)
        return gradients

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        for stage in self.stages:
            means = stage.release(means, k=k, layout=layout, generator=generator)
        return means


def _flat(stages: Iterable[Defense]) -> Iterator[Defense]:
    """The stages with chains among them taken apart."""
    for stage in stages:
        yield from _flat(stage.stages) if isinstance(stage, Chain) else (stage,)
