"""An adversary with fewer shadow records, or with others than those that it attacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from leakage.errors import LeakageError
from leakage.population import SHADOW_SPLITS, SPLITS, Population, Trait, split_by_unit
from leakage.shadow import fewer_shadow_records, shifted_shadow

UNTOUCHED = ("train", "validation", "test", "challenge")
VALUES = ("a", "b", "c", "d")


def make(codes: list[int], units: list[int] | None = None, seed: int = 0) -> Population:
    """Records with a trait "race"; with units of their own, unless units say otherwise."""
    n = len(codes)
    owners = torch.arange(n) if units is None else torch.tensor(units)
    shares = dict.fromkeys(UNTOUCHED, 0.1) | {"shadow_fit": 0.4, "shadow_calibrate": 0.2}
    return Population(
        name="Tiny",
        records=TensorDataset(torch.zeros(n, 1)),
        labels=torch.arange(n) % 3 % 2,
        features=torch.zeros(n, 1),
        traits={"race": Trait("race", VALUES, torch.tensor(codes))},
        units=owners,
        splits=split_by_unit(owners, shares, torch.Generator().manual_seed(seed)),
        standin=True,
    )


def placed(fit: list[int], calibrate: list[int]) -> Population:
    """One record in each other split, then those of the two shadow splits."""
    sizes = [1] * len(UNTOUCHED) + [len(fit), len(calibrate)]
    parts = torch.arange(sum(sizes)).split(sizes)
    codes = [0] * len(UNTOUCHED) + fit + calibrate
    splits = dict(zip((*UNTOUCHED, *SHADOW_SPLITS), parts, strict=True))
    return replace(make(codes + [0] * 100), splits=splits)


def fewer(population: Population, records: int, seed: int = 0) -> Population:
    return fewer_shadow_records(population, records, torch.Generator().manual_seed(seed))


def shifted(
    population: Population, shares: Mapping[str, float], trait: str = "race", seed: int = 0
) -> Population:
    generator = torch.Generator().manual_seed(seed)
    return shifted_shadow(population, {trait: shares}, generator)


def assert_a_part(part: Population, whole: Population) -> None:
    """Nothing but the shadow splits differs, and those hold records of before in their order."""
    assert replace(part, splits=whole.splits) == whole
    assert list(part.splits) == list(whole.splits)
    for split in UNTOUCHED:
        assert torch.equal(part.splits[split], whole.splits[split])
    for split in SHADOW_SPLITS:
        records, before = part.splits[split], whole.splits[split]
        assert len(records) > 0
        assert torch.equal(before[torch.isin(before, records)], records)


def same_splits(one: Population, other: Population) -> bool:
    return all(torch.equal(one.splits[split], other.splits[split]) for split in SPLITS)


def refusal(population: Population, shift: Mapping[str, Mapping[str, float]]) -> str:
    with pytest.raises(LeakageError) as error:
        shifted_shadow(population, shift, torch.Generator())
    assert "\n" not in str(error.value)
    return str(error.value)


# Fewer records


@st.composite
def owned(draw: st.DrawFn) -> Population:
    """Records of at least 20 users, who have from 1 to 30."""
    sizes = draw(st.lists(st.integers(1, 30), min_size=20, max_size=40))
    units = [user for user, size in enumerate(sizes) for _ in range(size)]
    units = draw(st.permutations(units)) if draw(st.booleans()) else units
    return make([0] * len(units), units, draw(st.integers(0, 3)))


def sizes_of(population: Population) -> list[int]:
    return [len(population.splits[split]) for split in SHADOW_SPLITS]


def least(population: Population, seed: int = 0) -> int:
    """The smallest number of records that is not refused, by the refusal of none."""
    with pytest.raises(LeakageError, match="0 records are too few") as error:
        fewer(population, 0, seed)
    return int(str(error.value).split("at least ")[1].split()[0])


def between(population: Population, share: float, seed: int = 0) -> int:
    """A number of records from the smallest at 0 to all at 1."""
    low, high = least(population, seed), sum(sizes_of(population))
    return low + round(share * (high - low))


@given(population=owned(), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_fewer_records_are_whole_units_in_their_present_proportion(
    population: Population, share: float, seed: int
) -> None:
    whole = sizes_of(population)
    records = between(population, share, seed)
    part = fewer(population, records, seed)
    assert_a_part(part, population)
    assert same_splits(part, fewer(population, records, seed))
    for split, kept, before in zip(SHADOW_SPLITS, sizes_of(part), whole, strict=True):
        units = population.units[population.splits[split]]
        sizes = Counter(units.tolist())
        after = Counter(population.units[part.splits[split]].tolist())
        assert all(sizes[unit] == n for unit, n in after.items())
        # As near as whole units allow, which is half a unit; and half a record of rounding.
        assert abs(kept - records * before / sum(whole)) <= max(sizes.values()) / 2 + 0.5


@given(n=st.integers(30, 300), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_where_each_record_is_a_unit_so_many_are_left_as_were_asked_for(
    n: int, share: float, seed: int
) -> None:
    population = make([0] * n)
    fit, calibrate = sizes_of(population)
    records = max(3, round(share * (fit + calibrate)))
    kept = sizes_of(fewer(population, records, seed))
    assert sum(kept) == records
    assert abs(kept[0] - records * fit / (fit + calibrate)) <= 0.5


@given(population=owned(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_fewer_records_are_among_more(population: Population, shares: tuple[float, float]) -> None:
    few, many = sorted(between(population, share) for share in shares)
    small = fewer(population, few)
    large = fewer(population, many)
    for split in SHADOW_SPLITS:
        assert torch.isin(small.splits[split], large.splits[split]).all()


def test_all_records_are_the_population_itself_and_another_seed_is_another_choice() -> None:
    population = make([0] * 200)
    assert same_splits(fewer(population, sum(sizes_of(population))), population)
    assert not same_splits(fewer(population, 50, seed=0), fewer(population, 50, seed=1))


def test_every_unit_has_the_same_chance_to_stay() -> None:
    population = make([0] * 100)
    kept = Counter[int]()
    for seed in range(400):
        kept.update(fewer(population, 30, seed).splits["shadow_fit"].tolist())
    counts = [kept[record] for record in population.splits["shadow_fit"].tolist()]
    assert sum(counts) == 400 * 20
    assert min(counts) > 200 - 5 * 10  # binomial: 400 draws at 1/2, five deviations
    assert max(counts) < 200 + 5 * 10


def test_more_records_than_there_are_is_refused_with_their_number() -> None:
    with pytest.raises(LeakageError) as error:
        fewer(make([0] * 100), 61)
    assert str(error.value) == (
        "attack.shadow_records: 61 records are more than the 60 shadow records of the data set Tiny"
    )


@pytest.mark.parametrize("records", [-5, 0, 1])
def test_too_few_records_for_a_unit_in_each_split_are_refused(records: int) -> None:
    with pytest.raises(LeakageError) as error:
        fewer(make([0] * 100), records)
    assert str(error.value) == (
        f"attack.shadow_records: {records} records are too few to keep a unit in each of shadow_fit"
        " and shadow_calibrate; at least 2 are needed"
    )


@given(population=owned())
def test_the_number_that_a_refusal_names_is_the_least_that_works(population: Population) -> None:
    needed = least(population)
    assert_a_part(fewer(population, needed), population)
    with pytest.raises(LeakageError, match=f"at least {needed} are needed"):
        fewer(population, needed - 1)


def test_a_unit_stays_where_at_least_half_of_it_is_asked_for() -> None:
    population = make([0] * 80, [i // 4 for i in range(80)])
    assert sizes_of(population) == [32, 16]
    assert least(population) == 5  # 3 and 2, and 2 are half a unit
    assert sizes_of(fewer(population, 5)) == [4, 4]
    assert sizes_of(fewer(population, 8)) == [4, 4]
    assert sizes_of(fewer(population, 9)) == [8, 4]  # 6 and 3


# Other records


def twin(shares: Mapping[str, Fraction], held: Mapping[str, int]) -> dict[str, Fraction] | None:
    """The share of each value, plainly; None where a split cannot give it."""
    left = 1 - sum(shares.values())
    others = sum(held[value] for value in VALUES if value not in shares)
    if (left and not others) or any(share and not held[value] for value, share in shares.items()):
        return None
    return {
        value: shares[value] if value in shares else left * Fraction(held[value], max(others, 1))
        for value in VALUES
    }


SOME_CODES = st.sets(st.integers(-1, 3), min_size=2).flatmap(
    lambda codes: st.lists(st.sampled_from(sorted(codes)), min_size=60, max_size=200)
)


@given(
    codes=SOME_CODES,
    parts=st.dictionaries(st.sampled_from(VALUES), st.integers(0, 10), min_size=1, max_size=3),
    seed=st.integers(0, 5),
)
def test_shares_are_exact_to_rounding_and_no_larger_subsample_has_them(
    codes: list[int], parts: dict[str, int], seed: int
) -> None:
    assume(sum(parts.values()) <= 20)
    population = make(codes, seed=seed)
    shares = {value: Fraction(part, 20) for value, part in parts.items()}
    names = (*VALUES, "unknown")
    held = {s: Counter(names[codes[i]] for i in population.splits[s]) for s in SHADOW_SPLITS}
    of_all = {split: twin(shares, held[split]) for split in SHADOW_SPLITS}
    floats = {value: float(share) for value, share in shares.items()}
    if None in of_all.values():
        assert "holds no record with" in refusal(population, {"race": floats})
        return
    part = shifted(population, floats, seed=seed)
    assert_a_part(part, population)
    for split, goal in of_all.items():
        assert goal is not None
        kept = Counter(names[codes[i]] for i in part.splits[split])
        assert kept["unknown"] == 0
        size = kept.total()
        assert all(abs(kept[value] - size * goal[value]) < 1 for value in VALUES)
        in_full = [
            m
            for m in range(1, held[split].total() + 1)
            if all(m * goal[value] <= held[split][value] for value in VALUES)
        ]
        assert size == max(in_full)


@pytest.mark.parametrize(
    ("shares", "counts"),
    [
        ({"b": 0.5, "a": 0.5}, [10, 10, 0, 0]),
        ({"a": 0.1, "b": 0.9}, [1, 10, 0, 0]),  # 11, of which 1.1 and 9.9
        ({"d": 0.0}, [60, 10, 30, 0]),
        ({"d": 0.5}, [12, 2, 6, 20]),
        ({"b": 0.5, "d": 0.5}, [0, 10, 0, 10]),
        ({"a": 0.3, "b": 0.1, "c": 0.4, "d": 0.2}, [23, 7, 30, 15]),  # of 22.5, 7.5, 30, 15
        ({"a": 1}, [60, 0, 0, 0]),
        ({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, [10, 10, 10, 0]),
        ({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3, "d": 0.0}, [10, 10, 10, 0]),
        ({"a": 0.5000001, "b": 0.1, "c": 0.2, "d": 0.2}, [50, 10, 20, 20]),
        ({"a": 0.7, "b": 0.1, "c": 0.2}, [60, 8, 17, 0]),  # of 59.5, 8.5, 17
        ({"c": 0.29, "a": 0.71}, [60, 0, 24, 0]),
    ],
)
def test_shifts_with_known_counts(shares: dict[str, float], counts: list[int]) -> None:
    """Of 60, 10, 30 and 20 records, in both splits."""
    codes = [0] * 60 + [1] * 10 + [2] * 30 + [3] * 20
    part = shifted(placed(codes, [*codes, -1, -1]), shares)
    for split in SHADOW_SPLITS:
        found = part.traits["race"].codes[part.splits[split]]
        assert found.bincount(minlength=4).tolist() == counts


def test_a_shift_depends_on_its_seed_alone_and_chooses_at_random() -> None:
    population = make([0, 1, 0] * 100)
    shares = {"a": 0.5, "b": 0.5}
    once, again, other = (shifted(population, shares, seed=seed) for seed in (0, 0, 1))
    assert same_splits(once, again)
    assert not same_splits(once, other)
    kept = Counter[int]()
    for seed in range(400):
        kept.update(shifted(population, shares, seed=seed).splits["shadow_fit"].tolist())
    codes = population.traits["race"].codes
    fit = population.splits["shadow_fit"]
    n, m = (int((codes[fit] == code).sum()) for code in (0, 1))
    assert n > m
    for record in fit[codes[fit] == 0].tolist():  # binomial, five deviations
        assert abs(kept[record] - 400 * m / n) < 5 * (400 * m / n * (1 - m / n)) ** 0.5
    assert all(kept[record] == 400 for record in fit[codes[fit] == 1].tolist())


def test_users_lose_records_and_stay_in_their_split() -> None:
    population = make([i % 2 for i in range(300)], [i // 10 for i in range(300)])
    part = shifted(population, {"a": 0.25, "b": 0.75})
    for split in SHADOW_SPLITS:
        before, after = (p.units[p.splits[split]].tolist() for p in (population, part))
        assert {*after} == {*before}
        assert len(after) < len(before)


def test_the_labels_are_shifted_under_their_own_name() -> None:
    population = make([0] * 300)
    part = shifted(population, {"1": 0.8, "0": 0.2}, trait="label")
    assert_a_part(part, population)
    for split in SHADOW_SPLITS:
        labels = population.labels[population.splits[split]]
        kept = population.labels[part.splits[split]]
        assert len(kept) == int(labels.sum() / 0.8)
        assert abs(kept.sum() - 0.8 * len(kept)) < 1
    as_yaml_reads_it: dict[str, float] = {1: 0.8, 0: 0.2}  # type: ignore[dict-item]
    assert same_splits(shifted(population, as_yaml_reads_it, trait="label"), part)
    # A trait of the name goes before, and so does the reason why there is none.
    race = replace(population.traits["race"], name="label")
    assert "'label' has no value '1'" in refusal(
        replace(population, traits={"label": race}), {"label": {"1": 1.0}}
    )
    unusable = replace(population, unusable={"label": "has 73 distinct values"})
    assert refusal(unusable, {"label": {"1": 1.0}}) == (
        "attack.shadow_shift.label: 'label' has 73 distinct values"
    )


KEY = "attack.shadow_shift"


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        ({}, f"{KEY}: exactly one trait is allowed, found none"),
        (
            {"race": {"a": 1.0}, "sex": {"m": 1.0}},
            f"{KEY}: exactly one trait is allowed, found race, sex",
        ),
        (
            {"racer": {"a": 1.0}},
            f"{KEY}.racer: the data set Tiny knows no attribute 'racer'; did you mean 'race'?"
            " Known: race",
        ),
        ({"race": {}}, f"{KEY}.race: found no value; at least one with its share is needed"),
        (
            {"race": {"a": 0.5, "A": 0.5}},
            f"{KEY}.race: 'race' has no value 'A'; Known: a, b, c, d",
        ),
        (
            {"label": {"2": 1.0}},
            f"{KEY}.label: 'label' has no value '2'; Known: 0, 1",
        ),
        ({"race": {"b": 1.1}}, f"{KEY}.race.b: a share is a number in 0..1, got 1.1"),
        ({"race": {"b": -0.1}}, f"{KEY}.race.b: a share is a number in 0..1, got -0.1"),
        (
            {"race": {"b": float("nan")}},
            f"{KEY}.race.b: a share is a number in 0..1, got nan",
        ),
        (
            {"race": {"a": 0.6, "b": 0.7}},
            f"{KEY}.race: the shares sum to 1.3; at most 1 is allowed",
        ),
        (
            {"race": {"a": 0.6, "b": 0.1, "c": 0.0, "d": 0.1}},
            f"{KEY}.race: the shares of all 4 values sum to 0.8; 1 is needed",
        ),
        (
            {"race": {"d": 0.5}},
            f"{KEY}.race: shadow_calibrate holds no record with 'd', so that its share can be 0"
            " only, got 0.5",
        ),
        (
            {"race": {"a": 0.25, "b": 0.5, "c": 0.0}},
            f"{KEY}.race: shadow_calibrate holds no record with a value that is not named, so that"
            " the shares must sum to 1, got 0.75",
        ),
    ],
)
def test_an_impossible_shift_is_refused(shift: dict[str, dict[str, float]], sentence: str) -> None:
    population = placed([0, 0, 1, 2, 3], [0, 1, 1, 2, -1])
    assert refusal(population, shift) == sentence


def test_a_split_in_which_the_trait_is_unknown_is_refused() -> None:
    assert refusal(placed([0, 1], [-1, -1]), {"race": {"a": 0.0}}) == (
        f"{KEY}.race: shadow_calibrate holds no record with a value that is not named, so that the"
        " shares must sum to 1, got 0.0"
    )


def test_one_record_of_a_value_is_enough_for_any_share() -> None:
    population = placed([0, 1] + [0] * 50, [0, 1])
    part = shifted(population, {"b": 1.0})
    assert sizes_of(part) == [1, 1]
    assert sizes_of(shifted(population, {"b": 0.1, "a": 0.9})) == [10, 1]
