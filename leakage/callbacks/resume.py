"""Goes on from a checkpoint as if the run had never been stopped, to the last bit."""

from __future__ import annotations

import logging
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from leakage.callbacks.checkpoints import WholeCheckpoints
from leakage.callbacks.replay import (
    State,
    WatchedLoader,
    replay,
    start_validation,
    started_validation,
)
from leakage.callbacks.surroundings import callbacks_of
from leakage.distributed import gathered
from leakage.randomness import random_state, set_random_state

KEY = "leakage"
"""What a checkpoint of this program holds beside what Lightning writes."""
_log = logging.getLogger("leakage.resume")


class Resume(Callback):
    """Keeps in each checkpoint what a resumed run needs to end with the very same weights.

    That is where the randomness of torch, numpy and random stood, on every rank: when fit began,
    when the epoch began, and now. It works for a checkpoint of the end of an epoch, of a
    validation and of the end of a batch at which the optimizer stepped; the batches that were
    taken of the epoch are loaded again. Not kept are random numbers that a data set draws within
    workers which outlive an epoch, and `reload_dataloaders_every_n_epochs` starts anew.

    Training that `EarlyStopping` has ended stays ended, as long as that callback is there.

    Checkpoints are written whole or not at all, for their owner alone. Without a checkpoint to go
    on from, training is the same as without this callback. It stands before all others.

    Args:
        config: of the run, as text, which each checkpoint keeps too.
    """

    def __init__(self, config: str = "") -> None:
        self.config = config
        self._start: State | None = None
        self._found: State | None = None  # in the checkpoint
        self._next_epoch: State | None = None
        self._loader: WatchedLoader | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._start = self._found = self._next_epoch = self._loader = None
            if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
                trainer.strategy.checkpoint_io = WholeCheckpoints()

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        found = checkpoint.get(KEY)
        if found is not None and found.get("stopped") and callbacks_of(trainer, EarlyStopping):
            _log.info("EarlyStopping has ended training before the checkpoint was written")
            trainer.should_stop = True  # which Lightning forgets
        if found is None:
            _log.warning("the checkpoint holds no random numbers: those that follow are others")
        elif len(found["ranks"]) != trainer.world_size:
            _log.warning(
                "the checkpoint is of %d processes and goes on in %d, with other random numbers",
                len(found["ranks"]),
                trainer.world_size,
            )
        else:
            self._found = found | found["ranks"][trainer.global_rank]

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._found is None:
            self._start = random_state(trainer.strategy.root_device)
        else:  # loaders, which are made next, then shuffle as they did
            self._start = self._found["start"]
            set_random_state(self._start, trainer.strategy.root_device)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop = trainer.fit_loop
        assert loop._combined_loader is not None
        self._loader = WatchedLoader.watch(loop._combined_loader, trainer.strategy.root_device)
        if self._found is None:
            return
        found, self._found = self._found, None
        trainer.callback_metrics.update(found["metrics"])
        start_validation(trainer, found["validation"])
        if not loop.restarted_mid_epoch:
            _begin_next_epoch(trainer)
            if found["plateau"]:
                _step_plateau_schedulers(trainer)
            self._next_epoch = found["now"]
            return
        if self._loader is None:
            set_random_state(found["now"], trainer.strategy.root_device)
        else:
            replay(trainer, self._loader, found, found["taken"])
            self._loader.set_state(found["now"])
            self._loader.then = found["now"]  # once more, should anyone draw in between
        epoch = loop.epoch_loop
        if epoch.batch_progress.is_last_batch and not epoch.val_loop.restarted_mid_evaluation:
            epoch.val_loop._has_run = True  # or Lightning would train on one batch more

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._next_epoch is None:
            return
        if self._loader is None:
            set_random_state(self._next_epoch, trainer.strategy.root_device)
        else:
            self._loader.set_state(self._next_epoch)
        self._next_epoch = None
        # The iterator was made before the random numbers were right: Lightning makes another.
        trainer.fit_loop._resuming_from_checkpoint = False

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loader is not None:
            self._loader.then = None

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loader is not None and self._loader.then is not None:
            self._loader.set_state(self._loader.then)
        # Lightning would leave out a scheduler that waits for a metric, now that there is one.
        _Loop.restarting.fset(trainer.fit_loop, False)  # type: ignore[attr-defined]

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loader, device = self._loader, trainer.strategy.root_device
        own: State = {
            "start": self._start,
            "begun": None if loader is None else loader.begun,
            "first": None if loader is None else loader.first,
            "now": random_state(device) if loader is None else loader.state(),
        }
        loops = checkpoint["loops"]["fit_loop"]
        epoch, batch = (loops[f"{of}_progress"]["current"] for of in ("epoch", "epoch_loop.batch"))
        checkpoint[KEY] = {
            "config": self.config,
            "ranks": gathered(own),
            "taken": batch["processed"],
            "stopped": trainer.should_stop,
            "metrics": {name: m.detach().cpu() for name, m in trainer.callback_metrics.items()},
            "validation": started_validation(trainer),
            "plateau": epoch["completed"] < epoch["processed"],  # it is not over yet
        }
        _end_batch(trainer, loops)


def _end_batch(trainer: Trainer, loops: dict[str, Any]) -> None:
    """Notes of a checkpoint at the end of a batch that validation, or the end of an epoch, follows.

    Lightning would pass over both.
    """
    epoch, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    batches = loops["epoch_loop.batch_progress"]
    count = batches["current"]
    if not count["ready"] == count["processed"] > count["completed"] or fetcher is None:
        return
    validates = epoch._should_check_val_fx(fetcher)
    if not validates and not batches["is_last_batch"]:
        return
    for part in ("total", "current"):
        batches[part]["completed"] += 1
    if validates:  # it has begun, and has seen no batch
        progress = loops["epoch_loop.val_loop.batch_progress"]
        seen = progress["total"]["processed"]
        progress["total"] = dict.fromkeys(("ready", "started"), seen + 1) | dict.fromkeys(
            ("processed", "completed"), seen
        )
        progress["current"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    elif not epoch._should_accumulate():
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def _begin_next_epoch(trainer: Trainer) -> None:
    """With `max_steps`, Lightning would end the last epoch a second time."""
    loop = trainer.fit_loop
    if loop.restarted_on_epoch_end:
        loop.epoch_progress.increment_completed()
        loop.reset_restart_stage()
        _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]


def _step_plateau_schedulers(trainer: Trainer) -> None:
    """Does what comes after the end of an epoch, where the checkpoint was written."""
    for config in trainer.lr_scheduler_configs:
        due = config.interval == "epoch" and trainer.current_epoch % config.frequency == 0
        metric = trainer.callback_metrics.get(config.monitor or "")
        if config.reduce_on_plateau and due and metric is not None:
            trainer.lightning_module.lr_scheduler_step(config.scheduler, metric)
