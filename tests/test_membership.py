"""Membership of a target record: the exact Gaussian test, chance, certainty, and a plain twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from populations import LinearLoss, Recorder, at_once, pick, play, population
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from leakage.adversaries import BoostedTrees, LikelihoodRatio, RandomForest, Surface
from leakage.defenses import NoDefense, Sign
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.population import Population
from leakage.rules import Game
from leakage.secrets import Membership, Sizes

RATIO = LikelihoodRatio()


def records_of(n: int, features: int, seed: int = 0, labels: Tensor | None = None) -> Population:
    """x ~ N(0, I)."""
    x = torch.randn(n, features, generator=torch.Generator().manual_seed(seed))
    return population(x, torch.arange(n) % 2, labels=labels, seed=seed)


def membership_game(**settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": Membership(),
        "k": 4,
        "rounds": [0],
        "shadow_batches": 2000,
        "calibrate_batches": 1500,
        "trials": 1500,
        "adversaries": [RATIO],
    }
    return Game(**(defaults | settings))


def exact_scores(
    released: NDArray[np.float64], target: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """log N(target / K, (K-1)/K^2 I) - log N(0, I / K), by hand; rows (n, d)."""
    d = released.shape[1]
    outside = size * (released**2).sum(1) / 2
    inside = size**2 / (size - 1) * ((released - target / size) ** 2).sum(1) / 2
    return outside - inside + d / 2 * np.log(size / (size - 1))


@pytest.mark.parametrize(("k", "features"), [(4, 5), (16, 20)])
def test_membership_is_found_as_the_exact_gaussian_test_finds_it(k: int, features: int) -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((20_000, features))
    others = rng.standard_normal((20_000, features)) * np.sqrt(k - 1)
    inside = (target + others) / k
    outside = rng.standard_normal((20_000, features)) / np.sqrt(k)
    scores = np.concatenate([exact_scores(g, target, k) for g in (outside, inside)])
    bayes = roc_auc_score([0] * 20_000 + [1] * 20_000, scores)
    records = records_of(12_000, features)
    figure = pick(play(membership_game(k=k), records, LinearLoss(features)), RATIO.name).figures
    assert abs(figure["auroc"].value - bayes) < 0.03
    assert figure["auroc"].low <= bayes


def test_a_batch_of_one_gives_its_record_away() -> None:
    graded = play(membership_game(k=1), records_of(8_000, 5), LinearLoss(5))
    assert pick(graded, RATIO.name).figures["asr"].value > 0.99


def test_gradients_that_are_all_alike_tell_nothing() -> None:
    x = torch.ones(8_000, 3)
    records = population(x, torch.arange(8_000) % 2)
    figures = pick(play(membership_game(k=8), records, LinearLoss(3)), RATIO.name).figures
    assert figures["auroc"].low <= 0.5 <= figures["auroc"].high
    assert figures["bits"].value < 0.01


def test_other_clients_hide_the_target() -> None:
    records = records_of(12_000, 10)
    alone, among = (
        pick(play(membership_game(k=4, others=m), records, LinearLoss(10)), RATIO.name).figures
        for m in (0, 60)
    )
    assert alone["auroc"].value > among["auroc"].value + 0.1
    assert among["auroc"].value > 0.5


def test_the_worst_target_is_found_more_easily_than_one_at_random() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(8_000, 6, generator=generator)
    records = population(x, torch.arange(8_000) % 2)
    challenge = records.splits["challenge"]
    x[challenge[7]] *= 6  # an outlier
    games = [membership_game(k=16, secret=Membership(t)) for t in ("natural", "worst")]
    natural, worst = (pick(play(g, records, LinearLoss(6)), RATIO.name).figures for g in games)
    assert worst["auroc"].value > natural["auroc"].value + 0.1
    named = membership_game(k=16, secret=Membership(int(challenge[7])))
    same = pick(play(named, records, LinearLoss(6)), RATIO.name).figures
    assert same["auroc"].value == worst["auroc"].value


class Moving(LightningModule):
    """Which record is farthest depends on the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.side = 0

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (self.w * batch[0][:, self.side]).mean()


def test_the_worst_target_is_one_record_in_all_rounds_and_on_the_whole_curve() -> None:
    """Also where a round is played before the one before it is judged."""
    records = records_of(3_000, 3)
    game = membership_game(
        secret=Membership("worst"), rounds=[0, 1], trials=100, shadow_batches=200, curve_k=[2]
    )
    module = Moving()
    match = Match(game, records, NoDefense(), Layout.of(module))
    found = []
    for round_ in (0, 1):
        module.side = round_
        engine = GradientEngine(module, records.records, records.splits["shadow_fit"][:4])
        match.observe(round_, engine, at_once, lambda step: None)
        found.append(match.target)
        assert (match._dealer.deal("challenge", round_).targets == match.target).all()
    other = Match(game, records, NoDefense(), Layout.of(module))
    other.observe(1, engine, at_once, lambda step: None)
    assert found[0] == found[1] != other.target  # which the second round's weights would give
    point = match.at(game.curve()[0])
    point.aim_at(match.target)  # type: ignore[arg-type]
    point.observe(1, engine, at_once, lambda step: None)
    assert point.target == found[0]


class Normed(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(4), nn.Linear(4, 1)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.last(self.norm(batch[0])).square().mean()


def test_a_model_that_takes_no_single_record_is_refused_by_the_secret() -> None:
    records, module = records_of(3_000, 4), Normed()
    match = Match(membership_game(trials=50), records, NoDefense(), Layout.of(module))
    engine = GradientEngine(module, records.records, records.splits["shadow_fit"][:4])
    with pytest.raises(LeakageError) as error:
        match.observe(0, engine, at_once, lambda step: None)
    assert str(error.value).startswith(
        "attack.secret: Membership compares a release with the gradient of the target by itself,"
        " and the model takes no batch of one record: model Normed: training_step fails in norm"
    )


@pytest.mark.parametrize("target", ["natural", "fixed"])
@pytest.mark.parametrize("others", [0, 3])
def test_the_target_is_in_the_batch_exactly_where_the_truth_says_so(
    target: str, others: int
) -> None:
    records = records_of(3_000, 4)
    one = int(records.splits["challenge"][3])
    secret = Membership(one if target == "fixed" else "natural")
    match = Match(
        membership_game(secret=secret, others=others), records, NoDefense(),
        Layout.of(LinearLoss(4)),
    )  # fmt: skip
    for split in ("shadow_fit", "shadow_calibrate", "challenge"):
        hand = match._dealer.deal(split, 0)
        again = match._dealer.deal(split, 1)
        assert hand.targets is not None
        assert again.targets is not None
        held = (hand.batches == hand.targets.unsqueeze(1)).sum(1)
        assert torch.equal(held, hand.values)
        assert torch.equal(hand.targets, again.targets)  # in every round
        assert (hand.batches[:, 1:] != again.batches[:, 1:]).float().mean() > 0.9
        rest = hand.batches[hand.batches != hand.targets.unsqueeze(1)]
        assert torch.isin(rest, records.splits[split]).all()
        assert all(len(set(row)) == 4 + others for row in hand.batches.tolist())
        if target == "fixed":
            assert (hand.targets == one).all()


def test_a_target_counts_once_over_rounds_and_one_of_all_trials_not_at_all() -> None:
    records = records_of(3_000, 4)
    challenge = records.splits["challenge"]
    for secret, units in ((Membership(), 1 + 4), (Membership(int(challenge[0])), 4)):
        match = Match(
            membership_game(secret=secret), records, NoDefense(), Layout.of(LinearLoss(4))
        )
        hand = match._dealer.deal("challenge", 0)
        drawn = match._units.drawn(hand)
        present = (drawn >= 0).sum(1)
        inside = hand.values.numpy() == 1
        assert (present[~inside] == units).all()
        assert (present[inside] == units - 1).all()
        assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in drawn)


def test_the_labels_of_a_batch_are_a_baseline() -> None:
    """A target whose label no record of the batch has is not in it."""
    labels = torch.randint(20, (8_000,), generator=torch.Generator().manual_seed(1))
    records = records_of(8_000, 1, labels=labels)
    graded = play(membership_game(k=4), records, LinearLoss(1))
    labels_alone = pick(graded, "labels").figures["auroc"]
    # P(no record of 4 has it) = (19/20)^4: then surely out; else a count of 1 or more.
    missing = 0.95**4
    assert labels_alone.low <= missing + (1 - missing) / 2 + 0.01
    assert labels_alone.value == pytest.approx(missing + (1 - missing) / 2, abs=0.03)


def test_a_plain_implementation_of_the_membership_game_agrees() -> None:
    records = records_of(8_000, 6)
    ours = pick(play(membership_game(k=5), records, LinearLoss(6)), RATIO.name).figures["auroc"]
    x = records.features.numpy().astype(np.float64)
    rng, pool = np.random.default_rng(0), records.splits["challenge"].numpy()
    scores, truth = [], []
    for _ in range(1500):
        target, *others = rng.choice(pool, 6, replace=False)
        inside = int(rng.integers(2))
        batch = [target, *others[:4]] if inside else others
        scores.append(exact_scores(x[batch].mean(0)[None], x[target][None], 5)[0])
        truth.append(inside)
    assert ours.low - 0.02 <= roc_auc_score(truth, scores) <= ours.high + 0.02


def test_a_classifier_and_a_defense_play_too() -> None:
    records = records_of(8_000, 10)
    adversaries = [RATIO, RandomForest(trees=100), BoostedTrees(iterations=40)]
    graded = play(membership_game(k=2, adversaries=adversaries), records, LinearLoss(10), Sign())
    for adversary in adversaries:
        figures = pick(graded, adversary.name, knowledge="adaptive").figures
        assert figures["auroc"].low > 0.55, adversary


def test_one_seed_gives_one_posterior() -> None:
    records = records_of(3_000, 4)
    game = membership_game(trials=200, shadow_batches=300, calibrate_batches=300)
    one, other = (pick(play(game, records, LinearLoss(4)), RATIO.name).answer for _ in range(2))
    assert (one.log_posterior == other.log_posterior).all()


# What is refused.


def test_a_ratio_of_likelihoods_needs_a_target() -> None:
    surface = Surface(Layout(("w",), ((3,),)), 2, (), 3)
    with pytest.raises(LeakageError) as error:
        RATIO.check(surface)
    assert str(error.value) == (
        "attack.adversaries: LikelihoodRatio guesses whether a known record is in a batch; use it"
        " with the secret Membership"
    )


def test_a_target_that_is_not_in_the_challenge_split_is_refused() -> None:
    records = records_of(3_000, 4)
    outside = int(records.splits["train"][0])
    first = ", ".join(map(str, records.splits["challenge"][:3].tolist()))
    with pytest.raises(LeakageError) as error:
        Membership(outside).check(records, Sizes(4, 0, 4))
    assert str(error.value) == (
        f"attack.secret.target: record {outside} is in the train split, but a target is a record of"
        f" the challenge split, such as {first}"
    )
    with pytest.raises(LeakageError, match="record 999999 is in no split"):
        Membership(999_999).check(records, Sizes(4, 0, 4))


def test_an_unknown_kind_of_target_is_refused() -> None:
    with pytest.raises(LeakageError, match=r"attack.secret.target: Membership knows 'natural'"):
        Membership("best")  # type: ignore[arg-type]


def test_who_knows_the_records_has_nothing_to_guess() -> None:
    with pytest.raises(LeakageError, match=r"attack.known: who knows the records of a batch"):
        Match(
            membership_game(known="features"), records_of(3_000, 4), NoDefense(),
            Layout.of(LinearLoss(4)),
        )  # fmt: skip


def test_more_records_than_a_split_holds_are_refused() -> None:
    records = records_of(3_000, 4)
    held = min(len(records.splits[s]) for s in ("shadow_fit", "shadow_calibrate", "challenge"))
    Membership().check(records, Sizes(held - 1, 0, held - 1))
    with pytest.raises(LeakageError, match=r"attack\.others"):
        Membership().check(records, Sizes(held, 0, held))


def test_the_recorder_sees_that_targets_are_shown_one_by_one() -> None:
    records = records_of(3_000, 4)
    module = LinearLoss(4)
    match = Match(membership_game(trials=200), records, NoDefense(), Layout.of(module))
    engine = Recorder(module, records.records, records.splits["shadow_fit"][:4])
    engine.asked = []
    match.judge(match.observe(0, engine, at_once, lambda step: None))
    assert sum(table.shape[1] == 1 < len(table) for table in engine.asked) == 3
