"""Clipping the gradient of each record to a norm, before the mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """A per-record map that scales a gradient down to a norm (Abadi et al. 2016).

    The engine knows it, and can scale what a gradient is made of instead of the gradient.

    Args:
        norm: C, the greatest l2 norm that is left, above 0.
    """

    norm: float

    def __call__(self, gradients: Tensor) -> Tensor:
        """Maps record gradients (m, p) to (m, p)."""
        # A sum of a million float32 squares is off by 1e-5, and C would be exceeded by as much.
        norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64).float()
        return gradients * self.scales(norms).to(gradients.dtype).unsqueeze(1)

    def scales(self, norms: Tensor) -> Tensor:
        """What gradients of these norms (m,) are multiplied with, in (0, 1]."""
        return (self.norm / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1)
