"""One M in training and in the game: settled once, fitted in every epoch, told no secret."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from populations import SHIFT, gaussian, linear_game, population
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from typing_extensions import override

from leakage.callbacks import Attack, Defend, Utility
from leakage.defenses import DP, Bottleneck, Chain, Defense, Perturbation, Sign, penalty
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.shared import read_shared_gradient
from leakage.population import SPLITS

SHARES = dict(zip(SPLITS, (0.3, 0.05, 0.05, 0.2, 0.2, 0.2), strict=True))
RECORDS = population(*gaussian(2_000, SHIFT, seed=0), shares=SHARES)
GAME = linear_game(
    k=4, rounds=[0, 1], shadow_batches=100, calibrate_batches=100, trials=100, cores=1
)
TARGET = DP(clip=1.0, batch=60, epsilon=8.0)
REFUSED = (
    "trainer.callbacks: Attack stands before Defend, which finds the noise that a target epsilon"
    " asks for, and releases what is shared; put Defend first"
)


class Net(LightningModule):
    def __init__(self, bottleneck: Bottleneck | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            middle = nn.Tanh() if bottleneck is None else bottleneck.layer(4)
            width = 4 if bottleneck is None else bottleneck.dimension
            self.network = nn.Sequential(nn.Linear(5, 4), middle, nn.Linear(width, 2))

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.network(x), y) + penalty(self)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def hits(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return self.network(x).argmax(1) == y


def fit(folder: Path, *callbacks: Callback, module: LightningModule | None = None) -> Trainer:
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(folder, name="", version=""),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    own = Subset(RECORDS.records, RECORDS.splits["train"].tolist())
    trainer.fit(module or Net(), DataLoader(own, batch_size=60))
    return trainer


def rows_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "attack.csv")


def test_the_game_is_played_with_the_noise_that_training_settled_on(tmp_path: Path) -> None:
    defend = Defend(TARGET)
    fit(tmp_path, defend, Attack(GAME, TARGET, RECORDS))
    settled = defend.settled
    assert isinstance(settled, DP)
    assert settled.sigma is not None
    rows = rows_of(tmp_path)
    assert set(rows["defense"]) == {settled.label}
    assert re.fullmatch(r"DP\(clip=1, batch=60, sigma=[\d.]+, delta=1e-05\)", settled.label)
    view = rows[rows["adversary"] == "information"].set_index(["rounds", "round", "metric"])
    assert view.loc[("alone", 0, "epsilon_release_record"), "value"] > 0
    assert defend.privacy()["epsilon_training"] <= 8
    assert defend.privacy()["sigma"] == settled.sigma


def test_the_noise_of_a_target_is_known_before_the_attack(tmp_path: Path) -> None:
    class Own(Net):
        """Makes its loader late, so that the number of steps is known only then."""

        @override
        def setup(self, stage: str) -> None:
            self.records = Subset(RECORDS.records, RECORDS.splits["train"].tolist())

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.records, batch_size=60)

    def run(*callbacks: Callback) -> None:
        trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=list(callbacks), **quiet())
        trainer.fit(Own())

    def quiet() -> Any:
        off = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        return {"logger": CSVLogger(tmp_path, name="", version="")} | dict.fromkeys(off, False)

    with pytest.raises(LeakageError) as error:
        run(Attack(GAME, TARGET, RECORDS), Defend(TARGET))
    assert str(error.value) == REFUSED
    defend = Defend(TARGET)
    run(defend, Attack(GAME, TARGET, RECORDS))
    assert set(rows_of(tmp_path)["defense"]) == {defend.settled.label}


@pytest.mark.parametrize("defense", [TARGET, Sign()], ids=["a target", "no noise"])
def test_an_attack_that_would_see_what_is_never_shared_is_refused(
    tmp_path: Path, defense: Defense
) -> None:
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, Attack(GAME, defense, RECORDS), Defend(defense))
    assert str(error.value) == REFUSED
    assert not list(tmp_path.iterdir())


class Before(Callback):
    """Reads the gradient of each step that Defend is about to release."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(read_shared_gradient(pl_module))


class Used(Defend):
    """Remembers what it was told to use."""

    used: list[Defense]

    @override
    def use(self, fitted: Defense) -> None:
        self.used.append(fitted)
        super().use(fitted)


def test_training_releases_through_the_m_that_was_fitted_to_its_epoch(tmp_path: Path) -> None:
    defense = Perturbation(batches=60)
    before, defend, after = Before(), Used(defense), Before()
    defend.used = []
    fit(tmp_path, before, defend, Attack(GAME, defense, RECORDS), after)
    (fitted,) = defend.used
    layout = Layout.of(Net())
    for shared, released in zip(before.seen, after.seen, strict=True):
        row = shared.unsqueeze(0)
        expected = fitted.release(row, k=60, layout=layout, generator=Generator())
        assert torch.allclose(released, expected[0], atol=1e-6)
        assert not torch.allclose(released, shared, atol=1e-4)
    known = rows_of(tmp_path)["knowledge"].dropna().unique().tolist()
    assert known == ["static", "mechanism", "surrogate"]


def test_a_perturbation_without_an_attack_has_no_secret_to_defend(tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match="train with the callbacks Defend and Attack"):
        fit(tmp_path, Defend(Perturbation(batches=60)))


def test_what_reads_the_secret_is_refused_in_training_and_played_without(tmp_path: Path) -> None:
    defense = Perturbation(objective="err", batches=60)
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, Defend(defense), Attack(GAME, defense, RECORDS))
    assert str(error.value) == (
        f"defense.objective: {defense.label} reads the secret of each batch, which a training batch"
        " does not have; use 'prior', or play the game on releases alone, with Attack and without"
        " Defend"
    )
    fit(tmp_path, Attack(GAME, Chain([defense]), RECORDS))
    rows = rows_of(tmp_path)
    surrogate = rows[(rows["knowledge"] == "surrogate") & (rows["metric"] == "auroc")]
    assert surrogate["value"].max() > 0.9  # it leaks what it hides from its own surrogate


def test_a_bottleneck_of_a_module_of_one_s_own_is_a_defense(tmp_path: Path) -> None:
    module = Net(Bottleneck(dimension=3, beta=0.1))
    fit(tmp_path, Attack(GAME, population=RECORDS), module=module)
    rows = rows_of(tmp_path)
    assert set(rows["defense"]) == {"Bottleneck(dimension=3, beta=0.1)"}
    auroc = rows[(rows["metric"] == "auroc") & (rows["round"] == 0) & rows["knowledge"].notna()]
    assert auroc["knowledge"].tolist() == ["static", "adaptive"]
    assert auroc["value"].nunique() == 2  # the one takes it for a plain layer


def test_a_twin_that_fails_costs_its_figure_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Utility:
        raise RuntimeError("out of memory")

    utility = Utility(fails, RECORDS)
    with caplog.at_level(logging.WARNING, "leakage.utility"):
        fit(tmp_path, Defend(Sign()), utility, Attack(GAME, Sign(), RECORDS))
    assert "the undefended twin failed, so no loss_vs_none: out of memory" in caplog.text
    assert "test_accuracy" in utility.figures
    assert "loss_vs_none" not in utility.figures
    assert len(rows_of(tmp_path))
