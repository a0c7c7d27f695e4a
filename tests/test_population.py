"""Splits never share a unit, and unknown names get one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from leakage.errors import LeakageError
from leakage.population import (
    GAME_SPLITS,
    SPLITS,
    Population,
    Trait,
    columns_that_tell,
    split_by_unit,
)


@pytest.fixture
def population() -> Population:
    n = 2 * len(SPLITS)
    return Population(
        name="Tiny",
        records=TensorDataset(torch.zeros(n, 1)),
        labels=torch.zeros(n, dtype=torch.int64),
        features=torch.zeros(n, 1),
        traits={
            "race": Trait("race", ("a", "b"), torch.zeros(n, dtype=torch.int64)),
            "sex": Trait("sex", ("f", "m"), torch.zeros(n, dtype=torch.int64), (0,), (0,)),
        },
        units=torch.arange(n),
        splits={split: torch.tensor([2 * i, 2 * i + 1]) for i, split in enumerate(SPLITS)},
        standin=True,
    )


@given(
    units=st.lists(st.integers(-3, 40), min_size=0, max_size=200),
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_split_by_unit_puts_every_record_into_one_split_and_never_parts_a_unit(
    units: list[int], weights: list[int], seed: int
) -> None:
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    generator = torch.Generator().manual_seed(seed)
    splits = split_by_unit(torch.tensor(units, dtype=torch.int64), shares, generator)
    assert list(splits) == list(shares)
    assert sorted(torch.cat(list(splits.values())).tolist()) == list(range(len(units)))
    homes: dict[int, str] = {}
    for name, indices in splits.items():
        assert indices.tolist() == sorted(indices.tolist())
        for index in indices.tolist():
            assert homes.setdefault(units[index], name) == name
    # Shares are of the units; rounding moves each border by at most a half.
    for name, share in shares.items():
        held = sum(home == name for home in homes.values())
        assert abs(held - share * len(set(units))) <= 1 + 1e-6


def test_split_by_unit_depends_on_the_seed_alone() -> None:
    def train(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return split_by_unit(torch.arange(100), {"a": 0.5, "b": 0.5}, generator)["a"].tolist()

    assert train(0) == train(0) != train(1)


def test_a_unit_in_two_splits_is_refused(population: Population) -> None:
    units = population.units.clone()
    units[10] = units[1]
    units[11] = units[1]
    with pytest.raises(LeakageError) as error:
        replace(population, units=units)
    assert str(error.value) == (
        "data set Tiny: the splits train and challenge share 1 units, the first is unit 1; splits"
        " must be disjoint by unit"
    )


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("split", GAME_SPLITS)
def test_a_split_of_the_game_without_records_is_refused(
    population: Population, split: str, empty: bool
) -> None:
    splits = dict(population.splits)
    del splits[split]
    if empty:
        splits[split] = torch.tensor([], dtype=torch.int64)
    with pytest.raises(LeakageError) as error:
        replace(population, splits=splits)
    assert str(error.value) == (
        f"data set Tiny: the split {split} holds no record; each of shadow_fit, shadow_calibrate,"
        " challenge needs at least one"
    )


def test_the_other_splits_may_be_absent_or_empty_which_is_one_to_the_fingerprint(
    population: Population,
) -> None:
    others = set(SPLITS) - set(GAME_SPLITS)
    assert others == {"train", "validation", "test"}
    absent = replace(population, splits={s: population.splits[s] for s in GAME_SPLITS})
    none = dict.fromkeys(others, torch.tensor([], dtype=torch.int64))
    empty = replace(population, splits={**population.splits, **none})
    assert absent.fingerprint == empty.fingerprint != population.fingerprint
    for split in GAME_SPLITS:  # a record less
        shorter = {**absent.splits, split: absent.splits[split][:1]}
        same = replace(absent, splits=shorter).fingerprint == absent.fingerprint
        assert same == split.startswith("shadow")  # another adversary of the same training
    # A record of one split in the place of another's.
    moved = {**absent.splits, "challenge": absent.splits["shadow_fit"]}
    moved["shadow_fit"] = absent.splits["challenge"]
    assert replace(absent, splits=moved).fingerprint != absent.fingerprint


def test_the_fingerprint_is_that_of_earlier_checkpoints(
    population: Population,
) -> None:
    assert population.fingerprint.startswith("64f7cce80efa17b9-")
    population.check_fingerprint("64f7cce80efa17b9")


def test_a_unit_in_two_splits_is_refused_beside_absent_ones(population: Population) -> None:
    splits = {split: population.splits[split] for split in GAME_SPLITS}
    units = population.units.clone()
    units[splits["challenge"][0]] = units[splits["shadow_calibrate"][1]]
    with pytest.raises(LeakageError) as error:
        replace(population, splits=splits, units=units)
    assert str(error.value) == (
        "data set Tiny: the splits shadow_calibrate and challenge share 1 units, the first is unit"
        " 9; splits must be disjoint by unit"
    )


def test_a_population_is_apart_from_training_unless_it_says_otherwise(
    population: Population,
) -> None:
    assert not population.trained_on
    assert replace(population, trained_on=True).trained_on


def test_an_unknown_trait_is_refused_by_its_key_with_the_nearest_name(
    population: Population,
) -> None:
    assert population.trait("sex", "attack.secret.attribute").in_x
    assert not population.trait("race", "attack.secret.attribute").in_x
    with pytest.raises(LeakageError) as error:
        population.trait("sexx", "attack.secret.attribute")
    assert str(error.value) == (
        "attack.secret.attribute: the data set Tiny knows no attribute 'sexx';"
        " did you mean 'sex'? Known: race, sex"
    )


def test_what_cannot_be_a_secret_is_refused_with_its_reason(population: Population) -> None:
    known = replace(population, unusable={"age": "has 73 distinct values"})
    with pytest.raises(LeakageError) as error:
        known.trait("age", "attack.secret.attribute")
    assert str(error.value) == "attack.secret.attribute: 'age' has 73 distinct values"


CODES = torch.tensor([0, 1, 2, 0, 1, 2, -1])


@pytest.mark.parametrize(
    ("column", "tells"),
    [
        ([0, 1, 2, 0, 1, 2, 9], True),  # a number of its own for each value
        ([7, -1, 3, 7, -1, 3, 7], True),
        ([0.1, 0.7, 0.1, 0.1, 0.7, 0.1, 5], True),  # an image of one value's indicator
        ([1, 0, 0, 1, 0, 0, 1], True),
        ([0, 1, 2, 0, 1, 3, 9], False),
        ([1, 0, 0, 1, 0, 1, 0], False),
        ([4, 4, 4, 4, 4, 4, 1], False),
        ([1, 2, 3, 4, 5, 6, 7], False),
        ([0, 1, float("nan"), 0, 1, float("nan"), 0], False),
    ],
)
def test_a_column_tells_a_trait_by_value_or_by_one_value(column: list[float], tells: bool) -> None:
    noise = torch.randn(7, 300, generator=torch.Generator().manual_seed(0))
    for at in (0, 255, 256, 299):
        x = noise.clone()
        x[:, at] = torch.tensor(column)
        assert columns_that_tell(x, CODES, 3).tolist() == [at] * tells


def test_no_column_tells_what_has_one_value_is_unknown_or_meets_no_features() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert columns_that_tell(x, torch.tensor([0, 0]), 1).tolist() == []
    assert columns_that_tell(x, torch.tensor([-1, -1]), 2).tolist() == []
    assert columns_that_tell(x[:, :0], torch.tensor([0, 1]), 2).tolist() == []
    assert columns_that_tell(x, torch.tensor([1, 0]), 2).tolist() == [1]


def test_data_that_changed_in_the_same_splits_are_told_from_other_splits(
    population: Population,
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(population.units), 5, generator=generator)
    before = replace(population, features=x)
    again = replace(before, features=x * (1 + 1e-7))  # of another processor
    again.check_fingerprint(before.fingerprint)
    shadow = population.splits["shadow_fit"]

    def changed(part: torch.Tensor, record: int) -> torch.Tensor:
        part = part.clone()
        part[record] = part[record] + 1
        return part

    def refusal(now: Population) -> str:
        with pytest.raises(LeakageError) as error:
            now.check_fingerprint(before.fingerprint)
        return str(error.value)

    for record in range(len(x)):
        race = replace(before.traits["race"], codes=changed(before.traits["race"].codes, record))
        codes = {
            "labels": replace(before, labels=changed(before.labels, record)),
            "traits": replace(before, traits={**before.traits, "race": race}),
        }
        features = replace(before, features=changed(x, record))
        for now in (*codes.values(), features):
            if record in shadow or record in population.splits["shadow_calibrate"]:
                now.check_fingerprint(before.fingerprint)  # another adversary
                continue
            what = "features" if now is features else "labels, units or attributes"
            assert refusal(now) == (
                "ckpt_path: the data Tiny have changed since the checkpoint was written: the"
                f" records are in the same splits, with other {what}; use the files that it was"
                " trained on, or train anew"
            )
