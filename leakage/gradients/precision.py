"""Where an accelerator computes in all 24 bits of float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_KEY = "fp32_precision"


@contextmanager
def full_precision(device: torch.device | None) -> Iterator[None]:
    """Switches off the 11 bits of TensorFloat-32, which convolutions on CUDA take by default.

    Gradients would differ between two ways to compute them by more than rounding, and mixing
    records could not be told from that.
    """
    if device is None or device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    parts = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    before = [getattr(part, _KEY) for part in parts]
    try:
        for part in parts:
            setattr(part, _KEY, "ieee")
        yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            setattr(part, _KEY, precision)
