"""Turns a table of records into gradients: one row of record indices, one batch gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.utils._pytree import tree_map, tree_map_only
from torch.utils.data import Dataset, default_collate

from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.loss import Loss, share_progress

PerRecord = Callable[[Tensor], Tensor]
"""Maps record gradients (m, p) to (m, p), each row by itself."""

_TOLERANCE = 1e-4  # of the norm, in float32; mixing records shows as 1e-1 and more


@dataclass(frozen=True)
class Plan:
    """How gradients are computed.

    Args:
        path: `record-wise`: each record's gradient once, averaged by the table; `batch-wise`:
            one backward pass for each row of the table.
        reason: why, in words for the log.
    """

    path: Literal["record-wise", "batch-wise"]
    reason: str


class GradientEngine:
    """Gradients of batches of records at one state of a module.

    The path is chosen by comparing both on a few records: where the gradient of a batch is the
    mean of its records' gradients, each record is computed once, however many batches hold it;
    where records mix (BatchNorm in training mode), layers are stochastic or vmap refuses, each
    batch is computed by itself. Neither the module nor torch's global random state changes.

    Args:
        module: a LightningModule; a detached copy is taken.
        records: a map-style data set of what `training_step` takes, one record each.
        probe: indices of a few records for the comparison, of every label.
        epoch: the epochs that training has finished.
        collate: makes a batch of a list of records, as the training loader does.
        memory: bytes that record gradients may take at once.
    """

    def __init__(
        self,
        module: nn.Module,
        records: Dataset[Any],
        probe: Tensor,
        *,
        epoch: int = 0,
        collate: Callable[[list[Any]], Any] = default_collate,
        memory: int = 2**29,
    ) -> None:
        self.layout = Layout.of(module)
        self._loss = Loss(module, epoch)
        self._collate = collate
        self._records = records
        self._trainable = {
            f"module.{name}": parameter
            for name, parameter in self._loss.module.named_parameters()
            if parameter.requires_grad
        }
        self._chunk = max(1, min(4096, memory // (4 * self.layout.p)))
        self.plan = self._choose(probe)

    def means(
        self, indices: Tensor, generator: torch.Generator, per_record: PerRecord | None = None
    ) -> Tensor:
        """The gradient of the loss of each row's batch.

        Args:
            indices: record indices, int64 (n, k).
            generator: the randomness of stochastic layers, fresh for each batch.
            per_record: a map of record gradients before the mean.

        Returns:
            float32 (n, p).

        Raises:
            LeakageError: NaN or inf, counted and with the layer; a per-record map where no
                record has a gradient of its own.
        """
        if self.plan.path == "record-wise":
            means = self._average_records(indices, per_record)
        elif per_record is None:
            means = self._one_by_one(indices, generator)
        else:
            raise LeakageError(
                "defense: it maps the gradient of each record before the mean, but the model"
                f" {self._loss.name} gives no record a gradient of its own ({self.plan.reason})"
            )
        self._refuse_non_finite(means)
        return means

    def _average_records(self, indices: Tensor, per_record: PerRecord | None) -> Tensor:
        n, k = indices.shape
        used, position = indices.unique(return_inverse=True)
        means = torch.zeros(n, self.layout.p, dtype=torch.float32)
        scratch = self._scratch()
        for start in range(0, len(used), self._chunk):
            gradients = self._record_gradients(used[start : start + self._chunk], scratch)
            if per_record is not None:
                gradients = per_record(gradients)
            row = position - start
            here = (row >= 0) & (row < len(gradients))  # (n, k)
            offsets = here.sum(1).cumsum(0).roll(1)
            offsets[0] = 0
            means += F.embedding_bag(row[here], gradients, offsets, mode="sum")
        return means / k

    def _record_gradients(self, indices: Tensor, scratch: Loss) -> Tensor:
        """The gradient of each record as a batch of one, float32 (m, p)."""
        batch = tree_map_only(Tensor, lambda leaf: leaf.unsqueeze(1), self._batch(indices))

        def loss(parameters: dict[str, Tensor], record: Any) -> Tensor:
            return functional_call(scratch, parameters, (record,))  # type: ignore[no-any-return]

        detached = {name: parameter.detach() for name, parameter in self._trainable.items()}
        axes = tree_map(lambda leaf: 0 if isinstance(leaf, Tensor) else None, batch)
        gradients = vmap(grad(loss), in_dims=(None, axes))(detached, batch)
        return torch.cat([g.flatten(1) for g in gradients.values()], dim=1).float()

    def _one_by_one(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        seeds = torch.randint(2**62, (len(indices),), generator=generator).tolist()
        pairs = zip(indices, seeds, strict=True)
        return torch.stack([self._batch_gradient(row, seed) for row, seed in pairs])

    def _batch_gradient(self, indices: Tensor, seed: int) -> Tensor:
        """Plain autograd: the gradient of one batch, float32 (p,); zero where unused."""
        buffers = {name: buffer.clone() for name, buffer in self._loss.named_buffers()}
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
            loss = self._loss(self._batch(indices))
            if not loss.requires_grad:
                raise LeakageError(
                    f"model {self._loss.name}: the loss does not depend on any trainable parameter"
                )
            parameters = list(self._trainable.values())
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        with torch.no_grad():  # no batch sees what another one left
            for name, buffer in self._loss.named_buffers():
                buffer.copy_(buffers[name])
        return torch.cat([g.flatten() for g in gradients]).float()

    def _scratch(self) -> Loss:
        """A loss of the same weights: vmap leaves tensors of its own in the metrics of a module."""
        kept = {id(t): t for t in (*self._loss.parameters(), *self._loss.buffers())}
        scratch = copy.deepcopy(self._loss, kept)
        share_progress(self._loss, scratch)
        return scratch

    def _batch(self, indices: Tensor) -> Any:
        """The records as the loader collates them, in the float32 of the loss."""
        batch = self._collate([self._records[i] for i in indices.tolist()])
        return tree_map_only(Tensor, lambda t: t.float() if t.is_floating_point() else t, batch)

    def _choose(self, probe: Tensor) -> Plan:
        try:
            expected = self._batch_gradient(probe, seed=0)
        except LeakageError:
            raise
        except Exception as error:
            reason = (str(error).strip() or "no message").splitlines()[0]
            raise LeakageError(
                f"model {self._loss.name}: training_step fails on a copy of the module outside the"
                f" Trainer with {type(error).__name__}: {reason}; it may use current_epoch,"
                " global_step, log and log_dict, but no logger, optimizer or other part of it"
            ) from error
        self._refuse_non_finite(expected.unsqueeze(0))
        if not torch.equal(expected, self._batch_gradient(probe, seed=1)):
            layer = self._worst_layer(expected, self._batch_gradient(probe, seed=1))
            return Plan("batch-wise", f"stochastic layers: {layer} changes from call to call")
        with _running(self._loss.module) as layers:
            try:
                found = self._average_records(probe.unsqueeze(0), None)[0]
            except Exception as error:  # whatever a training_step does with a batch of one
                place = layers[-1] if layers else "training_step"
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                return Plan("batch-wise", f"vmap refuses in {place}: {reason}")
        distance, scale = (found - expected).norm(), expected.norm()
        if not distance <= _TOLERANCE * scale + 1e-12:
            layer = self._worst_layer(expected, found)
            return Plan("batch-wise", f"records mix: {layer} differs from the mean over records")
        return Plan("record-wise", f"equal to plain autograd on {len(probe)} records")

    def _worst_layer(self, expected: Tensor, found: Tensor) -> str:
        difference = (found - expected).abs().nan_to_num(torch.inf)
        spans = [difference[self.layout.span(name)].max() for name in self.layout.names]
        return self.layout.names[int(torch.stack(spans).argmax())]

    def _refuse_non_finite(self, means: Tensor) -> None:
        bad = ~means.isfinite()
        if bad.any():
            counts = [int(bad[:, self.layout.span(name)].sum()) for name in self.layout.names]
            worst = self.layout.names[counts.index(max(counts))]
            raise LeakageError(
                f"model {self._loss.name}: {int(bad.any(1).sum())} of {len(means)} batch gradients"
                f" hold NaN or inf, most of them in {worst}; training has diverged or a record"
                " is not finite"
            )


@contextmanager
def _running(module: nn.Module) -> Iterator[list[str]]:
    """The layers that run, outermost first: after an error, the last is where it came from."""
    layers: list[str] = []

    def leave(*_: Any) -> None:
        layers.pop()

    handles = []
    for name, layer in module.named_modules():
        if name:
            place = f"{name} ({type(layer).__name__})"
            handles += [
                layer.register_forward_pre_hook(lambda *_, place=place: layers.append(place)),
                layer.register_forward_hook(leave),
            ]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()
