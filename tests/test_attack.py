"""The attack as a callback: what it refuses, what it keeps, and which rounds it plays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from populations import gaussian, population
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from leakage.adversaries import LogisticRegression
from leakage.callbacks import Attack, Defend
from leakage.callbacks.checks import check_ranks
from leakage.callbacks.resume import Resume
from leakage.defenses import Defense, NoDefense, Pruning, RecordPruning, Sign
from leakage.errors import LeakageError
from leakage.population import probe_of
from leakage.rules import Game
from leakage.secrets import Property

RECORDS = population(*gaussian(4_000, torch.tensor([1.0, 0.5, 0.0]), seed=0))
LOADER = DataLoader(Subset(RECORDS.records, RECORDS.splits["train"].tolist()), batch_size=20)
STEPS = len(LOADER)


class Linear(LightningModule):
    """A linear classifier without anything of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def game(**settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": Property("a"),
        "k": 4,
        "rounds": [0, 1],
        "shadow_batches": 60,
        "calibrate_batches": 60,
        "trials": 60,
        "adversaries": [LogisticRegression()],
    }
    return Game(**(defaults | settings))


def fit(
    folder: Path, *callbacks: Callback, module: LightningModule | None = None, **settings: Any
) -> Trainer:
    ckpt_path = settings.pop("ckpt_path", None)
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"max_epochs": 1, "enable_checkpointing": False} | settings),
    )
    trainer.fit(module or Linear(), LOADER, ckpt_path=ckpt_path)
    return trainer


def refused(folder: Path, *callbacks: Callback, **settings: Any) -> str:
    with pytest.raises(LeakageError) as error:
        fit(folder, *callbacks, **settings)
    assert not list(folder.glob("*.csv"))
    return str(error.value)


def rows(folder: Path, name: str = "attack.csv") -> pd.DataFrame:
    return pd.read_csv(folder / name)


def test_a_defense_that_training_does_not_go_through_is_refused(tmp_path: Path) -> None:
    attack = Attack(game(), Sign(), RECORDS)
    expected = (
        "trainer.callbacks: the attack is on the defense Sign(zero='keep'), but training goes"
        " through {}; give Defend and Attack one and the same defense"
    )
    assert refused(tmp_path, attack) == expected.format("none")
    found = refused(tmp_path, Defend(Pruning(0.5)), attack)
    assert found == expected.format("Pruning(keep=0.5, scope='global')")
    assert "is on the defense none" in refused(
        tmp_path, Defend(Sign()), Attack(game(), None, RECORDS)
    )
    fit(tmp_path, Defend(Sign()), attack)


def test_clipping_after_the_release_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, Defend(Sign()), gradient_clip_val=0.1) == (
        "trainer.gradient_clip_val: 0.1 would change what Sign(zero='keep') has released; leave it"
        " out"
    )


def test_manual_optimization_is_refused_unless_a_loss_is_named(tmp_path: Path) -> None:
    class Manual(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    def loss(module: Linear, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(module.layer(batch[0]), batch[1])

    assert refused(tmp_path, Attack(game(), None, RECORDS), module=Manual()) == (
        "model Manual: under manual optimization training_step is no loss; set"
        " automatic_optimization to True, or name a function in attack.loss"
    )
    fit(tmp_path / "named", Attack(game(loss=loss), None, RECORDS), module=Manual())
    fit(tmp_path / "plain", Attack(game(), None, RECORDS))
    named, plain = (rows(tmp_path / name) for name in ("named", "plain"))
    # Under manual optimization no step is known to be the first that shares.
    plain = plain[~plain["group"].str.startswith("live")].reset_index(drop=True)
    pd.testing.assert_frame_equal(named, plain)


def test_batch_transfer_hooks_stand_between_the_loader_and_the_loss(tmp_path: Path) -> None:
    """A module that undoes in one hook what it does in the other has the figures of none."""

    class Scaled(Linear):
        factor = 1.0

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] * 4, batch[1]]

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [batch[0] * self.factor, batch[1]]

    class Undone(Scaled):
        factor = 0.25

    for module in (Linear(), Scaled(), Undone()):
        folder = tmp_path / type(module).__name__
        fit(folder, Attack(game(rounds=[1]), None, RECORDS), module=module)
    none, scaled, undone = (rows(tmp_path / name) for name in ("Linear", "Scaled", "Undone"))
    pd.testing.assert_frame_equal(none, undone)
    assert not none["value"].equals(scaled["value"])


def test_an_epoch_that_ends_early_is_no_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path, Attack(game(rounds=[0, 1]), None, RECORDS), max_epochs=-1, max_steps=STEPS - 1)
    assert set(rows(tmp_path)["round"]) == {0}
    assert "epoch 0 ended early and is no round" in caplog.text
    assert "rounds [1] were not reached and have no figures" in caplog.text


def test_a_round_is_played_after_as_many_whole_epochs(tmp_path: Path) -> None:
    fit(tmp_path, Attack(game(rounds=[0, 2]), None, RECORDS), max_epochs=2)
    found = rows(tmp_path).groupby("round")["step"].unique()
    assert found[0].tolist() == [0]
    assert found[2].tolist() == [2 * STEPS]


def test_resuming_inside_an_epoch_does_not_play_round_0_again(tmp_path: Path) -> None:
    attack = Attack(game(), None, RECORDS)
    trainer = fit(tmp_path / "a", attack, max_epochs=-1, max_steps=3)
    trainer.save_checkpoint(tmp_path / "three.ckpt")
    resumed = Attack(game(rounds=[0, 1, 2]), None, RECORDS)
    fit(tmp_path / "b", resumed, ckpt_path=tmp_path / "three.ckpt", max_epochs=2)
    assert 0 not in set(rows(tmp_path / "b")["round"])


def test_a_checkpoint_of_other_splits_is_refused(tmp_path: Path) -> None:
    attack = Attack(game(), None, RECORDS)
    fit(tmp_path / "a", attack).save_checkpoint(tmp_path / "one.ckpt")
    x, codes = gaussian(4_000, torch.tensor([1.0, 0.5, 0.0]), seed=0)
    other = population(x, codes, seed=1)
    found = refused(
        tmp_path / "b",
        Attack(game(), None, other),
        ckpt_path=tmp_path / "one.ckpt",
        max_epochs=2,
    )
    assert found == (
        "ckpt_path: the checkpoint was trained on other splits of synthetic than these"
        f" ({RECORDS.fingerprint[:16]}, not {other.fingerprint[:16]}), so its training records may"
        " be in any of them; use the data and the seed_everything that it was trained with"
    )


def test_the_figures_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        fit(tmp_path, Attack(game(seed=seed), None, RECORDS))
    files = sorted(path.name for path in tmp_path.glob("*.csv"))
    assert files == ["attack.1.csv", "attack.2.csv", "attack.csv"]
    assert len({(tmp_path / name).read_text() for name in files}) == 3
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "run.json", "run.1.json", "run.2.json",
    }  # fmt: skip


def test_so_they_are_where_both_begin_with_the_same_weights(tmp_path: Path) -> None:
    class Faster(Linear):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.5)

    for module in (Linear(), Faster()):
        fit(tmp_path, Attack(game(), None, RECORDS), module=module)
    first, second = rows(tmp_path, "attack.1.csv"), rows(tmp_path)
    # Up to the release of the first step, on a batch of its own.
    trials = [table[~table["group"].str.startswith("live")] for table in (first, second)]
    of_round_0 = [table[table["round"] == 0].reset_index(drop=True) for table in trials]
    assert of_round_0[0].equals(of_round_0[1])
    assert not first["value"].equals(second["value"])
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"attack", "attack.1"}


def test_a_folder_of_anybody_else_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "attack").mkdir()
    (tmp_path / "attack" / "main.py").touch()
    fit(tmp_path, Attack(game(), None, RECORDS))
    assert (tmp_path / "attack" / "main.py").exists()


def test_a_resumed_run_has_the_rounds_that_it_names(tmp_path: Path) -> None:
    """As one that was never stopped: curve and layer map belong to the last of them."""

    def attack(rounds: list[int]) -> Attack:
        return Attack(game(rounds=rounds, curve_k=[6], layer_map=True), None, RECORDS)

    for rounds, more in (([0, 1], [0, 1, 2]), ([0, 1], [0, 2]), ([0, 1, 2], [0, 1])):
        stopped, whole = tmp_path / f"{rounds}{more}", tmp_path / f"{more}"
        trainer = fit(stopped, attack(rounds), max_epochs=max(rounds), enable_checkpointing=True)
        path = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
        epochs = max(more + rounds)
        fit(stopped, attack(more), max_epochs=epochs, ckpt_path=path)
        if max(more) < max(rounds):  # the weights of what is the last one now are gone
            assert set(rows(stopped)["round"]) == set(more)
            continue
        fit(whole, attack(more), max_epochs=epochs)
        kinds = ["round", "rounds", "k", "layers", "group", "metric"]
        assert rows(stopped)[kinds].equals(rows(whole)[kinds])


@pytest.mark.parametrize("kind", ["shared", "complex"])
def test_buffers_that_are_hard_to_keep_do_not_stop_a_run(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Holds(Linear):
        def __init__(self) -> None:
            super().__init__()
            one = torch.zeros(9, dtype=torch.complex128 if kind == "complex" else torch.float32)
            self.register_buffer("one", one)
            self.register_buffer("two", one[:5])

    fit(tmp_path, Attack(game(), None, RECORDS), module=Holds())
    assert set(rows(tmp_path)["round"]) == {0, 1}
    assert ("which cannot be kept" in caplog.text) == (kind == "complex")


def test_more_ranks_than_units_of_the_challenge_split_are_refused() -> None:
    units = len(RECORDS.splits["challenge"])
    check_ranks(SimpleNamespace(world_size=units), RECORDS)  # type: ignore[arg-type]
    with pytest.raises(LeakageError) as error:
        check_ranks(SimpleNamespace(world_size=units + 1), RECORDS)  # type: ignore[arg-type]
    assert str(error.value) == (
        f"trainer.devices: {units + 1} processes are more than the {units} units of the challenge"
        f" split of synthetic, of which each takes a share; use at most {units}"
    )


def test_a_run_without_a_round_leaves_no_file(tmp_path: Path) -> None:
    fit(tmp_path, Attack(game(rounds=[0]), None, RECORDS), max_epochs=0)
    assert not list(tmp_path.glob("*.csv"))
    fit(tmp_path, Attack(game(), None, RECORDS), fast_dev_run=True)
    assert not list(tmp_path.glob("*.csv"))


def test_two_attacks_write_two_files(tmp_path: Path) -> None:
    fit(tmp_path, Attack(game(k=2), None, RECORDS), Attack(game(k=8), None, RECORDS))
    assert set(rows(tmp_path)["k"]) == {2}
    assert set(rows(tmp_path, "attack_2.csv")["k"]) == {8}
    assert (tmp_path / "run_2.json").exists()


def test_a_loss_that_depends_on_the_epoch_is_the_same_in_the_game(tmp_path: Path) -> None:
    """Round 1 is what a client shares in epoch 1: the gradient of a batch of the loader's kind."""

    class Annealed(Linear):
        norms: list[float]

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (1 + 99 * self.current_epoch)

    class Scale(Defense):
        """Remembers the size of what it is shown."""

        seen: list[float]

        def release(self, means: Tensor, **_: Any) -> Tensor:
            self.seen.append(float(means.norm(dim=1).median()))
            return means

    defense = Scale()
    defense.seen = []
    attack = Attack(game(rounds=[1], k=20), defense, RECORDS)
    fit(tmp_path, Defend(defense), attack, module=Annealed(), max_epochs=2)
    live = defense.seen[2:]  # after the two of the check
    first, rest = live[:STEPS], live[STEPS:]
    # The round is played on its weights once the first step at them has released its own.
    second, game_sizes = [rest[0], *rest[-(STEPS - 1) :]], rest[1 : -(STEPS - 1)]
    assert min(game_sizes) > 20 * max(first)
    assert 0.2 < min(game_sizes) / max(second) < 5


def test_a_record_wise_defense_trains_on_the_loss_of_the_epoch(tmp_path: Path) -> None:
    """A defense that keeps all of each record's gradient changes nothing, in any epoch."""

    class Annealed(Linear):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (1 + self.trainer.current_epoch)

    weights = []
    for callbacks in ([], [Defend(RecordPruning(1.0))]):
        module = Annealed()
        fit(tmp_path, *callbacks, module=module, max_epochs=3)
        weights.append(module.layer.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


def test_a_loss_that_depends_on_the_epoch_keeps_its_factors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Annealed(Linear):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            assert self.global_rank == 0
            return super().training_step(batch, batch_idx) * (1 + self.current_epoch)

    with caplog.at_level("INFO", "leakage.attack"):
        fit(tmp_path, Attack(game(rounds=[1]), None, RECORDS), module=Annealed(), max_epochs=2)
    assert "gradients: factored" in caplog.text


def test_a_gradient_that_is_not_finite_is_neither_shared_nor_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Diverges(Linear):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * torch.nan if batch_idx == 1 else loss

    module = Diverges()
    fit(tmp_path, Defend(Sign()), module=module)
    assert all(p.isfinite().all() for p in module.parameters())
    assert "step 1 is skipped: the gradient holds NaN or inf" in caplog.text


def test_no_defense_may_be_named_like_any_other(tmp_path: Path) -> None:
    fit(tmp_path, Defend(NoDefense()), Attack(game(), NoDefense(), RECORDS))
    assert set(rows(tmp_path)["defense"]) == {"none"}


def test_a_resumed_run_with_more_rounds_still_checks_the_splits(tmp_path: Path) -> None:
    fit(tmp_path / "a", Attack(game(), None, RECORDS)).save_checkpoint(tmp_path / "one.ckpt")
    x, codes = gaussian(4_000, torch.tensor([1.0, 0.5, 0.0]), seed=0)
    longer = Attack(game(rounds=[0, 1, 2]), None, population(x, codes, seed=1))
    found = refused(tmp_path / "b", longer, ckpt_path=tmp_path / "one.ckpt", max_epochs=2)
    assert found.startswith("ckpt_path: the checkpoint was trained on other splits")


def test_the_probe_holds_every_label() -> None:
    labels = torch.arange(900) % 10
    records = population(torch.randn(900, 3), torch.arange(900) % 2, labels=labels)
    assert set(labels[probe_of(records)].tolist()) == set(range(10))


def test_a_step_without_a_loss_shares_nothing(tmp_path: Path) -> None:
    class Skips(Linear):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    module = Skips()
    before = [p.clone() for p in module.parameters()]
    fit(tmp_path, Defend(Sign("plus")), module=module)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


class Misfit(Defense):
    """Does what it is told, in place of what a defense may do."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def release(self, means: Tensor, **_: Any) -> Tensor:
        if self.fault == "shape":
            return means[:, :2]
        return means * torch.nan if self.fault == "nan" else means + torch.randn_like(means)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            "shape",
            "defense: Misfit.release must return one release for each mean, of the shape (2, 8),"
            " found (2, 2)",
        ),
        ("nan", "defense: Misfit.release gave NaN or inf in 2 of 2 releases of finite gradients"),
        (
            "random",
            "defense: Misfit.release gives another release for the same generator; draw all its"
            " randomness from the generator that it is given",
        ),
    ],
)
def test_a_defense_that_breaks_its_contract_is_named_before_training(
    tmp_path: Path, fault: str, sentence: str
) -> None:
    defense = Misfit(fault)
    assert defense.label == "Misfit"
    assert refused(tmp_path, Defend(defense), Attack(game(), defense, RECORDS)) == sentence


@pytest.mark.parametrize("cores", [1, 2])
def test_rounds_that_were_played_are_not_lost_when_training_fails(
    tmp_path: Path, cores: int
) -> None:
    class Fails(Linear):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                raise RuntimeError("the data are gone")

    attack = Attack(game(rounds=[0, 1, 2], cores=cores), None, RECORDS)
    with pytest.raises(RuntimeError, match="the data are gone"):
        fit(tmp_path, attack, module=Fails(), max_epochs=2)
    assert set(rows(tmp_path)["round"]) == {0, 1}


def test_a_rank_that_fails_leaves_alone_what_it_would_play_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(Linear):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                monkeypatch.setattr(Trainer, "world_size", property(lambda _: 2))
                raise RuntimeError("the data of this rank are gone")

    with pytest.raises(RuntimeError, match="the data of this rank are gone"):
        fit(tmp_path, Attack(game(rounds=[0, 1, 2]), None, RECORDS), module=Fails(), max_epochs=2)
    assert set(rows(tmp_path)["round"]) == {0}


def test_a_round_is_played_again_once_the_code_of_its_loss_was_mended(tmp_path: Path) -> None:
    class Wrong(Linear):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return F.cross_entropy(self.layer(batch[0]).square(), batch[1])

        def on_train_epoch_end(self) -> None:
            raise RuntimeError("the loss does not fall")

    def attack() -> list[Callback]:  # as the command line does, which tells runs by their config
        return [Resume("the config"), Attack(game(rounds=[0]), None, RECORDS)]

    mended, fresh = tmp_path / "mended", tmp_path / "fresh"
    with pytest.raises(RuntimeError, match="does not fall"):
        fit(mended, *attack(), module=Wrong())
    before = (mended / "attack.csv").read_bytes()
    for folder in (mended, fresh):
        fit(folder, *attack())
    assert (mended / "attack.csv").read_bytes() == (fresh / "attack.csv").read_bytes() != before


def test_attacks_on_one_secret_go_on_from_a_checkpoint_each_with_its_own_rounds(
    tmp_path: Path,
) -> None:
    def attacks(**free: Any) -> list[Callback]:
        games = game(**free), game(layers=["layer.bias"], **free)
        return [Attack(each, None, RECORDS) for each in games]

    fit(tmp_path, *attacks(), enable_checkpointing=True)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    before = [(tmp_path / name).read_bytes() for name in ("attack.csv", "attack_2.csv")]
    free = {"rounds": [0, 1], "cores": 1, "memory": 0.5, "background": False}
    fit(tmp_path, *attacks(**free), enable_checkpointing=True, ckpt_path=checkpoint)
    after = [(tmp_path / name).read_bytes() for name in ("attack.csv", "attack_2.csv")]
    assert after == before
    assert before[0] != before[1]


def test_settings_of_a_table_without_one_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, Attack(game(units="patient"))) == (
        "attack.units: 'patient' is a column of a table, but there is none; name one in"
        " attack.attributes, or leave the key out"
    )
    with pytest.raises(LeakageError) as error:
        Attack(game(), None, RECORDS, pd.DataFrame({"a": [1]}))
    assert str(error.value) == (
        "attack.attributes: a table and a population both say what the records are; give one of"
        " them"
    )
