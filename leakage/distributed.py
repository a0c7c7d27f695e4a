"""Rank = client: each rank has a gradient of its own to share, and all step by their mean."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import LBFGS, Optimizer
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.gradients.shared import read_shared_gradient, write_shared_gradient
from leakage.ranks import lost

Kind = TypeVar("Kind")
_STARTER = "LEAKAGE_STARTER"  # the process that starts the other ranks of its machine
_PATIENCE = 10.0  # seconds that a rank leaves to the one that started it, to speak first
_GRACE = 3.0  # seconds that a rank may need to end after the one that started it
_log = logging.getLogger("leakage.distributed")


def world() -> int:
    """The number of ranks; 1 where a process is alone."""
    return dist.get_world_size() if _connected() else 1


def rank() -> int:
    """The number of this process among the ranks, from 0."""
    return dist.get_rank() if _connected() else 0


def gathered(part: Kind) -> list[Kind]:
    """What each rank has, in their order; every rank has to ask.

    Raises:
        LeakageError: another rank has ended.
    """
    if not _connected():
        return [part]
    parts: list[Any] = [None] * world()
    with _together():
        dist.all_gather_object(parts, part)
    return parts


@contextmanager
def ends_of_others() -> Iterator[None]:
    """Where a library may wait for other ranks, as metrics do; their end becomes a sentence.

    Raises:
        LeakageError: another rank has ended.
    """
    try:
        yield
    except RuntimeError as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        within = Path(frame.f_code.co_filename).is_relative_to(Path(dist.__file__).parent)
        if not (within and _connected()):
            raise
        raise lost(rank(), error) from error


class Clients(DDPStrategy):
    """Data-parallel training in which each rank is a client.

    The gradient of a rank's own batches is there for `Defend` to release and for `Capture` to
    keep; then every rank steps by the mean over the ranks. Stock DDP takes that mean within the
    backward pass, before anything can be released. A rank that shares nothing in a step, as its
    `training_step` gave no loss or its gradient held NaN under `Defend`, counts as zero, and so
    does a parameter that its loss did not use. One that no rank used has no gradient.

    Buffers, such as the running statistics of BatchNorm, are those of rank 0, as under stock DDP.
    They are handed on at the end of each batch, so that all ranks are equal between batches.

    Args:
        process_group_backend: such as gloo or nccl; what suits the device where left out.
        timeout: of one exchange. Long, as a rank may wait while another one attacks; that a rank
            has ended is told by its closed connection.
    """

    def __init__(
        self,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(days=1),
    ) -> None:
        super().__init__(process_group_backend=process_group_backend, timeout=timeout)
        self._average = Average()
        own = str(os.getpid())
        starter = os.environ.pop(_STARTER, own)
        # A process that only inherited the name, from a program that never trained, has no rank.
        self._started = starter != own and os.environ.get("LOCAL_RANK", "0") != "0"
        if self._started:
            threading.Thread(target=_end_with, args=(int(starter),), daemon=True).start()
        else:
            os.environ[_STARTER] = own

    @override
    def setup_environment(self) -> None:
        os.environ.pop(_STARTER, None)  # the ranks have been started
        super().setup_environment()
        atexit.register(_leave)
        if self.global_rank == 0:
            _log.info("each of %d ranks is a client that shares a gradient of its own", self.ranks)
        else:  # what all would say is said by the first
            logging.getLogger("leakage").setLevel(logging.WARNING)

    @property
    def ranks(self) -> int:
        """Their number, on all machines."""
        return self.num_nodes * self.num_processes

    @override
    def setup(self, trainer: Trainer) -> None:
        super().setup(trainer)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if self._average not in callbacks:
            callbacks.append(self._average)  # after what defends a gradient and what keeps it

    @override
    def configure_ddp(self) -> None:
        assert self.model is not None
        with _together():
            _copy_from_first([*self.model.parameters(), *self.model.buffers()])

    @override
    def training_step(self, *args: Any) -> Any:
        output = super().training_step(*args)
        assert self.lightning_module is not None
        if output is None and self.lightning_module.automatic_optimization:
            # Lightning refuses None on ranks; this is a loss of nothing.
            return torch.zeros((), device=self.root_device, requires_grad=True)
        return output

    @override
    def barrier(self, name: str | None = None) -> None:
        with _together():
            super().barrier(name)

    @override
    def broadcast(self, obj: Kind, src: int = 0) -> Kind:
        with _together():
            return super().broadcast(obj, src)

    @override
    def on_exception(self, exception: BaseException) -> None:
        if self._started:
            time.sleep(_PATIENCE)
        elif isinstance(self.launcher, _SubprocessScriptLauncher):
            # The others wait for this one, and would say the same. Out of the list first, or
            # Lightning, which watches it, would end this process too.
            others = list(self.launcher.procs)
            self.launcher.procs.clear()
            for process in others:
                process.kill()


class Average(Callback):
    """Puts the mean over the ranks in the place of each rank's own gradient, as `Clients` says."""

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ranks = trainer.world_size
        if ranks == 1:
            return
        if str(trainer.precision).startswith(("16", "transformer-engine-float16")):
            raise LeakageError(
                f"trainer.precision: under {trainer.precision} each rank would scale its loss, and"
                " leave out steps, by itself; use bf16-mixed or 32-true with several ranks"
            )
        if any(isinstance(layer, nn.SyncBatchNorm) for layer in pl_module.modules()):
            raise LeakageError(
                "trainer.sync_batchnorm: it shares what is within the networks of clients, who"
                " share gradients alone; leave it out"
            )
        if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
            raise LeakageError(
                f"model {type(pl_module).__name__}: LBFGS asks for a gradient as often as the loss"
                " of its own rank wants; use an optimizer that asks once a step, such as SGD"
            )
        trainer.fit_loop.setup_data()  # as Lightning does, once, before the first epoch
        records = getattr(trainer.train_dataloader, "dataset", None)
        if isinstance(records, Sized) and len(records) < ranks:
            raise LeakageError(
                f"trainer.devices: {ranks} ranks cannot share the {len(records)} records of the"
                " training set; at least one for each is needed"
            )

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        trainable = [p for p in pl_module.parameters() if p.requires_grad]
        own = read_shared_gradient(pl_module)
        used = [float(parameter.grad is not None) for parameter in trainable]
        total = torch.cat([own, torch.tensor(used, device=own.device)])
        with _together():
            dist.all_reduce(total)
        for parameter, users in zip(trainable, total[len(own) :].tolist(), strict=True):
            if users and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        write_shared_gradient(pl_module, total[: len(own)] / world())

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        with _together():
            _copy_from_first(list(pl_module.buffers()))


def check_strategy(trainer: Trainer, who: str) -> None:
    """Refuses a strategy under which a rank's own gradient is never to be had; `who` needs it."""
    strategy = trainer.strategy
    alone = isinstance(strategy, SingleDeviceStrategy | DDPStrategy) and trainer.world_size == 1
    if not (alone or isinstance(strategy, Clients)):
        raise LeakageError(
            f"trainer.strategy: under {type(strategy).__name__} no rank has a gradient of its own,"
            f" which {who} needs; use 'auto' on the command line, and"
            " Trainer(strategy=leakage.distributed.Clients()) in Python"
        )


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def _together() -> Iterator[None]:
    """Where ranks wait for each other; an end of another one becomes a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise lost(rank(), error) from error


def _copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Makes tensors those of rank 0, to the bit, in one exchange."""
    if not tensors:
        return
    parts = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in tensors]
    whole = torch.cat(parts)
    dist.broadcast(whole, 0)
    for tensor, part in zip(tensors, whole.split([len(part) for part in parts]), strict=True):
        tensor.detach().copy_(part.clone().view(tensor.dtype).view(tensor.shape))


def _leave() -> None:
    """Ends the threads of the group while Python still runs: later, one may abort the process."""
    if _connected():
        dist.destroy_process_group()


def _end_with(starter: int) -> None:
    """Ends this process, whatever it waits for, soon after the one that started it."""
    while os.getppid() == starter:
        time.sleep(0.5)
    time.sleep(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
