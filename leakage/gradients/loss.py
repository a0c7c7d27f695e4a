"""L: the module's own training_step on a detached copy, as a function of parameters and batch."""

from __future__ import annotations

import copy
import inspect
from types import SimpleNamespace
from typing import Any, Protocol, cast

from torch import Tensor, nn

from leakage.errors import LeakageError

_Kind = inspect.Parameter


class Trainable(Protocol):
    """What the game needs of a module: the training_step of any LightningModule."""

    def training_step(self, *args: Any) -> Any:
        """Takes a batch, and its number where the module wants one; gives the loss."""


class Loss(nn.Module):
    """Calls the training_step of a copy of a module, which logs nowhere and trains nothing.

    The copy keeps each layer's mode (training or evaluation), so that gradients are the ones
    that training shares; it stands on the CPU in float32.

    Args:
        module: any LightningModule under automatic optimization.
        epoch: what `current_epoch` is for the copy; `global_step` is the module's own.
    """

    def __init__(self, module: nn.Module, epoch: int = 0) -> None:
        super().__init__()
        self.name = type(module).__name__
        self.module = copy.deepcopy(module).cpu().float()
        self.module.zero_grad(set_to_none=True)
        for log in ("log", "log_dict"):
            object.__setattr__(self.module, log, _log_nowhere)
        trainer = getattr(module, "_trainer", None)
        if trainer is not None:
            progress = _progress(trainer, epoch)
            for part in self.module.modules():
                if hasattr(part, "_trainer"):
                    object.__setattr__(part, "_trainer", progress)
        step = cast(Trainable, self.module).training_step
        kinds = [parameter.kind for parameter in inspect.signature(step).parameters.values()]
        positional = kinds.count(_Kind.POSITIONAL_ONLY) + kinds.count(_Kind.POSITIONAL_OR_KEYWORD)
        self._numbered = positional > 1 or _Kind.VAR_POSITIONAL in kinds  # as Lightning decides it

    def forward(self, batch: Any) -> Tensor:
        """The scalar loss of a batch."""
        step = cast(Trainable, self.module).training_step
        output = step(batch, 0) if self._numbered else step(batch)
        loss = output.get("loss") if isinstance(output, dict) else output
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise LeakageError(
                f"model {self.name}: training_step must return a scalar loss or a dict with the"
                f" key loss, found {found}"
            )
        return loss.reshape(())


def _progress(trainer: Any, epoch: int) -> SimpleNamespace:
    """How far training is, for a loss that depends on it; no other part of the Trainer."""
    return SimpleNamespace(
        current_epoch=epoch,
        global_step=trainer.global_step,
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        num_training_batches=trainer.num_training_batches,
        training=True,
        sanity_checking=False,
        validating=False,
        testing=False,
        global_rank=0,
        local_rank=0,
        world_size=1,
        is_global_zero=True,
        logger=None,
        loggers=[],
    )


def share_progress(source: nn.Module, copied: nn.Module) -> None:
    """Gives a copy what its source knows of training, which copying a module drops."""
    for part, twin in zip(source.modules(), copied.modules(), strict=True):
        if getattr(part, "_trainer", None) is not None:
            object.__setattr__(twin, "_trainer", part._trainer)


def _log_nowhere(*_: Any, **__: Any) -> None:
    """Stands in for self.log on the copy: to observe is not to train."""
