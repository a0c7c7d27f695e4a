"""Plain autograd: one backward pass for each batch, whatever its records do with each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from leakage.errors import LeakageError
from leakage.gradients.loss import Loss, running
from leakage.gradients.source import Source
from leakage.randomness import isolated


@dataclass(frozen=True)
class Plain:
    """The gradient of one batch at a time.

    Args:
        loss: L at fixed weights.
        source: the records.
        trainable: the parameters in the order of the layout.
    """

    loss: Loss
    source: Source
    trainable: list[nn.Parameter] = field(repr=False)

    def gradient(self, indices: Tensor, seed: int) -> Tensor:
        """The gradient of one batch (k,), float32 (p,); zero where the loss uses no parameter."""
        parts = zip(self.trainable, self.parts(indices, seed), strict=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in parts]
        ).float()

    def parts(self, indices: Tensor, seed: int) -> tuple[Tensor | None, ...]:
        """The same by parameter; None where the loss does not use it."""
        buffers = {name: buffer.clone() for name, buffer in self.loss.named_buffers()}
        with isolated(seed, self.source.device), torch.enable_grad():
            loss = self._checked_loss(indices)
            parts = torch.autograd.grad(loss, self.trainable, allow_unused=True)
        with torch.no_grad():  # no batch sees what another one left
            for name, buffer in self.loss.named_buffers():
                buffer.copy_(buffers[name])
        return parts

    def saved_bytes(self, indices: Tensor) -> int:
        """What a forward pass keeps for the backward pass, beside the parameters."""
        known = {tensor.untyped_storage().data_ptr() for tensor in self.loss.parameters()}
        saved: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.parts(indices, seed=0)
        return sum(saved.values())

    def _checked_loss(self, indices: Tensor) -> Tensor:
        batch = self.source.batch(indices)
        with running(self.loss.module) as layers:
            try:
                loss: Tensor = self.loss(batch)
            except LeakageError:
                raise
            except Exception as error:  # of code that is not ours
                place = f" in {layers[-1]}" if layers else ""
                said = (str(error).strip() or "no message").splitlines()[0]
                raise LeakageError(
                    f"model {self.loss.name}: {self.loss.step_name} fails{place} on a batch of"
                    f" {len(indices)} outside the Trainer with {type(error).__name__}: {said};"
                    " it may use current_epoch, global_step, log and log_dict, but no logger,"
                    " optimizer or other part of it"
                ) from error
        if not loss.requires_grad:
            raise LeakageError(
                f"model {self.loss.name}: the loss does not depend on any trainable parameter"
            )
        return loss
