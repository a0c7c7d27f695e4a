"""The ways to compute the gradients of n batches: plain autograd, Opacus, and the engine's."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from leakage.gradients.clip import Clip
from leakage.gradients.engine import GradientEngine

try:
    from opacus.grad_sample import GradSampleModule
except ImportError:  # its column then says "-"
    GradSampleModule = None

MEMORY = 6 * 2**30
Means = Callable[[Tensor, float | None], Tensor]
"""Maps a table (n, k) and a norm to clip to, or None, to the means (n, p)."""


def flat(gradients: Any) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def naive(module: LightningModule, records: TensorDataset) -> Means:
    """One backward pass a release; with clipping one a record. Nothing of the package."""
    x, y = records.tensors
    parameters = [p for p in module.parameters() if p.requires_grad]

    def gradient(rows: Tensor) -> Tensor:
        loss: Tensor = module.training_step((x[rows], y[rows]), 0)
        return flat(torch.autograd.grad(loss, parameters, materialize_grads=True))

    def clipped(rows: Tensor, norm: float) -> Tensor:
        total = torch.zeros(sum(p.numel() for p in parameters))
        for row in rows:
            one = gradient(row.unsqueeze(0))
            length = torch.linalg.vector_norm(one, dtype=torch.float64).float()
            total += one * (norm / length).clamp(max=1)
        return total / len(rows)

    def means(table: Tensor, norm: float | None) -> Tensor:
        releases = torch.empty(len(table), sum(p.numel() for p in parameters))
        for release, rows in zip(releases, table, strict=True):
            release.copy_(gradient(rows) if norm is None else clipped(rows, norm))
        return releases

    return means


def opacus(module: LightningModule, records: TensorDataset) -> Means:
    """Opacus' hooks give the gradient of each used record, in chunks; the releases average them."""
    hooked = GradSampleModule(copy.deepcopy(module.network), strict=False)
    x, y = records.tensors
    parameters = [p for p in hooked.parameters() if p.requires_grad]
    p = sum(parameter.numel() for parameter in parameters)
    chunk = max(1, min(1024, MEMORY // (8 * p)))  # of each layer, then side by side

    def gradients(rows: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # inputs need no gradient
            F.cross_entropy(hooked(x[rows]), y[rows]).backward()
        found = torch.cat([parameter.grad_sample.flatten(1) for parameter in parameters], 1)
        for parameter in parameters:
            parameter.grad = parameter.grad_sample = None
        return found

    def means(table: Tensor, norm: float | None) -> Tensor:
        used, position = table.unique(return_inverse=True)
        releases = torch.zeros(len(table), p)
        for start in range(0, len(used), chunk):
            found = gradients(used[start : start + chunk])
            if norm is not None:
                found *= (norm / found.norm(dim=1, keepdim=True)).clamp(max=1)
            row = position - start
            here = (row >= 0) & (row < len(found))  # (n, k)
            offsets = here.sum(1).cumsum(0) - here.sum(1)
            releases += F.embedding_bag(row[here], found, offsets, mode="sum")
        return releases / table.shape[1]

    return means


def engine(path: str | None) -> Callable[[LightningModule, TensorDataset], Means]:
    """The package's engine on one of its paths, or on the one that it chooses (None)."""

    def make(module: LightningModule, records: TensorDataset) -> Means:
        probe = torch.arange(min(4, len(records)))
        made = GradientEngine(module, records, probe, memory=MEMORY, path=path)

        def means(table: Tensor, norm: float | None) -> Tensor:
            clip = None if norm is None else Clip(norm)
            return made.means(table, torch.Generator().manual_seed(0), clip)

        return means

    return make


PATHS: dict[str, Callable[[LightningModule, TensorDataset], Means]] = {
    "naive": naive,
    "Opacus": opacus,
    "vmap": engine("record-wise"),
    "factored": engine("factored"),
    "chosen": engine(None),
}
TABLE = ("Opacus", "vmap", "factored")


def build(path: str, module: LightningModule, records: TensorDataset) -> Means | str:
    """A way to compute, or why there is none."""
    if path == "Opacus" and GradSampleModule is None:
        return "not installed"
    try:
        return PATHS[path](module, records)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
