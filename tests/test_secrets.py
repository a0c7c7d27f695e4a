"""Batches have the value that was drawn, and are drawn from the law that the docstrings state."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError, replace
from itertools import permutations
from math import comb
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import TensorDataset

from leakage.dealing import Dealer
from leakage.errors import LeakageError
from leakage.population import SPLITS, Population, Trait
from leakage.rules import Game
from leakage.secrets import Attribute, Pool, Property, Secret, Sizes
from leakage.secrets.base import draw_beside, draw_distinct

SHADOW = "shadow_fit"
PLAYED = ("shadow_fit", "shadow_calibrate", "challenge")


def population_of(codes: list[int], in_x: bool = True, values: str = "fmo") -> Population:
    """A population whose six splits all hold records with these codes of the trait sex."""
    size = len(codes)
    n = size * len(SPLITS)
    columns = (0,) if in_x else ()
    others = torch.zeros(n, dtype=torch.int64)
    return Population(
        name="Tiny",
        records=TensorDataset(torch.zeros(n, 1)),
        labels=torch.zeros(n, dtype=torch.int64),
        features=torch.zeros(n, 1),
        traits={
            "race": Trait("race", ("a",), others, columns),
            "sex": Trait("sex", tuple(values), torch.tensor(codes * len(SPLITS)), columns),
        },
        units=torch.arange(n),
        splits={split: torch.arange(size) + i * size for i, split in enumerate(SPLITS)},
        standin=True,
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alike(k: int, others: int = 0) -> Sizes:
    """The adversary knows k."""
    return Sizes(k, others, k)


def pool_of(secret: Secret, population: Population, split: str, k: int = 1) -> Pool:
    return secret.seats(population, alike(k)).pools[split]


def draws(
    secret: Secret, population: Population, values: Tensor, k: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Batches (n, k), and the code of the trait of each record in them."""
    pool = pool_of(secret, population, SHADOW, k)
    targets = secret.aim(values, pool, generator(seed + 1000))
    batches = secret.draw(values, k, pool, generator(seed), targets)
    return batches, population.traits["sex"].codes[batches]


def assert_batches_of_the_pool(batches: Tensor, population: Population, n: int, k: int) -> None:
    assert batches.shape == (n, k)
    assert batches.dtype == torch.int64
    assert torch.isin(batches, population.splits[SHADOW]).all()
    ordered = batches.sort(dim=1).values
    assert (ordered[:, 1:] > ordered[:, :-1]).all()  # distinct within a batch


def assert_share(hits: int, n: int, share: float) -> None:
    """A count of n independent draws lies within 5 sigma of its law."""
    assert abs(hits - n * share) <= 5 * (n * share * (1 - share)) ** 0.5 + 1e-9, (hits, n * share)


codes_with_enough = st.lists(st.integers(-1, 2), min_size=0, max_size=20).map(
    lambda extra: [*extra, *[0, 1, 2] * 6]
)
some_values = st.lists(st.integers(0, 2), min_size=1, max_size=20)
two_values = st.lists(st.integers(0, 1), min_size=1, max_size=20)
sizes = st.integers(1, 6)
seeds = st.integers(0, 99)


@pytest.mark.parametrize("secret", [Attribute(), Property()], ids=repr)
@given(codes=codes_with_enough, values=some_values, k=sizes, seed=seeds)
def test_scope_all_gives_every_record_of_a_batch_the_value(
    secret: Secret, codes: list[int], values: list[int], k: int, seed: int
) -> None:
    population = population_of(codes, in_x=isinstance(secret, Attribute))
    secret.check(population, alike(k))
    asked = torch.tensor(values, dtype=torch.int64)
    batches, found = draws(secret, population, asked, k, seed)
    assert_batches_of_the_pool(batches, population, len(values), k)
    assert (found == asked.unsqueeze(1)).all()
    assert secret.support(population) == ("f", "m", "o")


@given(codes=codes_with_enough, values=two_values, k=sizes, seed=seeds)
def test_scope_all_with_a_value_gives_it_to_all_or_none(
    codes: list[int], values: list[int], k: int, seed: int
) -> None:
    population = population_of(codes, in_x=False)
    secret = Property(value="m")
    secret.check(population, alike(k))
    asked = torch.tensor(values, dtype=torch.int64)
    batches, found = draws(secret, population, asked, k, seed)
    assert_batches_of_the_pool(batches, population, len(values), k)
    assert (found >= 0).all()  # where the trait is unknown, nobody knows that it is not m
    assert ((found == 1) == (asked.unsqueeze(1) == 1)).all()
    assert secret.support(population) == ("no m", "m")


@given(codes=codes_with_enough, values=some_values, k=sizes, seed=seeds)
def test_scope_target_gives_the_first_record_the_value(
    codes: list[int], values: list[int], k: int, seed: int
) -> None:
    population = population_of(codes)
    secret = Attribute(scope="target")
    secret.check(population, alike(k))
    asked = torch.tensor(values, dtype=torch.int64)
    batches, found = draws(secret, population, asked, k, seed)
    assert_batches_of_the_pool(batches, population, len(values), k)
    assert torch.equal(found[:, 0], asked)


@pytest.mark.parametrize("holders", ["one", "uniform", "natural"])
@given(codes=codes_with_enough, values=two_values, k=sizes, seed=seeds)
def test_scope_any_has_holders_exactly_where_the_value_says_so(
    holders: Any, codes: list[int], values: list[int], k: int, seed: int
) -> None:
    population = population_of(codes, in_x=False)
    secret = Property(scope="any", value="m", holders=holders)
    secret.check(population, alike(k))
    asked = torch.tensor(values, dtype=torch.int64)
    batches, found = draws(secret, population, asked, k, seed)
    assert_batches_of_the_pool(batches, population, len(values), k)
    assert (found >= 0).all()
    count = (found == 1).sum(1)
    assert torch.equal(count > 0, asked == 1)
    if holders == "one":
        assert torch.equal(count, asked)


@pytest.mark.parametrize(
    "secret",
    [
        Attribute(),
        Attribute(scope="target"),
        Property(),
        Property(scope="any", value="m"),
        Property(scope="any", value="m", holders="natural"),
    ],
    ids=repr,
)
def test_the_generator_decides_every_draw(secret: Secret) -> None:
    population = population_of([0, 1, 2] * 8)
    values = torch.arange(40) % 2
    random = torch.get_rng_state()
    one, _ = draws(secret, population, values, 3, seed=1)
    assert torch.equal(one, draws(secret, population, values, 3, seed=1)[0])
    assert not torch.equal(one, draws(secret, population, values, 3, seed=2)[0])
    assert torch.equal(torch.get_rng_state(), random)


def test_scope_target_draws_the_others_uniformly_from_everybody_else() -> None:
    """Unknown codes (-1) among them: beside the target, anybody may stand."""
    population = population_of([0, 0, 1, 1, 1, -1, -1, 2])
    n, k = 20_000, 4
    batches, _ = draws(Attribute(scope="target"), population, torch.zeros(n).long(), k)
    first = population.splits[SHADOW][0]
    for target in (first, first + 1):  # the two records with code 0
        rows = batches[batches[:, 0] == target]
        assert_share(len(rows), n, 1 / 2)
        for column in range(1, k):
            for other in set(population.splits[SHADOW].tolist()) - {int(target)}:
                assert_share(int((rows[:, column] == other).sum()), len(rows), 1 / 7)


def test_scope_all_draws_records_of_a_class_uniformly() -> None:
    population = population_of([0, 1, 1, 1, 0, 1, 1, -1, 2])
    n = 20_000
    batches, _ = draws(Attribute(), population, torch.ones(n).long(), 2)
    members = population.splits[SHADOW][torch.tensor([1, 2, 3, 5, 6])]
    for column in range(2):
        for member in members:
            assert_share(int((batches[:, column] == member).sum()), n, 1 / 5)


def test_batches_are_drawn_independently() -> None:
    """Two batches in a row share their first record as often as two strangers do."""
    population = population_of([0] * 10 + [1] * 10 + [2] * 10)
    values = torch.arange(20_000) % 2
    batches, _ = draws(Attribute(), population, values, 3)
    same = batches[0:-2:4, 0] == batches[2::4, 0][: len(batches[0:-2:4])]
    assert_share(int(same.sum()), len(same), 1 / 10)


def counts_of_holders(holders: Any, codes: list[int], n: int, k: int) -> Counter[int]:
    population = population_of(codes, in_x=False)
    secret = Property(scope="any", value="m", holders=holders)
    _, found = draws(secret, population, torch.ones(n).long(), k)
    return Counter((found == 1).sum(1).tolist())


def test_uniform_holders_are_uniform_on_1_to_k() -> None:
    n, k = 20_000, 5
    counts = counts_of_holders("uniform", [0] * 9 + [1] * 6 + [-1] * 7, n, k)
    assert set(counts) == {1, 2, 3, 4, 5}
    for count in counts.values():
        assert_share(count, n, 1 / k)


def test_natural_holders_are_binomial_given_at_least_one() -> None:
    """P(j) = C(k, j) q^j (1-q)^(k-j) / (1 - (1-q)^k), q the share among the known."""
    n, k, q = 40_000, 5, 0.3
    counts = counts_of_holders("natural", [0] * 7 + [2] * 7 + [1] * 6 + [-1] * 10, n, k)
    for j in range(1, k + 1):
        law = comb(k, j) * q**j * (1 - q) ** (k - j) / (1 - (1 - q) ** k)
        assert_share(counts[j], n, law)
    assert sum(counts.values()) == n
    assert 0 not in counts


def test_holders_and_the_others_are_drawn_uniformly_from_their_classes() -> None:
    population = population_of([0] * 4 + [1] * 4 + [2] * 2 + [-1] * 3, in_x=False)
    n, k = 20_000, 3
    secret = Property(scope="any", value="m", holders="one")
    batches, found = draws(secret, population, torch.ones(n).long(), k)
    held = Counter(batches[found == 1].tolist())
    rest = Counter(batches[found != 1].tolist())
    assert len(held) == 4
    assert len(rest) == 6
    for count in held.values():
        assert_share(count, n, 1 / 4)
    for count in rest.values():
        assert_share(count, n, 2 / 6)


def test_draw_distinct_gives_each_ordered_choice_the_same_chance() -> None:
    records, n = torch.tensor([3, 5, 8, 13]), 24_000
    drawn = draw_distinct(records, n, 2, generator())
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(permutations(records.tolist(), 2))
    for count in counts.values():
        assert_share(count, n, 1 / 12)


@given(size=st.integers(1, 30), n=st.integers(0, 9), seed=seeds, data=st.data())
def test_draw_distinct_draws_distinct_records(
    size: int, n: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, size))
    records = 7 * torch.arange(size)
    drawn = draw_distinct(records, n, k, generator(seed))
    assert drawn.shape == (n, k)
    assert all(len(set(row)) == k and set(row) <= set(records.tolist()) for row in drawn.tolist())


def test_a_large_pool_is_drawn_in_parts_that_differ() -> None:
    records = torch.arange(2**23)  # two rows a part
    drawn = draw_distinct(records, 5, 3, generator())
    assert drawn.shape == (5, 3)
    assert len(set(drawn.flatten().tolist())) == 15  # a collision has chance 1e-5
    assert draw_distinct(records, 0, 3, generator()).shape == (0, 3)


@given(size=st.integers(1, 20), n=st.integers(1, 8), seed=seeds, data=st.data())
def test_draw_beside_never_meets_the_taken(
    size: int, n: int, seed: int, data: st.DataObject
) -> None:
    j = data.draw(st.integers(0, size))
    count = data.draw(st.integers(0, size - j))
    pool = Pool("challenge", 3 * torch.arange(size), torch.zeros(size, dtype=torch.int64))
    taken = draw_distinct(pool.records, n, j, generator(seed + 100))
    drawn = draw_beside(taken, pool.records, count, generator(seed))
    assert drawn.shape == (n, count)
    for mine, theirs in zip(taken.tolist(), drawn.tolist(), strict=True):
        assert len(set(theirs)) == count
        assert set(theirs) <= set(pool.records.tolist()) - set(mine)


def test_draw_beside_draws_uniformly_from_the_rest() -> None:
    pool = Pool("challenge", torch.arange(6), torch.zeros(6, dtype=torch.int64))
    n = 24_000
    taken = torch.tensor([[1, 4]]).expand(n, 2)
    counts = Counter(map(tuple, draw_beside(taken, pool.records, 2, generator()).tolist()))
    assert set(counts) == set(permutations([0, 2, 3, 5], 2))
    for count in counts.values():
        assert_share(count, n, 1 / 12)


def test_priors_are_uniform_or_the_shares_among_the_known() -> None:
    population = population_of([0] * 5 + [1] * 3 + [2] * 2 + [-1] * 6)
    for secret, expected in (
        (Attribute(), [1 / 3, 1 / 3, 1 / 3]),
        (Attribute(prior="natural"), [0.5, 0.3, 0.2]),
        (Property(value="m"), [0.5, 0.5]),
        (Property(value="m", prior="natural"), [0.7, 0.3]),
        (Property(value="m", scope="any"), [0.5, 0.5]),
    ):
        shadow = pool_of(secret, population, SHADOW)
        found = secret.probabilities(shadow, len(secret.support(population)))
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(expected, abs=1e-12)


@given(codes=codes_with_enough, n=st.integers(0, 50), seed=seeds)
def test_unknown_codes_belong_to_no_class(codes: list[int], n: int, seed: int) -> None:
    population = population_of(codes)
    trait = population.traits["sex"]
    known = trait.codes >= 0
    assert torch.equal(Attribute().classes(population), trait.codes)
    classes = Property(value="m").classes(population)
    assert torch.equal(classes, torch.where(known, (trait.codes == 1).long(), -1))
    pool = pool_of(Property(value="m"), population, SHADOW)
    sizes = [len(pool.of(0)), len(pool.of(1))]
    assert sum(sizes) == sum(code >= 0 for code in codes)
    assert sizes[1] == codes.count(1)


def test_names_tell_secrets_apart() -> None:
    names = [
        Attribute().name,
        Attribute(scope="target").name,
        Property().name,
        Property(scope="any", value="m", holders="one").name,
        Property(scope="any", value="m", holders="natural").name,
    ]
    assert names == [
        "attribute_sex",
        "attribute_sex_target",
        "property_sex",
        "property_sex_any_one",
        "property_sex_any_natural",
    ]


def test_only_an_attribute_is_one_hot_in_x() -> None:
    trait = Trait("sex", ("f", "m"), torch.zeros(1), (3, 4), (4, 3))
    assert Attribute().one_hot(trait) == (4, 3)
    assert Property().one_hot(trait) == ()


@pytest.mark.parametrize("secret", [Attribute(), Property()], ids=repr)
def test_settings_are_frozen(secret: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        secret.attribute = "race"


def refusal(secret: Secret, population: Population, k: int = 2, others: int = 0) -> str:
    with pytest.raises(LeakageError) as error:
        secret.check(population, alike(k, others))
    return str(error.value)


@pytest.mark.parametrize("kind", [Attribute, Property])
def test_an_unknown_attribute_is_refused_with_the_nearest(kind: Any) -> None:
    assert refusal(kind("sexx"), population_of([0, 1, 2])) == (
        "attack.secret.attribute: the data set Tiny knows no attribute 'sexx'; did you mean 'sex'?"
        " Known: race, sex"
    )


@pytest.mark.parametrize("kind", [Attribute, Property])
def test_an_attribute_with_one_value_is_refused(kind: Any) -> None:
    assert refusal(kind("race"), population_of([0, 1, 2])) == (
        "attack.secret.attribute: 'race' has the one value 'a' in the data, so there is nothing to"
        " infer; choose an attribute with two or more"
    )


def test_an_attribute_that_is_not_in_x_is_refused() -> None:
    assert refusal(Attribute(), population_of([0, 1, 2] * 3, in_x=False)) == (
        "attack.secret: Attribute is about a feature of x, but 'sex' is excluded from x; take it"
        " out of data.exclude, or use the secret Property"
    )


def test_a_property_that_is_in_x_is_refused() -> None:
    assert refusal(Property(), population_of([0, 1, 2] * 3)) == (
        "attack.secret: Property is about a trait that is no part of x, but 'sex' is in x; add it"
        " to data.exclude, or use the secret Attribute"
    )


@pytest.mark.parametrize("split", PLAYED)
def test_a_batch_larger_than_the_smallest_class_is_refused_by_class_and_split(split: str) -> None:
    population = population_of([0] * 6 + [1] * 4 + [2] * 6)
    short = dict(population.splits)
    short[split] = short[split][[0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]]
    population = replace(population, splits=short)
    Attribute().check(population, alike(2))
    assert refusal(Attribute(), population, k=4) == (
        f"attack.k: a batch of k = 4 needs 4 records with sex = m, but the {split} split holds 2;"
        " lower attack.k or choose an attribute whose values are less rare"
    )
    Attribute(scope="target").check(population, alike(4))


@pytest.mark.parametrize(
    ("secret", "needed", "value", "held"),
    [
        (Property(value="m"), 4, "m", 1),
        (Property(scope="any", value="m", holders="uniform"), 4, "m", 1),
        (Property(scope="any", value="m", holders="natural"), 4, "m", 1),
        (Property(value="f"), 4, "no f", 3),
        (Property(scope="any", value="f", holders="one"), 4, "no f", 3),
    ],
    ids=repr,
)
def test_a_property_is_refused_where_holders_or_the_others_are_too_few(
    secret: Secret, needed: int, value: str, held: int
) -> None:
    population = population_of([0] * 9 + [1] + [2] * 2 + [-1] * 9, in_x=False)
    assert refusal(secret, population, k=4) == (
        f"attack.k: a batch of k = 4 needs {needed} records with sex = {value}, but the shadow_fit"
        f" split holds {held}; lower attack.k or choose an attribute whose values are less rare"
    )


def test_one_holder_suffices_where_one_is_drawn() -> None:
    population = population_of([0] * 9 + [1], in_x=False)
    secret = Property(scope="any", value="m", holders="one")
    secret.check(population, alike(4))
    _, found = draws(secret, population, torch.ones(5).long(), 4)
    assert (found == 1).sum(1).tolist() == [1] * 5


@pytest.mark.parametrize("secret", [Attribute(), Attribute(scope="target")], ids=repr)
def test_a_batch_and_its_others_may_take_the_whole_split_and_no_more(secret: Secret) -> None:
    population = population_of([0, 1, 2] * 3)
    secret.check(population, alike(2, 7))
    batches, _ = draws(secret, population, torch.tensor([0, 1, 2]), 2)
    beside = draw_beside(batches, pool_of(secret, population, SHADOW).records, 7, generator())
    everybody = population.splits[SHADOW].tolist()
    assert torch.cat([batches, beside], 1).sort(1).values.tolist() == [everybody] * 3
    assert refusal(secret, population, k=2, others=8) == (
        "attack.others: k + others = 10 records are more than the shadow_fit split holds (9)"
    )


def test_scope_any_without_a_value_is_refused() -> None:
    assert refusal(Property(scope="any"), population_of([0, 1, 2] * 3, in_x=False)) == (
        "attack.secret.value: scope 'any' needs a value; Known: f, m, o"
    )


@pytest.mark.parametrize("scope", ["all", "any"])
def test_an_unknown_value_is_refused_with_the_nearest(scope: Any) -> None:
    population = population_of([0, 1] * 3, in_x=False)
    trait = replace(population.traits["sex"], values=("female", "male"))
    population = replace(population, traits={"sex": trait})
    assert refusal(Property(scope=scope, value="femal"), population) == (
        "attack.secret.value: got 'femal'; did you mean 'female'? Known: female, male"
    )


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (
            Attribute,
            {"scope": "any"},
            "attack.secret.scope: Attribute knows 'all' and 'target', got 'any'",
        ),
        (
            Property,
            {"scope": "target"},
            "attack.secret.scope: Property knows 'all' and 'any', got 'target'",
        ),
        (
            Property,
            {"holders": "two"},
            "attack.secret.holders: Property knows 'one', 'uniform' and 'natural', got 'two'",
        ),
        (
            Property,
            {"scope": "any", "value": "m", "prior": "natural"},
            "attack.secret.prior: scope 'any' has a uniform prior only",
        ),
        (
            Attribute,
            {"prior": "flat"},
            "attack.secret.prior: Attribute knows 'uniform' and 'natural', got 'flat'",
        ),
        (
            Property,
            {"prior": "flat"},
            "attack.secret.prior: Property knows 'uniform' and 'natural', got 'flat'",
        ),
    ],
)
def test_an_unknown_setting_is_refused(kind: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LeakageError) as error:
        kind(**settings)
    assert str(error.value) == sentence


def test_others_beside_a_target_may_take_the_whole_split() -> None:
    population = population_of([0, 1, 2] * 6)
    game = Game(Attribute(scope="target"), k=4, others=14, shadow_batches=9, calibrate_batches=9)
    game.secret.check(population, game.sizes)
    dealer = Dealer(game, population, torch.full((3,), 1 / 3, dtype=torch.float64))
    batches = dealer.deal(SHADOW, 0).batches
    assert batches.sort(1).values.tolist() == [population.splits[SHADOW].tolist()] * 9


def test_a_wrong_k_that_is_too_large_is_named() -> None:
    population = population_of([0, 1, 2] * 6)
    with pytest.raises(LeakageError) as error:
        Attribute().check(population, Sizes(2, 0, 7))
    assert str(error.value) == (
        "attack.shadow_k: a batch of k = 7 needs 7 records with sex = f, but the shadow_fit split"
        " holds 6; lower attack.shadow_k or choose an attribute whose values are less rare"
    )
