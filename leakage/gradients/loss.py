"""L: the module's own training_step on a detached copy, as a function of parameters and batch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leakage.errors import LeakageError
from leakage.gradients.precision import full_precision
from leakage.gradients.state import State
from leakage.randomness import isolated

_Kind = inspect.Parameter

LossFunction = Callable[[Any, Any], Any]
"""Another L than `training_step`: takes the module and a batch, gives the scalar loss."""


class Trainable(Protocol):
    """What the game needs of a module: the training_step of any LightningModule."""

    def training_step(self, *args: Any) -> Any:
        """Takes a batch, and its number where the module wants one; gives the loss."""


class Loss(nn.Module):
    """Calls the training_step of a copy of a module, which logs nowhere and trains nothing.

    The copy keeps each layer's mode (training or evaluation) and the hooks on gradients, so that
    gradients are the ones that training shares; it computes in float32.

    Args:
        module: any LightningModule under automatic optimization.
        epoch: what `current_epoch` is for the copy; `global_step` is the module's own.
        function: L where it is not `training_step`.
        device: where the copy stands.
    """

    def __init__(
        self,
        module: nn.Module,
        epoch: int = 0,
        function: LossFunction | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.name = type(module).__name__
        with torch.inference_mode(False):
            self.module = _copied(module).to(device or "cpu").float()
        self.module.zero_grad(set_to_none=True)
        self.hooked = _hook_alike(module, self.module)
        self.state = State(self.module)
        self._function = function
        for log in ("log", "log_dict"):
            object.__setattr__(self.module, log, _log_nowhere)
        trainer = getattr(module, "_trainer", None)
        if trainer is not None:
            progress = _progress(trainer, epoch)
            for part in self.module.modules():
                if hasattr(part, "_trainer"):
                    object.__setattr__(part, "_trainer", progress)
        if function is None:
            step = cast(Trainable, self.module).training_step
            kinds = [parameter.kind for parameter in inspect.signature(step).parameters.values()]
            named = kinds.count(_Kind.POSITIONAL_ONLY) + kinds.count(_Kind.POSITIONAL_OR_KEYWORD)
            self._numbered = named > 1 or _Kind.VAR_POSITIONAL in kinds  # as Lightning decides it

    @property
    def step_name(self) -> str:
        """What L is called, for errors."""
        if self._function is None:
            return "training_step"
        return getattr(self._function, "__name__", type(self._function).__name__)

    def forward(self, batch: Any) -> Tensor:
        """The scalar loss of a batch."""
        if self._function is not None:
            output = self._function(self.module, batch)
        else:
            step = cast(Trainable, self.module).training_step
            output = step(batch, 0) if self._numbered else step(batch)
        loss = output.get("loss") if isinstance(output, dict) else output
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise LeakageError(
                f"model {self.name}: {self.step_name} must return a scalar loss or a dict with the"
                f" key loss, found {found}"
            )
        return loss.reshape(())

    def twin(self) -> Loss:
        """Another copy of the same weights: vmap leaves tensors of its own in a module's parts."""
        kept = {id(t): t for t in (*self.parameters(), *self.buffers())}
        copied = copy.deepcopy(self, kept | _without_graphs(self))
        for part, counterpart in zip(self.modules(), copied.modules(), strict=True):
            if getattr(part, "_trainer", None) is not None:  # which copying a module drops
                object.__setattr__(counterpart, "_trainer", part._trainer)
        return copied


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module, _without_graphs(module))
    except Exception as error:  # of whatever a module may hold
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LeakageError(
            f"model {type(module).__name__}: it cannot be copied, to observe it without training"
            f" it: {said}; let it hold nothing that copy.deepcopy refuses"
        ) from error


def _hook_alike(module: nn.Module, copied: nn.Module) -> tuple[str, ...]:
    """Gives the copy the hooks on gradients of parameters, which copying drops; their names."""
    hooked = []
    pairs = zip(module.named_parameters(), copied.parameters(), strict=True)
    for (name, parameter), counterpart in pairs:
        for hook in (parameter._backward_hooks or {}).values():
            counterpart.register_hook(hook)
            hooked.append(name)
    return tuple(hooked)


def _without_graphs(module: nn.Module) -> dict[int, Any]:
    """A memo for `deepcopy`: tensors that a step left in the module, without their graphs.

    What makes an optimizer stays as it is: through it a command line holds on to all of a run.
    """
    leaves = [leaf for part in module.modules() for leaf in tree_leaves(vars(part))]
    left = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    makers = [leaf for leaf in leaves if isinstance(leaf, partial)]
    return {id(t): t.detach().clone() for t in left} | {id(maker): maker for maker in makers}


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


def _log_nowhere(*_: Any, **__: Any) -> None:
    """Stands in for self.log on the copy: to observe is not to train."""


@contextmanager
def computing(device: torch.device | None = None) -> Iterator[None]:
    """Where losses are computed: autograd is on, and the global randomness is one of its own.

    What is compiled runs as it was written: it would be compiled again for every size of a batch,
    and hides its layers.
    """
    with (
        isolated(0, device),
        full_precision(device),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),
    ):
        yield


def failing_layer(module: nn.Module, call: Callable[[], Any]) -> str | None:
    """The innermost layer that runs where a call fails, which has failed before."""
    layers: list[str] = []

    def leave(*_: Any) -> None:  # what a hook returns would be the output
        layers.pop()

    handles = []
    for name, layer in module.named_modules():
        if name:
            place = f"{name} ({type(layer).__name__})"
            handles += [
                layer.register_forward_pre_hook(lambda *_, place=place: layers.append(place)),
                layer.register_forward_hook(leave),
            ]
    try:
        with suppress(Exception):
            call()
            layers.clear()
        return layers[-1] if layers else None
    finally:
        for handle in handles:
            handle.remove()
