"""Batches of records as the training loader makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import Dataset, TensorDataset, default_collate

CPU = torch.device("cpu")


def as_it_is(batch: Any) -> Any:
    """Hands a batch from the loader to `training_step` with nothing between them."""
    return batch


@dataclass(frozen=True)
class BatchHooks:
    """Calls batch-transfer hooks one after the other.

    Args:
        hooks: bound methods, which take a batch and the number of its loader.
    """

    hooks: tuple[Callable[[Any, int], Any], ...]

    def __call__(self, batch: Any) -> Any:
        """The batch that comes out of the last."""
        for hook in self.hooks:
            batch = hook(batch, 0)
        return batch

    @property
    def owners(self) -> list[Any]:
        """Whose methods they are."""
        return [owner for hook in self.hooks if (owner := getattr(hook, "__self__", None))]


@dataclass(frozen=True)
class Source:
    """The records, one by one, and how they become what `training_step` takes.

    Args:
        records: a map-style data set.
        collate: makes a batch of a list of records, as the training loader does.
        prepare: what stands between the loader and `training_step`: batch-transfer hooks.
        device: where the batch goes.
    """

    records: Dataset[Any]
    collate: Callable[[list[Any]], Any] = default_collate
    prepare: Callable[[Any], Any] = as_it_is
    device: torch.device = CPU

    def batch(self, indices: Tensor) -> Any:
        """The records of some indices (m,), numbers with a point in the float32 of the loss."""
        # Not what inherits from it, which may give anything.
        if type(self.records) is TensorDataset and self.collate is default_collate:
            collated: Any = [tensor[indices] for tensor in self.records.tensors]
        elif hasattr(self.records, "__getitems__"):  # as the loader prefers it
            collated = self.collate(self.records.__getitems__(indices.tolist()))
        else:
            collated = self.collate([self.records[i] for i in indices.tolist()])
        return tree_map(self._moved, self.prepare(collated))

    def _moved(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(self.device, torch.float32 if leaf.is_floating_point() else leaf.dtype)
        return leaf.to(self.device) if hasattr(leaf, "to") else leaf


def same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same, to the bit."""
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=False)
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else True
        for a, b in pairs
    )
