"""The tensors of a module, put back after each step that moves them."""

from __future__ import annotations

import torch
from torch import nn


class State:
    """The buffers of a module, and those parameters that its first step has moved by itself.

    A statistic that follows the batches, a teacher that follows the student: each batch is to see
    them as training left them. To put every parameter back each time would take too long.

    Args:
        module: as it is to stay.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = [part._buffers for part in module.modules() if part._buffers]
        self._owners = [(buffers, dict(buffers)) for buffers in parts]
        self._kept = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
        self._watched = [(p, p.detach().clone()) for p in module.parameters()]
        self.moves_parameters = False

    def restore(self) -> None:
        """Puts back what has moved; of the parameters, what has the first time."""
        moved = [(p, value) for p, value in self._watched if not torch.equal(p, value)]
        self._watched = []
        self._kept += moved
        self.moves_parameters |= bool(moved)
        for owner, buffers in self._owners:
            owner.update(buffers)
        with torch.no_grad():
            for tensor, value in self._kept:
                tensor.copy_(value)
