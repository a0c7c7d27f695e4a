"""A table over anyone's data set: row i is about record i, and every refusal is one sentence."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.population import GAME_SPLITS, Population, columns_that_tell
from leakage.secrets import Attribute, Property, Sizes
from leakage.table import population_of, read_table


class Items(Dataset[Any]):
    """Any items, and how many of them were read."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    @override
    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return self.items[index]


def vectors(n: int, d: int = 3) -> TensorDataset:
    """Items (x, y) of noise, in which record i has the label i modulo 4."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, torch.arange(n) % 4)


def make(
    records: Dataset[Any] | int,
    table: pd.DataFrame | dict[str, Any] | None = None,
    *,
    labels: str | None = None,
    units: str | None = None,
    seed: int = 0,
) -> Population:
    if isinstance(records, int):
        records = vectors(records)
    if table is None:
        table = {"a": np.arange(len(records)) % 2}  # type: ignore[arg-type]
    return population_of(
        records,
        pd.DataFrame(table),
        name="Mine",
        labels=labels,
        units=units,
        seed=seed,
        trained_on=True,
    )


def column(values: Any, **kinds: Any) -> Population:
    """The population whose one column is `values`, repeated so that every split holds records."""
    series = pd.Series(values, **kinds)
    series = pd.concat([series] * -(-10 // len(series)), ignore_index=True)
    return make(len(series), {"a": series})


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LeakageError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def same(one: Population, other: Population) -> None:
    """Two populations agree in everything but the records themselves."""
    assert list(one.traits) == list(other.traits)
    assert one.unusable == other.unusable
    for name, trait in one.traits.items():
        twin = other.traits[name]
        assert (trait.name, trait.values) == (twin.name, twin.values)
        assert (trait.columns, trait.one_hot) == (twin.columns, twin.one_hot)
        assert torch.equal(trait.codes, twin.codes)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.units, other.units)
    assert one.fingerprint == other.fingerprint


# The file.


def write(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def known(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        name: [None if pd.isna(v) else v for v in values]
        for name, values in table.to_dict("list").items()
    }


def test_a_csv_file_keeps_its_text_and_knows_what_is_unknown(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeffsex, zip,bought,note\r\n"
        'f,01234,0,"one, two"\r\n'
        "?,  98765,1,NA\r\n"
        " m ,,1.0,None\r\n"
        ' ? ,"?",True,"a\nb"\r\n\r\n\r\n',
    )
    for asked in (path, str(path)):
        assert known(read_table(asked)) == {
            "sex": ["f", None, "m ", None],
            "zip": ["01234", "98765", None, None],
            "bought": ["0", "1", "1.0", "True"],
            "note": ["one, two", "NA", "None", "a\nb"],
        }


def test_a_blank_line_of_a_file_with_one_column_is_an_unknown_value(tmp_path: Path) -> None:
    assert known(read_table(write(tmp_path, "a\n1\n\n2\n\n"))) == {"a": ["1", None, "2"]}


def test_an_ending_may_be_in_capitals_and_a_path_begin_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "a\n1\n", "A.CSV")
    assert known(read_table("~/A.CSV")) == {"a": ["1"]}


GIVE = "give a .csv file with a header line, or a .parquet file, with one row a record"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", None, "does not exist"),
        ("a.parquet", None, "does not exist"),
        ("a.xlsx", b"", "is neither a .csv nor a .parquet file"),
        ("a.csv.gz", b"", "is neither a .csv nor a .parquet file"),
        ("table", None, "is neither a .csv nor a .parquet file"),
        ("a.csv", b"", "holds no row"),
        ("a.csv", b"\n\n", "holds no row"),
        ("a.csv", b"a,b\n", "holds no row"),
        ("a.csv", b"a,b\n1,2\n3\n", "has 1 fields in row 2 and 2 names"),
        ("a.csv", b"a,b\n1,2,3\n1,2,3\n", "has 3 fields in row 1 and 2 names"),
        ("a.csv", b"a,b\n1,2\n\n1,2\n", "has 0 fields in row 2 and 2 names"),
        ("a.csv", b'a,b\n1,"2\n3,4\n', "cannot be read (unexpected end of data)"),
        (
            "a.csv",
            b"a\n\xff\n",
            "cannot be read ('utf-8' codec can't decode byte 0xff in position 2: invalid start"
            " byte)",
        ),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: Path, name: str, content: bytes | None, found: str
) -> None:
    path = tmp_path / name
    if content is not None:
        write(tmp_path, content, name)
    assert refusal(lambda: read_table(path)) == f"attack.attributes: {path} {found}; {GIVE}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    found = refusal(lambda: read_table(tmp_path / "a.csv"))
    assert found.startswith(f"attack.attributes: {tmp_path / 'a.csv'} cannot be read (")
    assert found.endswith(f"); {GIVE}")


@pytest.mark.parametrize("error", [ValueError, OSError, NotImplementedError])
def test_parquet_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def broken(path: Path) -> pd.DataFrame:
        raise error("no magic\nbytes")

    monkeypatch.setattr(pd, "read_parquet", broken)
    path = write(tmp_path, b"", "a.parquet")
    assert refusal(lambda: read_table(path)) == (
        f"attack.attributes: {path} cannot be read (no magic bytes); {GIVE}"
    )


def test_parquet_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"a": [1, 0], "b": ["x", None]})
    monkeypatch.setattr(pd, "read_parquet", lambda path: table if path.exists() else None)
    assert read_table(write(tmp_path, b"", "a.parquet")) is table
    monkeypatch.setattr(pd, "read_parquet", lambda path: table[:0])
    path = tmp_path / "a.parquet"
    assert refusal(lambda: read_table(path)) == (f"attack.attributes: {path} holds no row; {GIVE}")


def test_a_real_parquet_file_says_the_same_as_its_table(tmp_path: Path) -> None:
    table = pd.DataFrame(FULL)
    table.to_parquet(tmp_path / "a.parquet")
    same(make(12, table), make(12, read_table(tmp_path / "a.parquet")))
    path = write(tmp_path, b"nothing", "b.parquet")
    found = refusal(lambda: read_table(path))
    assert found.startswith(f"attack.attributes: {path} cannot be read (")


# Columns as traits.

FULL: dict[str, Any] = {
    "text": ["b", "a", "?", "", None, "c"] * 2,
    "whole": [10, 9, 2, -1, 0, 10] * 2,
    "flag": [True, False, True, True, False, False] * 2,
    "gaps": [1.0, None, 0.0, 10.0, 2.0, float("nan")] * 2,
    "zip": ["0123", "0045", "9000", "0123", "0045", "9000"] * 2,
    "flag and gaps": [True, None, False, True, False, None] * 2,
    "height": [1.5, 2.0, 1.7, 1.8, 1.5, None] * 2,
    "nothing": [None] * 12,
    "one": ["x"] * 12,
}


def test_every_kind_of_column_is_a_trait_or_has_its_reason() -> None:
    population = make(12, FULL)
    found = {name: (t.values, t.codes[:6].tolist()) for name, t in population.traits.items()}
    assert found == {
        "text": (("a", "b", "c"), [1, 0, -1, -1, -1, 2]),
        "whole": (("-1", "0", "2", "9", "10"), [4, 3, 2, 0, 1, 4]),
        "flag": (("False", "True"), [1, 0, 1, 1, 0, 0]),
        "gaps": (("0", "1", "2", "10"), [1, -1, 0, 3, 2, -1]),
        "zip": (("0045", "0123", "9000"), [1, 0, 2, 1, 0, 2]),
        "flag and gaps": (("False", "True"), [1, -1, 0, 1, 0, -1]),
        "one": (("x",), [0] * 6),
    }
    assert population.unusable == {
        "height": "has 4 distinct numbers with a fraction, and a secret is one of at most 50"
        " values; add a column that groups them into bins",
        "nothing": "is unknown in every record, so there is nothing to infer",
    }
    assert all(t.name == n and t.codes.dtype == torch.int64 for n, t in population.traits.items())


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["b", "a"], "category", ("a", "b")),
        (["b", "a", None], "string", ("a", "b")),
        ([3, 1], "int8", ("1", "3")),
        ([3, 1, None], "Int64", ("1", "3")),
        ([True, None, False], "boolean", ("False", "True")),
        ([True, None, False], object, ("False", "True")),
        ([2.0, 1.0], "float32", ("1", "2")),
        ([1e22, -0.0, 0.0], "float64", ("0", "10000000000000000000000")),
        ([1, "1", 1.0], object, ("1",)),
        (["1.0", "2", None], object, ("1", "2")),
        (["1", "01"], object, ("01", "1")),
        (["10", "9", "b"], object, ("10", "9", "b")),
        ([" a", "a "], object, ("a",)),
        (["1E1", "2E1"], object, ("1E1", "2E1")),
        (["nan", "1.5"], object, ("1.5", "nan")),
        (["inf", "x"], object, ("inf", "x")),
        (list(range(50)), "int64", tuple(str(i) for i in range(50))),
    ],
)
def test_values_are_text_in_order(values: list[Any], kind: Any, expected: tuple[str, ...]) -> None:
    assert column(values, dtype=kind).traits["a"].values == expected


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (list(range(51)), "has 51 distinct values"),
        ([f"v{i}" for i in range(51)], "has 51 distinct values"),
        ([float(i) for i in range(51)], "has 51 distinct values"),
        ([0.5, 1.0], "has 2 distinct numbers with a fraction"),
        (["0.5", "1"], "has 2 distinct numbers with a fraction"),
        ([float("inf"), 1.0], "has 2 distinct numbers with a fraction"),
        ([1e-05, 1.0], "has 2 distinct numbers with a fraction"),
    ],
)
def test_a_secret_about_a_column_with_too_many_values_says_so(
    values: list[Any], found: str
) -> None:
    population = column(values)
    assert population.traits == {}
    assert refusal(lambda: Property("a").check(population, Sizes(2, 0, 2))) == (
        f"attack.secret.attribute: 'a' {found}, and a secret is one of at most 50 values; add a"
        " column that groups them into bins"
    )


def test_a_secret_about_the_column_of_labels_or_units_says_so() -> None:
    table = {"y": np.arange(20) % 3, "who": np.arange(20), "a": np.arange(20) % 2}
    population = make(20, table, labels="y", units="who")
    assert list(population.traits) == ["a"]
    asked = "attack.secret.attribute"
    for name, key in (("y", "attack.labels"), ("who", "attack.units")):
        assert refusal(lambda name=name: population.trait(name, asked)) == (
            f"attack.secret.attribute: {name!r} is what {key} names; give the table a copy under"
            " another name"
        )
    assert refusal(lambda: population.trait("b", "attack.secret.attribute")) == (
        "attack.secret.attribute: the data set Mine knows no attribute 'b'; Known: a"
    )


def test_a_csv_file_and_its_table_give_the_same_population(tmp_path: Path) -> None:
    table = pd.DataFrame({"who": np.arange(12) // 2, **FULL})
    table.to_csv(tmp_path / "a.csv", index=False)
    for asked in ({}, {"labels": "text"}, {"labels": "height", "units": "who"}):
        same(make(12, table, **asked), make(12, read_table(tmp_path / "a.csv"), **asked))


def test_the_index_of_a_table_counts_for_nothing() -> None:
    table = pd.DataFrame({"a": list("abcdefghij")}, index=range(9, -1, -1))
    same(make(10, table), make(10, table.reset_index(drop=True)))


def test_names_of_columns_are_text() -> None:
    assert list(make(10, pd.DataFrame({3: [0, 1] * 5, "b": [0, 1] * 5})).traits) == ["3", "b"]
    twice = pd.DataFrame([[0, 1]] * 10, columns=["a", "a"])
    assert refusal(lambda: make(10, twice)) == (
        "attack.attributes: two columns of the table have the name 'a'; rename one"
    )


# Rows and records.


@given(data=st.data())
def test_row_i_is_about_record_i_and_no_unit_is_in_two_splits(data: st.DataObject) -> None:
    """Every record carries its own number, in x and in the table, through any chain of subsets."""
    size = data.draw(st.integers(12, 40), "size")
    whole: Dataset[Any] = TensorDataset(torch.arange(size).float().unsqueeze(1))
    numbers = list(range(size))  # of each record among the rows of the table
    for _ in range(data.draw(st.integers(0, 2), "depth")):
        if len(numbers) == 12:
            break
        some = st.integers(-len(numbers), len(numbers) - 1)
        indices = data.draw(st.lists(some, min_size=12, max_size=len(numbers) - 1), "indices")
        whole, numbers = Subset(whole, indices), [numbers[i] for i in indices]
    of_row = data.draw(st.lists(st.sampled_from("abc?"), min_size=size, max_size=size), "values")
    user = data.draw(st.lists(st.integers(-5, 9), min_size=size, max_size=size), "users")
    user[:] = [u + 100 * (i % 10) for i, u in enumerate(user)]
    table = pd.DataFrame({"a": of_row, "user": user, "row": [i % 40 for i in range(size)]})
    if len({user[number] for number in numbers}) < 5:
        return  # too few units for three splits
    population = make(whole, table, units="user")

    assert population.features.flatten().tolist() == numbers
    traits = population.traits
    assert [traits["row"].values[code] for code in traits["row"].codes] == [
        str(number) for number in numbers
    ]
    if "a" in traits:
        found = ["?" if code < 0 else traits["a"].values[code] for code in traits["a"].codes]
        assert found == [of_row[number] for number in numbers]
    else:
        assert {of_row[number] for number in numbers} == {"?"}
    users = [user[number] for number in numbers]
    codes = population.units.tolist()
    assert len(set(zip(users, codes, strict=True))) == len(set(users)) == len(set(codes))

    assert tuple(population.splits) == GAME_SPLITS
    records = torch.cat(list(population.splits.values())).tolist()
    assert sorted(records) == list(range(len(numbers)))
    homes = {
        (users[record], split)
        for split, indices in population.splits.items()
        for record in indices.tolist()
    }
    assert len(homes) == len(set(users))


def test_a_table_of_the_subset_itself_is_taken_as_it_is() -> None:
    subset = Subset(vectors(30), list(range(29, 9, -1)))
    population = make(subset, {"a": list(range(20))})
    assert population.traits["a"].codes.tolist() == list(range(20))
    # As long as the whole: the subset only orders it anew, and its own order counts.
    ordered = Subset(vectors(20), list(range(19, -1, -1)))
    assert make(ordered, {"a": list(range(20))}).traits["a"].codes.tolist() == list(range(20))


def test_a_subset_may_be_of_any_data_set_and_have_indices_in_a_tensor() -> None:
    whole = ConcatDataset([vectors(20), vectors(20)])
    subset = Subset(whole, torch.arange(39, 19, -1))  # type: ignore[arg-type]
    population = make(subset, {"a": list(range(40))})
    assert population.traits["a"].values == tuple(str(i) for i in range(20, 40))
    assert population.traits["a"].codes.tolist() == list(range(19, -1, -1))


@pytest.mark.parametrize(
    ("records", "rows", "found"),
    [
        (vectors(20), 19, "19 rows, but the data set Mine has 20 records"),
        (vectors(20), 21, "21 rows, but the data set Mine has 20 records"),
        (
            Subset(vectors(20), range(12)),
            13,
            "13 rows, but the data set Mine has 12 records (a Subset of 20)",
        ),
        (
            Subset(Subset(vectors(30), range(20)), range(12)),
            31,
            "31 rows, but the data set Mine has 12 records (a Subset of 30)",
        ),
    ],
)
def test_a_table_of_another_length_is_refused(records: Dataset[Any], rows: int, found: str) -> None:
    assert refusal(lambda: make(records, {"a": [0] * rows})) == (
        f"attack.attributes: the table has {found}; give one row for each record, in the order of"
        " the data set"
    )


def test_an_error_about_the_table_calls_it_by_its_source() -> None:
    found = refusal(
        lambda: population_of(
            vectors(3),
            pd.DataFrame({"a": [0]}),
            name="Mine",
            trained_on=False,
            source="Attack.attributes",
        )
    )
    assert found.startswith("Attack.attributes: the table has 1 rows")


class Stream(IterableDataset[int]):
    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


class Unsized(Dataset[int]):
    @override
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize("records", [Stream(), Unsized()], ids=lambda r: type(r).__name__)
def test_records_without_numbers_are_refused(records: Dataset[int]) -> None:
    assert refusal(lambda: make(records, {"a": [0, 1] * 5})) == (
        f"attack.attributes: the data set Mine is a {type(records).__name__}, whose records have"
        " no numbers that the rows of a table could go by; give one with __len__ and __getitem__"
    )


def test_records_too_few_for_the_three_splits_are_refused() -> None:
    assert refusal(lambda: make(2)) == (
        "data set Mine: the split shadow_calibrate holds no record; each of shadow_fit,"
        " shadow_calibrate, challenge needs at least one"
    )


# Splits and units.


def test_splits_are_shares_of_the_units_and_depend_on_the_seed_alone() -> None:
    one = make(100)
    assert {split: len(records) for split, records in one.splits.items()} == {
        "shadow_fit": 40,
        "shadow_calibrate": 20,
        "challenge": 40,
    }
    assert one.units.tolist() == list(range(100))
    torch.manual_seed(9)
    assert make(100).fingerprint == one.fingerprint != make(100, seed=1).fingerprint
    twins = make(100, {"who": np.arange(100) // 2, "a": [0, 1] * 50}, units="who")
    assert [len(r) for r in twins.splits.values()] == [40, 20, 40]
    assert all(torch.equal(r[::2] + 1, r[1::2]) for r in twins.splits.values())


def test_what_the_caller_says_of_the_records_is_kept() -> None:
    records, table = vectors(10), pd.DataFrame({"a": [0, 1] * 5})
    for trained_on in (True, False):
        population = population_of(records, table, name="Mine", trained_on=trained_on)
        assert population.trained_on is trained_on
        assert (population.name, population.standin) == ("Mine", False)
        assert population.records is records


@pytest.mark.parametrize("unknown", [None, "?", "", float("nan")])
def test_a_record_without_a_unit_is_refused_by_the_row_of_the_table(unknown: Any) -> None:
    who: list[Any] = ["x"] * 20
    who[16] = unknown
    whole, sentence = vectors(20), "of the table has no 'who'; give each record a unit"
    assert refusal(lambda: make(whole, {"who": who}, units="who")) == (
        f"attack.units: row 17 {sentence}"
    )
    for record in (16, -4):  # the same one
        subset = Subset(whole, [19, 18, 17, record, 15, *range(10)])
        assert refusal(lambda subset=subset: make(subset, {"who": who}, units="who")) == (
            f"attack.units: row 17 {sentence}"
        )
    make(Subset(whole, range(16)), {"who": [*map(str, range(16)), *who[16:]]}, units="who")


@pytest.mark.parametrize("key", ["labels", "units"])
def test_a_column_that_is_not_there_is_refused_with_the_nearest(key: str) -> None:
    table = {"income": [0, 1] * 5, "user": [0, 1] * 5}
    assert refusal(lambda: make(10, table, **{key: "incom"})) == (
        f"attack.{key}: the table has no column 'incom'; did you mean 'income'? Known: income, user"
    )


# Labels.


def labelled(label: Callable[[int], Any], n: int = 12) -> list[list[Any]]:
    """Items in every form in which record i has the label label(i)."""
    x = torch.zeros(2, 2)
    keys = ("label", "labels", "y", "target", "targets")
    return [
        [(x, label(i)) for i in range(n)],
        [[x, label(i), "text"] for i in range(n)],
        *[[{"x": x, key: label(i), "other": 7} for i in range(n)] for key in keys],
        # The first of them in that order, wherever it stands in the record.
        *[
            [dict.fromkeys(keys[: at - 1 : -1], "no") | {key: label(i)} for i in range(n)]
            for at, key in enumerate(keys[:-1], 1)
        ],
    ]


@pytest.mark.parametrize(
    ("label", "codes"),
    [
        (lambda i: i % 3, [0, 1, 2]),
        (lambda i: [5, -2, 9][i % 3], [1, 0, 2]),
        (lambda i: [10, 9, 100][i % 3], [1, 0, 2]),
        (lambda i: torch.tensor([5, -2, 9][i % 3]), [1, 0, 2]),
        (lambda i: torch.tensor([[5, -2, 9][i % 3]]), [1, 0, 2]),
        (lambda i: np.int32([5, -2, 9][i % 3]), [1, 0, 2]),
        (lambda i: np.array([5, -2, 9][i % 3]), [1, 0, 2]),
        (lambda i: i % 3 == 0, [1, 0, 0]),
        (lambda i: torch.tensor(i % 3 == 0), [1, 0, 0]),
        (lambda i: [5.0, -2.0, 9.0][i % 3], [1, 0, 2]),
        (lambda i: torch.tensor([5.0, -2.0, 9.0][i % 3]), [1, 0, 2]),
        (lambda i: [5.5, float("nan"), 9][i % 3], [0, 2, 1]),
    ],
)
def test_labels_of_the_records_are_numbered(label: Callable[[int], Any], codes: list[int]) -> None:
    for items in labelled(label):
        assert make(Items(items)).labels.tolist() == codes * 4
        assert make(Items(items)).labels.dtype == torch.int64


def test_other_numbers_count_by_quarter(caplog: pytest.LogCaptureFixture) -> None:
    for scale in (0.5, torch.tensor(-0.25)):
        sign = 1 if scale > 0 else -1
        for items in labelled(lambda i, scale=scale: scale * i):
            assert make(Items(items)).labels.tolist() == [i // 3 for i in range(12)][::sign]
    # Ties stay together and apart from the rest, and an empty quarter has no number.
    for many, few in ((0.5, 1.5), (1.5, 0.5)):
        values = [many] * 11 + [few]
        expected = [int(many > few)] * 11 + [int(few > many)]
        assert make(Items([(0, value) for value in values])).labels.tolist() == expected
        assert make(12, {"y": [None, *values[1:]]}, labels="y").labels.tolist() == [
            2,
            *expected[1:],
        ]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_whole_numbers_are_classes_up_to_a_thousand_and_then_quarters() -> None:
    assert make(Items([(0, i) for i in range(1000)])).labels.tolist() == list(range(1000))
    found = make(Items([(0, 7 * i) for i in range(1004)])).labels
    assert found.tolist() == [i // 251 for i in range(1004)]


@pytest.mark.parametrize(
    "label",
    [
        lambda i: "text",
        lambda i: None,
        lambda i: torch.zeros(2),
        lambda i: {"y": 1},
        lambda i: 1j,
        lambda i: i if i < 11 else "text",
    ],
)
def test_a_label_that_is_no_number_leaves_the_labels_at_zero_and_says_so(
    label: Callable[[int], Any], caplog: pytest.LogCaptureFixture
) -> None:
    for items in labelled(label):
        caplog.clear()
        assert make(Items(items)).labels.tolist() == [0] * 12
        warned = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert [(r.name, r.getMessage()) for r in warned] == [
            (
                "leakage.data",
                "Mine: not every record has a number for a label (its second part, or under the key"
                " label or labels or y or target or targets), so the baseline `labels` knows"
                " nothing; name a column of the table with attack.labels",
            )
        ]


@pytest.mark.parametrize("item", [torch.ones(3), (torch.ones(3),), {"x": torch.ones(3)}, [], 3])
def test_records_of_one_part_have_no_label(item: Any) -> None:
    assert make(Items([item] * 12)).labels.tolist() == [0] * 12


def test_a_column_of_labels_is_numbered_in_order_and_unknown_is_a_label() -> None:
    table = {"y": ["no", "yes", "?", "maybe"] * 5, "z": [10, 9, None, 100] * 5}
    assert make(20, table, labels="y").labels.tolist() == [1, 2, 3, 0] * 5
    assert make(20, table, labels="z").labels.tolist() == [1, 0, 3, 2] * 5
    assert make(20, table).labels.tolist() == [0, 1, 2, 3] * 5


def test_a_column_of_names_is_no_label() -> None:
    table = {"id": [f"n{i}" for i in range(1001)]}
    assert refusal(lambda: make(1001, table, labels="id")) == (
        "attack.labels: the column 'id' has 1001 distinct values, and a label is one of at most"
        " 1000; name another column"
    )


# Features and what they tell.


def vector(i: int) -> Tensor:
    return torch.tensor([i, 1.0 - i, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    "item",
    [
        vector,
        lambda i: (vector(i), i),
        lambda i: [vector(i), "text"],
        lambda i: (vector(i).numpy(), i),
        lambda i: ((vector(i), "text"), i),
        lambda i: {
            "id": "text",
            "tokens": torch.ones(4).long(),
            "x": vector(i),
            "w": torch.ones(2),
        },
        lambda i: {"label": torch.tensor([0.5]), "x": vector(i)},
        lambda i: ({"x": vector(i).half()}, i),
        lambda i: (vector(i).requires_grad_(), i),
    ],
)
def test_features_are_the_float_vector_that_a_record_begins_with(
    item: Callable[[int], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage.data"):
        features = make(Items([item(i) for i in range(12)])).features
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert torch.equal(features, torch.stack([vector(i).float() for i in range(12)]))
    assert not [r for r in caplog.records if "float vector" in r.getMessage()]


@pytest.mark.parametrize(
    "item",
    [
        lambda i: (torch.ones(3).long(), i),
        lambda i: (torch.ones(3, 2), i),
        lambda i: (torch.tensor(1.0), i),
        lambda i: (torch.ones(0), i),
        lambda i: (torch.ones(4097), i),
        lambda i: (torch.ones(3 + (i == 11)), i),
        lambda i: ("text", torch.ones(3)),
        lambda i: ((), i),
        lambda i: {"x": torch.ones(3).long(), "y": torch.ones(1)},
        lambda i: {"image": torch.ones(2, 2), "x": torch.ones(3)},
        lambda i: (np.array(["a", "b"]), i),
        lambda i: (torch.ones(3), i) if i < 11 else (None, i),
    ],
)
def test_records_without_such_a_vector_have_no_features_and_one_line_says_so(
    item: Callable[[int], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = make(Items([item(i) for i in range(12)]))
    assert population.features.shape == (12, 0)
    assert population.features.dtype == torch.float32
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.INFO] == [
        "Mine: not every record begins with a float vector x, so the baseline `imputation` knows"
        " the labels alone"
    ]
    assert not population.traits["a"].in_x


def test_the_longest_vector_is_still_one() -> None:
    assert make(Items([torch.ones(4096)] * 12)).features.shape == (12, 4096)


def test_records_are_read_once_and_no_further_than_needed() -> None:
    tabular = Items([(vector(i), i % 2) for i in range(12)])
    images = Items([(torch.ones(1, 2, 2), i % 2) for i in range(12)])
    nothing = Items([("text", "text")] * 12)
    table = {"y": [0, 1] * 6, "a": [0, 1] * 6}
    for records, labels, read in (
        (tabular, None, 12),
        (tabular, "y", 12),
        (images, None, 12),
        (images, "y", 1),
        (nothing, None, 1),
    ):
        records.read.clear()
        make(records, table, labels=labels)
        assert records.read == list(range(read))


class Augmented(Dataset[Any]):
    """Every draw that an augmentation can make of the global randomness."""

    def __len__(self) -> int:
        return 12

    @override
    def __getitem__(self, index: int) -> Any:
        noise = [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002
        return torch.tensor(noise), index % 2


def test_reading_draws_from_the_seed_and_leaves_global_randomness_alone() -> None:
    def after() -> list[float]:
        return [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002

    def seed(value: int) -> None:
        random.seed(value)
        np.random.seed(value)  # noqa: NPY002
        torch.manual_seed(value)

    seed(1)
    expected = after()
    seed(1)
    one = make(Augmented())
    assert after() == expected
    assert torch.equal(make(Augmented()).features, one.features)  # whatever the global state
    assert not torch.equal(make(Augmented(), seed=1).features, one.features)


CODES = torch.tensor([0, 1, 2] * 40)
HOT = torch.nn.functional.one_hot(CODES, 3).float()
NOISE = torch.randn(120, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("x", "columns", "one_hot"),
    [
        ([NOISE[:, :1], HOT, NOISE[:, 1:]], (1, 2, 3), (1, 2, 3)),
        ([HOT.flip(1), NOISE], (0, 1, 2), (2, 1, 0)),
        ([HOT, HOT], (0, 1, 2, 3, 4, 5), (0, 1, 2)),
        ([HOT, CODES.unsqueeze(1).float()], (0, 1, 2, 3), (0, 1, 2)),
        ([NOISE, HOT * 2 - 0.3], (2, 3, 4), ()),
        ([NOISE, 1 - HOT], (2, 3, 4), ()),
        ([NOISE, HOT[:, 1:]], (2, 3), ()),  # the first value is where both are 0
        ([NOISE, CODES.unsqueeze(1).float()], (2,), ()),
        ([NOISE, (CODES * 5 % 3).unsqueeze(1) - 7.5], (2,), ()),
        ([NOISE], (), ()),
        ([NOISE, torch.ones(120, 1)], (), ()),
        ([NOISE, torch.cat([1 - HOT[:1], HOT[1:]])], (), ()),  # one record off
        ([NOISE, torch.arange(120.0).unsqueeze(1)], (), ()),  # tells it, and everything else too
    ],
)
def test_where_x_tells_a_trait_is_found(
    x: list[Tensor], columns: tuple[int, ...], one_hot: tuple[int, ...]
) -> None:
    features = torch.cat(x, 1)
    population = make(TensorDataset(features), {"a": CODES.numpy()})
    trait = population.traits["a"]
    assert (trait.columns, trait.one_hot) == (columns, one_hot)
    fits, other = (Attribute("a"), Property("a")) if columns else (Property("a"), Attribute("a"))
    fits.check(population, Sizes(1, 0, 1))
    with pytest.raises(LeakageError):
        other.check(population, Sizes(1, 0, 1))
    # Records whose value is unknown do not count, whatever x says of them.
    more = torch.cat([features, torch.full((2, features.shape[1]), 9.0)])
    unknown = make(TensorDataset(more), {"a": [*CODES.tolist(), "?", None]}).traits["a"]
    assert (unknown.columns, unknown.one_hot) == (columns, one_hot)


def test_a_flag_in_one_column_is_in_x_and_not_one_hot() -> None:
    flags = torch.tensor([[0.0], [1.0]] * 6)
    trait = make(TensorDataset(flags), {"a": [False, True] * 6}).traits["a"]
    assert (trait.columns, trait.one_hot) == ((0,), ())
    both = make(TensorDataset(torch.cat([flags, 1 - flags], 1)), {"a": [False, True] * 6})
    assert (both.traits["a"].columns, both.traits["a"].one_hot) == ((0, 1), (1, 0))


@given(
    codes=st.lists(st.integers(-1, 3), min_size=12, max_size=30),
    slope=st.floats(0.01, 100),
    offset=st.floats(-100, 100),
    value=st.integers(0, 3),
)
def test_no_trait_that_is_said_to_be_out_of_x_is_told_by_it(
    codes: list[int], slope: float, offset: float, value: int
) -> None:
    """What the secrets refuse as hidden in x is never what a user of a table is left with."""
    indicator = torch.tensor([[slope * (code == value) + offset] for code in codes])
    table = {"a": [None if code < 0 else code for code in codes]}
    population = make(TensorDataset(indicator), table)
    trait = population.traits.get("a")
    if trait is not None and not trait.in_x:
        assert not len(columns_that_tell(population.features, trait.codes, len(trait.values)))
