"""The LightningModule of every network of the project: a classifier with utility metrics."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC
from typing_extensions import override

from leakage.defenses.bottleneck import Bottleneck, penalty


class Classifier(LightningModule):
    """Trains a network that maps a batch x to logits (k, classes) by its mean cross-entropy.

    A bottleneck inside adds its penalty to what is trained, not to the loss that is validated.
    `training_step` is plain, so that the gradient of a batch is the mean over its records
    wherever the network does not mix them. The shared gradient of a step is what a callback
    finds in `on_before_optimizer_step`, where `read_shared_gradient` observes it and
    `write_shared_gradient` replaces it before the optimizer sees it.

    Args:
        network: maps x (k, ...) to logits (k, classes).
        classes: the number of labels.
        optimizer: makes the optimizer from the parameters.
    """

    def __init__(self, network: nn.Module, classes: int, optimizer: OptimizerCallable) -> None:
        super().__init__()
        self.network = network
        self._optimizer = optimizer
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "auroc": MulticlassAUROC(classes),
            }
        )
        self.val_metrics = metrics.clone(prefix="utility/val_")
        self.test_metrics = metrics.clone(prefix="utility/test_")

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def hits(self, batch: Any) -> Tensor:
        """Whether the label of each record is predicted, bool (k,); a NaN predicts none."""
        x, y = batch
        logits: Tensor = self(x)
        right: Tensor = logits.argmax(1) == y
        return right & ~logits.isnan().any(1)

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y) + penalty(self)
        self.log("utility/train_loss", loss)
        return loss

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "val", self.val_metrics)

    @override
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, "test", self.test_metrics)

    def _evaluate(self, batch: Any, stage: str, metrics: MetricCollection) -> None:
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.log(f"utility/{stage}_loss", loss, prog_bar=stage == "val", sync_dist=True)
        # Probabilities, since torchmetrics guesses from the range of raw scores what they are.
        if not self.trainer.sanity_checking:  # on a few records, which may lack a label
            metrics.update(logits.double().softmax(1), y)
            self.log_dict(metrics)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer(self.parameters())


def dense(widths: list[int], bottleneck: Bottleneck | None = None) -> nn.Sequential:
    """Linear layers with ReLU between them, and a bottleneck where there is one.

    Args:
        widths: of the input, each hidden layer and the output.
        bottleneck: counts its place in the hidden layers, 0 being right after the input.
    """
    place = None if bottleneck is None else bottleneck.place(len(widths) - 2)
    layers: list[nn.Module] = []
    for position, (width, following) in enumerate(pairwise(widths)):
        if bottleneck is not None and position == place:
            layers.append(bottleneck.layer(width))
            width = bottleneck.dimension
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
