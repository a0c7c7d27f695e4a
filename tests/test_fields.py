"""What the columns of x mean: of Adult, of Health, and of a table that nobody explains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from populations import gaussian, population
from torch import Tensor

from leakage.data.adult import Adult
from leakage.data.adult_files import COLUMNS
from leakage.data.health import Health
from leakage.data.standins.health import HEALTH
from leakage.errors import LeakageError
from leakage.fields import (
    Category,
    Field,
    Number,
    fields_of,
    project,
    read,
    why_invalid,
    write,
)
from leakage.population import Population

AGE = Number("age", (0,), 17, 90, shift=38.6, scale=13.7, whole=True)
COUNT = Number("claims", (1,), 0, 40, shift=1.5, scale=0.7, whole=True, log=True)
SEX = Category("sex", (2, 3), ("F", "M"), torch.eye(2))
FIELDS: tuple[Field, ...] = (AGE, COUNT, SEX)


@pytest.fixture(scope="module")
def adult(adult_root: Path) -> Population:
    data = Adult(str(adult_root))
    data.prepare_data()
    data.setup("fit")
    return data.population


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> Population:
    root = tmp_path_factory.mktemp("health")
    HEALTH.write(root, size=300, seed=0)
    data = Health(str(root))
    data.prepare_data()
    data.setup("fit")
    return data.population


def column(fields: tuple[Field, ...], name: str) -> Field:
    return next(field for field in fields if field.name == name)


# Adult


def test_a_record_of_adult_reads_as_its_row(adult_root: Path, adult: Population) -> None:
    rows = [line.split(", ") for line in (adult_root / "adult.data").read_text().split("\n")[:200]]
    names = list(COLUMNS)
    for i, row in enumerate(rows):
        told = dict(zip(names, row, strict=False))
        del told["education-num"]  # another name of the education
        assert read(adult.fields, adult.features[i]) == told


def test_every_record_of_adult_is_valid_and_its_own_projection(adult: Population) -> None:
    assert torch.equal(project(adult.fields, adult.features), adult.features)
    assert not any(why_invalid(adult.fields, x) for x in adult.features[::50])
    assert sorted(c for f in adult.fields for c in f.columns) == [*range(adult.features.shape[1])]


def test_the_real_educations_have_a_number_each(real_adult: Path) -> None:
    data = Adult(str(real_adult))
    data.prepare_data()
    data.setup("fit")
    fields, x = data.population.fields, data.population.features
    education = column(fields, "education")
    assert isinstance(education, Category)
    assert len(education.values) == 16
    assert len(education.columns) == 17
    assert torch.equal(project(fields, x), x)


def test_one_of_the_two_educations_alone_is_a_field_like_any_other(adult_root: Path) -> None:
    for left_out, kind in (("education", Number), ("education-num", Category)):
        data = Adult(str(adult_root), exclude=[left_out])
        data.prepare_data()
        data.setup("fit")
        names = {field.name: field for field in data.population.fields}
        assert left_out not in names
        other = ({"education", "education-num"} - {left_out}).pop()
        assert isinstance(names[other], kind)
        assert torch.equal(
            project(data.population.fields, data.population.features), data.population.features
        )


def test_a_projected_record_has_the_education_that_its_number_names(adult: Population) -> None:
    noise = torch.randn(500, adult.features.shape[1], generator=torch.Generator().manual_seed(0))
    valid = project(adult.fields, adult.features[:500] + noise)
    education = column(adult.fields, "education")
    real = {tuple(row) for row in adult.features[:, list(education.columns)].tolist()}
    assert {tuple(row) for row in valid[:, list(education.columns)].tolist()} <= real


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x.index_fill(0, torch.tensor([0]), 40.0), "age = "),
        (lambda x: x.index_fill(0, torch.arange(1, 3), 1.0), "workclass: 2 categories at once"),
        (lambda x: x.index_fill(0, torch.arange(1, 10), 0.0), "workclass: 0 categories at once"),
        (lambda x: x.index_fill(0, torch.tensor([0]), torch.nan), "age = nan is not a finite"),
    ],
)
def test_what_is_wrong_with_a_record_is_told(
    adult: Population, spoil: Callable[[Tensor], Tensor], words: str
) -> None:
    x = adult.features[torch.where(adult.features[:, 1] == 1)[0][0]]
    assert why_invalid(adult.fields, x) is None
    found = why_invalid(adult.fields, spoil(x))
    assert found is not None
    assert found.startswith(words)


# Health


def test_every_record_of_health_is_valid_and_its_own_projection(health: Population) -> None:
    valid = project(health.fields, health.features)
    torch.testing.assert_close(valid, health.features, rtol=1e-5, atol=1e-5)
    assert not any(why_invalid(health.fields, x) for x in health.features[::20])
    assert sorted(c for f in health.fields for c in f.columns) == [*range(health.features.shape[1])]


def test_a_record_of_health_reads_in_claims_days_and_months(health: Population) -> None:
    for x in health.features[:50]:
        told = read(health.fields, x)
        specialties = [int(v) for name, v in told.items() if name.startswith("Specialty: ")]
        assert sum(specialties) == int(told["Claims"]) >= 1
        assert 0 <= float(told["PayDelay: mean"]) <= int(told["PayDelay: maximum"]) <= 162
        assert 0 <= int(told["DSFS"]) <= 12
        assert told["Year"] in ("Y1", "Y2", "Y3")


# Any field


@given(x=st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4))
def test_a_projection_is_valid_and_stays(x: list[float]) -> None:
    valid = project(FIELDS, torch.tensor([x]))
    assert why_invalid(FIELDS, valid[0]) is None
    torch.testing.assert_close(project(FIELDS, valid), valid)
    told = read(FIELDS, valid[0])
    assert 17 <= int(told["age"]) <= 90
    torch.testing.assert_close(write(FIELDS, dict(told), torch.zeros(4), "key"), valid[0])


@given(age=st.integers(17, 90), claims=st.integers(0, 40), sex=st.sampled_from(["F", "M"]))
def test_what_is_written_is_read(age: int, claims: int, sex: str) -> None:
    values = {"age": age, "claims": float(claims), "sex": sex}
    x = write(FIELDS, values, torch.zeros(4), "key")
    np.testing.assert_allclose(float(x[0]), (age - 38.6) / 13.7, rtol=1e-5, atol=1e-6)
    assert read(FIELDS, x) == {"age": str(age), "claims": str(claims), "sex": sex}
    assert why_invalid(FIELDS, x) is None


@given(x=st.lists(st.integers(-12, 12).map(lambda i: i / 4), min_size=2, max_size=2))
def test_a_category_goes_to_the_nearest_level(x: list[float]) -> None:
    found = SEX.project(torch.tensor([x]))[0].tolist()
    assert found == ([1.0, 0.0] if x[0] >= x[1] else [0.0, 1.0])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"age": 170}, "key: the field age is a whole number from 17 to 90, got 170"),
        ({"age": 39.5}, "key: the field age is a whole number from 17 to 90, got 39.5"),
        ({"age": "old"}, "key: the field age is a whole number from 17 to 90, got 'old'"),
        ({"sex": "X"}, "key: the field sex is one of F, M, got 'X'"),
        (
            {"sexx": "F"},
            "key: a record has no field 'sexx'; did you mean 'sex'? Known: age, claims, sex",
        ),
    ],
)
def test_a_value_that_a_field_cannot_have_is_refused(
    values: dict[str, str | float], sentence: str
) -> None:
    with pytest.raises(LeakageError) as error:
        write(FIELDS, values, torch.zeros(4), "key")
    assert str(error.value) == sentence


def test_a_number_out_of_its_range_is_told() -> None:
    x = torch.tensor([(170 - 38.6) / 13.7, 0.0, 1.0, 0.0])
    x[1] = COUNT.of(torch.tensor([3.0]))
    assert why_invalid(FIELDS, x) == "age = 170 is above 90"
    x[0] = (20.4 - 38.6) / 13.7
    assert str(why_invalid(FIELDS, x)).endswith("is not a whole number")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_grid_of_a_field_holds_valid_entries_and_both_ends(field: Field) -> None:
    grid = field.grid(field.project(torch.zeros(1, len(field.columns))))
    assert all(field.wrong(block) is None for block in grid)
    assert len(grid.unique(dim=0)) == len(grid)
    if isinstance(field, Number):
        told = [field.read(block) for block in grid]
        assert {f"{field.low}", f"{field.high}"} <= set(told)
    else:
        assert len(grid) == 2


# What nobody explains


def test_a_table_shows_what_its_columns_mean() -> None:
    n = 600
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(n) % 3
    kinds = torch.randint(4, (n,), generator=generator)
    x = torch.cat(
        [
            torch.randn(n, 1, generator=generator),
            torch.eye(3)[codes],
            torch.eye(4)[kinds],
            (torch.arange(n) % 5).float().unsqueeze(1) / 4,
            (torch.rand(n, 1, generator=generator) < 0.5).float(),
        ],
        1,
    )
    records = population(x, codes, one_hot=(1, 2, 3))
    fields = fields_of(records)
    assert [(type(f).__name__, f.name, f.columns) for f in fields] == [
        ("Number", "x[0]", (0,)),
        ("Category", "a", (1, 2, 3)),
        ("Category", "x[4..7]", (4, 5, 6, 7)),
        ("Category", "x[8]", (8,)),
        ("Category", "x[9]", (9,)),
    ]
    assert torch.equal(project(fields, x), x)
    assert read(fields, x[1])["a"] == "a1"
    assert read(fields, x[2])["x[8]"] == "0.5"
    far = project(fields, x * 3 - 1)
    assert far[:, 0].min() >= x[:, 0].min()
    assert torch.equal(far[:, 4:8].sum(1), torch.ones(n))
    assert {*far[:, 8].tolist()} <= {0, 0.25, 0.5, 0.75, 1}


def test_a_trait_that_does_not_fix_its_columns_is_no_category() -> None:
    x, codes = gaussian(300, torch.tensor([3.0, 0.0]), 0)
    fields = fields_of(population(x, codes, one_hot=(0,)))
    assert [(type(f).__name__, f.name) for f in fields] == [("Number", "x[0]"), ("Number", "x[1]")]


def test_what_the_population_says_goes_first_and_records_without_columns_have_none() -> None:
    x, codes = gaussian(300, torch.tensor([3.0, 0.0]), 0)
    records = population(x, codes)
    assert fields_of(replace(records, fields=(AGE,))) == (AGE,)
    assert fields_of(replace(records, features=torch.empty(300, 0))) == ()


def test_derived_fields_of_adult_hold_the_traits_that_it_names(adult: Population) -> None:
    derived = fields_of(replace(adult, fields=()))
    assert torch.equal(project(derived, adult.features), adult.features)
    own, other = column(adult.fields, "sex"), column(derived, "sex")
    assert own.columns == other.columns
    assert [read((own,), x) for x in adult.features[:50]] == [
        read((other,), x) for x in adult.features[:50]
    ]
