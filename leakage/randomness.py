"""Independent random streams, each named by what it is for, so that no draw shifts another."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derived_seed(seed: int, *names: str | int) -> int:
    """Returns a seed in [0, 2^31) that depends on every name and their order.

    >>> derived_seed(0, "shadow", 1) == derived_seed(0, "shadow", 1)
    True
    >>> derived_seed(0, "shadow", 1) == derived_seed(0, "shadow", 2)
    False
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch stream of its own for these names."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy stream of its own for these names."""
    return np.random.default_rng(derived_seed(seed, *names))
