"""L of one record as a function of x that can be differentiated twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from leakage.gradients.loss import Loss, computing
from leakage.gradients.source import Source


@dataclass(frozen=True, eq=False)
class RecordLoss:
    """The gradient of a batch of one record, which autograd follows back to the record.

    Args:
        loss: L at fixed weights.
        source: how a batch is made of records, and where it goes.
    """

    loss: Loss
    source: Source

    def gradient(self, record: Any) -> Tensor:
        """The gradient of L with respect to the p trained entries, float32 (p,), on the CPU."""
        trained = [p for p in self.loss.module.parameters() if p.requires_grad]
        source = replace(self.source, records=cast(Dataset[Any], [record]))
        with computing(self.source.device):
            loss = self.loss(source.batch(torch.zeros(1, dtype=torch.int64)))
            parts = torch.autograd.grad(
                loss, trained, create_graph=True, allow_unused=True, materialize_grads=True
            )
        return torch.cat([part.flatten() for part in parts]).cpu()

    def restore(self) -> None:
        """Puts back the state of the module that its steps have moved, once nothing needs it."""
        self.loss.state.restore()
