"""A multilayer perceptron for tabular records."""

from __future__ import annotations

from itertools import pairwise

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from leakage.errors import LeakageError
from leakage.models.classifier import Classifier


class Tabular(Classifier):
    """Classifies records of numbers with linear layers and ReLU between them.

    Args:
        in_features: the columns of x, linked to the data by the command line.
        classes: the number of labels.
        hidden: the widths of the hidden layers; an empty list makes a linear model.
        optimizer: makes the optimizer from the parameters.
    """

    def __init__(
        self,
        in_features: int,
        classes: int = 2,
        hidden: list[int] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
    ) -> None:
        widths = [in_features, *([64, 32] if hidden is None else hidden), classes]
        if min(widths) < 1:
            raise LeakageError(f"model.hidden: layer widths are at least 1, got {widths[1:-1]}")
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
        super().__init__(nn.Sequential(*layers[:-1]), classes, optimizer)
