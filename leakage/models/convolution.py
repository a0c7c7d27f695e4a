"""What the networks of images and of sound share: convolutions that see each record by itself."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from typing_extensions import override

from leakage.defenses.bottleneck import Bottleneck
from leakage.errors import LeakageError
from leakage.models.classifier import dense

_GROUPS = 8


class Planes(nn.Module):
    """Passes records (k, channels, height, width) on, and refuses those of another shape.

    Args:
        channels: of a record.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    @override
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise LeakageError(
                f"model: its network takes records (k, {self.channels}, height, width), found the"
                f" shape {tuple(x.shape)}"
            )
        return x

    @override
    def extra_repr(self) -> str:
        return str(self.channels)


def blocks(channels: int, widths: list[int] | None) -> tuple[nn.Sequential, int]:
    """Convolutions 3x3, each with GroupNorm, ReLU and half the height and width, rounded up.

    Args:
        channels: of a record (k, channels, height, width), of any height and width.
        widths: the channels after each block, of which there is at least one.

    Returns:
        The blocks, and the width of the last one.
    """
    widths = [24, 48, 96, 192] if widths is None else widths
    if not widths or min(widths) < 2:  # one number alone has no spread to be normalised by
        raise LeakageError(
            f"model.widths: at least one block, each of at least 2 channels, got {widths}"
        )
    network = nn.Sequential(Planes(channels))
    for before, after in pairwise([channels, *widths]):
        block = OrderedDict[str, nn.Module](
            # The shift of the norm stands for a bias.
            conv=nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            norm=group_norm(after),
            relu=nn.ReLU(),
        )
        network.append(nn.Sequential(block))
    return network, widths[-1]


def group_norm(width: int) -> nn.GroupNorm:
    """A norm over each record alone: of 8 groups, or of all channels where that leaves one each."""
    return nn.GroupNorm(_GROUPS if width % _GROUPS == 0 and width > _GROUPS else 1, width)


def head(
    features: int, hidden: list[int] | None, classes: int, bottleneck: Bottleneck | None
) -> nn.Sequential:
    """The layers from what convolutions have found (k, features) to logits (k, classes).

    Args:
        features: of the convolutions.
        hidden: the widths of hidden layers; none where left out.
        classes: the number of labels.
        bottleneck: counts its place in the hidden layers, 0 being right after the convolutions.
    """
    hidden = hidden or []
    if min([1, *hidden]) < 1:
        raise LeakageError(f"model.hidden: layer widths are at least 1, got {hidden}")
    if classes < 2:
        raise LeakageError(f"model.classes: at least 2 labels are told apart, got {classes}")
    return dense([features, *hidden, classes], bottleneck)
