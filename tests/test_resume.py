"""A run that is stopped and goes on ends as if it had never been stopped."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from leakage.callbacks import Defend
from leakage.callbacks.resume import Resume
from leakage.defenses import DP, Defense, Sign

pytestmark = pytest.mark.usefixtures("process_state")

BATCHES = 4


class Noisy(Dataset[Tensor]):
    """Records that draw from all kinds of randomness each time they are loaded."""

    def __len__(self) -> int:
        return 4 * BATCHES - 1

    def __getitem__(self, index: int) -> Tensor:
        noise = torch.rand(3) + random.random() + np.random.rand()  # noqa: NPY002
        return torch.tensor([index, 1.0, -index]) + noise.float()


class Plain(Dataset[Tensor]):
    """Records that draw nothing."""

    def __len__(self) -> int:
        return 4 * BATCHES - 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([index, 1.0, -index])


class Dropped(LightningModule):
    """Draws with dropout, steps by Adam with a schedule, and validates with draws too."""

    def __init__(self, dropout: float, plateau: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        self._plateau = plateau

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.layers(batch) - 1).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", torch.rand(()) + batch.mean(), batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        if self._plateau:
            scheduler: Any = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            return [optimizer], [{"scheduler": scheduler, "monitor": "val_loss"}]
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


@dataclass
class Diary(Checkpoint):
    """Notes what is called, and writes a checkpoint at one of these calls, after all others."""

    path: Path | None = None
    hook: str = ""
    number: int = 0
    noted: list[tuple[str, int, int]] = field(default_factory=list)
    before: int = 0
    left: bool = False

    def _note(self, trainer: Trainer, hook: str) -> None:
        if trainer.sanity_checking:
            return
        self.noted.append((hook, trainer.current_epoch, trainer.global_step))
        if hook == self.hook:
            self.number -= 1
            if self.number == 0:
                assert self.path is not None
                trainer.save_checkpoint(self.path)
                self.before = len(self.noted)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "epoch starts")

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._note(trainer, "batch ends")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "validation ends")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "epoch ends")


@dataclass(frozen=True)
class Job:
    """A training that can be done again and again."""

    workers: int = 0
    persistent: bool = False
    validated: bool = True
    records: type[Dataset[Tensor]] = Noisy
    plateau: bool = False
    own_generator: bool = False
    defense: Defense | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, seed: int, *callbacks: Callback, ckpt_path: Path | None = None) -> Any:
        """The weights, what is left of the optimizer, and the next random numbers."""
        seed_everything(seed, verbose=False)
        module = Dropped(0.5 if self.records is Noisy else 0.0, self.plateau)
        generator = torch.Generator().manual_seed(5) if self.own_generator else None
        workers = {"num_workers": self.workers, "persistent_workers": self.persistent}
        train = DataLoader(self.records(), 4, shuffle=True, generator=generator, **workers)
        val = DataLoader(Plain(), 8, **workers) if self.validated else None
        defended = [] if self.defense is None else [Defend(self.defense, seed=3)]
        trainer = Trainer(
            **{"max_epochs": 3} | self.settings,
            callbacks=[*callbacks, *defended],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, train, val, ckpt_path=ckpt_path)
        return (
            [weight.detach().clone() for weight in module.parameters()],
            trainer.optimizers[0].state_dict()["param_groups"][0]["lr"],
            (torch.rand(1).item(), random.random(), np.random.rand()),  # noqa: NPY002
        )


def same(one: Any, other: Any) -> bool:
    weights = zip(one[0], other[0], strict=True)
    return all(torch.equal(*pair) for pair in weights) and one[1:] == other[1:]


def check(job: Job, tmp_path: Path, hook: str, number: int) -> None:
    """A checkpoint there, and a run that goes on from it, which began with other numbers."""
    path = tmp_path / "there.ckpt"
    diary, rest = Diary(path, hook, number), Diary()
    whole = job.run(0, Resume(), diary)
    assert path.stat().st_mode & 0o777 == 0o600
    resumed = job.run(1, Resume(), rest, ckpt_path=path)
    assert rest.noted == diary.noted[diary.before :]
    assert same(resumed, whole)


ENDS = [("epoch ends", 1), ("epoch ends", 2), ("validation ends", 2), ("batch ends", 5)]


@pytest.mark.parametrize(("hook", "number"), [*ENDS, ("batch ends", 1), ("batch ends", 4)])
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_never_stopped(
    hook: str, number: int, tmp_path: Path
) -> None:
    check(Job(), tmp_path, hook, number)


JOBS = {
    "workers": Job(workers=2),
    "persistent workers": Job(workers=2, persistent=True, records=Plain),
    "no validation": Job(validated=False),
    "plateau": Job(plateau=True),
    "own generator": Job(own_generator=True),
    "validation within": Job(settings={"val_check_interval": 2}),
    "steps": Job(settings={"max_epochs": -1, "max_steps": 3 * BATCHES}),
    "steps without validation": Job(
        validated=False, settings={"max_epochs": -1, "max_steps": 3 * BATCHES}
    ),
    "accumulation": Job(settings={"accumulate_grad_batches": 2}),
    "every other validation": Job(settings={"check_val_every_n_epoch": 2}),
    "dp": Job(records=Plain, defense=DP(batch=4, clip=1.0, sigma=0.5)),
    "dp with workers": Job(records=Plain, workers=2, defense=DP(batch=4, clip=1.0, sigma=0.5)),
    "sign": Job(defense=Sign(zero="random")),
}
EVERYWHERE = [
    (name, hook, number)
    for name, job in JOBS.items()
    for hook, number in [
        ("epoch ends", 1),
        ("epoch ends", 2),
        ("validation ends", 1),
        ("validation ends", 2),
        *[("batch ends", n) for n in (1, 2, 3, 4, 6, 8)],
    ]
    if (job.validated or "validation" not in hook)
    and not (name == "accumulation" and hook == "batch ends" and number % 2)
    and not (name == "every other validation" and hook == "validation ends" and number > 1)
]


@pytest.mark.parametrize(("name", "hook", "number"), EVERYWHERE)
def test_everywhere(name: str, hook: str, number: int, tmp_path: Path) -> None:
    check(JOBS[name], tmp_path, hook, number)
