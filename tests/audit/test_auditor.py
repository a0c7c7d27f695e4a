"""The auditor from end to end, where the gradients of records and so every epsilon are known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from audits import (
    D,
    attribute_rules,
    audited,
    both,
    clipped,
    exact,
    observed,
    one_hot_population,
    pick,
    rules,
    said,
)
from lightning import LightningModule
from populations import population
from scipy import stats
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from leakage.audit.auditor import Auditor
from leakage.audit.canaries import GradientCanary, MislabelledCanary, NaturalCanary, RandomCanary
from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.credible import Credible
from leakage.audit.estimators.gaussian_curve import GaussianCurve
from leakage.audit.estimators.one_run import OneRun
from leakage.audit.estimators.scores import Scores
from leakage.audit.estimators.thresholds import Bonferroni, Split
from leakage.audit.names import CEILING, EXACT, PAIR
from leakage.audit.results import Result
from leakage.audit.rules import AuditRules
from leakage.audit.tally import tallies_of
from leakage.audit.theory import exact_epsilon
from leakage.defenses import (
    DP,
    Bottleneck,
    Chain,
    Defense,
    NoDefense,
    Perturbation,
    Pruning,
    RecordPruning,
    Sign,
    penalty,
)
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

RECORDS = one_hot_population()
SMALL = one_hot_population(scale=0.3)  # records that no clip of 1 shortens
NOISY = DP(clip=1.0, batch=8, sigma=1.0)


def scores_of(auditor: Auditor, canary: str = "random") -> Scores:
    (found,) = [tally.scores for tally in auditor._tallies.values() if tally.canary == canary]
    return found


def lines(how: AuditRules, defense: Defense, module: nn.Module | None = None) -> str:
    return "\n".join(said(how, audited(how, RECORDS, defense, module)))


def attribute_mu(auditor: Auditor, dp: DP) -> float:
    """||clip(x with a1) - clip(x with a0)|| / (sigma C): of L = w.x, whose gradient is x."""
    x = auditor.records()["random"]
    assert dp.sigma is not None
    return float((clipped(x["a1"], dp.clip) - clipped(x["a0"], dp.clip)).norm()) / (
        dp.sigma * dp.clip
    )


def membership_mu(auditor: Auditor, dp: DP) -> float:
    assert dp.sigma is not None
    return float(clipped(auditor.records()["random"]["x"], dp.clip).norm()) / (dp.sigma * dp.clip)


MU: dict[str | None, Callable[[Auditor, DP], float]] = {"a": attribute_mu, None: membership_mu}


# E0 and the distribution of scores


@pytest.mark.parametrize("attribute", ["a", None])
@pytest.mark.parametrize("rounds", [[0], [0, 1, 4]])
@pytest.mark.parametrize("background", ["known", "unknown"])
@pytest.mark.parametrize("clip", [0.5, 2.5])
def test_e0_is_the_epsilon_of_the_distance_between_two_clipped_records(
    attribute: str | None, rounds: list[int], background: str, clip: float
) -> None:
    dp = DP(clip=clip, batch=8, sigma=1.5)
    how = rules(attribute=attribute, rounds=rounds, background=background, trials=60)
    auditor = observed(how, RECORDS, dp)
    mu = MU[attribute](auditor, dp) * math.sqrt(len(rounds))
    assert exact(auditor.conclude()) == pytest.approx(exact_epsilon(mu, 1e-5), rel=1e-4)


def test_e0_of_the_gradient_canary_is_what_dp_proves() -> None:
    for how, theory in (
        (both(), "theory_add_or_remove"),
        (both(attribute="a"), "theory_replace_one"),
    ):
        results = audited(how, RECORDS, NOISY)
        assert exact(results, "gradient") == pytest.approx(pick(results, theory, "").bound.value)


class Logistic(LightningModule):
    """Cross-entropy of one logit: the gradient of a record is (p - y) (x, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(D, 1)
        nn.init.normal_(self.layer.weight, generator=Generator().manual_seed(0))
        nn.init.constant_(self.layer.bias, 0.2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.binary_cross_entropy_with_logits(self.layer(x)[:, 0], y.float())


def test_e0_of_a_logistic_model_is_that_of_its_known_gradients() -> None:
    module, dp = Logistic(), DP(clip=0.4, batch=8, sigma=1.0)
    auditor = observed(attribute_rules(), RECORDS, dp, module)
    found = auditor.found["random"]
    gradients = []
    for x in auditor.records()["random"].values():
        p = torch.sigmoid(module.layer(x)).item()
        gradients.append(clipped((p - (found.y or 0)) * torch.cat([x, torch.ones(1)]), 0.4))
    mu = float((gradients[1] - gradients[0]).norm()) / 0.4
    assert exact(auditor.conclude()) == pytest.approx(exact_epsilon(mu, 1e-5), rel=1e-4)


@pytest.mark.parametrize("attribute", ["a", None])
@pytest.mark.parametrize("rounds", [[0], [0, 2, 3]])
def test_scores_are_normal_with_the_mean_that_theory_says(
    attribute: str | None, rounds: list[int]
) -> None:
    how = rules(attribute=attribute, rounds=rounds, trials=6_000)
    auditor = observed(how, RECORDS, NOISY)
    mu, scores = MU[attribute](auditor, NOISY) * math.sqrt(len(rounds)), scores_of(auditor)
    assert stats.kstest(scores.zero, "norm").pvalue > 0.01
    assert stats.kstest(scores.one, "norm", args=(mu, 1)).pvalue > 0.01
    for at in (mu / 2, mu):  # the rates at a threshold are those of Phi
        for side, mean in ((scores.zero, 0.0), (scores.one, mu)):
            above, expected = np.mean(side > at), stats.norm.sf(at - mean)
            assert above == pytest.approx(expected, abs=4 * math.sqrt(0.25 / len(side)))


@pytest.mark.parametrize("attribute", ["a", None])
def test_scores_beside_unknown_records_are_standardised_too(attribute: str | None) -> None:
    how = rules(attribute=attribute, background="unknown", trials=6_000)
    auditor = observed(how, one_hot_population(3_000), NOISY)
    scores, (tally,) = scores_of(auditor), auditor._tallies.values()
    assert 0 < tally.mu < MU[attribute](auditor, NOISY)  # the others hide some of it
    assert scores.zero.std() == pytest.approx(1, abs=0.12)
    assert scores.one.std() == pytest.approx(1, abs=0.12)
    assert scores.one.mean() - scores.zero.mean() == pytest.approx(tally.mu, abs=0.1)


@pytest.mark.parametrize("attribute", ["a", None])
@pytest.mark.parametrize("rounds", [[0], [0, 1, 2]])
def test_sampled_scores_are_those_of_a_plain_simulation(
    attribute: str | None, rounds: list[int]
) -> None:
    q, n = 0.4, 6_000
    how = rules(attribute=attribute, q=q, rounds=rounds, trials=n)
    auditor = observed(how, SMALL, NOISY)
    x, rng = auditor.records()["random"], np.random.default_rng(5)
    d1 = (x["a1"] if attribute else x["x"]).double().numpy()
    d0 = x["a0"].double().numpy() if attribute else np.zeros(D)

    def simulated(added: np.ndarray) -> np.ndarray:
        total = np.zeros(n)
        for _ in rounds:
            there = rng.random((n, 1)) < q
            g = there * added + rng.normal(size=(n, D))
            l0, l1 = (np.exp(g @ d - d @ d / 2) for d in (d0, d1))
            total += np.log(1 - q + q * l1) - np.log(1 - q + q * l0)
        return total

    scores = scores_of(auditor)
    assert stats.ks_2samp(scores.zero, simulated(d0)).pvalue > 0.01
    assert stats.ks_2samp(scores.one, simulated(d1)).pvalue > 0.01
    assert not [r for r in auditor.conclude() if r.estimator == EXACT]  # which knows no q


def test_coins_are_fair_and_independent() -> None:
    trials, audits = 400, 400
    counts = np.array(
        [
            len(tally.one)
            for seed in range(audits)
            for tally in tallies_of(rules(seed=seed, trials=trials), NOISY).values()
        ]
    )
    assert counts.mean() / trials == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(trials * audits))
    assert counts.var() == pytest.approx(trials / 4, rel=0.3)
    (tally,) = tallies_of(rules(trials=401), NOISY).values()
    assert len(tally.zero) + len(tally.one) == 401


# Bounds


SOUND: list[tuple[dict[str, Any], Defense]] = [
    ({"attribute": "a"}, NOISY),
    ({"background": "unknown", "rounds": [0, 1]}, NOISY),
    ({"q": 0.5, "rounds": [0, 1], "attribute": "a"}, NOISY),
    ({"delta": 1e-9}, DP(clip=1.0, batch=8, sigma=300.0)),
    ({}, Chain([NOISY, Sign()])),
]


@pytest.mark.parametrize(("settings", "defense"), SOUND)
def test_valid_bounds_exceed_the_truth_no_more_often_than_their_confidence_allows(
    settings: dict[str, Any], defense: Defense
) -> None:
    judges = [ClopperPearson(), OneRun()]
    over, runs = dict.fromkeys((judge.name for judge in judges), 0), 12
    for seed in range(runs):
        how = rules(trials=300, seed=seed, estimators=judges, **settings)
        results = audited(how, RECORDS, defense)
        theory = "theory_replace_one" if how.attribute else "theory_add_or_remove"
        least = pick(results, EXACT) if how.q == 1 else pick(results, theory, "")
        for name in over:
            over[name] += pick(results, name).bound.low > least.bound.value
    allowed = int(stats.binom.ppf(0.999, runs, 0.05))
    assert all(count <= allowed for count in over.values()), over


@dataclass(frozen=True, repr=False)
class _OtherNoise(DP):
    """The same mechanism with other draws in the trials, and the same in the pilot."""

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        if len(means) > 8:
            torch.rand(17, generator=generator)
        return super().release(means, k=k, layout=layout, generator=generator)


def chosen(results: list[Result]) -> list[tuple[str, str, str]]:
    """The headline, and every threshold and number of guesses that was not left to a split."""
    quoted = [("headline", r.canary, r.estimator) for r in results if r.headline]
    fixed = [
        (r.canary, r.estimator, "".join(re.findall(r"threshold [-\d.e]+|of \d+ guesses", r.note)))
        for r in results
        if r.n0
    ]
    return quoted + fixed


@pytest.mark.parametrize(
    "settings",
    [{}, {"attribute": "a"}, {"background": "unknown"}, {"rounds": [0, 1]}, {"sigmas": [3.0]}],
)
def test_what_is_quoted_is_settled_before_the_trials(settings: dict[str, Any]) -> None:
    canaries = [RandomCanary(), NaturalCanary(20), MislabelledCanary(20), GradientCanary()]
    how = rules(canaries=canaries, **settings)
    usual = audited(how, RECORDS, NOISY)
    other = audited(how, RECORDS, _OtherNoise(clip=1.0, batch=8, sigma=1.0))
    assert [r.bound for r in usual] != [r.bound for r in other]
    assert chosen(usual) == chosen(other)
    assert len(chosen(usual)) - 2 * len(canaries) * (1 + len(how.sigmas)) == 1 + len(how.sigmas)


def test_the_quoted_canary_is_the_record_that_stands_farthest_apart() -> None:
    how = rules(canaries=[RandomCanary(), NaturalCanary(50), GradientCanary()], attribute="a")
    results = audited(how, RECORDS, NOISY)
    (quoted,) = [r for r in results if r.headline]
    assert quoted.canary == "natural"
    assert exact(results, "random") < exact(results, "natural") < exact(results, "gradient")
    assert quoted.valid


def test_estimators_under_assumptions_are_never_quoted() -> None:
    judges = [Credible(), GaussianCurve(), ClopperPearson(Bonferroni(None))]
    results = audited(rules(estimators=judges), RECORDS, NOISY)
    assert not any(r.headline or r.valid for r in results)


def test_each_bound_stands_beside_the_most_that_it_could_say() -> None:
    results = audited(rules(trials=2_000), RECORDS, DP(clip=1.0, batch=8, sigma=0.01))
    for name in ("clopper_pearson", "one_run"):
        assert 0 < pick(results, name).bound.low <= pick(results, f"{CEILING}_{name}").bound.value


def test_more_noise_leaves_less_to_prove() -> None:
    results = audited(rules(trials=4_000, sigmas=[0.5, 4.0]), RECORDS, NOISY)
    lows = [r.bound.low for r in results if r.estimator == "one_run"]
    assert len(lows) == 3
    assert lows == sorted(lows, reverse=True)


# Other mechanisms


def test_without_noise_epsilon_is_infinite_and_the_entry_that_shows_it_is_named() -> None:
    how = attribute_rules()
    auditor = observed(how, RECORDS, NoDefense())
    (found,) = auditor.conclude()
    assert (found.estimator, found.bound.low, found.valid, found.headline) == (
        PAIR,
        math.inf,
        True,
        True,
    )
    (told,) = said(how, [found])
    pattern = (
        r"epsilon is infinite \(random\): without a defense there is no noise: entry (4|5) of w is"
        r" released as (\S+) with one neighbour and as (\S+) with the other, every time"
    )
    entry, zero, one = re.fullmatch(pattern, told).groups()  # type: ignore[union-attr]
    assert float(one) - float(zero) == pytest.approx((1 if entry == "5" else -1) / 8, abs=1e-5)


@pytest.mark.parametrize(
    "defense",
    [
        Pruning(0.5),
        Sign(),
        Perturbation(batches=20, width=4, steps=2),
        DP(clip=1.0, batch=8, sigma=0.0),
        Chain([RecordPruning(0.5), Sign()]),
    ],
)
def test_a_deterministic_m_has_an_infinite_epsilon(defense: Defense) -> None:
    told = lines(both(attribute="a", k=2), defense)
    assert "epsilon is infinite (" in told
    assert " no noise: entry " in told
    assert "theory" not in told or "proves" not in told


def test_a_pair_that_a_deterministic_m_releases_alike_is_not_called_infinite() -> None:
    x = torch.cat([torch.full((600, 1), 3.0), F.one_hot(torch.arange(600) % 2, 2) + 1.0], 1)
    records = population(x, torch.arange(600) % 2, one_hot=(1, 2))
    results = audited(attribute_rules(), records, Sign())  # every entry is above 0
    (found,) = results
    assert (found.estimator, found.bound.value) == (PAIR, 0)
    assert found.note == "Sign(zero='keep') draws no noise, and releases this pair alike"


def test_delta_forgives_what_is_released_more_seldom() -> None:
    judges = [ClopperPearson()]
    often = attribute_rules(q=0.2, delta=0.1, estimators=judges)
    seldom = attribute_rules(q=0.1, delta=0.2, estimators=judges)
    told = lines(often, NoDefense())
    assert told.startswith("epsilon is infinite (random): ")
    assert told.endswith("whenever the canary takes part (q = 0.2)")
    assert lines(seldom, NoDefense()).startswith("epsilon is 0 for this pair (random): ")
    twice = replace(seldom, rounds=[0, 1, 2])  # in one of three with a chance of .271
    assert lines(twice, NoDefense()).startswith("epsilon is infinite (random): ")


class Normalised(LightningModule):
    """BatchNorm in training mode: what one record gives depends on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.layer = nn.Linear(D, 2)
        nn.init.normal_(self.layer.weight, generator=Generator().manual_seed(0))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.layer(self.norm(x[:, None, None])[:, 0, 0]), y)


@pytest.mark.parametrize("how", [attribute_rules(), rules(), rules(k=2)])
def test_a_model_that_mixes_records_is_audited_batch_by_batch(how: AuditRules) -> None:
    assert "epsilon is infinite (random): without a defense there is no noise" in lines(
        how, NoDefense(), Normalised()
    )


def test_unknown_records_hide_a_canary_from_the_auditor_of_a_deterministic_m_alone() -> None:
    """Neighbours are told apart for certain by one who knows the others: epsilon is infinite."""
    for module in (None, Normalised()):
        told = lines(rules(background="unknown"), NoDefense(), module)
        assert "epsilon is infinite (random)" in told


def test_dp_of_a_model_that_mixes_records_is_refused() -> None:
    with pytest.raises(LeakageError, match="gives no record a gradient of its own"):
        audited(rules(), RECORDS, NOISY, Normalised())


class Narrow(LightningModule):
    """A bottleneck, whose noise nobody has proved anything of."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.narrow = Bottleneck(dimension=3).layer(D)
            self.layer = nn.Linear(3, 2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.layer(self.narrow(x)), y) + penalty(self)


def test_a_model_with_noise_of_its_own_is_bounded_along_the_direction_of_a_pilot() -> None:
    how = both(k=1, attribute="a", trials=300)
    with pytest.raises(LeakageError, match="gradient cannot be found: the model has no sum"):
        audited(how, one_hot_population(scale=3), NoDefense(), Narrow())
    how = replace(how, canaries=[RandomCanary()])
    results = audited(how, one_hot_population(scale=3), NoDefense(), Narrow())
    assert not [r for r in results if r.estimator.startswith("theory") or r.estimator == EXACT]
    found = pick(results, "clopper_pearson")
    assert 0 < found.bound.low < math.inf
    assert found.headline
    assert "no theory tells the rest" not in said(how, results)[0]  # the ceiling is told


def test_what_follows_the_noise_only_loses_of_e0() -> None:
    how = both(attribute="a", trials=4_000)
    results = audited(how, RECORDS, Chain([NOISY, Sign()]))
    bare = audited(how, RECORDS, NOISY)
    assert exact(results, "gradient") == exact(bare, "gradient")
    note = "under the declared noise, before what follows it, which can only lose of it"
    assert pick(results, EXACT).note == note
    for name in ("clopper_pearson", "one_run"):
        low = pick(results, name, "gradient").bound.low
        assert 0 < low < pick(bare, name, "gradient").bound.value


def test_records_that_are_pruned_before_dp_are_told_by_what_is_left_of_them() -> None:
    pruning = RecordPruning(0.5)
    auditor = observed(attribute_rules(), RECORDS, Chain([pruning, NOISY]))
    x, layout = auditor.records()["random"], auditor._layout
    kept = [pruning.per_record(x[a].unsqueeze(0), layout)[0] for a in ("a0", "a1")]
    mu = float((clipped(kept[1], 1.0) - clipped(kept[0], 1.0)).norm())
    assert mu != pytest.approx(attribute_mu(auditor, NOISY), rel=1e-3)
    assert exact(auditor.conclude()) == pytest.approx(exact_epsilon(mu, 1e-5), rel=1e-4)


# The same figures again


@pytest.mark.parametrize(
    ("settings", "defense"),
    [
        ({"attribute": "a"}, NOISY),
        ({"background": "unknown", "rounds": [0, 1]}, NOISY),
        ({"q": 0.5}, NOISY),
        ({"attribute": "a"}, Chain([NOISY, Sign()])),
    ],
)
def test_one_seed_gives_one_set_of_figures_whatever_memory_there_is(
    settings: dict[str, Any], defense: Defense
) -> None:
    usual, again, little = (
        audited(both(memory=memory, **settings), RECORDS, defense) for memory in (2.0, 2.0, 1e-4)
    )
    assert repr(usual) == repr(again) == repr(little)
    assert repr(usual) != repr(audited(both(seed=1, **settings), RECORDS, defense))


# Bad input


def refused(sentence: str) -> Any:
    return pytest.raises(LeakageError, match=f"^{re.escape(sentence)}$")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"delta": 1.0}, "audit.delta: a number in [0, 1) is needed, got 1.0"),
    ({"delta": -0.1}, "audit.delta: a number in [0, 1) is needed, got -0.1"),
    ({"delta": math.nan}, "audit.delta: a number in [0, 1) is needed, got nan"),
    ({"confidence": 1.0}, "audit.confidence: a number in (0, 1) is needed, got 1"),
    (
        {"canaries": [RandomCanary(), RandomCanary()]},
        "audit.canaries: at least one, each with a name of its own, got ['random', 'random']",
    ),
    ({"canaries": []}, "audit.canaries: at least one, each with a name of its own, got []"),
    (
        {"estimators": [ClopperPearson(), ClopperPearson(Split())]},
        "audit.estimators: at least one, each with a name of its own, got ['clopper_pearson',"
        " 'clopper_pearson']",
    ),
    (
        {"attribute": "a", "values": ["a0", "a0"]},
        "audit.values: two different values of a are needed, got ['a0', 'a0']",
    ),
    (
        {"values": ["a0", "a1"]},
        "audit.values: ['a0', 'a1'] are values of no attribute; name one in audit.attribute, or"
        " leave the values out",
    ),
    ({"sigmas": [1.0, 0.0]}, "audit.sigmas: finite noise multipliers above 0 are needed, got 0.0"),
    ({"sigmas": [1.0, 1.0]}, "audit.sigmas: distinct numbers are needed, got [1.0, 1.0]"),
    ({"q": 0.0}, "audit.q: a chance in (0, 1] is needed, got 0.0"),
    ({"q": 1.5}, "audit.q: a chance in (0, 1] is needed, got 1.5"),
    ({"k": 0}, "audit.k: at least 1 is needed, got 0"),
    (
        {"rounds": [0, 0]},
        "audit.rounds: a list of distinct numbers of epochs, each at least 0, is needed; got"
        " [0, 0]",
    ),
    ({"memory": 0.0}, "audit.memory: GiB above 0 are needed, got 0.0"),
    ({"background": "seen"}, "audit.background: 'known' and 'unknown' are known, got 'seen'"),
]


@pytest.mark.parametrize(("settings", "sentence"), BAD)
def test_settings_that_make_no_audit_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with refused(sentence):
        rules(**settings)


def test_as_few_trials_as_the_sentence_names_are_taken() -> None:
    for judge, least in ((ClopperPearson(), 24), (OneRun(), 52)):
        sentence = (
            f"audit.trials: at delta = 1e-05 and a confidence of 0.95 the bound {judge.name} cannot"
            f" exceed 0 with fewer than {least} trials, got {least - 1}; play more, or leave"
            f" {judge.name} out of audit.estimators"
        )
        with refused(sentence):
            rules(estimators=[judge], trials=least - 1)
        assert rules(estimators=[judge], trials=least).trials == least


def test_other_noises_need_a_defense_that_has_one() -> None:
    with refused(
        "audit.sigmas: [2.0] are noise multipliers of DP, but the defense is none; leave them out,"
        " or use the defense DP"
    ):
        audited(rules(sigmas=[2.0]), RECORDS, NoDefense())


def test_a_batch_that_leaves_no_record_for_canaries_is_refused() -> None:
    with refused(
        "audit.k: k = 107 records of a batch and the canaries come from the challenge split, which"
        " holds 210; at most k = 106 is allowed"
    ):
        audited(rules(k=107), RECORDS, NOISY)
    audited(rules(k=106, trials=60), RECORDS, NOISY)


def test_a_secret_that_is_not_in_x_is_refused() -> None:
    hidden = population(torch.randn(600, 3), torch.arange(600) % 2)
    with refused(
        "audit.attribute: 'a' is no part of x, so that no record has it as an attribute that could"
        " be exchanged; name one that is, or leave the key out to audit membership"
    ):
        audited(attribute_rules(), hidden, NOISY)


def test_an_attribute_and_values_that_nobody_has_are_refused() -> None:
    with refused("audit.attribute: the data set synthetic knows no attribute 'b'; Known: a"):
        audited(rules(attribute="b"), RECORDS, NOISY)
    with refused("audit.values: 'a' has no value 'x7'; Known: a0, a1"):
        audited(attribute_rules(values=["a0", "x7"]), RECORDS, NOISY)


def test_the_values_may_be_named_in_the_other_order() -> None:
    usual, turned = (
        audited(attribute_rules(values=values), RECORDS, NOISY)
        for values in (["a0", "a1"], ["a1", "a0"])
    )
    assert exact(usual) == pytest.approx(exact(turned))
    assert {"a0", "a1"} == set(
        observed(attribute_rules(values=["a1", "a0"]), RECORDS, NOISY).records()["random"]
    )


def test_a_defense_that_is_fitted_on_secrets_cannot_be_audited_for_membership() -> None:
    defense = Perturbation(batches=20, width=4)
    with refused(
        f"defense: {defense.label} is fitted on batches whose secrets are known, which an audit of"
        " membership does not have; name an attribute in audit.attribute"
    ):
        audited(rules(), RECORDS, defense)


def test_an_empty_batch_of_a_model_that_mixes_records_is_refused() -> None:
    with refused(
        "audit.k: the gradient of this model is no mean over records, so that an empty batch has"
        " none; take k of at least 2 in an audit of membership"
    ):
        audited(rules(k=1), RECORDS, NoDefense(), Narrow())
