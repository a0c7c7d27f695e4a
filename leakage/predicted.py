"""Which held-out records a model was right about: what the utility of two runs is compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from leakage.metrics.intervals import Ints
from leakage.metrics.utility import Bools


@dataclass(frozen=True)
class Predicted:
    """The predictions of one trained model.

    Args:
        records: by split, of each record its place in the population, its label and its unit,
            int64 (3, n).
        hits: by split, whether its label was predicted, (n,).
    """

    records: Mapping[str, Ints]
    hits: Mapping[str, Bools]

    def of_the_same_records(self, other: Predicted, split: str) -> bool:
        """Whether both are about one and the same records of a split, in the same order."""
        ours, theirs = (told.records.get(split) for told in (self, other))
        return ours is not None and theirs is not None and np.array_equal(ours, theirs)

    def packed(self) -> bytes:
        """As a file, which `read_predicted` reads."""
        arrays = {f"records/{split}": table for split, table in self.records.items()}
        hits = {f"hits/{split}": right for split, right in self.hits.items()}
        return save({name: np.ascontiguousarray(a) for name, a in (arrays | hits).items()})


def read_predicted(path: Path) -> Predicted | None:
    """What a run has left of its predictions; None without a file, or with a broken one."""
    try:
        arrays = load_file(path)
        splits = [name.removeprefix("hits/") for name in arrays if name.startswith("hits/")]
        records = {split: arrays[f"records/{split}"] for split in splits}
        hits = {split: arrays[f"hits/{split}"] for split in splits}
    except (OSError, SafetensorError, KeyError):
        return None
    for split, right in hits.items():
        if right.dtype != np.bool_ or right.ndim != 1 or records[split].shape != (3, len(right)):
            return None
    return Predicted(records, hits)
