"""The records of a live batch, one by one."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import Dataset
from typing_extensions import override

from leakage.callbacks.surroundings import as_written
from leakage.gradients.engine import GradientEngine


class BatchRecords(Dataset[Any]):
    """The positions of the records in a batch, which `take` makes batches of.

    Args:
        batch: as `training_step` gets it.
        size: its records, k.
    """

    def __init__(self, batch: Any, size: int) -> None:
        self._batch, self._size = batch, size

    def __len__(self) -> int:
        return self._size

    @override
    def __getitem__(self, index: int) -> int:
        return index

    @property
    def told_apart(self) -> bool:
        """Whether anything in the batch has an entry for each record."""
        return any(self._by_record(leaf) for leaf in tree_leaves(self._batch))

    def take(self, positions: list[int]) -> Any:
        """The batch of some records: whatever has an entry for each is cut to theirs."""

        def cut(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return leaf[torch.tensor(positions, device=leaf.device)].cpu()
            return [leaf[position] for position in positions]

        return tree_map(
            lambda leaf: cut(leaf) if self._by_record(leaf) else leaf,
            self._batch,
            is_leaf=self._by_record,
        )

    def _by_record(self, part: Any) -> bool:
        if isinstance(part, Tensor):
            return part.dim() > 0 and len(part) == self._size
        # Strings and other objects stand in a list; one of tensors is a part of the batch.
        plain = isinstance(part, list) and not any(isinstance(x, Tensor) for x in tree_leaves(part))
        return plain and len(part) == self._size


def engine_of(module: LightningModule, records: BatchRecords, positions: Tensor) -> GradientEngine:
    """The engine of some records of a live batch, at the weights of its step."""
    with as_written(module):
        return GradientEngine(
            module,
            records,
            positions,  # a few may agree in label
            epoch=module.current_epoch,
            collate=records.take,
            device=module.device if module.device.type == "cuda" else None,
        )


def count_records(batch: Any) -> int:
    """The records of a batch: the first dimension of its first tensor."""
    leaves = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()]
    return len(leaves[0]) if leaves else 1
