"""Splits never share a unit, and unknown names get one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from leakage.errors import LeakageError
from leakage.population import SPLITS, Population, Trait, split_by_unit


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
def test_a_split_without_records_is_refused(population: Population, empty: bool) -> None:
    splits = dict(population.splits)
    del splits["shadow_fit"]
    if empty:
        splits["shadow_fit"] = torch.tensor([], dtype=torch.int64)
    with pytest.raises(LeakageError) as error:
        replace(population, splits=splits)
    assert str(error.value) == (
        "data set Tiny: the split shadow_fit holds no record; each of train, validation, test,"
        " shadow_fit, shadow_calibrate, challenge needs at least one"
    )


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
