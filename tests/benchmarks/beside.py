"""What an attack beside training costs a training step, and saves of the wall time.

`python -m tests.benchmarks.beside` gives training and attack a thread each, so it needs two idle
cores. Each epoch is longer than its attack, so that steps beside one and steps alone take turns.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from statistics import median, quantiles
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, RandomSampler

from leakage.adversaries import RandomForest
from leakage.callbacks import Attack
from leakage.data.adult import Adult
from leakage.models.tabular import Tabular
from leakage.rules import Game
from leakage.secrets import Property

EPOCHS, STEPS, BATCH, REPETITIONS = 3, 800, 512, 2


class Clock(Callback):
    """Notes how long each step took, and whether a round was under way."""

    def __init__(self, attack: Attack | None) -> None:
        self._attack, self._last = attack, 0.0
        self.steps: dict[bool, list[float]] = {False: [], True: []}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._last, self._waited = time.perf_counter(), self._waits()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # The first epoch is left out, in which libraries are loaded beside it.
        if trainer.current_epoch > 0 and self._waited == self._waits():
            self.steps[self._waited].append(time.perf_counter() - self._last)

    def _waits(self) -> bool:
        return self._attack is not None and bool(self._attack._side and self._attack._side.waiting)


def game(background: bool) -> Game:
    return Game(
        Property("sex"), k=16, rounds=list(range(EPOCHS + 1)), shadow_batches=500,
        calibrate_batches=500, trials=500, adversaries=[RandomForest(trees=10)], layer_map=False,
        cores=1, background=background,
    )  # fmt: skip


def fit(data: Adult, folder: str, attack: Attack | None) -> tuple[float, Clock]:
    """Trains once; seconds in all, and those of each step."""
    torch.manual_seed(0)
    clock = Clock(attack)
    trainer = Trainer(
        max_epochs=EPOCHS, limit_train_batches=STEPS, limit_val_batches=0, accelerator="cpu",
        logger=CSVLogger(folder), enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*([attack] if attack else []), clock],
    )  # fmt: skip
    records = data.train_dataloader().dataset
    sampler = RandomSampler(records, replacement=True, num_samples=BATCH * STEPS)
    loader = DataLoader(records, BATCH, sampler=sampler)
    start = time.perf_counter()
    trainer.fit(Tabular(data.in_features, hidden=[256, 256]), loader, None)
    return time.perf_counter() - start, clock


def told(steps: list[float]) -> str:
    low, _, high = quantiles(steps, n=4)
    middle = median(steps)
    return f"{1e3 * middle:.2f} ms [{1e3 * low:.2f}, {1e3 * high:.2f}] of {len(steps)} steps"


def main() -> None:
    """Prints medians with quartiles, and their ratio."""
    torch.set_num_threads(1)
    logging.getLogger("leakage").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        data = Adult(f"{folder}/adult", standin=True, exclude=["sex", "relationship"], seed=0)
        data.prepare_data()
        data.setup()
        ways = {"within training": False, "beside it": True}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        steps: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(REPETITIONS):
            for name, background in ways.items():
                attack = Attack(game(background), population=data.population)
                seconds, clock = fit(data, folder, attack)
                taken[name].append(seconds)
                if background:
                    for beside, some in clock.steps.items():
                        steps[beside] += some
            taken.setdefault("none", []).append(fit(data, folder, None)[0])
    if not all(steps.values()):
        sys.exit("no steps of one kind: the attack takes longer than an epoch, or no time")
    print(f"a step alone:            {told(steps[False])}")
    print(f"a step beside an attack: {told(steps[True])}")
    print(f"ratio of medians:        {median(steps[True]) / median(steps[False]):.3f}")
    fast = {beside: quantiles(some, n=10)[0] for beside, some in steps.items()}
    print(f"of the fastest tenths:   {fast[True] / fast[False]:.3f}, where others compute too")
    for name, some in taken.items():
        print(f"attack {name}: {median(some):.1f} s in all")


if __name__ == "__main__":
    main()
