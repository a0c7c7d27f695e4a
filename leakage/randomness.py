"""Independent random streams, each named by what it is for, so that no draw shifts another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def isolated(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """The global randomness of torch, numpy and random, seeded within and untouched outside.

    A loss or a data set of anyone's own may draw from any of them; to observe is not to train.

    Args:
        seed: in [0, 2^63).
        device: whose torch randomness is seeded beside the CPU's, if it is an accelerator.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - it belongs to others
    try:
        with torch.random.fork_rng(devices=devices):
            reseed(seed, device)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def reseed(seed: int, device: torch.device | None = None) -> None:
    """Seeds the global randomness again, within `isolated` and at a tenth of its price."""
    # Not torch.manual_seed, which would seed every accelerator.
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def random_state(device: torch.device | None = None) -> dict[str, Any]:
    """Where the global randomness stands, as plain values and tensors, which a file may hold.

    Args:
        device: whose torch randomness is told beside the CPU's, if it is an accelerator.
    """
    state: Any = np.random.get_state()  # noqa: NPY002
    told: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [state[0], torch.from_numpy(state[1].astype(np.int64)), *state[2:]],
        "python": [list(part) if isinstance(part, tuple) else part for part in random.getstate()],
    }
    if device is not None and device.type == "cuda":
        told["cuda"] = torch.cuda.get_rng_state(device)
    return told


def set_random_state(state: dict[str, Any], device: torch.device | None = None) -> None:
    """Puts the global randomness where `random_state` has told that it stood."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(tuple(tuple(p) if isinstance(p, list) else p for p in state["python"]))
    if device is not None and device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def drawn(device: torch.device | None = None) -> tuple[Any, ...]:
    """How far the global randomness has come; the same as long as nothing draws from it."""
    state: Any = np.random.get_state()  # noqa: NPY002
    accelerators = [device] if device is not None and device.type == "cuda" else []
    return (
        torch.get_rng_state().numpy().tobytes(),
        *(torch.cuda.get_rng_state(a).numpy().tobytes() for a in accelerators),
        random.getstate(),
        (state[1].tobytes(), *state[2:]),
    )
