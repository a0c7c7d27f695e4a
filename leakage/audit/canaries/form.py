"""How a record is made of x and its label, and the records of a data set with made-up ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.data import Dataset

from leakage.errors import LeakageError
from leakage.population import Population, Trait
from leakage.randomness import isolated

_KEY = "audit.canaries"


@dataclass(frozen=True)
class Form:
    """Where x and the label stand in a record: a tensor, a tuple, a dict or any nest of them.

    Args:
        feature: the position of x among the leaves of a record.
        label: the position of the label; None where no leaf is the label of the population.
    """

    feature: int
    label: int | None

    @classmethod
    def of(cls, records: Dataset[Any], population: Population, probe: Tensor) -> Form:
        """Finds x, the floats with most entries, and the label, the first leaf that equals it.

        Args:
            records: a map-style data set.
            population: knows the label of each record.
            probe: indices of the records that are looked at, (m,).

        Raises:
            LeakageError: no part of a record is a tensor of floats.
        """
        indices = probe.tolist()
        rows = [tree_flatten(read_record(records, index))[0] for index in indices]
        sizes = [
            leaf.size
            if isinstance(leaf, np.ndarray)
            else leaf.numel()
            if isinstance(leaf, Tensor)
            else 0
            for leaf in rows[0]
        ]
        floats = [i for i, leaf in enumerate(rows[0]) if _is_x(leaf)]
        if not floats:
            kinds = ", ".join(type(leaf).__name__ for leaf in rows[0])
            raise LeakageError(
                f"{_KEY}: a record of {population.name} holds {kinds or 'nothing'}, and a canary is"
                " made by changing x, a tensor of floats; let the data set give x as one"
            )
        feature = max(floats, key=lambda i: (sizes[i], -i))
        labels = [float(population.labels[index]) for index in indices]
        told = (
            i
            for i in range(len(rows[0]))
            if i != feature
            and all(
                len(row) > i and _as_number(row[i]) == label
                for row, label in zip(rows, labels, strict=True)
            )
        )
        return cls(feature, next(told, None))

    def x(self, record: Any) -> Tensor:
        """The entries of x of a record, in a shape of its own, on the CPU."""
        return torch.as_tensor(tree_flatten(record)[0][self.feature]).detach().cpu()

    def y(self, record: Any) -> int | None:
        """The label of a record; None where it holds none."""
        if self.label is None:
            return None
        found = _as_number(tree_flatten(record)[0][self.label])
        return None if found is None else int(found)

    def make(self, record: Any, x: Tensor | None = None, y: int | None = None) -> Any:
        """The record with another x or label, of the types that it had."""
        leaves, tree = tree_flatten(record)
        if x is not None:
            leaves[self.feature] = _x_like(leaves[self.feature], x)
        if y is not None and self.label is not None:
            leaves[self.label] = _label_like(leaves[self.label], y)
        return tree_unflatten(leaves, tree)


class Variants(Dataset[Any]):
    """The records of a population with made-up ones behind them.

    Args:
        records: a map-style data set; what it can, this can: `__getitems__` too.
    """

    def __init__(self, records: Dataset[Any]) -> None:
        self._records = cast("Sequence[Any]", records)
        self._made: dict[int, Any] = {}
        self._next = len(self._records)
        if hasattr(records, "__getitems__"):  # as the loader prefers it
            self.__getitems__ = self._get_items

    def add(self, record: Any) -> int:
        """Puts a record behind the others; its index, which no other ever has."""
        self._made[self._next] = record
        self._next += 1
        return self._next - 1

    def drop(self, indices: Sequence[int]) -> None:
        """Forgets made-up records."""
        for index in indices:
            del self._made[index]

    def __len__(self) -> int:
        return self._next

    def __getitem__(self, index: int) -> Any:
        made = self._made.get(index)
        return self._records[index] if made is None else made

    def _get_items(self, indices: list[int]) -> list[Any]:
        own = [index for index in indices if index not in self._made]
        found = self._records.__getitems__(own) if own else []  # type: ignore[attr-defined]
        if len(own) == len(indices):
            return cast("list[Any]", found)
        if not isinstance(found, list) or len(found) != len(own):
            raise LeakageError(
                f"{_KEY}: __getitems__ of {type(self._records).__name__} gives no list of records,"
                " so that none can be made up beside them; let it give one"
            )
        rest = iter(found)
        return [self._made[i] if i in self._made else next(rest) for i in indices]


@dataclass(frozen=True, eq=False)
class Swap:
    """Makes a record one of another value of a trait, and changes nothing else.

    Args:
        columns: those of x that tell the trait.
        entries: of these columns for each value, float32 (c, w).
    """

    columns: tuple[int, ...]
    entries: Tensor

    @classmethod
    def of(cls, population: Population, trait: Trait) -> Swap:
        """Finds the entries on the records.

        Raises:
            LeakageError: the trait is no part of x, or does not fix its columns.
        """
        if not trait.in_x or not population.features.shape[1]:
            raise LeakageError(
                f"audit.attribute: {trait.name!r} is no part of x, so that no record has it as an"
                " attribute that could be exchanged; name one that is, or leave the key out to"
                " audit membership"
            )
        blocks = population.features[:, list(trait.columns)]
        entries = []
        for code in range(len(trait.values)):
            rows = blocks[trait.codes == code]
            if not len(rows):
                raise LeakageError(
                    f"audit.attribute: no record has {trait.name} = {trait.values[code]}, so that"
                    " nothing tells its columns of x; leave that value out of the trait"
                )
            if (rows != rows[:1]).any():
                inside = [f.name for f in population.fields if set(f.columns) & set(trait.columns)]
                names = ", ".join(inside) or ", ".join(map(str, trait.columns))
                raise LeakageError(
                    f"audit.attribute: {trait.name!r} does not fix its columns of x ({names}):"
                    " records of one value differ there; use one that does"
                )
            entries.append(rows[0])
        return cls(trait.columns, torch.stack(entries).float())

    def __call__(self, x: Tensor, value: int) -> Tensor:
        """Records x (..., d) with a value, by its position: a copy that autograd follows."""
        out = x.clone()
        out[..., list(self.columns)] = self.entries[value].to(x)
        return out


def read_record(records: Dataset[Any], index: int) -> Any:
    """One record, as a data set that draws at random gives it first."""
    with isolated(0):
        return records[index]


def _is_x(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray):
        return bool(leaf.dtype.kind == "f" and leaf.ndim > 0)
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 0


def _as_number(leaf: Any) -> float | None:
    """The number that a leaf is; None where it is none."""
    if isinstance(leaf, Tensor | np.ndarray | np.generic):
        leaf = leaf.item() if np.prod(leaf.shape) == 1 else None
    return float(leaf) if isinstance(leaf, int | float) else None


def _x_like(old: Any, x: Tensor) -> Any:
    if isinstance(old, np.ndarray) and not x.requires_grad:  # which numpy cannot follow
        return x.detach().cpu().numpy().astype(old.dtype).reshape(old.shape)
    like = torch.as_tensor(old)
    return x.to(like.dtype).reshape(like.shape)


def _label_like(old: Any, y: int) -> Any:
    if isinstance(old, Tensor):
        return torch.full_like(old, y)
    if isinstance(old, np.ndarray):
        return np.full_like(old, y)
    return type(old)(y)
