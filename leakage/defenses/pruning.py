"""Pruning: only the largest entries of a gradient are shared (Lin et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.defenses.base import Defense
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

Scope = Literal["global", "layer"]


@dataclass(frozen=True)
class Pruning(Defense):
    """Keeps the largest magnitudes of each release and zeroes the rest (Lin et al. 2018).

    Args:
        keep: share of the entries that is released, in (0, 1]; at least one entry stays.
        scope: `global` ranks the p entries of the gradient together, `layer` those of each
            parameter by themselves.
    """

    keep: float = 0.01
    scope: Scope = "global"

    def __post_init__(self) -> None:
        _check(self, self.keep, self.scope)

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        return keep_largest(means, self.keep, self.scope, layout)


@dataclass(frozen=True)
class RecordPruning(Defense):
    """Keeps the largest magnitudes of each record's gradient, before the mean.

    Args:
        keep: share of the entries that each record keeps, in (0, 1]; at least one stays.
        scope: as for `Pruning`.
    """

    keep: float = 0.01
    scope: Scope = "global"

    def __post_init__(self) -> None:
        _check(self, self.keep, self.scope)

    @override
    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        return keep_largest(gradients, self.keep, self.scope, layout)


def keep_largest(gradients: Tensor, keep: float, scope: Scope, layout: Layout) -> Tensor:
    """Zeroes all but a share of the largest magnitudes of each row (n, p)."""
    sizes = [gradients.shape[1]] if scope == "global" else list(layout.sizes)
    return torch.cat([_keep_largest(part, keep) for part in gradients.split(sizes, dim=1)], dim=1)


def _keep_largest(gradients: Tensor, keep: float) -> Tensor:
    kept = max(1, round(keep * gradients.shape[1]))
    index = gradients.abs().topk(kept, dim=1).indices  # (n, kept)
    return torch.zeros_like(gradients).scatter(1, index, gradients.gather(1, index))


def _check(defense: Defense, keep: float, scope: str) -> None:
    name = type(defense).__name__
    if not 0 < keep <= 1:
        raise LeakageError(f"defense.keep: {name} keeps a share of entries in (0, 1], got {keep}")
    if scope not in ("global", "layer"):
        raise LeakageError(f"defense.scope: {name} knows 'global' and 'layer', got {scope!r}")
