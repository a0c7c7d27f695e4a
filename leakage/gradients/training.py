"""Clients that train on their own records by plain SGD: one by one, or stacked under vmap.

With rate lr and gradients g_1 ... g_s of its s steps a client ends at theta - lr (g_1 + ... + g_s).
What it shares, (theta - theta_local) / lr, is summed as these gradients: the difference would lose
the digits that theta has and its change has not.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_map
from torch.utils.data import default_collate
from typing_extensions import override

from leakage.gradients.loss import Loss, computing
from leakage.gradients.plain import Plain
from leakage.randomness import reseed

Buffers = dict[str, Tensor]


class Training(ABC):
    """A way to the updates of clients.

    Args:
        plain: L at fixed weights, the records, the parameters in the order of the layout.
        lr: the rate of their steps.
    """

    def __init__(self, plain: Plain, lr: float) -> None:
        self.plain, self.lr = plain, lr
        self.sizes = [parameter.numel() for parameter in plain.trainable]

    @abstractmethod
    def train(self, walks: Tensor, spans: Sequence[slice], seeds: Sequence[int]) -> Tensor:
        """The update of each client, float32 (m, p).

        Args:
            walks: record indices in the order in which each client goes through them (m, w).
            spans: for each step, which part of the walk is its batch.
            seeds: of what each client draws at random beside that order.
        """

    @abstractmethod
    def bytes_of_client(self, saved: int) -> int:
        """What one client takes of the memory while it trains.

        Args:
            saved: what the forward pass of one of its batches keeps.
        """


class OneByOne(Training):
    """Each client by itself, on the copied module, whatever its records do with each other."""

    def __init__(self, plain: Plain, lr: float) -> None:
        super().__init__(plain, lr)
        self._theta = [parameter.detach().clone() for parameter in plain.trainable]

    @override
    def train(self, walks: Tensor, spans: Sequence[slice], seeds: Sequence[int]) -> Tensor:
        device = self.plain.source.device
        with computing(device):
            out = torch.zeros(len(walks), sum(self.sizes), device=device)
            for update, walk, seed in zip(out, walks, seeds, strict=True):
                reseed(seed, device)
                self._train(update, walk, spans)
        return out

    @override
    def bytes_of_client(self, saved: int) -> int:
        return saved + 3 * 4 * sum(self.sizes)

    def _train(self, update: Tensor, walk: Tensor, spans: Sequence[slice]) -> None:
        """Adds the gradients of the steps of a client to its update (p,), which is 0."""
        trainable = self.plain.trainable
        try:
            for span in spans:
                batch = self.plain.source.batch(walk[span])
                parts = self.plain.flat(self.plain.parts(batch, span.stop - span.start))
                update += torch.cat(parts)
                with torch.no_grad():
                    for parameter, part in zip(trainable, parts, strict=True):
                        parameter.sub_(part.view_as(parameter), alpha=self.lr)
            if self.plain.loss.state.moves_parameters:  # beside the steps, and maybe these
                pairs = zip(self._theta, trainable, strict=True)
                moved = [(theta - local.detach()).flatten() for theta, local in pairs]
                torch.cat(moved, out=update).div_(self.lr)
        finally:
            with torch.no_grad():
                for parameter, theta in zip(trainable, self._theta, strict=True):
                    parameter.copy_(theta)
            self.plain.loss.state.restore()


class NotStackedError(Exception):
    """Why the batches of several clients are not one tensor each."""


class _LossAndBuffers(nn.Module):
    """A loss, and the buffers that it leaves, which the next step of a client starts from."""

    def __init__(self, loss: Loss, names: list[str]) -> None:
        super().__init__()
        self.loss, self._names = loss, names

    def forward(self, batch: Any) -> tuple[Tensor, Buffers]:
        loss = self.loss(batch)
        left = dict(self.loss.named_buffers(prefix="loss")) if self._names else {}
        return loss, {name: left[name].detach() for name in self._names}


class Stacked(Training):
    """`vmap` over clients, each with weights and buffers of its own, step by step.

    Args:
        plain: L at fixed weights, the records, the parameters in the order of the layout.
        lr: the rate of the steps.
        probe: indices of a few records, which show what buffers a step moves.
    """

    def __init__(self, plain: Plain, lr: float, probe: Tensor) -> None:
        super().__init__(plain, lr)
        if plain.loss.state.moves_parameters:  # it would leave tensors of vmap in them
            raise RuntimeError("it changes parameters by itself")
        scratch = plain.loss.twin()
        self._buffers = _moved(scratch, plain, probe)
        self._loss = _LossAndBuffers(scratch, list(self._buffers))
        names = {id(parameter): name for name, parameter in self._loss.named_parameters()}
        self._names = [names[id(parameter)] for parameter in plain.trainable]
        self._theta = torch.cat([p.detach().flatten() for p in plain.trainable])

    @override
    def train(self, walks: Tensor, spans: Sequence[slice], seeds: Sequence[int]) -> Tensor:
        m, update, at, batch = len(walks), None, None, None
        buffers = {name: b.expand(m, *b.shape).clone() for name, b in self._buffers.items()}
        with computing(self.plain.source.device):  # nothing stochastic takes this path
            for span in spans:
                if span != at:
                    batch, at = self._batch(walks[:, span]), span
                weights = self._theta
                if update is not None:
                    weights = torch.add(weights, update, alpha=-self.lr)  # (m, p)
                gradients, buffers = self._step(weights, buffers, batch)
                if update is None:
                    update = torch.cat([g.reshape(m, -1) for g in gradients], dim=1).float()
                    continue
                for part, g in zip(update.split(self.sizes, dim=1), gradients, strict=True):
                    part += g.reshape(m, -1)
        assert update is not None  # there is at least one step
        return update

    @override
    def bytes_of_client(self, saved: int) -> int:
        moved = sum(buffer.nbytes for buffer in self._buffers.values())
        return 2 * saved + 4 * 4 * sum(self.sizes) + 2 * moved

    def _step(self, weights: Tensor, buffers: Buffers, batch: Any) -> tuple[list[Tensor], Buffers]:
        """The gradients at the weights of each client (m, p), or at those of all (p,)."""
        own = 0 if weights.dim() == 2 else None
        pieces = zip(weights.split(self.sizes, dim=-1), self.plain.trainable, strict=True)
        shaped = [piece.view(*weights.shape[:-1], *like.shape) for piece, like in pieces]
        axes = tree_map(lambda leaf: 0 if isinstance(leaf, Tensor) else None, batch)

        def loss(parameters: Buffers, buffers: Buffers, batch: Any) -> Any:
            return functional_call(self._loss, parameters | buffers, (batch,))

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="There is a performance drop")
                of_client = vmap(grad(loss, has_aux=True), in_dims=(own, 0, axes))
                gradients, left = of_client(
                    dict(zip(self._names, shaped, strict=True)), buffers, batch
                )
        finally:
            self._loss.loss.state.restore()
        return list(gradients.values()), left

    def _batch(self, records: Tensor) -> Any:
        """The batches of clients (m, b), each leaf with the axis of clients first."""
        source = self.plain.source
        if source.collate is not default_collate:  # it may pad to the longest of a batch
            return tree_map(_stacked, *[source.batch(row) for row in records])

        def by_client(leaf: Any) -> Tensor:
            if not isinstance(leaf, Tensor):
                raise NotStackedError(f"the batch holds a {type(leaf).__name__}")
            if leaf.shape[:1] != (records.numel(),):
                raise NotStackedError("the batch holds a tensor that does not go by records")
            return leaf.reshape(*records.shape, *leaf.shape[1:])

        return tree_map(by_client, source.batch(records.flatten()))


def _moved(scratch: Loss, plain: Plain, probe: Tensor) -> Buffers:
    """The buffers that a step changes, as they were before it."""
    before = {name: buffer.detach().clone() for name, buffer in scratch.named_buffers("loss")}
    try:
        with computing(plain.source.device):
            scratch(plain.source.batch(probe))
        after = dict(scratch.named_buffers("loss"))
        return {name: b for name, b in before.items() if not torch.equal(b, after[name])}
    finally:
        scratch.state.restore()


def _stacked(*leaves: Any) -> Any:
    if all(isinstance(leaf, Tensor) for leaf in leaves):
        if len({leaf.shape for leaf in leaves}) > 1:
            raise NotStackedError("the batches of clients differ in their shapes")
        return torch.stack(leaves)
    if any(leaf is not leaves[0] and leaf != leaves[0] for leaf in leaves):
        raise NotStackedError(f"the batches of clients differ in a {type(leaves[0]).__name__}")
    return leaves[0]
