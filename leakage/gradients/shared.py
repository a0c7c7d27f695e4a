"""The shared gradient of a live step: read it from, and write it back to, a training module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def read_shared_gradient(module: nn.Module) -> Tensor:
    """The flat gradient that the module would share, float32 (p,), in the order of `Layout`.

    A parameter that the loss did not use counts as zero.
    """
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad.to_dense())
            .detach()
            .flatten()
            .float()
            for p in module.parameters()
            if p.requires_grad
        ]
    )


def write_shared_gradient(module: nn.Module, gradient: Tensor) -> None:
    """Puts a flat gradient (p,) where the optimizer reads it.

    A parameter that the loss did not use, and whose part is zero, stays without a gradient, so
    that the optimizer skips it (and its weight decay) as it does without a defense.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    parts = gradient.split([p.numel() for p in trainable])
    for parameter, part in zip(trainable, parts, strict=True):
        if parameter.grad is not None or part.any():
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
