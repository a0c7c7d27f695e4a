"""Plain autograd: one backward pass for each batch, whatever its records do with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from leakage.errors import LeakageError
from leakage.gradients.loss import Loss, computing, failing_layer
from leakage.gradients.source import Source
from leakage.randomness import drawn, reseed


@dataclass(frozen=True)
class Look:
    """What one batch shows beside its gradient.

    Args:
        gradient: float32 (p,).
        used: for each parameter, whether the loss uses it.
        saved: bytes that the forward pass keeps for the backward pass, beside the parameters.
        drawn: who draws from the global randomness: `data`, `loss`.
    """

    gradient: Tensor
    used: tuple[bool, ...]
    saved: int
    drawn: tuple[str, ...]


class Plain:
    """The gradient of one batch at a time.

    Args:
        loss: L at fixed weights.
        source: the records.
        trainable: the parameters in the order of the layout.
    """

    def __init__(self, loss: Loss, source: Source, trainable: list[nn.Parameter]) -> None:
        self.loss, self.source, self.trainable = loss, source, trainable
        zero = torch.zeros((), device=source.device)
        self._zeros = [zero.expand(parameter.numel()) for parameter in trainable]

    def gradient(self, indices: Tensor, seed: int = 0) -> Tensor:
        """The gradient of one batch (k,), float32 (p,); zero where the loss uses no parameter."""
        return self.gradients(indices.unsqueeze(0), [seed])[0]

    def gradients(self, table: Tensor, seeds: Sequence[int]) -> Tensor:
        """The gradient of each row's batch (n, k) under a seed of its own, (n, p)."""
        p, device = sum(map(len, self._zeros)), self.source.device
        with computing(device):
            out = torch.empty(len(table), p, device=device)
            for place, row, seed in zip(out, table, seeds, strict=True):
                reseed(seed, device)
                torch.cat(self.flat(self._parts(self.source.batch(row), len(row))), out=place)
        return out

    def look(self, indices: Tensor) -> Look:
        """The gradient of a batch under seed 0, and what else there is to see."""
        device = self.source.device
        known = {tensor.untyped_storage().data_ptr() for tensor in self.loss.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with computing(device):
            states = [drawn(device)]
            batch = self.source.batch(indices)
            states.append(drawn(device))
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                parts = self._parts(batch, len(indices))
            states.append(drawn(device))
        names = [n for n, i in (("data", 0), ("loss", 1)) if states[i] != states[i + 1]]
        used = tuple(part is not None for part in parts)
        return Look(torch.cat(self.flat(parts)), used, sum(saved.values()), tuple(names))

    def flat(self, parts: Sequence[Tensor | None]) -> list[Tensor]:
        """The gradient by parameter, each flat; zero where the loss does not use it."""
        pairs = zip(parts, self._zeros, strict=True)
        return [zero if part is None else part.to_dense().flatten() for part, zero in pairs]

    def _parts(self, batch: Any, size: int) -> list[Tensor | None]:
        try:
            return self.parts(batch, size)
        finally:
            self.loss.state.restore()

    def parts(self, batch: Any, size: int) -> list[Tensor | None]:
        """The gradient by parameter, None where the loss does not use it; the state moves on."""
        try:
            loss: Tensor = self.loss(batch)
            if loss.requires_grad:
                loss.backward()  # not autograd.grad, which a checkpoint inside may refuse
            parts = [parameter.grad for parameter in self.trainable]
        except LeakageError:
            raise
        except Exception as error:  # of code that is not ours
            raise LeakageError(self._failure(batch, size, error)) from error
        finally:
            for parameter in self.trainable:
                parameter.grad = None
        if all(part is None for part in parts):
            raise LeakageError(
                f"model {self.loss.name}: the loss does not depend on any trainable parameter"
            )
        return parts

    def _failure(self, batch: Any, size: int, error: Exception) -> str:
        layer = failing_layer(self.loss.module, lambda: self.loss(batch))
        place = f" in {layer}" if layer else ""
        said = (str(error).strip() or "no message").splitlines()[0]
        return (
            f"model {self.loss.name}: {self.loss.step_name} fails{place} on a batch of {size}"
            f" outside the Trainer with {type(error).__name__}: {said}; it may use current_epoch,"
            " global_step, log and log_dict, but no logger, optimizer or other part of it"
        )
