"""Records are taken apart and made again, whatever they are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from populations import population
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from leakage.audit.canaries.form import Form, Swap, Variants
from leakage.errors import LeakageError
from leakage.population import Population, Trait

N, D = 80, 4
PROBE = torch.arange(8)


class Records(Dataset[Any]):
    """Records of any make."""

    def __init__(self, made: list[Any]) -> None:
        self.made = made

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> Any:
        return self.made[index]


class Fetched(Records):
    """As data sets are that give several records at once."""

    asked: list[list[int]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.asked = [*getattr(self, "asked", []), indices]
        return [self.made[index] for index in indices]


def table(one_hot: bool = True) -> Population:
    """Records whose columns 1 and 2 tell a trait, or column 0 in bands."""
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    codes = torch.arange(N) // 2 % 2
    if one_hot:
        x[:, 1:3] = torch.eye(2)[codes]
        return population(x, codes, one_hot=(1, 2))
    codes = (x[:, 0] > 0).long()
    return population(x, codes, one_hot=(0,))


def made_as(kind: str, x: Tensor, y: int) -> Any:
    return {
        "tuple": lambda: (x, torch.tensor(y)),
        "int": lambda: [y, x],
        "dict": lambda: {"note": "text", "x": x, "more": torch.zeros(2), "y": y},
        "nested": lambda: {"in": (x.double(), torch.tensor([float(y)])), "id": 7},
        "numpy": lambda: (x.numpy(), np.int64(y)),
        "image": lambda: (x.reshape(1, 2, 2), y),
        "alone": lambda: x,
        "text label": lambda: (x, "high" if y else "low"),
    }[kind]()


KINDS = ("tuple", "int", "dict", "nested", "numpy", "image", "alone", "text label")
LABELLED = KINDS[:6]


def records_as(kind: str) -> tuple[Population, Form]:
    base = table()
    pairs = zip(base.features, base.labels.tolist(), strict=True)
    records = Records([made_as(kind, x, y) for x, y in pairs])
    own = replace(base, records=records)
    return own, Form.of(records, own, PROBE)


def flat(record: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(record)
    return [leaf.tolist() if hasattr(leaf, "tolist") else leaf for leaf in leaves]


@pytest.mark.parametrize("kind", KINDS)
def test_x_and_label_are_found_in_a_record_and_put_back(kind: str) -> None:
    own, form = records_as(kind)
    for index in (0, 1, 50):
        record = own.records[index]
        x, y = form.x(record), form.y(record)
        assert torch.equal(x.flatten().float(), own.features[index])
        assert y == (int(own.labels[index]) if kind in LABELLED else None)
        assert flat(form.make(record, x, y)) == flat(record)
        assert flat(form.make(record)) == flat(record)


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_record_has_the_new_x_and_label_and_all_types_that_it_had(kind: str) -> None:
    own, form = records_as(kind)
    record, old = own.records[0], flat(own.records[0])
    made = form.make(record, torch.arange(4.0), 1 - int(own.labels[0]))
    assert flat(record) == old  # what it was made from stays
    assert form.x(made).flatten().tolist() == [0, 1, 2, 3]
    assert form.y(made) == (1 - int(own.labels[0]) if kind in LABELLED else None)
    leaves = [torch.utils._pytree.tree_leaves(r) for r in (record, made)]
    for before, after in zip(*leaves, strict=True):
        assert type(before) is type(after)
        assert getattr(before, "dtype", None) == getattr(after, "dtype", None)
        assert getattr(before, "shape", None) == getattr(after, "shape", None)
    changed = sum(a != b for a, b in zip(flat(record), flat(made), strict=True))
    assert changed == 1 + (kind in LABELLED)


@pytest.mark.parametrize("kind", KINDS)
def test_autograd_follows_x_into_a_made_record(kind: str) -> None:
    own, form = records_as(kind)
    x = form.x(own.records[0]).clone().requires_grad_()
    made = torch.utils._pytree.tree_leaves(form.make(own.records[0], x))[form.feature]
    made.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


def test_a_record_without_floats_is_refused() -> None:
    own = replace(table(), records=Records([(i, "text") for i in range(N)]))
    with pytest.raises(LeakageError) as error:
        Form.of(own.records, own, PROBE)
    assert str(error.value) == (
        "audit.canaries: a record of synthetic holds int, str, and a canary is made by changing x,"
        " a tensor of floats; let the data set give x as one"
    )


# The records with made-up ones


def test_made_up_records_stand_behind_the_others() -> None:
    own = table()
    variants = Variants(own.records)
    assert not hasattr(variants, "__getitems__")
    one, two = (variants.add(("made", i)) for i in range(2))
    assert (one, two, len(variants)) == (N, N + 1, N + 2)
    assert variants[one] == ("made", 0)
    assert torch.equal(variants[3][0], own.features[3])
    variants.drop([one])
    assert variants.add("new") == N + 2  # no index is ever used again
    assert variants[two] == ("made", 1)


def test_several_records_at_once_are_fetched_as_the_data_set_does() -> None:
    base = Fetched([("real", i) for i in range(5)])
    variants = Variants(base)
    made = variants.add(("made", 0))
    assert variants.__getitems__([4, made, 0]) == [("real", 4), ("made", 0), ("real", 0)]
    assert variants.__getitems__([made]) == [("made", 0)]
    assert variants.__getitems__([1, 2]) == [("real", 1), ("real", 2)]
    assert base.asked == [[4, 0], [1, 2]]


# The swap


def test_a_swap_gives_the_entries_of_the_other_value_and_changes_nothing_else() -> None:
    own = table()
    trait = own.traits["a"]
    swap = Swap.of(own, trait)
    for x, code in zip(own.features, trait.codes.tolist(), strict=True):
        assert torch.equal(swap(x, code), x)
        other = swap(x, 1 - code)
        assert torch.equal(other[[0, 3]], x[[0, 3]])
        assert other[1:3].tolist() == ([0, 1] if code == 0 else [1, 0])
        assert torch.equal(swap(other, code), x)
    assert torch.equal(swap(own.features, 1)[:, 1:3], torch.tensor([[0.0, 1.0]]).expand(N, 2))


def test_a_trait_that_does_not_fix_its_columns_is_refused() -> None:
    own = table(one_hot=False)
    with pytest.raises(LeakageError) as error:
        Swap.of(own, own.traits["a"])
    assert str(error.value) == (
        "audit.attribute: 'a' does not fix its columns of x (0): records of one value differ"
        " there; use one that does"
    )


def test_a_trait_that_is_no_part_of_x_is_refused() -> None:
    own = table()
    trait = Trait("b", ("no", "yes"), own.traits["a"].codes)
    with pytest.raises(LeakageError, match=r"^audit\.attribute: 'b' is no part of x"):
        Swap.of(own, trait)
    images = replace(own, features=torch.empty(N, 0), records=TensorDataset(torch.zeros(N, 3)))
    with pytest.raises(LeakageError, match=r"^audit\.attribute: 'a' is no part of x"):
        Swap.of(images, own.traits["a"])
