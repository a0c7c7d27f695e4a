"""A multilayer perceptron for tabular records."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import OptimizerCallable

from leakage.defenses.bottleneck import Bottleneck
from leakage.errors import LeakageError
from leakage.models.classifier import Classifier, dense


class Tabular(Classifier):
    """Classifies records of numbers with linear layers and ReLU between them.

    Args:
        in_features: the columns of x, linked to the data by the command line.
        classes: the number of labels.
        hidden: the widths of the hidden layers; an empty list makes a linear model.
        optimizer: makes the optimizer from the parameters.
        bottleneck: a Gaussian layer inside, as a defense; none where left out.
    """

    def __init__(
        self,
        in_features: int,
        classes: int = 2,
        hidden: list[int] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        bottleneck: Bottleneck | None = None,
    ) -> None:
        widths = [in_features, *([64, 32] if hidden is None else hidden), classes]
        if min(widths) < 1:
            raise LeakageError(f"model.hidden: layer widths are at least 1, got {widths[1:-1]}")
        super().__init__(dense(widths, bottleneck), classes, optimizer)
