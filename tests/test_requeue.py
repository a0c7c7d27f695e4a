"""SIGUSR1 within a job of SLURM: a checkpoint, a requeue, and the end of the run.

`scontrol` is a stand-in here; tests/slurm has a real one.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.multiprocessing import ProcessRaisedException
from torch.utils.data import DataLoader, TensorDataset

import leakage.callbacks.requeue as module
from leakage.callbacks import Requeue
from leakage.callbacks.requeue import Follow, is_to_leave, leave_if_wanted
from leakage.cli import main
from leakage.errors import Requeued

pytestmark = pytest.mark.usefixtures("process_state")

ROOT = Path(__file__).resolve().parent.parent
BATCHES = 6


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As a process starts with them: a run that was left leaves its own."""
    kept = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, kept)


class Plain(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Signal(Callback):
    """Sends one rank SIGUSR1 at the start of one batch, counted from 0 over all epochs."""

    def __init__(self, at: int, rank: int = 0) -> None:
        self.at, self.rank = at, rank

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        here = (trainer.fit_loop.epoch_loop.total_batch_idx, trainer.global_rank)
        if here == (self.at, self.rank):
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Job 7 of SLURM; what scontrol was asked so far, and whether it could be ended by SIGTERM."""
    programs, log = tmp_path / "programs", tmp_path / "asked"
    programs.mkdir()
    write_scontrol(programs, f'echo "$@" >> {log}; kill -TERM $PPID; kill -TERM $$')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return lambda: log.read_text().splitlines() if log.exists() else []


def write_scontrol(folder: Path, script: str) -> None:
    """Like the real one it is answered by a SIGTERM to the whole job, itself included."""
    (folder / "scontrol").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "scontrol").chmod(0o700)


def fit(folder: Path, *more: Callback, ckpt_path: str | None = None, **settings: Any) -> Trainer:
    """Two epochs of six batches, with a checkpoint after each."""
    checkpoint = ModelCheckpoint(folder, save_top_k=-1, save_on_train_epoch_end=True)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*more, checkpoint, Requeue()],
        **({"max_epochs": 2, "default_root_dir": folder} | settings),
    )
    records = DataLoader(TensorDataset(torch.arange(6.0 * BATCHES).view(-1, 3) / 40), batch_size=2)
    trainer.fit(Plain(), records, records, ckpt_path=ckpt_path)
    return trainer


def saved(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return content


def test_a_signal_ends_the_run_after_its_batch(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    with pytest.raises(Requeued):
        fit(tmp_path, Signal(2))
    assert saved(tmp_path)["global_step"] == 3
    assert asked() == ["requeue 7"]


def test_the_run_goes_on_at_its_step(tmp_path: Path, asked: Callable[[], list[str]]) -> None:
    with pytest.raises(Requeued):
        fit(tmp_path / "ended", Signal(8))
    assert saved(tmp_path / "ended")["global_step"] == 9
    last = str(tmp_path / "ended" / "last.ckpt")
    whole, resumed = fit(tmp_path / "whole"), fit(tmp_path / "ended", ckpt_path=last)
    assert whole.global_step == resumed.global_step == 2 * BATCHES
    assert whole.current_epoch == resumed.current_epoch == 2


def test_after_the_last_batch_of_an_epoch_the_epoch_is_ended_first(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    """Else the resumed run would take it for done: no validation, no hook at its end."""
    seen = []

    class Seen(Callback):
        def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
            seen.append(trainer.current_epoch)

    with pytest.raises(Requeued):
        fit(tmp_path, Signal(BATCHES - 1), Seen())
    assert seen == [0]
    assert saved(tmp_path)["global_step"] == BATCHES
    assert (tmp_path / f"epoch=0-step={BATCHES}.ckpt").exists()  # as others have written theirs
    fit(tmp_path, Seen(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert seen == [0, 1]


def test_gradients_that_are_accumulated_are_not_lost(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    with pytest.raises(Requeued):
        fit(tmp_path, Signal(0), accumulate_grad_batches=3)
    state = saved(tmp_path)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    assert (saved(tmp_path)["global_step"], state["ready"]) == (1, 3)


def test_a_job_of_an_array_is_named_by_its_number_there(
    tmp_path: Path, asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.raises(Requeued):
        fit(tmp_path, Signal(0))
    assert asked() == ["requeue 5_2"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo Requested operation not supported >&2; exit 1", "Requested operation not supported"),
        ("exit 3", "exit code 3"),
        (None, "No such file or directory"),
    ],
)
def test_where_slurm_refuses_the_log_says_so_and_training_goes_on(
    tmp_path: Path,
    asked: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    said: str,
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        write_scontrol(tmp_path / "programs", script)
    with caplog.at_level(logging.WARNING, "leakage"):
        trainer = fit(tmp_path, Signal(2))
    assert trainer.global_step == 2 * BATCHES
    assert saved(tmp_path)["global_step"] == 3
    assert caplog.messages == [
        f"scontrol requeue 7: {said}; the job goes on and is not started again"
    ]


def test_a_rank_whose_job_another_one_has_requeued_leaves_too(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    write_scontrol(tmp_path / "programs", "echo Job is pending execution for job 7 >&2; exit 1")
    with pytest.raises(Requeued):
        fit(tmp_path, Signal(2))


def test_ranks_leave_after_the_same_batch_when_a_single_one_is_told_to(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    with pytest.raises(ProcessRaisedException, match="Requeued: the job is requeued"):
        fit(tmp_path, Signal(1, rank=1), strategy="ddp_fork", devices=2)
    assert saved(tmp_path)["global_step"] == 2
    assert asked() == ["requeue 7"]


def test_handlers_are_as_before(tmp_path: Path, asked: Callable[[], list[str]]) -> None:
    within = []

    class Look(Callback):
        def on_fit_end(self, *_: Any) -> None:
            within.append(signal.getsignal(signal.SIGUSR1))

    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)]
    fit(tmp_path / "a", Look(), max_epochs=1)
    assert callable(within[0])  # the signal may still come
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == before
    with pytest.raises(Requeued):
        fit(tmp_path / "b", Signal(0))
    fit(tmp_path / "c", max_epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == before


def test_outside_of_slurm_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    within = []

    class Look(Callback):
        def on_train_start(self, *_: Any) -> None:
            within.append(signal.getsignal(signal.SIGUSR1))

    fit(tmp_path, Look(), max_epochs=1)
    assert within == [signal.SIG_DFL]


def test_a_handler_of_the_program_is_left_alone(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    noted = []
    signal.signal(signal.SIGUSR1, lambda *_: noted.append(1))
    fit(tmp_path, Signal(2))
    assert (noted, asked()) == ([1], [])
    assert not (tmp_path / "last.ckpt").exists()


def test_a_wait_after_the_last_batch_is_left(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    class Wait(Callback):
        def on_fit_end(self, trainer: Trainer, *_: Any) -> None:
            assert not is_to_leave(trainer)
            leave_if_wanted(trainer)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert is_to_leave(trainer)
            leave_if_wanted(trainer)

    with pytest.raises(Requeued):
        fit(tmp_path, Wait())
    assert asked() == ["requeue 7"]


def test_a_run_at_the_end_of_another_is_left_with_it(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    class Twin(Callback):
        def on_fit_end(self, trainer: Trainer, *_: Any) -> None:
            inner = Trainer(
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                callbacks=[Signal(2), Follow(trainer)],
                max_epochs=1,
            )
            inner.fit(Plain(), trainer.train_dataloader)

    with pytest.raises(Requeued):
        fit(tmp_path, Twin())
    assert asked() == ["requeue 7"]


def test_a_long_validation_is_left(
    tmp_path: Path, asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)

    class Validated(Callback):
        batches = 0

        def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if not trainer.sanity_checking:
                self.batches += 1
                os.kill(os.getpid(), signal.SIGUSR1)

    validated = Validated()
    with pytest.raises(Requeued):
        fit(tmp_path, validated)
    assert validated.batches == 1
    assert not (tmp_path / "last.ckpt").exists()


class Told(Requeue):
    """Is told to leave in the second epoch, and nobody else heeds it."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        environment = trainer._accelerator_connector.cluster_environment
        assert isinstance(environment, SLURMEnvironment)
        assert not environment.auto_requeue
        if trainer.global_step == 7:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_the_command_line_ends_well_and_goes_on_to_the_same_table(
    tmp_path: Path,
    asked: Callable[[], list[str]],
    adult_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"NTASKS": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    settings = {
        "data.root": adult_root,
        "data.standin_size": 6000,
        **{f"attack.{name}": 40 for name in ("shadow_batches", "calibrate_batches", "trials")},
        "attack.adversaries": "[LogisticRegression]",
        "attack.background": False,
        "trainer.limit_train_batches": 5,
        "trainer.enable_progress_bar": False,
        "trainer.logger.save_dir": tmp_path / "logs",
    }
    words = ["fit", "--config", str(ROOT / "configs" / "adult.yaml"), "--ckpt_path", "last"]
    words += [f"--{name}={value}" for name, value in settings.items()]
    with monkeypatch.context() as patch:
        patch.setattr("leakage.cli.training.Requeue", Told)
        main([*words, "--trainer.logger.init_args.version=job_7"])
    told = capsys.readouterr().err
    assert "SLURM is about to end the job: wrote" in told
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    for version in ("job_7", "job_8"):
        main([*words, f"--trainer.logger.init_args.version={version}"])
    assert asked() == ["requeue 7"]
    folder = tmp_path / "logs" / "adult"
    assert sorted(path.name for path in folder.iterdir()) == ["job_7", "job_8"]
    tables = [(folder / version / "attack.csv").read_bytes() for version in ("job_7", "job_8")]
    assert tables[0] == tables[1]
