"""Networks for images: a small one, and ResNet-18 (He et al. 2016) with GroupNorm."""

from __future__ import annotations

from collections import OrderedDict

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from typing_extensions import override

from leakage.defenses.bottleneck import Bottleneck
from leakage.models.classifier import Classifier
from leakage.models.convolution import Planes, blocks, group_norm, head

_GRID = 4


class Image(Classifier):
    """Classifies images (k, 3, height, width) of any size by what convolutions find, and where.

    Faces are aligned: the head sees the means over the fields of a grid of 4 x 4.

    Args:
        classes: the number of labels.
        widths: the channels after each block, which halves height and width; 24, 48, 96 and 192
            where left out, with some 225 thousand parameters in all.
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
        convolutions, features = blocks(3, widths)
        network = OrderedDict[str, nn.Module](
            blocks=convolutions,
            pool=nn.AdaptiveAvgPool2d(_GRID),
            flat=nn.Flatten(),
            head=head(features * _GRID**2, hidden, classes, bottleneck),
        )
        super().__init__(nn.Sequential(network), classes, optimizer)


class Residual(BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """The block of torchvision, with nothing done in place: hooks of training forbid it."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        found = self.relu(self.bn1(self.conv1(x)))
        found = self.bn2(self.conv2(found))
        passed = x if self.downsample is None else self.downsample(x)
        return self.relu(found + passed)  # type: ignore[no-any-return]


class ResNet18(Classifier):
    """Classifies images (k, 3, height, width) by the ResNet-18 of torchvision, not pretrained.

    GroupNorm stands for its BatchNorm, which would mix the records of a batch.

    Args:
        classes: the number of labels.
        hidden: the widths of dense layers between the pooling and the logits; none where left out.
        optimizer: makes the optimizer from the parameters.
        bottleneck: a Gaussian layer among the dense layers, as a defense; none where left out.
    """

    def __init__(
        self,
        classes: int = 2,
        hidden: list[int] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        bottleneck: Bottleneck | None = None,
    ) -> None:
        network = ResNet(Residual, [2, 2, 2, 2], norm_layer=group_norm)
        for part in network.modules():
            if isinstance(part, nn.ReLU):
                part.inplace = False
        network.fc = head(network.fc.in_features, hidden, classes, bottleneck)
        super().__init__(nn.Sequential(Planes(3), network), classes, optimizer)
