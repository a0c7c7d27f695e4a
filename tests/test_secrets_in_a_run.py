"""Users, worst cases and the aggregation curve in a run: rows, figures, words at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from populations import gaussian, population
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from leakage.adversaries import LinearDiscriminant, LogisticRegression, NearestMean, Ordinal
from leakage.callbacks import Attack
from leakage.cli import main
from leakage.rules import Game
from leakage.secrets import Distribution, Property

HERE = __name__
USERS, EACH = 60, 40


def _people() -> tuple[TensorDataset, pd.DataFrame]:
    """x (N, 5) about a centre of each person; the label says nothing."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(USERS).repeat_interleave(EACH)
    centre = 1.5 * torch.randn(USERS, 5, generator=generator)
    x = centre[person] + torch.randn(len(person), 5, generator=generator)
    table = pd.DataFrame({"person": [f"p{p:02d}" for p in person], "tall": centre[person, 0] > 0})
    label = (torch.rand(len(x), generator=generator) < 0.95).long()  # else gradients turn round
    return TensorDataset(x, label), table


PEOPLE, TABLE = _people()


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class People(LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(PEOPLE, batch_size=40)


def settings_of(tmp_path: Path, **attack: Any) -> dict[str, Any]:
    table = tmp_path / "people.csv"
    TABLE.to_csv(table, index=False)
    sizes = {"k": 3, "shadow_batches": 300, "calibrate_batches": 200, "trials": 200, "rounds": [0]}
    return {
        "model": {"class_path": f"{HERE}.Net"},
        "data": {"class_path": f"{HERE}.People"},
        "attack": {"attributes": str(table), "units": "person", **sizes, **attack},
        "trainer": {
            "max_epochs": 1,
            "limit_train_batches": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"save_dir": str(tmp_path), "name": "run"},
            },
        },
    }


def fit(tmp_path: Path, settings: dict[str, Any]) -> Path:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    main(["fit", "--config", str(config)])
    return max((tmp_path / "run").iterdir())


def test_which_user_a_batch_is_of_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users and their records in a table, the secret a class path, adversaries left out."""
    secret = {"class_path": "leakage.secrets.User", "init_args": {"candidates": 6}}
    folder = fit(tmp_path, settings_of(tmp_path, secret=secret))
    rows = pd.read_csv(folder / "attack.csv", keep_default_na=False)
    asr = rows[(rows["metric"] == "asr") & (rows["group"] == "all")].set_index("adversary")
    attacks = ["Prototypes", "LinearDiscriminant", "NearestMean"]
    assert set(asr.index) == {*attacks, "prior", "labels", "imputation"}
    assert (asr.loc[attacks, "value"].astype(float) > 2 / 6).all()
    assert (asr["units"] == 6).all()
    classes = rows[rows["group"].str.startswith("class user ")]
    assert len(set(classes["group"])) == 6
    exposed = rows[rows["group"].str.startswith("unit ")]
    assert set(exposed["group"].str[5:]) <= set(classes["group"].str[len("class user ") :])
    assert "secret user, k = 3" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["trained_on"] is True


def test_a_user_game_that_cannot_be_played_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = {"class_path": "leakage.secrets.User", "init_args": {"candidates": 6}}
    with pytest.raises(SystemExit) as end:
        fit(tmp_path, settings_of(tmp_path, secret=secret, k=5))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert (
        "error: attack.k: 6 users of the shadow_calibrate split need k * (enrolment + queries) = 50"
        " records each, but 0 of 12 have as many"
    ) in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("attack.csv"))


def play(tmp_path: Path, game: Game, apart: float = 2.0) -> tuple[pd.DataFrame, Path]:
    """A run on x ~ N(+-apart / 2, 1), from Python."""
    x, codes = gaussian(4_000, torch.tensor([apart, 0.0, 0.0, 0.0, 0.0]), seed=0)
    records = population(x, codes, labels=torch.arange(4_000) % 20 // 19)
    logger = TensorBoardLogger(str(tmp_path), name="run", default_hp_metric=False)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, callbacks=[Attack(game, None, records)],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        log_every_n_steps=1,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(records.features[:80], records.labels[:80]), batch_size=40)
    trainer.fit(Net(), loader)
    folder = Path(logger.log_dir)
    return pd.read_csv(folder / "attack.csv", keep_default_na=False), folder


def images(folder: Path) -> set[str]:
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return set(events.Tags()["images"])


SIZES: dict[str, Any] = {"shadow_batches": 200, "calibrate_batches": 200, "trials": 200}


def test_one_config_gives_the_attack_against_k_and_against_the_number_of_clients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    game = Game(
        Property("a"), k=4, rounds=[0, 1], adversaries=[LogisticRegression()],
        curve_k=[1, 4, 16], curve_clients=[1, 4], **SIZES,
    )  # fmt: skip
    rows, folder = play(tmp_path, game)
    mine = rows[(rows["metric"] == "auroc") & (rows["adversary"] == "LogisticRegression")]
    mine = mine[(mine["rounds"] == "alone") & (mine["knowledge"] == "adaptive")]
    curve = {(k, o): float(v) for k, o, v in mine[["k", "others", "value"]].to_numpy()}
    assert list(curve) == [(4, 0), (1, 0), (16, 0), (4, 12)]
    assert curve[1, 0] < curve[4, 0] < curve[16, 0]
    assert curve[4, 12] < curve[4, 0]
    elsewhere = rows[(rows["k"] != 4) | (rows["others"] != 0)]
    assert set(elsewhere["round"]) == {1}  # the last
    without = {"prior", "labels", "imputation", "information"}
    assert set(elsewhere["adversary"]) == {"LogisticRegression", *without}
    assert "attack/property_a/aggregation" in images(folder)
    out = capsys.readouterr().out
    assert f"elsewhere on the curve, AUROC: k 1 {curve[1, 0]:.3f}" in out
    assert f"k 4 in 4 clients {curve[4, 12]:.3f}" in out


def test_the_worst_case_stands_beside_the_average(tmp_path: Path) -> None:
    game = Game(
        Property("a"), k=16, rounds=[0, 1], adversaries=[LogisticRegression()],
        shadow_batches=200, calibrate_batches=200, trials=600,
    )  # fmt: skip
    rows, folder = play(tmp_path, game)
    rows = rows[(rows["knowledge"] == "static") & (rows["rounds"] == "alone")]
    by_class = rows[rows["group"].str.startswith("class ")]
    assert list(by_class["group"]) == ["class a0", "class a1"] * 2  # of both rounds
    worst = rows[(rows["metric"] == "worst_class") & (rows["round"] == 1)]["value"].astype(float)
    last = by_class[by_class["round"] == 1]
    assert float(worst.iloc[0]) == last["value"].astype(float).min()
    units = rows[rows["group"].str.startswith("unit ")]
    assert set(units["round"]) == {1}
    assert len(units) == 10
    numbers = set(units["group"].str[5:].astype(int))
    records = population(*gaussian(4_000, torch.tensor([2.0, 0, 0, 0, 0]), seed=0))
    assert numbers <= set(records.splits["challenge"].tolist())
    assert (units["n"] >= 5).all()
    assert "attack/property_a/LogisticRegression/static/exposure" in images(folder)


def test_the_ceiling_of_a_random_composition_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = Distribution("a", "a1", composition="random")
    game = Game(
        secret, k=8, rounds=[0], adversaries=[Ordinal(LogisticRegression())], curve_k=[4], **SIZES
    )
    rows, _ = play(tmp_path, game)
    ceilings = rows[rows["adversary"] == "ceiling"].set_index("k")
    assert float(ceilings.loc[8, "value"]) == pytest.approx(0.774, abs=5e-4)
    assert float(ceilings.loc[4, "value"]) == pytest.approx(0.644, abs=5e-4)
    out = capsys.readouterr().out
    assert "no ASR of one round at k = 8 exceeds 0.774" in out
    assert "mean error of the median, round 0 alone: prior 0." in out
    assert {"mae", "rps"} <= set(rows["metric"])


def test_an_identifier_maps_layers_too(tmp_path: Path) -> None:
    """Each layer alone, by the first adversary of the list."""
    secret = {"class_path": "leakage.secrets.User", "init_args": {"candidates": 4}}
    adversaries = [
        {"class_path": f"leakage.adversaries.{kind.__name__}"}
        for kind in (NearestMean, LinearDiscriminant)
    ]
    settings = settings_of(tmp_path, secret=secret, adversaries=adversaries, layer_map=True)
    rows = pd.read_csv(fit(tmp_path, settings) / "attack.csv", keep_default_na=False)
    layers = rows[(rows["layers"] != "all") & (rows["knowledge"] == "adaptive")]
    assert list(layers["layers"]) == ["network.0", "network.2"]
    assert set(layers["adversary"]) == {"NearestMean"}
