"""The algebraic adversary: the gradient of a linear first layer shows a feature that all share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from leakage.adversaries.base import Adversary, Array, Scores, Surface
from leakage.adversaries.views import Columns, View
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout


@dataclass(frozen=True)
class FirstLayer(Adversary):
    """Reads a shared one-hot feature off `grad W[:, j] = x_j * grad b` of a linear first layer.

    Where all k records share the value of feature j, the equation is exact for any k and any
    loss, and it survives the sign (with `zero: keep`) and pruning (equal entries have equal
    ranks). The score of a value is minus the squared distance of its column from `grad b`,
    relative to `grad b`. Nothing is learned from the shadow releases.
    """

    @override
    def check(self, surface: Surface) -> None:
        if not surface.one_hot:
            raise LeakageError(
                "attack.adversaries: FirstLayer reads a secret that is one-hot columns of x, which"
                " this one is not; take it off the list"
            )
        first_linear(surface.layout, surface.features)

    @override
    def view(self, surface: Surface, seed: int) -> View:
        weight, bias = first_linear(surface.layout, surface.features)
        b, W = surface.layout.span(bias), surface.layout.span(weight)
        width = b.stop - b.start
        columns = [
            W.start + row * surface.features + j for row in range(width) for j in surface.one_hot
        ]
        return Columns((*range(b.start, b.stop), *columns))

    @override
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        c = len(surface.one_hot)
        span = surface.layout.span(first_linear(surface.layout, surface.features)[1])
        width = span.stop - span.start

        def scores(seen: NDArray[np.float32]) -> Array:
            b = seen[:, :width].astype(np.float64)
            W = seen[:, width : width * (1 + c)].astype(np.float64).reshape(-1, width, c)
            size = (b**2).sum(1, keepdims=True)
            distance = ((W - b[:, :, None]) ** 2).sum(1)  # (n, c)
            return np.where(size > 0, -distance / np.where(size > 0, size, 1.0), 0.0)

        return scores


def first_linear(layout: Layout, features: int) -> tuple[str, str]:
    """The weight and the bias of the first parameter that can be a linear layer over x."""
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        bias = name.removesuffix("weight") + "bias"
        if len(shape) == 2 and shape[1] == features and bias in layout.names:
            return name, bias
    raise LeakageError(
        "attack.adversaries: FirstLayer needs a linear layer with a bias over the"
        f" {features} features of x among the layers that attack.layers shows;"
        f" found {', '.join(layout.names)}"
    )
