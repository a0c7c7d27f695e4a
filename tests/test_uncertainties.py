"""What the adversary may not know: fewer and other records, a wrong k; and clients that train."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule
from populations import (
    LINEAR,
    SHIFT,
    LinearLoss,
    Recorder,
    at_once,
    gaussian,
    linear_game,
    pick,
    play,
    population,
)
from scipy import stats
from torch import Tensor, nn

from leakage.defenses import NoDefense, RecordPruning
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.layout import Layout
from leakage.metrics.information import gaussian_bits
from leakage.models.tabular import Tabular
from leakage.rules import Game
from leakage.secrets import Property


def wide_game(**settings: Any) -> Game:
    """Batches of 16, where nothing else is said."""
    return linear_game(**({"k": 16} | settings))


def tables_of(game: Game, records: Any) -> dict[str, Tensor]:
    """The batches that were asked for in a round, by split."""
    module = LinearLoss(5)
    match = Match(game, records, NoDefense(), Layout.of(module))
    engine = Recorder(module, records.records, records.splits["shadow_fit"][:4])
    engine.asked = []
    match.judge(match.observe(0, engine, at_once, lambda step: None))
    found = {}
    for table in engine.asked:
        homes = [s for s, members in records.splits.items() if torch.isin(table, members).all()]
        found[homes[0]] = table
    return found


# A wrong k.


def test_shadow_batches_have_the_size_that_the_adversary_believes() -> None:
    records = population(*gaussian(12_000, SHIFT, seed=0))
    tables = tables_of(wide_game(shadow_k=4, others=3), records)
    widths = {split: table.shape[1] for split, table in tables.items()}
    assert widths == {"shadow_fit": 7, "shadow_calibrate": 7, "challenge": 19}


def test_a_wrong_k_leaves_the_order_and_spoils_the_posterior() -> None:
    """A linear adversary learns the same direction; what it believes is off by sqrt(k / k')."""
    records = population(*gaussian(24_000, SHIFT, seed=1))
    d = float(np.sqrt(16) * SHIFT.norm())
    right, wrong = (
        pick(play(wide_game(shadow_k=k), records, LinearLoss(5)), LINEAR.name).figures
        for k in (None, 2)
    )
    bayes = float(stats.norm.cdf(d / np.sqrt(2)))
    for figures in (right, wrong):
        assert figures["auroc"].low <= bayes
        assert abs(figures["auroc"].value - bayes) < 0.03
        assert figures["bits"].low <= gaussian_bits(d)
    assert wrong["bits_raw"].value < right["bits_raw"].value - 0.05


def test_baselines_know_how_many_labels_there_are() -> None:
    codes = torch.randint(2, (12_000,), generator=torch.Generator().manual_seed(1))
    labels = torch.rand(12_000, generator=torch.Generator().manual_seed(2)) < 0.3 + 0.3 * codes
    records = population(torch.randn(12_000, 5), codes, labels=labels.long())
    right, wrong = (
        pick(play(wide_game(shadow_k=k), records, LinearLoss(5)), "labels").figures
        for k in (None, 4)
    )
    assert wrong["auroc"].value == right["auroc"].value
    assert abs(wrong["bits_raw"].value - right["bits_raw"].value) < 0.02


# Fewer and other shadow records.


def test_the_adversary_draws_from_the_shadow_records_that_it_has() -> None:
    records = population(*gaussian(12_000, SHIFT, seed=2))
    tables = tables_of(wide_game(shadow_records=300), records)
    distinct = {split: len(table.unique()) for split, table in tables.items()}
    assert distinct["shadow_fit"] + distinct["shadow_calibrate"] == 300
    assert distinct["challenge"] > 4000


def test_fewer_shadow_records_tell_less() -> None:
    records = population(*gaussian(12_000, SHIFT, seed=3))
    few, all_of_them = (
        pick(play(wide_game(shadow_records=n), records, LinearLoss(5)), LINEAR.name).figures
        for n in (120, None)
    )
    assert few["bits_raw"].value < all_of_them["bits_raw"].value


def test_a_shifted_shadow_changes_no_rule_of_the_game() -> None:
    """P(a) is natural among all, not among those that the adversary happens to have."""
    x, codes = gaussian(12_000, SHIFT, seed=4)
    codes[: 12_000 // 3] = 0
    records = population(x, codes)
    shift = {"a": {"a0": 0.5, "a1": 0.5}}
    secret = Property("a", prior="natural")
    plain, shifted = (
        Match(
            wide_game(secret=secret, shadow_shift=s), records, NoDefense(),
            Layout.of(LinearLoss(5)),
        )
        for s in (None, shift)
    )  # fmt: skip
    assert shifted.truth.prior.tolist() == plain.truth.prior.tolist()
    assert shifted.truth.values.tolist() == plain.truth.values.tolist()
    held = shifted.population.traits["a"].codes[shifted.population.splits["shadow_fit"]]
    assert abs(float(held.double().mean()) - 0.5) < 0.001
    assert torch.equal(shifted.population.splits["challenge"], plain.population.splits["challenge"])


# Clients that train before they share.


@pytest.mark.parametrize("others", [0, 16])
def test_one_step_with_all_records_is_the_game_of_gradients_to_the_last_digit(others: int) -> None:
    x, codes = gaussian(6_000, SHIFT, seed=5)
    records = population(x, codes, labels=(x[:, 0] > 0).long())
    torch.manual_seed(0)
    module = Tabular(5, hidden=[8])
    sizes = {"k": 8, "others": others, "trials": 300, "shadow_batches": 300}
    gradient, update = (
        pick(play(wide_game(**sizes, **local), records, module), LINEAR.name)
        for local in ({}, {"local_steps": 1, "local_lr": 0.37})
    )
    assert (gradient.answer.log_posterior == update.answer.log_posterior).all()
    assert gradient.figures == update.figures


def test_steps_on_a_linear_loss_are_so_many_gradients() -> None:
    """Its gradient does not move: the update of 6 steps of 4 of 8 records is thrice their sum."""
    records = population(*gaussian(12_000, SHIFT, seed=6))
    local = {"local_steps": 6, "local_lr": 0.1, "local_batch": 4}
    figures = pick(play(wide_game(k=8, **local), records, LinearLoss(5)), LINEAR.name).figures
    bayes = float(stats.norm.cdf(np.sqrt(8) * SHIFT.norm() / np.sqrt(2)))
    assert figures["auroc"].low <= bayes <= figures["auroc"].high


class Centre(LightningModule):
    """L = |w - x|^2 / 2 a record: after s steps w is nearer to the mean by 1 - (1 - lr)^s."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(5))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return ((self.w - batch[0]) ** 2).sum(1).mean() / 2


def test_updates_of_a_quadratic_loss_leak_what_its_gradients_leak() -> None:
    records = population(*gaussian(12_000, SHIFT, seed=7))
    bayes = float(stats.norm.cdf(np.sqrt(16) * SHIFT.norm() / np.sqrt(2)))
    for steps in (1, 5, 20):
        game = wide_game(local_steps=steps, local_lr=0.2)
        figures = pick(play(game, records, Centre()), LINEAR.name).figures
        assert figures["auroc"].low <= bayes <= figures["auroc"].high


def test_the_updates_of_other_clients_dilute_as_their_gradients_do() -> None:
    records = population(*gaussian(12_000, SHIFT, seed=8))
    alone, among, gradients = (
        pick(play(wide_game(k=4, **s), records, LinearLoss(5)), LINEAR.name).figures["auroc"]
        for s in (
            {"local_steps": 3, "local_batch": 2},
            {"local_steps": 3, "local_batch": 2, "others": 12},
            {"others": 12},
        )
    )
    assert alone.value > among.value + 0.05
    assert among.value == pytest.approx(gradients.value, abs=0.06)


def refusal(defense: Any = None, **settings: Any) -> str:
    records = population(*gaussian(6_000, SHIFT, seed=9))
    layout = Layout.of(LinearLoss(5))
    with pytest.raises(LeakageError) as error:
        Match(wide_game(**settings), records, defense or NoDefense(), layout)
    return str(error.value)


def test_a_defense_of_records_needs_records_that_are_shared() -> None:
    assert refusal(RecordPruning(0.1), local_steps=2) == (
        "attack.local_steps: RecordPruning(keep=0.1, scope='global') maps the gradient of each"
        " record, but a client that takes steps of its own shares none; use 0 steps or another"
        " defense"
    )


def test_others_are_whole_clients_where_clients_train() -> None:
    assert refusal(local_steps=2, others=20) == (
        "attack.others: with local steps the others are clients of k = 16 records each, got 20; the"
        " nearest number is 16"
    )
    assert "clients of shadow_k = 12 records each" in refusal(local_steps=2, others=16, shadow_k=12)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"shadow_k": 0}, "attack.shadow_k: at least 1 is needed, got 0"),
        ({"local_steps": -1}, "attack.local_steps: at least 0 is needed, got -1"),
        ({"curve_k": [4, 4]}, "attack.curve_k: distinct numbers of at least 1 are needed, got"),
        ({"curve_clients": [0]}, "attack.curve_clients: distinct numbers of at least 1 are needed"),
        ({"local_steps": 2, "local_batch": 17}, "attack.local_batch: a client has k = 16 records"),
        ({"local_steps": 2, "local_lr": 0.0}, "attack.local_lr:"),
        ({"shadow_records": 99_999}, "attack.shadow_records:"),
        ({"shadow_shift": {"b": {"x": 1.0}}}, "attack.shadow_shift"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], sentence: str) -> None:
    assert refusal(**settings).startswith(sentence)


def test_a_point_of_the_curve_that_cannot_be_played_is_named() -> None:
    records = population(*gaussian(6_000, SHIFT, seed=9))
    game = wide_game(curve_k=[4, 5_000])
    match = Match(game, records, NoDefense(), Layout.of(LinearLoss(5)))
    match.at(game.curve()[0])
    with pytest.raises(LeakageError) as error:
        match.at(game.curve()[1])
    assert str(error.value).startswith(
        "attack.curve_k: at k = 5000 and others = 0: attack.k: a batch of"
    )


def test_the_curve_holds_each_point_once_and_not_the_game_itself() -> None:
    game = wide_game(curve_k=[4, 16, 64], curve_clients=[1, 2, 8], rounds=[0, 1])
    points = [(point.k, point.others) for point in game.curve()]
    assert points == [(4, 0), (64, 0), (16, 16), (16, 112)]
    assert all(point.rounds == [1] and not point.layer_map for point in game.curve())
