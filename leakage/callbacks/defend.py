"""Trains through M: what the optimizer sees of a step is what an observer sees."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from leakage.callbacks.private import PrivateTraining
from leakage.callbacks.records import BatchRecords, count_records, engine_of
from leakage.defenses import Defense, dp_of
from leakage.defenses.checks import checked_release
from leakage.distributed import check_strategy, gathered, rank, world
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.shared import read_shared_gradient, write_shared_gradient
from leakage.randomness import torch_generator
from leakage.releases import release
from leakage.report.words import spent

_log = logging.getLogger("leakage.defend")


class Defend(Callback):
    """Replaces the shared gradient of each optimizer step by its release.

    Each rank of `leakage.distributed.Clients` releases its own, under noise of its own, before the
    mean over the ranks. Under DP, batches become Poisson samples of the training data, of which
    each rank keeps its own share, a record with NaN or inf counts as zero, and each epoch logs
    `privacy/epsilon_training`.

    Args:
        defense: M, the same object that the challenger runs.
        seed: of the randomness of M.
    """

    def __init__(self, defense: Defense, seed: int = 0) -> None:
        self.defense = self._fitted = defense
        self._private = PrivateTraining(defense, seed) if dp_of(defense) else None
        self._seed = seed
        self._generator = torch_generator(seed, "defend", 0)
        self._batch: Any = None
        self._records = 0
        self._stepped = True

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            check_strategy(trainer, "Defend")
            self._refuse_accumulation(trainer)
            if self.defense.reads_secret:
                raise LeakageError(
                    f"defense.objective: {self.defense.label} reads the secret of each batch, which"
                    " a training batch does not have; use 'prior', or play the game on releases"
                    " alone, with Attack and without Defend"
                )
            if trainer.gradient_clip_val:
                raise LeakageError(
                    f"trainer.gradient_clip_val: {trainer.gradient_clip_val} would change what"
                    f" {self.defense.label} has released; leave it out"
                )
        goes_on = trainer.global_step > 0  # in a Trainer that has trained: no noise comes again
        if not goes_on:
            self._generator = torch_generator(self._seed, "defend", trainer.global_rank)
        if self._private is not None and stage == "fit":
            steps = self._private.steps if goes_on else 0
            self._private = PrivateTraining(self.defense, self._seed, steps)
            self._private.prepare(trainer, pl_module)

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._private is not None:
            self._private.start(trainer, pl_module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.global_step
        if self._private is not None and steps != self._private.steps:
            raise LeakageError(
                f"ckpt_path: {steps - self._private.steps} of the {steps} steps so far were not"
                " taken under DP, so no epsilon holds for all of them; load the weights alone, if"
                " they come from other records"
            )

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._refuse_accumulation(trainer)  # a schedule can start it in any epoch
        if self._private is not None:
            self._private.begin(trainer, pl_module, batch)
            return
        self._batch = batch
        self._records = count_records(batch) + (0 if self._stepped else self._records)
        self._stepped = False

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._stepped = True  # the next batch begins another step
        if self._private is not None:
            self._release_privately(self._private, pl_module)
            return
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
            released = checked_release(self._fitted, means, self._records, layout, self._generator)
        write_shared_gradient(pl_module, released[0].to(shared.device))

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._private is not None:
            self._private.end()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._private is not None:
            self._private.forget()
            pl_module.log("privacy/epsilon_training", self._private.epsilon())

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._private is not None:
            self._private.forget()
            if self._private.steps:
                _log.info("%s", *spent(self.privacy()))
            if self._private.broken:
                _log.warning(
                    "%d gradients of records held NaN or inf and counted as zero",
                    self._private.broken,
                )

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._private is not None:
            self._private.forget()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._private is not None:
            self._private.forget()

    @property
    def settled(self) -> Defense:
        """M as training uses it: with the noise that follows from a target, once data are known."""
        return self.defense if self._private is None else self._private.defense

    def use(self, fitted: Defense) -> None:
        """Releases the steps of an epoch through M as it was fitted to the model there."""
        self._fitted = fitted

    def privacy(self) -> dict[str, float]:
        """What training so far costs for one record added or removed, and from what; or nothing.

        Returns:
            `epsilon_training` by PLD, `epsilon_training_rdp` and `_prv` at `delta`; `sigma`, `q`
            and `steps`.
        """
        return {} if self._private is None else self._private.figures()

    def _release_privately(self, private: PrivateTraining, module: LightningModule) -> None:
        shared, layout = read_shared_gradient(module), Layout.of(module)
        mean, k = private.mean(module, shared), max(1, private.size)
        released = checked_release(private.defense, mean, k, layout, self._generator)
        write_shared_gradient(module, released[0].to(shared.device))

    def _refuse_accumulation(self, trainer: Trainer) -> None:
        if self.defense.record_wise and trainer.accumulate_grad_batches > 1:
            raise LeakageError(
                f"trainer.accumulate_grad_batches: {self.defense.label} maps the gradient of each"
                f" record of one batch, so 1 is allowed, got {trainer.accumulate_grad_batches}"
            )

    def _release_of_records(self, module: LightningModule) -> Tensor:
        """What the challenger would release of the batch, (1, p)."""
        records = BatchRecords(self._batch, self._records)
        every = torch.arange(len(records))
        engine = engine_of(module, records, every)
        return next(release(engine, every.unsqueeze(0), self._fitted, self._generator))

    @override
    def state_dict(self) -> dict[str, Any]:
        private = {} if self._private is None else self._private.state_dict()
        return {"ranks": gathered({"generator": self._generator.get_state(), **private})}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states = state_dict["ranks"]
        if len(states) != world():
            raise LeakageError(
                f"ckpt_path: training so far was on {len(states)} ranks, each with noise of its"
                f" own, and would go on on {world()}; set trainer.devices and trainer.num_nodes to"
                " what they were"
            )
        own = states[rank()]
        self._generator.set_state(own["generator"])
        if self._private is not None and "steps" in own:
            self._private.load_state_dict(own)
