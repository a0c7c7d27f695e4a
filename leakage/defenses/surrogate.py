"""A defender's own adversary: a small network whose posterior has a gradient in the release."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from leakage.errors import LeakageError
from leakage.gradients.telling import telling
from leakage.randomness import torch_generator

_EPOCHS, _BATCH, _RATE, _DECAY = 30, 50, 2e-3, 1.0
_HELD_OUT = 5  # one row of so many says when to stop
_ROWS = 16  # ranked at once, so that no float64 copy of all of them stands


@dataclass(frozen=True, eq=False, repr=False)
class Surrogate:
    """q(a|g) = softmax(f((g - centre) * inverse) + log P(a)), with a network f.

    f is fitted where each of the c values is as frequent as any other, so that f says log p(g|a)
    but for a constant, and q = P(a) wherever f tells no value from another.

    Args:
        columns: the m entries of a gradient that it looks at, int64 (m,).
        centre: their means, float64 (m,).
        inverse: one over their standard deviations, 0 where an entry is constant, float64 (m,).
        covariance: of the entries, float64 (m, m): along it they move as those of gradients do.
        layers: weight (out, in) and bias (out,) of each layer, float64; ReLU between them.
        prior: P(a), float64 (c,), each above 0.
    """

    columns: Tensor
    centre: Tensor
    inverse: Tensor
    covariance: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    prior: Tensor

    def log_posterior(self, gradients: Tensor) -> Tensor:
        """The log q(a|g) of gradients (n, p), float64 (n, c)."""
        return self.of_entries(gradients[:, self.columns].double())

    def of_entries(self, entries: Tensor) -> Tensor:
        """The same of the entries that it looks at alone, float64 (n, m); differentiable."""
        scores = _through(self.layers, (entries - self.centre) * self.inverse)
        return (scores + self.prior.log()).log_softmax(1)


def fit_surrogate(
    gradients: Tensor, values: Tensor, prior: Tensor, *, entries: int, width: int, seed: int
) -> Surrogate:
    """Trains a network with one hidden layer on standardised entries, by AdamW.

    A fifth of the rows is held out, and the weights of the epoch that does best on them are kept.

    Args:
        gradients: float32 (n, p).
        values: the position of each secret, each as often as the others, int64 (n,).
        prior: P(a), float64 (c,).
        entries: how many entries it looks at: those with the largest F statistic between the
            values; all where there are fewer.
        width: of the hidden layer.
        seed: of its first weights, and of the order of rows.
    """
    bad = int((~gradients.isfinite()).any(1).sum())
    if bad:
        raise LeakageError(
            f"defense: a surrogate is fitted on finite gradients, found NaN or inf in {bad} of"
            f" {len(gradients)}"
        )
    generator = torch_generator(seed, "surrogate")
    # A caller may have switched off what a fit needs; to copy is to switch it on again.
    with torch.inference_mode(False), torch.enable_grad():
        values, prior = values.clone(), prior.clone()
        columns = torch.arange(gradients.shape[1])
        if len(columns) > entries:
            columns = telling(gradients.split(_ROWS), values, entries)
        seen = gradients[:, columns].double()
        first = seen[0]  # differences to a row: a constant entry has no spread at all
        spread, centre = torch.std_mean(seen - first, 0, correction=0)
        inverse = torch.where(spread > 0, 1 / spread, 0)
        rows = seen - first - centre
        covariance = rows.T @ rows / len(rows)
        layers = _trained((rows * inverse).float(), values, (width, len(prior)), generator)
        floored = prior.double().clamp(min=1e-12)  # no value is impossible: its log is finite
        plain = tuple((weight.double(), bias.double()) for weight, bias in layers)
        prior = floored / floored.sum()
        return Surrogate(columns, centre + first, inverse, covariance, plain, prior)


_Layers = list[tuple[Tensor, Tensor]]


def _trained(
    rows: Tensor, values: Tensor, widths: tuple[int, ...], generator: Generator
) -> _Layers:
    """The layers that do best on the rows held out, float32."""
    layers: _Layers = []
    inputs = rows.shape[1]
    for outputs in widths:
        weight = torch.randn(outputs, inputs, generator=generator) * math.sqrt(1 / inputs)
        layers.append((weight.requires_grad_(), torch.zeros(outputs, requires_grad=True)))
        inputs = outputs
    optimizer = torch.optim.AdamW(
        [tensor for layer in layers for tensor in layer], lr=_RATE, weight_decay=_DECAY
    )
    order = torch.randperm(len(rows), generator=generator)
    held_out, fit = order[: len(rows) // _HELD_OUT], order[len(rows) // _HELD_OUT :]
    best, kept = math.inf, layers
    for _ in range(_EPOCHS):
        for some in fit[torch.randperm(len(fit), generator=generator)].split(_BATCH):
            loss = F.cross_entropy(_through(layers, rows[some]), values[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            loss_held_out = float(
                F.cross_entropy(_through(layers, rows[held_out]), values[held_out])
            )
        if loss_held_out < best:
            best = loss_held_out
            kept = [(weight.detach().clone(), bias.detach().clone()) for weight, bias in layers]
    return [(weight.detach(), bias.detach()) for weight, bias in kept]


def _through(layers: _Layers | tuple[tuple[Tensor, Tensor], ...], rows: Tensor) -> Tensor:
    """The output of the network for rows (n, m), (n, c)."""
    for weight, bias in layers[:-1]:
        rows = F.linear(rows, weight, bias).relu()
    return F.linear(rows, *layers[-1])
