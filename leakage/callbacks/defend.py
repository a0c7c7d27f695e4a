"""Trains through M: what the optimizer sees of a step is what an observer sees."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.data import Dataset
from typing_extensions import override

from leakage.callbacks.surroundings import as_written
from leakage.defenses import Defense
from leakage.defenses.checks import checked_release
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.shared import read_shared_gradient, write_shared_gradient
from leakage.randomness import torch_generator
from leakage.releases import release

_log = logging.getLogger("leakage.defend")


class Defend(Callback):
    """Replaces the shared gradient of each optimizer step by its release.

    Args:
        defense: M, the same object that the challenger runs.
        seed: of the randomness of M.
    """

    def __init__(self, defense: Defense, seed: int = 0) -> None:
        self.defense = defense
        self._seed = seed
        self._generator = torch_generator(seed, "defend", 0)
        self._batch: Any = None
        self._records = 0
        self._stepped = True

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._refuse_accumulation(trainer)
            if trainer.gradient_clip_val:
                raise LeakageError(
                    f"trainer.gradient_clip_val: {trainer.gradient_clip_val} would change what"
                    f" {self.defense.label} has released; leave it out"
                )
        self._generator = torch_generator(self._seed, "defend", trainer.global_rank)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._refuse_accumulation(trainer)  # a schedule can start it in any epoch
        self._batch = batch
        self._records = count_records(batch) + (0 if self._stepped else self._records)
        self._stepped = False

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._stepped = True  # the next batch begins another step
        if all(parameter.grad is None for parameter in pl_module.parameters()):
            return  # a step that training_step skips shares nothing
        shared = read_shared_gradient(pl_module)
        if not shared.isfinite().all():
            _log.warning("step %d is skipped: the gradient holds NaN or inf", trainer.global_step)
            pl_module.zero_grad(set_to_none=True)  # no part of it is shared undefended
            return
        if self.defense.record_wise:
            released = self._release_of_records(pl_module)
        else:
            means, layout = shared.cpu().unsqueeze(0), Layout.of(pl_module)
            released = checked_release(self.defense, means, self._records, layout, self._generator)
        write_shared_gradient(pl_module, released[0].to(shared.device))

    def _refuse_accumulation(self, trainer: Trainer) -> None:
        if self.defense.record_wise and trainer.accumulate_grad_batches > 1:
            raise LeakageError(
                f"trainer.accumulate_grad_batches: {self.defense.label} maps the gradient of each"
                f" record of one batch, so 1 is allowed, got {trainer.accumulate_grad_batches}"
            )

    def _release_of_records(self, module: LightningModule) -> Tensor:
        """What the challenger would release of the batch, (1, p)."""
        records = _Records(self._batch, self._records)
        every = torch.arange(len(records))
        epoch = module.current_epoch
        with as_written(module):
            engine = GradientEngine(module, records, every, epoch=epoch)  # a few may agree in label
        return next(release(engine, every.unsqueeze(0), self.defense, self._generator))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"generator": self._generator.get_state()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._generator.set_state(state_dict["generator"])


class _Records(Dataset[Any]):
    """The records of one batch, one by one."""

    def __init__(self, batch: Any, size: int) -> None:
        self._batch, self._size = batch, size

    def __len__(self) -> int:
        return self._size

    @override
    def __getitem__(self, index: int) -> Any:
        return tree_map_only(Tensor, lambda leaf: leaf[index].cpu(), self._batch)


def count_records(batch: Any) -> int:
    """The records of a batch: the first dimension of its first tensor."""
    leaves = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()]
    return len(leaves[0]) if leaves else 1
