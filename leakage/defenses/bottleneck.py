"""The variational information bottleneck (Alemi et al. 2017): a defense inside the model and L."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from leakage.errors import LeakageError

_BOUND = 10.0  # of |log variance|: sigma stays within e^-5 and e^5


@dataclass(frozen=True)
class Bottleneck:
    """A Gaussian layer whose output holds little of its input: L + beta * KL (Alemi et al. 2017).

    Two lines put it into a module of anyone's own: the layer, and its `penalty` in the loss.

    Args:
        dimension: of z, at least 1.
        beta: the weight of the KL divergence, in units of L a nat; 0 leaves the noise alone.
        after: the hidden layers before it; all where left out, so that it stands right before
            the last layer.
    """

    dimension: int = 16
    beta: float = 1e-2
    after: int | None = None

    def __post_init__(self) -> None:
        key = "model.bottleneck"
        if not _is_whole(self.dimension) or self.dimension < 1:
            raise LeakageError(
                f"{key}.dimension: a whole number of at least 1, got {self.dimension}"
            )
        if not 0 <= self.beta < math.inf:
            raise LeakageError(f"{key}.beta: a finite weight of at least 0, got {self.beta}")
        if self.after is not None and (not _is_whole(self.after) or self.after < 0):
            raise LeakageError(
                f"{key}.after: a number of hidden layers of at least 0, got {self.after}"
            )

    @property
    def label(self) -> str:
        """The bottleneck and its settings, for tables."""
        place = "" if self.after is None else f", after={self.after}"
        return f"{type(self).__name__}(dimension={self.dimension}, beta={self.beta:g}{place})"

    def place(self, hidden: int) -> int:
        """How many of the hidden layers of a model come before it."""
        if self.after is None:
            return hidden
        if self.after > hidden:
            raise LeakageError(
                f"model.bottleneck.after: the model has {hidden} hidden layers, so that the"
                f" bottleneck comes after 0 to {hidden} of them, got {self.after}"
            )
        return self.after

    def layer(self, in_features: int) -> GaussianLayer:
        """The layer itself, from (k, ..., in_features) to (k, ..., dimension)."""
        return GaussianLayer(self, in_features)


class GaussianLayer(nn.Module):
    """Draws z = mu + sigma * noise, where mu and log sigma^2 are linear in the input.

    In training mode the noise is N(0, I), fresh for each record and call, from the global
    randomness of torch; gradients pass through it to mu and sigma (Kingma & Welling 2014). In
    evaluation mode, and where it is `silenced`, z = mu. Computes in float32 at least, and gives
    the type of its linear layer.

    Attributes:
        settings: the bottleneck that it is of.
        kl: of the last forward pass, the mean over its records of KL(N(mu, sigma^2) || N(0, I))
            in nats, summed over all entries of z; 0 before the first and where it is silenced.
        silent: whether it is silenced, which copies of it stay.
    """

    kl: Tensor

    def __init__(self, settings: Bottleneck, in_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * settings.dimension)
        self.settings = settings
        self.silent = False
        self.kl = torch.zeros(())

    @override
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 2:
            raise LeakageError(
                "model.bottleneck: its layer takes records (k, ..., features), found the shape"
                f" {tuple(x.shape)}"
            )
        out: Tensor = self.linear(x)
        wide = out.to(torch.promote_types(out.dtype, torch.float32))
        mean, spread = wide.chunk(2, dim=-1)  # (k, ..., dimension) each
        # Smooth: a clamp would leave a unit beyond the bound without a gradient that brings it
        # back, and without a bound one large input makes exp(log variance) infinite.
        log_variance = _BOUND * torch.tanh(spread / _BOUND)
        self.kl = wide.new_zeros(()) if self.silent else _kl(mean, log_variance)
        if self.training and not self.silent:
            mean = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        return mean.to(out.dtype)

    @override
    def extra_repr(self) -> str:
        return self.settings.label

    def __getstate__(self) -> dict[str, Any]:
        # A copy or a pickle has had no forward pass; of tensors with a graph there is none.
        return self.__dict__ | {"kl": torch.zeros(())}


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Mean over records of KL(N(mean, variance) || N(0, I)) = (m^2 + v - log v - 1) / 2, summed."""
    each = (mean.square() + log_variance.exp() - log_variance - 1) / 2
    return each.flatten(1).sum(1).mean()


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def bottlenecks(module: nn.Module) -> list[tuple[str, GaussianLayer]]:
    """The Gaussian layers of a module, each with its path; one that is shared counts once."""
    found = module.named_modules()
    return [(path, layer) for path, layer in found if isinstance(layer, GaussianLayer)]


def penalty(module: nn.Module) -> Tensor:
    """What the bottlenecks of a module add to L: the sum of beta * KL of their last forward pass.

    A scalar, 0 where there is no bottleneck or all are silenced. It has to follow the forward pass
    of the same batch; a layer that is called several times for a batch adds its last call.

    >>> class Own(nn.Module):  # or a LightningModule
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.bottleneck = Bottleneck(dimension=16, beta=1e-3).layer(64)
    ...         self.last = nn.Linear(16, 2)
    ...
    ...     def training_step(self, batch, batch_idx):
    ...         x, y = batch
    ...         logits = self.last(self.bottleneck(x))
    ...         return nn.functional.cross_entropy(logits, y) + penalty(self)
    >>> loss = Own().training_step((torch.zeros(8, 64), torch.zeros(8, dtype=torch.long)), 0)
    >>> loss.shape
    torch.Size([])
    """
    terms = [layer.settings.beta * layer.kl for _, layer in bottlenecks(module)]
    return sum(terms, torch.zeros(()))


@contextmanager
def silenced(module: nn.Module) -> Iterator[None]:
    """Where the bottlenecks of a module are off: z = mu, and KL = 0.

    So an adversary takes gradients who does not know of the bottleneck. Copies that are made
    within stay so.
    """
    layers = [layer for _, layer in bottlenecks(module)]
    before = [layer.silent for layer in layers]
    try:
        for layer in layers:
            layer.silent = True
        yield
    finally:
        for layer, silent in zip(layers, before, strict=True):
            layer.silent = silent
