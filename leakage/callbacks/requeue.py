"""Leaves training when SLURM is about to end the job, and has the job start again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from typing_extensions import override

from leakage.callbacks.surroundings import callbacks_of
from leakage.errors import Requeued

_PATIENCE = 30.0  # seconds that a validation may go on before it is left
_log = logging.getLogger("leakage.slurm")


class Requeue(Checkpoint):
    """Within a job of SLURM, heeds SIGUSR1: writes `last.ckpt`, requeues the job, ends the run.

    The signal is only noted; what follows happens at the end of a batch or of an epoch, on all
    ranks at the same one, and never between batches whose gradients are accumulated. A validation
    that takes longer than half a minute is left without a new checkpoint. Where `scontrol` refuses
    or is missing, the log says so and training goes on.

    It is a Checkpoint so that it comes after all others: what they do at the end of a batch or
    epoch is in the checkpoint. A handler that the program has already is left alone, and outside
    of SLURM nothing happens. `fit` of the command line always has this callback.

    Raises:
        Requeued: out of `fit`, once the job is requeued.
    """

    def __init__(self) -> None:
        self._since: float | None = None  # when the signal came
        self._found: signal.Handlers | int | None = None  # what stood in the place of ours
        self._within = False

    @property
    def wanted(self) -> bool:
        """Whether this process was told to leave, and has not yet."""
        return self._since is not None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Before Lightning looks for a handler: it then installs none of its own, which would write
        # the checkpoint in the midst of whatever the signal interrupts.
        self._within = stage == "fit" and "SLURM_JOB_ID" in os.environ
        self._since = None
        if not self._within or threading.current_thread() is not threading.main_thread():
            return
        found = signal.getsignal(signal.SIGUSR1)
        if isinstance(getattr(found, "__self__", None), Requeue):  # of a run that was left
            found = signal.SIG_DFL
        if not callable(found):
            signal.signal(signal.SIGUSR1, self._note)
            self._found = found

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._since = time.monotonic()

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # After the last batch of an epoch a resumed run would take the epoch for done, without
        # its validation and without what callbacks do at its end.
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._leave_together(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_together(trainer)

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._since is not None and time.monotonic() - self._since > _PATIENCE:
            self.leave()

    def _leave_together(self, trainer: Trainer) -> None:
        """Leaves where any rank was told to; all of them ask at the same place."""
        if self._within and trainer.strategy.reduce_boolean_decision(self.wanted, all=False):
            with _deaf_to_sigterm():
                path = checkpoint_of(trainer)
                trainer.save_checkpoint(path)  # waits for all ranks, which are deaf from here on
                if trainer.is_global_zero:
                    _log.info("SLURM is about to end the job: wrote %s", path)
                self._end(trainer.strategy.broadcast(trainer.is_global_zero and requeue_job()))

    def leave(self) -> None:
        """Leaves with the checkpoint that there is; any rank for itself, the job ends for all."""
        with _deaf_to_sigterm():
            self._end(requeue_job())

    def _end(self, requeued: bool) -> None:
        self._since = None
        if requeued:
            raise Requeued("the job is requeued, and goes on from its last checkpoint")

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Not `on_exception`: after it Lightning puts back what it found, the handler of `setup`,
        # which then notes what nobody reads.
        if self._found is not None:
            signal.signal(signal.SIGUSR1, self._found)
            self._found = None


class Follow(Callback):
    """Leaves a run that is played at the end of another one, when that one is to leave.

    Args:
        outer: has the Requeue; the inner run writes no checkpoint.
    """

    def __init__(self, outer: Trainer) -> None:
        self._outer = outer

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        for requeue in callbacks_of(self._outer, Requeue):
            if trainer.strategy.reduce_boolean_decision(requeue.wanted, all=False):
                requeue.leave()


def is_to_leave(trainer: Trainer) -> bool:
    """Whether SIGUSR1 came: what waits between batches then waits no longer."""
    return any(callback.wanted for callback in callbacks_of(trainer, Requeue))


def leave_if_wanted(trainer: Trainer) -> None:
    """Leaves a run that waits after its last checkpoint; to be called every few seconds.

    Under ranks each may call it for itself, in its own time: once a single one leaves, SLURM ends
    them all.

    Raises:
        Requeued: SIGUSR1 came, and SLURM starts the job again.
    """
    for callback in callbacks_of(trainer, Requeue):
        if callback.wanted:
            callback.leave()


def checkpoint_of(trainer: Trainer) -> Path:
    """Where `--ckpt_path last` looks: `last.ckpt` beside the checkpoints of the run."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            return Path(callback.dirpath) / "last.ckpt"
    return Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints" / "last.ckpt"


def requeue_job() -> bool:
    """Asks SLURM to end this job and start it again, by its number or that in its array.

    Returns:
        Whether it does; the log says why not.
    """
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["scontrol", "requeue", job]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        refusal = str(error.strerror)
    else:
        refusal = " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
        # Another rank was faster: the job is "pending execution" already.
        if asked.returncode == 0 or "pending" in refusal:
            return True
    _log.warning("%s: %s; the job goes on and is not started again", " ".join(command), refusal)
    return False


@contextmanager
def _deaf_to_sigterm() -> Iterator[None]:
    """Where SIGTERM is ignored: SLURM sends it to all processes of a job that it requeues.

    Also afterwards, if the run is left, until Lightning puts back what it found.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept, left = signal.signal(signal.SIGTERM, signal.SIG_IGN), False
    try:
        yield
    except Requeued:
        left = True
        raise
    finally:
        if not left:
            signal.signal(signal.SIGTERM, kept)
