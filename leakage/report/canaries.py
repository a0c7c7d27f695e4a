"""The canaries of an audit as readable records: numbers and categories, pictures, tensors."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
from matplotlib.image import imsave
from safetensors.torch import save
from torch import Tensor

from leakage.audit.auditor import Auditor
from leakage.fields import read


def canary_files(auditor: Auditor) -> dict[str, bytes]:
    """By name the content of the files: `canaries.json`, `x.safetensors`, and a picture of each.

    Each record is told as it stands in the batch: with one value of the attribute and with the
    other, or as the record whose presence is audited.
    """
    told: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    files: dict[str, bytes] = {}
    for name, sides in auditor.records().items():
        found = auditor.found[name]
        record: dict[str, Any] = {
            "canary": name,
            "label": found.y,
            "made_from_record": found.origin,
            **_apart(auditor.distances[name], auditor.sensitivity),
        }
        for side, x in sides.items():
            tensors[f"{name}/{side}"] = x.clone()  # two canaries may be one record
            if auditor.fields:
                record[side] = read(auditor.fields, x)
            elif x.dim() == 3 and x.shape[0] in (1, 3):
                files[f"{name}_{side}.png"] = _png(x)
        told.append(record)
    files["canaries.json"] = (json.dumps(told, indent=2) + "\n").encode()
    files["x.safetensors"] = save(tensors)
    return files


def _apart(distance: float, sensitivity: float) -> dict[str, float | None]:
    """How far the gradients of the pair lie apart, and that as a share of what DP allows."""
    known = None if math.isnan(distance) else distance
    return {
        "distance": known,
        "rho": known / sensitivity if known is not None and sensitivity else None,
    }


def _png(x: Tensor) -> bytes:
    """A picture of x (1 or 3, height, width), stretched to its own range."""
    pixels = x.float().numpy().transpose(1, 2, 0)
    low, high = float(pixels.min()), float(pixels.max())
    pixels = (pixels - low) / max(high - low, 1e-12)
    buffer = io.BytesIO()
    shown = pixels[::-1, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
    imsave(buffer, shown, cmap="magma", format="png")
    return buffer.getvalue()
