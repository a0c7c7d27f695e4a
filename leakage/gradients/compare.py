"""Gradients compared: whether two agree, where they differ most, whether they are numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

# Of the norm. Mixing records shows as 1e-1 and more; that two paths round a number to different
# sides of the kink of a ReLU, as 1e-3.
_TOLERANCE = 2e-3


def is_close(
    found: Tensor, expected: Tensor, scale: float = 0.0, tolerance: float = _TOLERANCE
) -> bool:
    """Whether two gradients (p,) agree, up to rounding.

    Args:
        found: one.
        expected: the other.
        scale: the norm of what they are means of, which may cancel.
        tolerance: of the norm.
    """
    distance = (found - expected).norm()
    allowed = tolerance * expected.norm() + 1e-5 * scale + 1e-12
    return bool(distance.isfinite() and distance <= allowed)


def worst_layer(layout: Layout, expected: Tensor, found: Tensor) -> str:
    """The parameter in which two gradients (p,) differ most."""
    difference = (found - expected).abs().nan_to_num(torch.inf)
    spans = [difference[layout.span(name)].max() for name in layout.names]
    return layout.names[int(torch.stack(spans).argmax())]


def refuse_non_finite(
    means: Tensor,
    layout: Layout,
    model: str,
    what: str = "batch gradients",
    why: str = "training has diverged or a record is not finite",
) -> None:
    """Raises a LeakageError where batch gradients (n, p), or updates, hold NaN or inf."""
    if means.sum(1).isfinite().all():  # one pass, no mask of the same size
        return
    bad = ~means.isfinite()
    if bad.any():
        counts = [int(bad[:, layout.span(name)].sum()) for name in layout.names]
        worst = layout.names[counts.index(max(counts))]
        raise LeakageError(
            f"model {model}: {int(bad.any(1).sum())} of {len(means)} {what} hold NaN or inf,"
            f" most of them in {worst}; {why}"
        )
