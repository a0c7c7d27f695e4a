"""What a defense of anyone's own has to keep to, checked before training and at each release."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from leakage.defenses.base import Defense
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout


def checked_release(
    defense: Defense, means: Tensor, k: int, layout: Layout, generator: Generator
) -> Tensor:
    """The releases (n, p) of means (n, p); refuses another shape, NaN and inf, by the class."""
    released = defense.release(means, k=k, layout=layout, generator=generator)
    name = type(defense).__name__
    if not isinstance(released, Tensor) or released.shape != means.shape:
        found = tuple(released.shape) if isinstance(released, Tensor) else repr(released)
        raise LeakageError(
            f"defense: {name}.release must return one release for each mean, of the shape"
            f" {tuple(means.shape)}, found {found}"
        )
    bad = int((~released.isfinite()).any(1).sum())
    if bad:
        raise LeakageError(
            f"defense: {name}.release gave NaN or inf in {bad} of {len(released)} releases of"
            " finite gradients"
        )
    return released


def check_defense(defense: Defense, layout: Layout, k: int) -> None:
    """Tries a defense on two random means, twice with the same generator.

    Randomness from anywhere else could not be repeated, and would change the training's own.
    """
    means = torch.randn(2, layout.p, generator=torch.Generator().manual_seed(0))
    defense = defense.told(torch.zeros(2, dtype=torch.int64))
    with torch.random.fork_rng(devices=[]):
        first, second = (
            checked_release(defense, means.clone(), k, layout, torch.Generator().manual_seed(1))
            for _ in range(2)
        )
    if not torch.equal(first, second):
        raise LeakageError(
            f"defense: {type(defense).__name__}.release gives another release for the same"
            " generator; draw all its randomness from the generator that it is given"
        )
