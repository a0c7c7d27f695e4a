"""x as numbers in 0..1 that can be changed a little at a time, and back to records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from leakage.fields import Category, Field, Number, project


class Relaxed(ABC):
    """Free variables (n, ...) in 0..1 that stand for records x (n, ...)."""

    @abstractmethod
    def free(self, x: Tensor) -> Tensor:
        """The variables that stand for some records."""

    @abstractmethod
    def x(self, free: Tensor, like: Tensor) -> Tensor:
        """What they stand for, of the shape of some records, differentiably."""

    @abstractmethod
    def keep_(self, free: Tensor) -> None:
        """Moves them back to where they stand for something, in place."""

    @abstractmethod
    def valid(self, x: Tensor) -> Tensor:
        """The nearest records that there could be."""


@dataclass(frozen=True, eq=False)
class Box(Relaxed):
    """Entries within a range: images and spectrograms.

    Args:
        low: the least entries, in a shape that broadcasts with x.
        high: the greatest ones.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def around(cls, x: Tensor) -> Box:
        """The range of some records (n, ...), of each channel where they have channels."""
        across = (0, 2, 3) if x.ndim == 4 else tuple(range(x.ndim))
        return cls(x.amin(across, keepdim=True)[0], x.amax(across, keepdim=True)[0])

    @override
    def free(self, x: Tensor) -> Tensor:
        tiny = torch.finfo(torch.float32).tiny
        return ((x.float() - self.low) / (self.high - self.low).clamp(min=tiny)).clamp(0, 1)

    @override
    def x(self, free: Tensor, like: Tensor) -> Tensor:
        return self.low + free * (self.high - self.low)

    @override
    def keep_(self, free: Tensor) -> None:
        free.clamp_(0, 1)

    @override
    def valid(self, x: Tensor) -> Tensor:
        return x.float().clamp(self.low, self.high)


@dataclass(frozen=True, eq=False)
class Mixtures(Relaxed):
    """Rows of a table: each category as shares of its values, each number as a share of its range.

    Args:
        fields: what the columns of x mean.
    """

    fields: Sequence[Field]

    @override
    def free(self, x: Tensor) -> Tensor:
        parts = []
        for field in self.fields:
            block = x[:, list(field.columns)]
            if isinstance(field, Category):
                codes = field.codes(block)
                parts.append(torch.nn.functional.one_hot(codes, len(field.values)).float())
            elif isinstance(field, Number):
                parts.append(_box(field).free(block))
        return torch.cat(parts, 1)

    @override
    def x(self, free: Tensor, like: Tensor) -> Tensor:
        out = like.detach().clone().float()
        for field, part in self._parts(free):
            if isinstance(field, Category):
                out[:, list(field.columns)] = part @ field.levels
            elif isinstance(field, Number):
                out[:, list(field.columns)] = _box(field).x(part, part)
        return out

    @override
    def keep_(self, free: Tensor) -> None:
        free.clamp_(0, 1)
        for field, part in self._parts(free):
            if isinstance(field, Category):
                sums = part.sum(1, keepdim=True)
                part.copy_(torch.where(sums > 0, part / sums, 1 / part.shape[1]))

    @override
    def valid(self, x: Tensor) -> Tensor:
        return project(self.fields, x)

    def _parts(self, free: Tensor) -> list[tuple[Field, Tensor]]:
        """The variables of each field: views."""
        sizes = [len(f.values) if isinstance(f, Category) else 1 for f in self.fields]
        return list(zip(self.fields, free.split(sizes, dim=1), strict=True))


def _box(field: Number) -> Box:
    low, high = field.span
    return Box(torch.tensor(low), torch.tensor(high))
