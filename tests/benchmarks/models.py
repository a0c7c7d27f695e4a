"""The models of the table and their records: synthetic tensors of the shapes of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from lightning import LightningModule
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

try:
    from torchvision.models import resnet18
except ImportError:  # the case is then left out, which the table says
    resnet18 = None

VOCABULARY, LENGTH = 1000, 32


class Net(LightningModule):
    """A network under the mean cross-entropy."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.network(x), y)


class OwnAttention(nn.Module):
    """A transformer layer whose attention is made of Linears, so that hooks see all of them."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        def split(part: Tensor) -> Tensor:
            return part.unflatten(-1, (self.heads, -1)).transpose(
                -2, -3
            )  # (k, heads, L, width / heads)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = self.first(x + self.out((weights @ v).transpose(-2, -3).flatten(-2)))
        return self.second(x + self.feed(x))


class Reader(nn.Module):
    """Embeds tokens (k, L), applies transformer layers, and classifies the mean position."""

    def __init__(self, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(tokens)).mean(-2))


def mlp(in_features: int = 104, hidden: tuple[int, ...] = (64, 32)) -> nn.Module:
    layers: list[nn.Module] = []
    for width, following in pairwise((in_features, *hidden, 2)):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(channels: tuple[int, ...]) -> nn.Module:
    """Convolutions of 3x3, each with GroupNorm and a halving of both sides.

    Smooth, here and below: at the kink of a ReLU two paths may round to different sides, and
    then their gradients differ by 1e-3, which hides a mistake of that size.
    """
    layers: list[nn.Module] = []
    for width, following in pairwise(channels):
        layers += [nn.Conv2d(width, following, 3, stride=2, padding=1)]
        layers += [nn.GroupNorm(8, following), nn.SiLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 2))


def encoder(width: int = 64, depth: int = 2) -> nn.Module:
    layers = [
        nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True
        )
        for _ in range(depth)
    ]
    return Reader([*layers], width)


def own_encoder(width: int = 64, depth: int = 2) -> nn.Module:
    return Reader([OwnAttention(width, 4, 2 * width) for _ in range(depth)], width)


def resnet() -> nn.Module:
    """ResNet-18, with SiLU for ReLU and the average for the maximum of its one pooling."""
    made = resnet18(num_classes=2, norm_layer=lambda channels: nn.GroupNorm(8, channels))
    for part in made.modules():
        if hasattr(part, "relu"):
            part.relu = nn.SiLU()
    made.maxpool = nn.AvgPool2d(3, stride=2, padding=1)
    return made


def numbers(*shape: int) -> Callable[[int, Generator], Tensor]:
    return lambda N, generator: torch.randn(N, *shape, generator=generator)


def tokens(N: int, generator: Generator) -> Tensor:
    return torch.randint(VOCABULARY, (N, LENGTH), generator=generator)


@dataclass(frozen=True)
class Case:
    """A model, its pool of N records and the tables of n releases of k records.

    Args:
        name: for `--only`.
        title: for the table.
        network: makes the model.
        x: makes the inputs of N records.
        N: the pool.
        n: releases.
        ks: the batch sizes.
        clipped: those that are also measured with per-record clipping.
    """

    name: str
    title: str
    network: Callable[[], nn.Module]
    x: Callable[[int, Generator], Tensor]
    N: int
    n: int
    ks: tuple[int, ...]
    clipped: tuple[int, ...] = ()

    @property
    def missing(self) -> str:
        """What is not installed and needed, empty where nothing is."""
        return "torchvision" if self.network is resnet and resnet18 is None else ""

    def quick(self) -> Case:
        """The same with a tenth of the pool and of the releases, at one batch size."""
        k = self.ks[len(self.ks) > 1]
        return replace(self, N=max(k, self.N // 10), n=self.n // 10, ks=(k,), clipped=())

    def module(self) -> Net:
        """The model at weights that are the same in every process."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Net(self.network())

    def records(self) -> TensorDataset:
        """N records (x, y); the labels are random, two values."""
        generator = torch.Generator().manual_seed(1)
        return TensorDataset(
            self.x(self.N, generator), torch.randint(2, (self.N,), generator=generator)
        )

    def table(self, k: int) -> Tensor:
        """Record indices (n, k), the k of a row distinct."""
        generator = torch.Generator().manual_seed(2)
        rows = [torch.randperm(self.N, generator=generator)[:k] for _ in range(self.n)]
        return torch.stack(rows)


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case(
            "mlp", "Adult MLP", mlp, numbers(104), 10_000, 2_000, (1, 16, 64, 256), (1, 16, 64, 256)
        ),
        Case(
            "face",
            "face CNN 3x64x64, GroupNorm",
            lambda: cnn((3, 32, 64, 128, 320)),
            numbers(3, 64, 64),
            2_000,
            500,
            (1, 16, 64),
            (1, 16),
        ),
        Case(
            "audio",
            "audio CNN 1x64x128, GroupNorm",
            lambda: cnn((1, 32, 64, 128, 320)),
            numbers(1, 64, 128),
            2_000,
            500,
            (1, 16, 64),
        ),
        Case("transformer", "small transformer", encoder, tokens, 2_000, 500, (1, 16, 64)),
        Case("own", "the same, attention of Linears", own_encoder, tokens, 2_000, 500, (1, 16, 64)),
        Case("resnet", "ResNet-18, GroupNorm, 3x64x64", resnet, numbers(3, 64, 64), 150, 50, (16,)),
    )
}


def sizes(module: Any) -> int:
    """p, the number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
