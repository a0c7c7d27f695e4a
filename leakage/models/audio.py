"""A network for log-mel spectrograms."""

from __future__ import annotations

from collections import OrderedDict

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from typing_extensions import override

from leakage.defenses.bottleneck import Bottleneck
from leakage.models.classifier import Classifier
from leakage.models.convolution import blocks, head

_BANDS = 4


class OverTime(nn.Module):
    """Mean and maximum over time in four bands of frequency: (k, c, mels, frames) to (k, 8 c).

    When something sounds is pooled away, how high it is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d((_BANDS, 1))

    @override
    def forward(self, x: Tensor) -> Tensor:
        loudest = x.amax(3, keepdim=True)
        return torch.cat([self.mean(x), self.mean(loudest)], 1).flatten(1)


class Audio(Classifier):
    """Classifies log-mel spectrograms (k, 1, mels, frames) of any size.

    Args:
        classes: the number of labels.
        widths: the channels after each block, which halves mels and frames; 24, 48, 96 and 192
            where left out, with some 220 thousand parameters in all.
        hidden: the widths of dense layers between the pooling and the logits; none where left out.
        optimizer: makes the optimizer from the parameters.
        bottleneck: a Gaussian layer among the dense layers, as a defense; none where left out.
    """

    def __init__(
        self,
        classes: int = 2,
        widths: list[int] | None = None,
        hidden: list[int] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        bottleneck: Bottleneck | None = None,
    ) -> None:
        convolutions, features = blocks(1, widths)
        network = OrderedDict[str, nn.Module](
            blocks=convolutions,
            pool=OverTime(),
            head=head(2 * _BANDS * features, hidden, classes, bottleneck),
        )
        super().__init__(nn.Sequential(network), classes, optimizer)
