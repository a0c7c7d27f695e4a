"""The game against closed forms, chance and certainty, and its walls between the players."""

from __future__ import annotations

import types
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule
from numpy.typing import NDArray
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
    released,
)
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import nn

from leakage.adversaries import (
    Adversary,
    BoostedTrees,
    FirstLayer,
    Scores,
    Surface,
)
from leakage.data.adult import Adult
from leakage.defenses import Chain, Defense, NoDefense, Pruning, Sign
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.metrics.information import gaussian_bits
from leakage.models.tabular import Tabular
from leakage.population import Population, split_by_unit
from leakage.rules import Game
from leakage.secrets import Attribute, Property

# Closed forms: a linear model on Gaussian data (Gaussian test with d^2 = k shift' shift).


@pytest.mark.parametrize("k", [1, 4, 16])
def test_a_linear_model_on_gaussian_data_leaks_what_the_closed_form_says(k: int) -> None:
    records = population(*gaussian(12_000, SHIFT, seed=k))
    result = pick(play(linear_game(k=k), records, LinearLoss(5)), LINEAR.name).figures
    d = float(np.sqrt(k) * SHIFT.norm())
    bayes = float(stats.norm.cdf(d / np.sqrt(2)))
    auroc, bits = result["auroc"], result["bits_raw"]
    assert auroc.low <= bayes <= auroc.high
    assert abs(auroc.value - bayes) < 0.025
    assert abs(result["asr"].value - stats.norm.cdf(d / 2)) < 0.03
    # A limit above what the best test gets would be a leak between the splits.
    assert bits.low <= gaussian_bits(d)
    assert abs(bits.value - gaussian_bits(d)) < 0.05


def test_fresh_rounds_add_up_to_the_square_root_of_their_number() -> None:
    records = population(*gaussian(12_000, SHIFT, seed=5))
    game = linear_game(rounds=[0, 1, 2], k=2)
    graded = play(game, records, LinearLoss(5), rounds=3)
    d = float(np.sqrt(2) * SHIFT.norm())
    alone, summed = (pick(graded, LINEAR.name, r).figures["auroc"] for r in ("alone", "sum"))
    assert summed.units > alone.units  # of three rounds, not of the last
    assert alone.low <= stats.norm.cdf(d / np.sqrt(2)) <= alone.high
    assert summed.low <= stats.norm.cdf(d * np.sqrt(3 / 2)) <= summed.high
    bits = pick(graded, LINEAR.name, "sum").figures["bits_raw"]
    assert abs(bits.value - gaussian_bits(d * np.sqrt(3))) < 0.06


def test_persistent_rounds_are_stacked_and_do_not_count_the_same_release_three_times() -> None:
    """The linear loss releases the same mean in each round: there is nothing to add."""
    records = population(*gaussian(12_000, SHIFT, seed=6))
    game = linear_game(rounds=[0, 1, 2], k=8, batches="persistent")
    graded = play(game, records, LinearLoss(5), rounds=3)
    alone, stacked = (pick(graded, LINEAR.name, r).figures["bits_raw"] for r in ("alone", "sum"))
    assert abs(stacked.value - alone.value) < 0.01
    # Summing them as if they were fresh would be far too sure of itself:
    one = pick(graded, LINEAR.name).answer
    thrice = 3 * one.log_posterior
    thrice -= np.logaddexp.reduce(thrice, axis=1, keepdims=True)
    values = play_truth(game, records)
    lost = 1 + thrice[np.arange(len(values)), values].mean() / np.log(2)
    assert lost < alone.value - 0.1


def play_truth(game: Game, records: Any) -> NDArray[np.int64]:
    return Match(game, records, NoDefense(), Layout.of(LinearLoss(5))).truth.values


@pytest.mark.parametrize("others", [0, 12])
def test_records_of_other_clients_dilute_the_batch_as_the_closed_form_says(others: int) -> None:
    """k records of the class and m of everybody: mean shift k/(k+m), within-mixture variance."""
    shift = torch.tensor([1.2, 0.0, 0.0])
    records = population(*gaussian(12_000, shift, seed=7))
    graded = play(linear_game(k=4, others=others), records, LinearLoss(3))
    spread = 4 * 1 + others * (1 + 0.6**2)  # variance of the sum along the shift
    d = 4 * 1.2 / np.sqrt(spread)
    auroc = pick(graded, LINEAR.name).figures["auroc"]
    assert auroc.low - 0.005 <= stats.norm.cdf(d / np.sqrt(2)) <= auroc.high + 0.005


def test_labels_alone_reach_what_the_binomial_test_reaches() -> None:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(2, (12_000,), generator=generator)
    labels = (torch.rand(12_000, generator=generator) < 0.3 + 0.3 * codes).long()
    records = population(torch.randn(12_000, 3, generator=generator), codes, labels=labels)
    graded = play(linear_game(k=8), records, LinearLoss(3))
    exact = binomial_auroc(8, 0.3, 0.6)
    auroc = pick(graded, "labels").figures["auroc"]
    assert auroc.low <= exact <= auroc.high
    assert pick(graded, "prior").figures["auroc"].value == 0.5
    attack = pick(graded, LINEAR.name)
    assert attack.best_baseline == "labels"
    assert attack.figures["gain"].value == pytest.approx(
        attack.figures["auroc"].value - auroc.value
    )


@pytest.mark.parametrize("k", [1, 16, 64])
def test_labels_of_real_adult_tell_the_sex_as_the_binomial_test_does(
    real_adult: Path, k: int
) -> None:
    data = Adult(root=str(real_adult), exclude=["sex", "relationship"])
    data.setup()
    records = data.population
    game = Game(Property("sex"), k=k, rounds=[0], shadow_batches=100, adversaries=[LINEAR])
    labels = pick(play(game, records, LinearLoss(data.in_features)), "labels").figures["auroc"]
    pool, codes = records.splits["challenge"], records.traits["sex"].codes
    shares = [float(records.labels[pool][codes[pool] == a].double().mean()) for a in (0, 1)]
    exact = binomial_auroc(k, *shares)
    assert labels.low <= exact <= labels.high
    assert abs(exact - {1: 0.598, 16: 0.918, 64: 0.998}[k]) < 0.012  # all of Adult


def binomial_auroc(k: int, low: float, high: float) -> float:
    """P(X_high > X_low) + P(X_high = X_low) / 2 of two binomial counts of k."""
    few, many = (stats.binom.pmf(np.arange(k + 1), k, share) for share in (low, high))
    return float(sum(many[i] * (few[:i].sum() + few[i] / 2) for i in range(k + 1)))


# Certainty and chance.


@pytest.mark.parametrize("k", [1, 4, 32])
@pytest.mark.parametrize(
    ("defense", "least"),
    [
        (NoDefense(), 1),
        (Sign(), 1),
        (Pruning(0.3), 1),
        # The two columns are one and the same where grad b has no negative entry, or loses a tie.
        (Sign("plus"), 0.95),
        (Chain([Pruning(0.3), Sign()]), 0.95),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_the_first_layer_gives_a_shared_attribute_away_with_certainty(
    k: int, defense: Defense, least: float
) -> None:
    generator = torch.Generator().manual_seed(k)
    codes = torch.randint(3, (6_000,), generator=generator)
    noise = torch.randn(6_000, 6, generator=generator)
    x = torch.cat([noise, torch.nn.functional.one_hot(codes).float()], dim=1)
    labels = (noise[:, 0] > 0).long()
    records = population(x, codes, labels=labels, one_hot=(6, 7, 8))
    torch.manual_seed(0)
    game = linear_game(
        secret=Attribute("a"), k=k, shadow_batches=30, calibrate_batches=300, trials=500,
        adversaries=[FirstLayer()],
    )  # fmt: skip
    graded = play(game, records, Tabular(9, hidden=[16]), defense)
    for knowledge in ("static", "adaptive"):
        figures = pick(graded, "FirstLayer", knowledge=knowledge).figures
        assert figures["asr"].value >= least
        if least == 1:
            assert figures["auroc"].value == 1
            assert figures["bits"].value > np.log2(3) - 0.1


def test_a_permuted_secret_is_worth_nothing() -> None:
    """Five seeds: the mean AUROC is .5, no interval claims a leak more than once, bits are 0."""
    values, claims, bits = [], 0, []
    for seed in range(5):
        x, codes = gaussian(8_000, SHIFT, seed)
        permuted = codes[torch.randperm(8_000, generator=torch.Generator().manual_seed(seed))]
        game = linear_game(seed=seed, adversaries=[BoostedTrees(iterations=30)], trials=1000)
        figures = pick(play(game, population(x, permuted), LinearLoss(5)), "BoostedTrees").figures
        values.append(figures["auroc"].value)
        claims += figures["auroc"].low > 0.5
        bits.append(figures["bits_raw"].value)
        assert figures["bits"].low == 0
    assert abs(np.mean(values) - 0.5) < 0.02
    assert claims <= 1
    assert np.mean(bits) < 0.005


def test_an_xor_secret_hides_from_a_linear_adversary_and_not_from_trees() -> None:
    """Hence an estimate of the information never bounds it from above."""
    x = torch.randn(8_000, 2, generator=torch.Generator().manual_seed(0))
    codes = (x.prod(1) > 0).long()
    game = linear_game(k=1, adversaries=[LINEAR, BoostedTrees()])
    graded = play(game, population(x, codes), LinearLoss(2))
    assert pick(graded, LINEAR.name).figures["bits"].value < 0.01
    assert pick(graded, "BoostedTrees").figures["asr"].value > 0.98


def test_a_skewed_prior_is_not_a_leak() -> None:
    """Records of 90% one class, nothing in x: ASR .9 is guessing, and the advantage is 0."""
    generator = torch.Generator().manual_seed(3)
    codes = (torch.rand(20_000, generator=generator) < 0.1).long()
    records = population(torch.randn(20_000, 3, generator=generator), codes)
    game = linear_game(secret=Property("a", prior="natural"), trials=1000)
    figures = pick(play(game, records, LinearLoss(3)), LINEAR.name).figures
    assert figures["asr"].value == pytest.approx(0.9, abs=0.03)
    assert figures["balanced_accuracy"].value == pytest.approx(0.5, abs=0.01)
    assert figures["bits"].value < 0.01
    assert figures["advantage"].low <= 0 <= figures["advantage"].high


def test_a_target_whose_other_features_tell_the_secret_leaves_nothing_to_gain() -> None:
    generator = torch.Generator().manual_seed(4)
    codes = torch.randint(2, (8_000,), generator=generator)
    noise = torch.randn(8_000, 3, generator=generator)
    noise[:, 0] += 6 * codes
    x = torch.cat([noise, torch.nn.functional.one_hot(codes).float()], dim=1)
    records = population(x, codes, one_hot=(3, 4))
    game = linear_game(secret=Attribute("a", scope="target"), trials=500)
    attack = pick(play(game, records, LinearLoss(5)), LINEAR.name)
    assert attack.best_baseline == "imputation"
    assert abs(attack.figures["gain"].value) < 0.01
    assert attack.figures["asr"].value > 0.98  # phi(z) is the adversary's own knowledge too


def test_phi_counts_as_a_rival_only_where_the_adversary_knows_it() -> None:
    x, codes = gaussian(8_000, SHIFT, seed=8)
    graded = play(linear_game(trials=300), population(x, codes), LinearLoss(5))
    assert pick(graded, LINEAR.name).best_baseline in ("prior", "labels")
    assert pick(graded, "imputation").figures["auroc"].value > 0.75  # it is shown all the same
    graded = play(linear_game(trials=300, known="features"), population(x, codes), LinearLoss(5))
    assert pick(graded, LINEAR.name).best_baseline == "imputation"


class Product(LightningModule):
    """Its gradient is s (2a - 1) of x = (s, [a = 0], [a = 1]): it tells a to one who knows s."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x, _ = batch
        return (self.w * x[:, 0] * (x[:, 2] - x[:, 1])).mean()


@pytest.mark.parametrize("scope", ["target", "all"])
def test_what_is_known_of_a_record_is_read_beside_its_gradient(scope: Any) -> None:
    """Neither phi(z) nor the gradient tells anything by itself; Bayes with both is certain."""
    generator = torch.Generator().manual_seed(17)
    codes = torch.randint(2, (6_000,), generator=generator)
    s = 2.0 * torch.randint(2, (6_000, 1), generator=generator) - 1
    x = torch.cat([s, torch.nn.functional.one_hot(codes)], dim=1)
    records = population(x, codes, one_hot=(1, 2))
    for known, least, most in (("features", 0.99, 1.0), ("nothing", 0.4, 0.6)):
        if scope == "target" and known == "nothing":
            continue  # a target is known by definition
        game = linear_game(
            secret=Attribute("a", scope=scope), k=1, known=known, trials=500,
            adversaries=[BoostedTrees()],
        )  # fmt: skip
        result = pick(play(game, records, Product()), "BoostedTrees").figures["auroc"].value
        assert least <= result <= most


def test_the_records_of_other_clients_are_no_part_of_what_is_known() -> None:
    x, codes = gaussian(12_000, torch.tensor([1.0, 0.0]), seed=18)
    records = population(x, codes)
    imputed = [
        pick(play(linear_game(k=4, others=n, known="features"), records, LinearLoss(2)), name)
        for n in (0, 60)
        for name in ("imputation", LINEAR.name)
    ]
    alone, _, beside, attack = (result.figures["auroc"].value for result in imputed)
    assert abs(alone - beside) < 0.01
    assert attack > beside - 0.01


def test_a_gain_is_never_larger_than_over_any_baseline() -> None:
    """Labels of pure noise may fall below chance on the trials; then the prior is the rival."""
    for seed in range(4):
        x, codes = gaussian(4_000, SHIFT, seed)
        graded = play(linear_game(seed=seed, trials=200), population(x, codes), LinearLoss(5))
        attack = pick(graded, LINEAR.name).figures
        rivals = [pick(graded, name).figures["auroc"].value for name in ("prior", "labels")]
        assert attack["gain"].value == pytest.approx(attack["auroc"].value - max(rivals))


def test_a_target_stays_the_target_and_counts_once() -> None:
    x, codes = gaussian(12_000, torch.tensor([1.5, 0.0]), seed=19)
    one_hot = torch.nn.functional.one_hot(codes).float()
    records = population(torch.cat([x, one_hot], 1), codes, one_hot=(2, 3))
    module = LinearLoss(4)
    game = linear_game(secret=Attribute("a", scope="target"), rounds=[0, 1, 2], trials=400)
    match = Match(game, records, NoDefense(), Layout.of(module))
    engine = Recorder(module, records.records, records.splits["shadow_fit"][:4])
    engine.asked = []
    for round_ in range(3):
        graded = match.judge(match.observe(round_, engine, at_once, lambda step: None))
    tables = [table for table in engine.asked if len(table) == 400]
    assert len(tables) == 3
    assert all(torch.equal(table[:, 0], tables[0][:, 0]) for table in tables)
    assert (tables[0][:, 1:] != tables[1][:, 1:]).float().mean() > 0.99
    # What phi(z) says of one and the same record does not grow from round to round.
    alone, summed = (pick(graded, "imputation", r).figures["bits_raw"] for r in ("alone", "sum"))
    assert abs(alone.value - summed.value) < 0.01
    # Nor is the interval that of three records in the place of one.
    assert 0.8 < (summed.value - summed.low) / (alone.value - alone.low) < 1.25


# A plain twin: the same game in loops, which shares no code with the product.


def test_a_plain_implementation_of_the_game_agrees() -> None:
    x, codes = gaussian(6_000, 2 * SHIFT, seed=9)
    labels = (x[:, 0] > 0).long()
    records = population(x, codes, labels=labels)
    torch.manual_seed(1)
    module = Tabular(5, hidden=[8])
    game = linear_game(k=4, shadow_batches=600, trials=600, adversaries=[BoostedTrees()])
    ours = pick(play(game, records, module), "BoostedTrees").figures["auroc"]

    rng = np.random.default_rng(0)

    def gradients(split: str) -> tuple[list[NDArray[np.float32]], list[int]]:
        pool, rows, secrets = records.splits[split].tolist(), [], []
        of_class = [[i for i in pool if codes[i] == a] for a in (0, 1)]
        for _ in range(600):
            a = int(rng.integers(2))
            batch = rng.choice(of_class[a], 4, replace=False)
            module.zero_grad()
            torch.nn.functional.cross_entropy(module.network(x[batch]), labels[batch]).backward()
            rows.append(torch.cat([p.grad.flatten() for p in module.parameters()]).numpy())  # type: ignore[union-attr]
            secrets.append(a)
        return rows, secrets

    shadow, challenge = gradients("shadow_fit"), gradients("challenge")
    tree = HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(*shadow)
    plain = roc_auc_score(challenge[1], tree.predict_proba(challenge[0])[:, 1])
    assert ours.low - 0.02 <= plain <= ours.high + 0.02


# Walls between the players.


@pytest.mark.parametrize("defense", [NoDefense(), Sign()], ids=lambda d: d.label)
def test_challenge_training_and_both_shadow_parts_share_no_unit(defense: Defense) -> None:
    """Units of three records each: it is the users that must not meet, not the rows."""
    x, codes = gaussian(9_000, SHIFT, seed=10)
    base = population(x, codes)
    units = torch.arange(9_000) // 3
    splits = split_by_unit(
        units, dict.fromkeys(base.splits, 1 / 6), torch.Generator().manual_seed(0)
    )
    records = Population(
        "users", base.records, base.labels, x, base.traits, units, splits, standin=True
    )
    module = LinearLoss(5)
    game = linear_game(k=8, others=4, trials=200, shadow_batches=200, calibrate_batches=200)
    match = Match(game, records, defense, Layout.of(module))
    engine = Recorder(module, records.records, records.splits["shadow_fit"][:4])
    engine.asked = []
    match.judge(match.observe(0, engine, at_once, lambda step: None))
    seen: defaultdict[str, set[int]] = defaultdict(set)
    for table in engine.asked:
        homes = [s for s, members in splits.items() if torch.isin(table, members).all()]
        assert len(homes) == 1, "one table of batches draws from more than one split"
        seen[homes[0]] |= set(units[table.flatten()].tolist())
    assert set(seen) == {"shadow_fit", "shadow_calibrate", "challenge"}
    seen["train"] = set(units[splits["train"]].tolist())
    for one, other in combinations(seen, 2):
        assert not seen[one] & seen[other], (one, other)


def reachable(*roots: Any) -> list[Any]:
    """Everything that plain attribute access, containers and closures lead to."""
    found: dict[int, Any] = {}
    queue = list(roots)
    while queue:
        item = queue.pop()
        if id(item) in found or isinstance(item, (type, types.ModuleType, str, bytes, int, float)):
            continue
        found[id(item)] = item
        if isinstance(item, dict):
            queue += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            queue += item
        elif isinstance(item, types.FunctionType):
            queue += [cell.cell_contents for cell in item.__closure__ or ()]
        elif isinstance(item, types.MethodType):
            queue += [item.__self__, item.__func__]
        elif isinstance(item, np.ndarray):
            queue += [item.base]
        queue += list(getattr(item, "__dict__", {}).values())
    return list(found.values())


@dataclass(frozen=True)
class Spy(Adversary):
    """Guesses nothing, and keeps all it could lay hands on."""

    loot: list[Any] = field(default_factory=list)

    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        self.loot.extend([releases, values, surface, seed])

        def scores(seen: NDArray[np.float32]) -> NDArray[np.float64]:
            self.loot.append(seen)
            return np.zeros((len(seen), surface.classes))

        return scores


def tells_the_truth(loot: list[Any], match: Match) -> list[str]:
    """What among the loot gives a secret away: the truth, the game, or a table of secrets."""
    values = match.truth.values
    caught = []
    for item in reachable(*loot):
        if isinstance(item, Match) or item is match.truth:
            caught.append(type(item).__name__)
        array = item.numpy() if isinstance(item, torch.Tensor) else item
        if isinstance(array, np.ndarray) and array.shape[:1] == values.shape:
            columns = array.reshape(len(values), -1)
            if any(abs(np.corrcoef(c, values)[0, 1]) > 0.99 for c in columns.T if c.std() > 0):
                caught.append("an array that equals the secrets")
    return caught


def test_an_adversary_cannot_reach_the_truth() -> None:
    x, codes = gaussian(4_000, SHIFT, seed=11)
    game = linear_game(trials=151, shadow_batches=60, calibrate_batches=62, adversaries=[Spy()])
    spy, matches = game.adversaries[0], []
    assert isinstance(spy, Spy)
    play(game, population(x, codes), LinearLoss(5), Sign(), spy=lambda m, e: matches.append(m))
    assert len([item for item in spy.loot if getattr(item, "shape", ()) == (151, 5)]) == 2
    assert tells_the_truth(spy.loot, matches[0]) == []
    # The walk itself sees a leak where there is one:
    match = matches[0]
    assert tells_the_truth([{"deep": [lambda: match.truth]}], match)
    assert tells_the_truth([match.truth.values.copy()], match)
    assert tells_the_truth([torch.tensor(match.truth.values)], match)


def test_an_adversary_is_fitted_once_without_a_defense_and_twice_with_one() -> None:
    x, codes = gaussian(4_000, SHIFT, seed=12)
    for defense, fits in ((NoDefense(), 1), (Sign(), 2)):
        spy = Spy()
        game = linear_game(trials=50, shadow_batches=60, calibrate_batches=60, adversaries=[spy])
        graded = play(game, population(x, codes), LinearLoss(5), defense)
        assert sum(isinstance(item, Surface) for item in spy.loot) == fits
        assert {k for g in graded for k in g.knowledge} == {"static", "adaptive"}


def test_a_static_adversary_never_sees_the_defense_and_an_adaptive_one_does() -> None:
    x, codes = gaussian(4_000, SHIFT, seed=13)
    spy = Spy()
    game = linear_game(trials=50, shadow_batches=60, calibrate_batches=60, adversaries=[spy])
    play(game, population(x, codes), LinearLoss(5), Sign())
    shadow = [item for item in spy.loot if getattr(item, "shape", ()) == (60, 5)]
    is_sign = [bool(np.isin(releases, (-1, 0, 1)).all()) for releases in shadow]
    assert is_sign == [False, False, True, True]  # fit and calibrate, static then adaptive
    challenge = [item for item in spy.loot if getattr(item, "shape", ()) == (50, 5)]
    assert all(np.isin(releases, (-1, 0, 1)).all() for releases in challenge)


def test_adversaries_see_the_layers_of_the_config_alone() -> None:
    x, codes = gaussian(4_000, SHIFT, seed=14)
    spy = Spy()
    game = linear_game(
        trials=50, shadow_batches=60, calibrate_batches=60, adversaries=[spy],
        layers=["network.2.*"],
    )  # fmt: skip
    module = Tabular(5, hidden=[4])
    play(game, population(x, codes), module)
    surface = next(item for item in spy.loot if isinstance(item, Surface))
    assert surface.layout.names == ("network.2.weight", "network.2.bias")
    assert spy.loot[0].shape == (60, surface.layout.p) == (60, 4 * 2 + 2)


def test_the_same_seed_gives_the_same_answers_and_another_does_not() -> None:
    x, codes = gaussian(4_000, SHIFT, seed=15)
    small = {"trials": 100, "shadow_batches": 100, "calibrate_batches": 100}

    def posterior(seed: int) -> NDArray[np.float64]:
        game = linear_game(seed=seed, **small)
        return pick(
            play(game, population(x, codes), LinearLoss(5)), LINEAR.name
        ).answer.log_posterior

    assert np.array_equal(posterior(0), posterior(0))
    assert not np.array_equal(posterior(0), posterior(1))


def test_a_release_is_the_defense_of_the_mean_gradient() -> None:
    x, codes = gaussian(1_000, SHIFT, seed=16)
    records = population(x, codes)
    engine = GradientEngine(LinearLoss(5), records.records, torch.arange(4))
    batches = torch.arange(40).reshape(10, 4)
    found = released(engine, batches, Pruning(0.4), torch.Generator())
    means = x[batches].mean(1)
    kept = means.abs() >= means.abs().topk(2, dim=1).values[:, 1:]
    torch.testing.assert_close(found, means * kept)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"k": 0}, "attack.k: at least 1 is needed, got 0"),
        ({"others": -1}, "attack.others: at least 0 is needed, got -1"),
        ({"trials": 1}, "attack.trials: at least 2 is needed, got 1"),
        (
            {"rounds": [1, 1]},
            "attack.rounds: a list of distinct numbers of epochs, each at least 0, is needed;"
            " got [1, 1]",
        ),
        ({"batches": "stale"}, "attack.batches: 'fresh' and 'persistent' are known, got 'stale'"),
        ({"known": "all"}, "attack.known: 'nothing' and 'features' are known, got 'all'"),
        (
            {"adversaries": [LINEAR, LINEAR]},
            "attack.adversaries: at least one, each with a name of its own, got"
            " ['LogisticRegression', 'LogisticRegression']",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LeakageError) as error:
        linear_game(**settings)
    assert str(error.value) == sentence
