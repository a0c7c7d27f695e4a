"""Rounds beside training: the same figures as within it, and nothing of it outlives the run."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from populations import gaussian, population
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from leakage.adversaries import LogisticRegression, RandomForest
from leakage.adversaries.base import Array, Scores, Surface
from leakage.background import work
from leakage.background.messages import Meeting
from leakage.callbacks import Attack, Defend
from leakage.callbacks.sides import Side
from leakage.defenses import DP
from leakage.errors import LeakageError
from leakage.ranks import LOST
from leakage.rules import Game
from leakage.secrets import Membership, Property

RECORDS = population(*gaussian(2_000, torch.tensor([1.0, 0.5, 0.0]), seed=0))
LOADER = DataLoader(
    Subset(RECORDS.records, RECORDS.splits["train"].tolist()), batch_size=10, shuffle=True
)


class Net(LightningModule):
    """Nothing that is easy to send: a stochastic layer, hooks on batches and on a gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2)
        )
        self.layers[0].weight.register_hook(lambda gradient: gradient * 0.5)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] * (2 if self.trainer.training else 1), batch[1]]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.layers(batch[0]), batch[1]) * (1 + self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Linear(Net):
    """One whose records have gradients of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Linear(3, 2)


def game(**settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": Property("a"),
        "k": 4,
        "rounds": [0, 1, 2],
        "shadow_batches": 60,
        "calibrate_batches": 60,
        "trials": 60,
        "adversaries": [RandomForest(trees=5)],
    }
    return Game(**(defaults | settings))


def fit(folder: Path, *callbacks: Callback, module: LightningModule, epochs: int = 2) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=epochs,
    )
    trainer.fit(module, LOADER)
    return trainer


def attacks(background: bool) -> list[Callback]:
    dp = DP(clip=1.0, sigma=1.0, delta=1e-5, batch=10)
    return [
        Defend(dp),
        Attack(game(layer_map=True, curve_k=[8], background=background), dp, RECORDS),
        Attack(game(secret=Membership(), shadow_k=2, background=background), dp, RECORDS),
    ]


def within_and_beside(folder: Path, kind: type[Net], private: bool) -> None:
    weights = []
    for name, background in (("within", False), ("beside", True)):
        torch.manual_seed(1)
        module = kind()
        rounds = Attack(game(curve_k=[8], background=background), None, RECORDS)
        callbacks = attacks(background) if private else [rounds]
        fit(folder / name, *callbacks, module=module)
        weights.append(module.state_dict())
    names = ["attack.csv", "attack_2.csv"] if private else ["attack.csv"]
    for name in names:
        within, beside = ((folder / side / name).read_bytes() for side in ("within", "beside"))
        assert within == beside
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])


@pytest.mark.usefixtures("played_beside")
@pytest.mark.parametrize(("kind", "private"), [(Net, False), (Linear, True)])
def test_figures_and_weights_are_those_of_rounds_within_training(
    tmp_path: Path, kind: type[Net], private: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage"):
        within_and_beside(tmp_path, kind, private)
    assert "cannot go to another process" not in caplog.text
    # What that process has to say of its work is in the log as if it had been said here.
    assert caplog.text.count("p = ") == 2 * (1 + private)


@pytest.mark.usefixtures("played_beside")
def test_what_cannot_go_to_another_process_stays_within_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Line:
        """As a connection or a lock is: it can be held twice, but not sent."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __deepcopy__(self, memo: Any) -> Any:
            return self

    module = Linear()
    module.line = Line()
    with caplog.at_level(logging.INFO, "leakage"):
        fit(tmp_path / "a", Attack(game(), None, RECORDS), module=module, epochs=2)
    assert "rounds are played within training, which waits for them" in caplog.text
    assert "lock" in caplog.text
    fit(tmp_path / "b", Attack(game(background=False), None, RECORDS), module=Linear(), epochs=2)
    assert (tmp_path / "a/attack.csv").read_bytes() == (tmp_path / "b/attack.csv").read_bytes()


class Stumbles(LogisticRegression):
    """Fails in round 1, of which it sees a seed of its own."""

    def fit(self, features: Array, values: Any, surface: Surface, seed: int) -> Scores:
        if Path(self.mark).exists():
            raise LeakageError("attack.adversaries: Stumbles has lost its way")
        Path(self.mark).touch()
        return super().fit(features, values, surface, seed)


def background_of(pid: int) -> list[int]:
    """The processes beside training that a process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"leakage.background" in words and words[-3] == str(pid).encode():
                found.append(int(folder.name))
    return found


@pytest.mark.usefixtures("played_beside")
def test_an_error_beside_training_ends_it_after_its_checkpoint(tmp_path: Path) -> None:
    stumbles = Stumbles()
    object.__setattr__(stumbles, "mark", str(tmp_path / "mark"))
    attack = Attack(game(adversaries=[stumbles], rounds=[0, 1, 2]), None, RECORDS)
    with pytest.raises(
        LeakageError, match=r"attack, round 1: attack\.adversaries: Stumbles has lost"
    ):
        fit(tmp_path, attack, module=Linear(), epochs=30)
    assert list((tmp_path / "checkpoints").glob("*.ckpt"))
    assert b"\n0," in (tmp_path / "attack.csv").read_bytes()  # what was played is not lost
    assert not background_of(os.getpid())


@pytest.mark.usefixtures("played_beside")
def test_a_process_that_is_killed_is_told_of(tmp_path: Path) -> None:
    class Kills(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            for child in background_of(os.getpid()):
                os.kill(child, signal.SIGKILL)

    with pytest.raises(LeakageError) as error:
        fit(tmp_path, Attack(game(), None, RECORDS), Kills(), module=Linear(), epochs=2)
    assert str(error.value) == (
        "attack.background: the process beside training was ended by SIGKILL, perhaps for want of"
        " memory; lower attack.memory or attack.cores, or set attack.background to false"
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_who_waits_in_vain_for_the_process_of_another_rank_says_so(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_MEETING", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    with pytest.raises(LeakageError) as error:
        work._meet(Meeting("127.0.0.1", port, rank, 2))
    assert str(error.value).startswith(
        "attack.background: the processes beside the 2 ranks did not meet ("
    )
    assert str(error.value).endswith("); set attack.background to false")


def test_the_reason_of_one_rank_stands_before_the_loss_that_others_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    side, reason = Side(beside=False), "attack.background: it was ended by SIGKILL"
    told = [None, f"attack, round 1: trainer.devices: rank 1 {LOST}", reason]
    monkeypatch.setattr("leakage.callbacks.sides.gathered", lambda _: told)
    with pytest.raises(LeakageError) as error:
        side.refuse_failed()
    assert str(error.value) == reason


FACTOR = [1.0]


def loss_of_here(module: Net, batch: Any) -> Tensor:
    """Follows a variable that the process beside training has as this file begins with."""
    return F.cross_entropy(module.layers(batch[0]), batch[1]) * FACTOR[0]


@pytest.mark.usefixtures("played_beside")
def test_what_something_outside_of_the_module_decides_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", [3.0])
    attack = Attack(game(rounds=[0], loss=loss_of_here), None, RECORDS)
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, attack, module=Linear(), epochs=1)
    assert str(error.value).startswith(
        "attack, round 0: attack.background: the loss of the same records is "
    )
    assert str(error.value).endswith(
        "so something outside of the module decides it; set attack.background to false"
    )


SCRIPT = """
import os, sys, torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader
sys.path.insert(0, {tests!r})
from populations import gaussian, population
from leakage.callbacks import Attack
from leakage.rules import Game
from leakage.adversaries import LogisticRegression
from leakage.secrets import Property

class Mine(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

records = population(*gaussian(2_000, torch.tensor([1.0, 0.5, 0.0]), seed=0))
game = Game(Property("a"), k=4, rounds=[0, 1], shadow_batches=60, calibrate_batches=60, trials=60,
            adversaries=[LogisticRegression()])
print("PID", os.getpid(), flush=True)
trainer = Trainer(max_epochs={epochs}, accelerator="cpu", logger=False, default_root_dir={folder!r},
                  callbacks=[Attack(game, None, records)], enable_progress_bar=False)
trainer.fit(Mine(), DataLoader(records.records, batch_size=20))
"""


def script(folder: Path, epochs: int) -> subprocess.Popen[str]:
    """A script of anyone's own, without `if __name__ == "__main__"`."""
    path = folder / "train.py"
    tests = str(Path(__file__).parent)
    path.write_text(SCRIPT.format(tests=tests, folder=str(folder), epochs=epochs))
    return subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    process = script(tmp_path, epochs=1)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "within training" not in out  # its class went along by value
    assert (tmp_path / "attack.csv").exists()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    process = script(tmp_path, epochs=100_000)
    children: list[int] = []
    while not children and process.poll() is None:
        time.sleep(0.1)
        children = background_of(process.pid)
    assert children
    os.kill(children[0], signal.SIGINT)  # and SIGTERM: a terminal sends them to all
    os.kill(children[0], signal.SIGTERM)
    time.sleep(0.5)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while background_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not background_of(process.pid)
