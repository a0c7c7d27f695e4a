"""Entries in units of their spread in the shadow data, before a model that asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

_FARTHEST = 1e6  # spreads; farther away an entry says nothing more, and float32 comes to its end


def on_standardised(model: Any) -> Any:
    """A model on standardised entries.

    An entry that hardly varies in the shadow data may lie anywhere in the trials: late in training
    most gradients are next to nothing, and one is not.
    """
    return make_pipeline(StandardScaler(), FunctionTransformer(_bounded), model)


def _bounded(rows: Any) -> Any:
    return np.clip(rows, -_FARTHEST, _FARTHEST)
