"""Runs of the command line that can be killed, and what they leave."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from served import Run, Server, members

CONFIG = Path(__file__).resolve().parent.parent.parent / "configs" / "adult.yaml"
EPOCHS = 3
LONG = "LEAKAGE_LONG" in os.environ
"""Whether runs are killed 20 times, and two ranks 5 times: that takes some minutes."""
FILES = {
    *("attack", "attack.csv", "checkpoints", "config.yaml", "hparams.yaml"),
    *("predicted.safetensors", "run.json"),
}
SETTINGS: dict[str, Any] = {
    "data.standin_size": 1500,
    "attack.k": 4,
    "attack.rounds": list(range(EPOCHS + 1)),
    "attack.shadow_batches": 20,
    "attack.calibrate_batches": 20,
    "attack.trials": 20,
    "attack.adversaries": [{"class_path": "leakage.adversaries.LogisticRegression"}],
    "attack.layer_map": False,
    "defense": "Sign",
    "defense.zero": "random",  # draws in every step
    "undefended_twin": False,
    "trainer.max_epochs": EPOCHS,
    "trainer.limit_train_batches": 5,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}


def words_of(root: Path, logs: Path, **changed: Any) -> list[str]:
    """A short form of the main job, in which each epoch is attacked."""
    settings = SETTINGS | {"data.root": str(root), "trainer.logger.save_dir": str(logs)} | changed
    words = ["fit", "--config", str(CONFIG), "--ckpt_path", "last"]
    for key, value in settings.items():
        words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return words


def beside(session: int) -> list[int]:
    """The processes beside training, which are nicer than training is."""
    found = members(session)
    return [pid for pid, niceness in found.items() if niceness > min(found.values())]


@dataclass(frozen=True)
class Left:
    """What a run that is over has left.

    Args:
        table: attack.csv.
        answered: how trials were answered, by round alone and in sum.
        weights: of the newest checkpoint.
    """

    table: bytes
    answered: list[bytes]
    weights: dict[str, torch.Tensor]

    @classmethod
    def of(cls, logs: Path) -> Left:
        """Checks that there is one folder, with what a run leaves and nothing else."""
        [folder] = (logs / "adult").iterdir()
        assert folder.name == "version_0"
        events = {path.name for path in folder.glob("events.out.tfevents.*")}
        assert {path.name for path in folder.iterdir()} - events == FILES
        rounds = [f"round_{round_:05d}" for round_ in range(EPOCHS + 1)]
        places = [*(f"{name}.alone" for name in rounds), *(f"{name}.sum" for name in rounds[1:])]
        answered = [folder / "attack" / f"{place}.answered.safetensors" for place in places]
        played = [folder / "attack" / f"{name}.safetensors" for name in rounds]
        assert {*(folder / "attack").iterdir()} == {*answered, *played}
        assert len(list((folder / "checkpoints").iterdir())) == 2
        return cls(
            (folder / "attack.csv").read_bytes(),
            [path.read_bytes() for path in answered],
            weights_of(checkpoints(logs)[-1]),
        )

    def check_same(self, other: Left) -> None:
        """To the last byte and bit."""
        assert self.table == other.table
        assert self.answered == other.answered
        assert self.weights.keys() == other.weights.keys()
        for name, weight in self.weights.items():
            assert torch.equal(weight, other.weights[name]), name


@dataclass(frozen=True)
class Whole:
    """A run that nobody has interrupted, what it has left, and how long it took in seconds."""

    logs: Path
    left: Left
    seconds: float

    @classmethod
    def of(cls, server: Server, words: list[str], logs: Path) -> Whole:
        start = time.monotonic()
        finish(server, words, logs)
        return cls(logs, Left.of(logs), time.monotonic() - start)


def finish(server: Server, words: list[str], logs: Path) -> Run:
    """Starts a run that is to end by itself."""
    run = Run.start(server, words, logs / "log")
    assert run.wait(300) == 0, run.said()
    run.check_gone()
    return run


def checkpoints(logs: Path) -> list[Path]:
    """Those of the one run there, the newest last."""
    found = (logs / "adult" / "version_0" / "checkpoints").glob("*.ckpt")
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return weights
