"""What the records of any map-style data set say of themselves: labels and features x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from leakage.randomness import isolated

LABEL_KEYS = ("label", "labels", "y", "target", "targets")
MOST_FEATURES = 4096


def read_records(
    records: Dataset[Any], wanted: bool, seed: int
) -> tuple[list[float] | None, Tensor]:
    """Reads N records once, and no further than needed.

    Args:
        records: a map-style data set.
        wanted: whether their labels are.
        seed: of what the data set draws, where it augments them at random.

    Returns:
        The label of each record, None where they are not wanted or one has no number for a label;
        and x, float32 (N, d), where each begins with a float vector of one length, else d = 0.
    """
    items = cast("Sequence[Any]", records)
    labels: list[float] = []
    x: list[Tensor] = []
    looking = True
    with isolated(seed):
        for i in range(len(items)):
            if not (wanted or looking):
                break
            item = items[i]
            if wanted and (label := _label(item)) is not None:
                labels.append(label)
            else:
                wanted = False
            vector = _vector(item) if looking else None
            if vector is not None and len(vector) == len(x[0] if x else vector):
                x.append(vector)
            else:
                looking = False
    features = torch.stack(x) if x and looking else torch.empty(len(items), 0)
    return labels if wanted else None, features


def _label(item: Any) -> float | None:
    """The number that is the second part of a record, or under the first key for a label."""
    found = None
    if isinstance(item, Mapping):
        found = next((item[key] for key in LABEL_KEYS if key in item), None)
    elif isinstance(item, tuple | list) and len(item) > 1:
        found = item[1]
    if isinstance(found, Tensor | np.ndarray | np.generic):
        found = found.item() if np.prod(found.shape) == 1 else None
    return found if isinstance(found, int | float) else None


def _vector(item: Any) -> Tensor | None:
    """The first part of a record, or its first floats under a key, where that is a vector (d,)."""
    if isinstance(item, tuple | list) and item:
        return _vector(item[0])
    if isinstance(item, Mapping):
        parts = (part for key, part in item.items() if key not in LABEL_KEYS and _is_float(part))
        return _vector(next(parts, None))
    if _is_float(item) and item.ndim == 1 and len(item) <= MOST_FEATURES:
        return torch.as_tensor(item).detach().cpu().float()
    return None


def _is_float(part: Any) -> bool:
    if isinstance(part, np.ndarray):
        return bool(part.dtype.kind == "f")
    return isinstance(part, Tensor) and part.is_floating_point()
