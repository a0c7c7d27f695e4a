"""User inference: who is dealt which records, closed forms, chance, and a plain twin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from populations import LinearLoss, Recorder, at_once, pick, play
from torch import Tensor
from torch.utils.data import TensorDataset

from leakage.adversaries import LinearDiscriminant, NearestMean, RandomForest
from leakage.defenses import Defense, NoDefense, Sign
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.layout import Layout
from leakage.population import GAME_SPLITS, Population, Trait, split_by_unit
from leakage.rules import Game
from leakage.secrets import Property, Sizes, User

SHARES = {"train": 0.02, "shadow_fit": 0.5, "shadow_calibrate": 0.24, "challenge": 0.24}
LINEAR = LinearDiscriminant()


def people(
    users: int, each: int, spread: float, features: int = 6, seed: int = 0, labels: Any = None
) -> Population:
    """Records x ~ N(mu_u, I) of users u with mu_u ~ N(0, spread^2 I)."""
    generator = torch.Generator().manual_seed(seed)
    centre = spread * torch.randn(users, features, generator=generator)
    units = torch.arange(users).repeat_interleave(each)
    x = centre[units] + torch.randn(users * each, features, generator=generator)
    y = torch.arange(len(x)) % 2 if labels is None else labels(units, generator)
    splits = split_by_unit(units, SHARES, torch.Generator().manual_seed(seed))
    traits = {"centre": Trait("centre", ("low", "high"), (centre[units, 0] > 0).long())}
    return Population("people", TensorDataset(x, y), y, x, traits, units, splits, standin=True)


def user_game(**settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": User(8, enrolment=5, queries=5),
        "k": 4,
        "rounds": [0],
        "shadow_batches": 1000,
        "calibrate_batches": 800,
        "trials": 800,
        "adversaries": [LINEAR],
    }
    return Game(**(defaults | settings))


@pytest.mark.parametrize("others", [0, 8])
@pytest.mark.parametrize("defense", [NoDefense(), Sign()], ids=lambda d: d.label)
def test_no_record_of_a_candidate_is_anywhere_but_where_the_design_says(
    defense: Defense, others: int
) -> None:
    """Not in shadow batches or calibrate ones; enrolled from records that are never asked about."""
    records = people(60, 40, 1.0)
    game = user_game(others=others, trials=300, shadow_batches=300, calibrate_batches=300)
    module = LinearLoss(6)
    match = Match(game, records, defense, Layout.of(module))
    engine = Recorder(module, records.records, records.splits["shadow_fit"][:4])
    engine.asked = []
    match.judge(match.observe(0, engine, at_once, lambda step: None))
    candidates = {int(name.removeprefix("user ")) for name in match.support}
    assert len(candidates) == 8
    owner = records.units
    challenge = set(owner[records.splits["challenge"]].tolist())
    assert candidates <= challenge
    enrolled: set[int] = set()
    asked: set[int] = set()
    for table in engine.asked[1:]:  # the first is the engine's own comparison
        of_candidates = {r for r in table.flatten().tolist() if int(owner[r]) in candidates}
        homes = [s for s in GAME_SPLITS if torch.isin(table[:, :4], records.splits[s]).all()]
        if homes == ["challenge"]:
            asked |= set(table.flatten().tolist())  # those of others, too
        elif homes in (["shadow_fit"], ["shadow_calibrate"]):
            assert not of_candidates
        else:  # users whom the adversary has met: of the calibrate split, and the candidates
            assert not homes
            assert torch.isin(table[-40:, :4], records.splits["challenge"]).all()
            enrolled |= of_candidates
    assert asked
    assert len(enrolled) == 8 * 5 * 4
    assert not asked & enrolled


def test_the_client_of_a_batch_is_the_candidate_that_the_truth_names() -> None:
    records = people(60, 40, 1.0)
    match = Match(user_game(), records, NoDefense(), Layout.of(LinearLoss(6)))
    hand = match._dealer.deal("challenge", 0)
    named = torch.tensor([int(name.removeprefix("user ")) for name in match.support])
    truth = torch.from_numpy(match.truth.values)
    assert (records.units[hand.batches] == named[truth].unsqueeze(1)).all()
    calibrate = match._dealer.deal("shadow_calibrate", 0)
    seats = match._dealer.seats
    assert calibrate.candidates is not None
    assert seats.enrolled is not None
    answers = match._dealer.answers["shadow_calibrate"]
    line = calibrate.candidates
    assert (line.sort(1).values.diff(dim=1) > 0).all()  # nobody twice
    assert answers.bincount(minlength=8).tolist() == [100] * 8
    whom = line.gather(1, answers.unsqueeze(1))[:, 0]
    met = records.units[seats.enrolled[whom, 0, 0]]
    assert torch.equal(records.units[calibrate.batches[:, 0]], met)


def test_other_clients_are_other_users() -> None:
    records = people(60, 40, 1.0)
    match = Match(user_game(others=20), records, NoDefense(), Layout.of(LinearLoss(6)))
    for split in GAME_SPLITS:
        batches = match._dealer.deal(split, 0).batches
        owner = records.units[batches]
        assert (owner[:, :4] == owner[:, :1]).all()
        assert (owner[:, 4:] != owner[:, :1]).all()
        assert all(len(set(row)) == 24 for row in batches.tolist())


def test_gaussian_users_are_told_apart_as_the_bayes_classifier_does() -> None:
    """d^2 test between known centres; enrolment of e * k records adds its own noise to each."""
    k, e, spread, features = 4, 8, 0.7, 6
    values, exact = [], []
    for seed in range(4):
        records = people(140, 60, spread, features, seed)
        game = user_game(secret=User(8, enrolment=e, queries=5), seed=seed)
        values.append(pick(play(game, records, LinearLoss(features)), LINEAR.name).figures["asr"])
        rng = np.random.default_rng(seed)
        centre = spread * rng.standard_normal((4000, 8, features))
        met = centre + rng.standard_normal(centre.shape) / np.sqrt(e * k)
        query = centre[:, 0] + rng.standard_normal((4000, features)) / np.sqrt(k)
        # With a prior N(0, spread^2), a candidate's centre is shrunk, and all variances are alike.
        shrunk = met * spread**2 / (spread**2 + 1 / (e * k))
        exact.append((((query[:, None] - shrunk) ** 2).sum(2).argmin(1) == 0).mean())
    mean, bayes = np.mean([v.value for v in values]), np.mean(exact)
    assert abs(mean - bayes) < 0.06  # of the candidates that happened to be drawn
    assert sum(v.low <= bayes <= v.high for v in values) >= 3


def test_users_that_do_not_differ_are_one_in_m() -> None:
    claims, values, five = 0, [], []
    for seed in range(5):
        records = people(100, 160, 0.0, seed=seed)  # few would be alike by chance
        game = user_game(adversaries=[LINEAR, NearestMean()], seed=seed)
        figures = pick(play(game, records, LinearLoss(6)), LINEAR.name).figures
        values.append(figures["asr"].value)
        claims += figures["asr"].low > 1 / 8
        assert figures["bits"].value < 0.02
        five.append(figures["top5"].value)
    assert np.mean(five) == pytest.approx(5 / 8, abs=0.03)
    assert np.mean(values) == pytest.approx(1 / 8, abs=0.012)
    assert claims <= 1


def test_nobody_is_exposed_among_users_that_do_not_differ() -> None:
    """A candidate who is always answered is right in all its trials; its AUROC is .5."""
    found = []
    for seed in range(4):
        records = people(100, 160, 0.0, seed=seed)
        exposed = pick(play(user_game(seed=seed), records, LinearLoss(6)), LINEAR.name).exposed
        assert len(exposed) == 8
        assert all(np.isnan(estimate.low) for estimate in exposed.values())
        found += [estimate.value for estimate in exposed.values()]
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)
    told = pick(play(user_game(), people(100, 40, 2.0), LinearLoss(6)), LINEAR.name).exposed
    assert list(told.values()) == sorted(told.values(), key=lambda estimate: -estimate.value)
    assert min(estimate.value for estimate in told.values()) > 0.9


def test_users_that_one_entry_tells_are_found_with_certainty() -> None:
    records = people(100, 40, 40.0)
    figures = pick(play(user_game(), records, LinearLoss(6)), LINEAR.name).figures
    assert figures["asr"].value > 0.99
    assert figures["auroc"].value > 0.999
    assert figures["bits"].value > 2.8  # of 3


def test_the_labels_of_users_are_a_baseline() -> None:
    """Users whose labels tell them, and gradients that tell nothing: there is nothing to gain."""

    def labels(units: Tensor, generator: torch.Generator) -> Tensor:
        share = torch.rand(int(units.max()) + 1, 3, generator=generator) ** 4
        return torch.multinomial(share[units], 1, generator=generator)[:, 0]

    records = people(100, 60, 0.0, labels=labels)
    graded = play(user_game(k=6), records, LinearLoss(6))
    attack = pick(graded, LINEAR.name)
    assert pick(graded, "labels").figures["asr"].value > 0.25
    assert attack.best_baseline == "labels"
    assert attack.figures["gain"].value < -0.05


def test_what_is_known_of_records_may_tell_the_user_without_a_gradient() -> None:
    records = people(100, 40, 1.0)
    graded = play(user_game(known="features"), records, LinearLoss(6))
    attack = pick(graded, LINEAR.name)
    assert attack.best_baseline == "imputation"
    assert abs(attack.figures["gain"].value) < 0.03


def test_rounds_that_share_the_enrolment_are_stacked() -> None:
    """Each round is fresh, but the noise of enrolment is the same in all of them."""
    records = people(140, 80, 0.5)
    game = user_game(rounds=[0, 1, 2], secret=User(8, enrolment=1, queries=5))
    graded = play(game, records, LinearLoss(6), rounds=3)
    alone, stacked = (pick(graded, LINEAR.name, r).figures["bits_raw"] for r in ("alone", "sum"))
    assert stacked.value > alone.value - 0.02
    one, three = (pick(graded, LINEAR.name, r).figures["asr"].value for r in ("alone", "sum"))
    assert three > one


def test_a_plain_implementation_of_the_user_game_agrees() -> None:
    """Loops, autograd and a nearest mean; nothing is shared with the product."""
    records = people(140, 60, 0.6, features=5, seed=3)
    game = user_game(adversaries=[NearestMean()], k=3)
    figure = pick(play(game, records, LinearLoss(5)), "NearestMean").figures["asr"]
    x, owner = records.features.numpy(), records.units.numpy()
    rng, rates = np.random.default_rng(0), []
    pool = np.unique(owner[records.splits["challenge"].numpy()])
    for _ in range(60):
        candidates = rng.choice(pool, 8, replace=False)
        held = [rng.permutation(np.flatnonzero(owner == user)) for user in candidates]
        prototypes = [x[own[:15]].mean(0) for own in held]
        right = 0
        for _ in range(40):
            user = int(rng.integers(8))
            query = x[rng.choice(held[user][15:], 3, replace=False)].mean(0)
            distances = [((query - prototype) ** 2).sum() for prototype in prototypes]
            right += int(np.argmin(distances)) == user
        rates.append(right / 40)
    assert figure.low <= np.mean(rates) <= figure.high


def test_a_property_of_users_is_judged_by_users() -> None:
    """The property game on the same people runs, its splits by user."""
    records = people(200, 20, 1.0)
    game = user_game(secret=Property("centre"), adversaries=[RandomForest(trees=50)], k=8)
    assert pick(play(game, records, LinearLoss(6)), "RandomForest").figures["auroc"].value > 0.8


# What is refused.


def refusal(population: Population, secret: User, k: int = 4, **settings: Any) -> str:
    with pytest.raises(LeakageError) as error:
        secret.check(population, replace(Sizes(k, 0, k), **settings))
    return str(error.value)


def test_more_candidates_than_users_are_refused() -> None:
    population = people(50, 40, 1.0)
    assert refusal(population, User(30)) == (
        "attack.secret.candidates: 30 users are needed in the shadow_calibrate split, which has"
        " 12; lower it or give that split more users"
    )


def test_users_with_too_few_records_are_named_with_how_many_are_needed() -> None:
    population = people(60, 40, 1.0)
    kept = torch.ones(len(population.units), dtype=torch.bool)
    short = population.units[population.splits["challenge"]].unique()[:10]
    for number, user in enumerate(short.tolist()):
        own = (population.units == user).nonzero().flatten()
        kept[own[3 + number :]] = False  # 3, 4, ... 12 records
    splits = {s: r[kept[r]] for s, r in population.splits.items()}
    population = replace(population, splits=splits)
    users = len(population.units[splits["challenge"]].unique())
    assert refusal(population, User(8)) == (
        "attack.k: 8 users of the challenge split need k * (enrolment + queries) = 40 records each,"
        f" but {users - 10} of {users} have as many: user {int(short[-1])} has 12, and user"
        f" {int(short[0])}, the smallest, 3; lower attack.k, attack.secret.enrolment or"
        " attack.secret.queries"
    )


def test_a_candidate_of_another_split_is_refused() -> None:
    population = people(60, 40, 1.0)
    inside, outside = (
        int(population.units[population.splits[s]].min()) for s in ("challenge", "shadow_fit")
    )
    found = refusal(population, User([inside, outside]))
    assert found.startswith(
        f"attack.secret.candidates: user {outside} has no record in the challenge split, whose"
        " users are "
    )


def test_records_without_users_are_refused() -> None:
    population = people(3000, 1, 1.0)
    assert refusal(population, User(8), 1).startswith(
        "attack.secret: User asks whose records a batch is made of, but each record of people is a"
        " user of its own; name the column of the table that says whose a record is in attack.units"
    )


@pytest.mark.parametrize("candidates", [1, [4], [4, 4]])
def test_a_user_game_needs_two_different_candidates(candidates: Any) -> None:
    with pytest.raises(LeakageError, match=r"attack.secret.candidates: at least 2 are needed"):
        User(candidates)


def test_classifiers_and_identifiers_are_told_apart() -> None:
    records = people(60, 40, 1.0)
    for game, sentence in (
        (user_game(adversaries=[RandomForest()]), "RandomForest is not for the secret User; use"),
        (
            user_game(secret=Property("centre"), adversaries=[LINEAR]),
            "LinearDiscriminant is only for the secret User; use RandomForest, BoostedTrees",
        ),
    ):
        with pytest.raises(LeakageError, match=f"attack.adversaries: {sentence}"):
            Match(game, records, NoDefense(), Layout.of(LinearLoss(6)))


def test_the_candidates_are_the_sample() -> None:
    figures = pick(play(user_game(), people(100, 40, 0.5), LinearLoss(6)), LINEAR.name).figures
    assert figures["asr"].units == 8
