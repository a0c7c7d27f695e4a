"""Turns a table of records into gradients: one row of record indices, one batch gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from leakage.errors import LeakageError
from leakage.gradients.factored import Factored, NotFactoredError
from leakage.gradients.layout import Layout
from leakage.gradients.loss import Loss, LossFunction, running
from leakage.gradients.plain import Plain
from leakage.gradients.records import PerRecord, RecordWise, Vmapped
from leakage.gradients.source import Source, same
from leakage.randomness import isolated

PATHS = ("factored", "record-wise", "batch-wise")
_TOLERANCE = 1e-4  # of the norm, in float32; mixing records shows as 1e-1 and more
_PIECE = 1024  # records at once where the memory allows more
_GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How gradients are computed.

    Args:
        path: `factored`: from the factors of each layer; `record-wise`: each record's gradient
            once, averaged by the table; `batch-wise`: one backward pass for each row of the table.
        reason: why, in words.
        chunk: records at once, at least 1.
        rows: batch gradients that stand whole at once, at least 1.
        memory: bytes that this takes at most, by measure of a few records.
    """

    path: str
    reason: str
    chunk: int
    rows: int
    memory: int

    def __str__(self) -> str:
        at_once = "" if self.path == "batch-wise" else f"{self.chunk} records and "
        return (
            f"{self.path} ({self.reason}), {at_once}{self.rows} batches at once within"
            f" {self.memory / _GIB:.2g} GiB"
        )


class GradientEngine:
    """Gradients of batches of records at one state of a module.

    The path is chosen by comparing on a few records: where the gradient of a batch is the mean
    of its records' gradients, each record is computed once, however many batches hold it; where
    records mix (BatchNorm in training mode), layers are stochastic or vmap refuses, each batch is
    computed by itself. Neither the module nor any global random state changes.

    Args:
        module: a LightningModule; a detached copy is taken.
        records: a map-style data set of what `training_step` takes, one record each.
        probe: indices of a few records for the comparison, of every label.
        epoch: the epochs that training has finished.
        collate: makes a batch of a list of records, as the training loader does.
        prepare: what else stands between the loader and `training_step`.
        loss: L where it is not `training_step`.
        device: where gradients are computed; the CPU where left out.
        memory: bytes that gradients may take at once, beside the weights and the records.
        path: one of `PATHS`, instead of the choice.
    """

    def __init__(
        self,
        module: nn.Module,
        records: Dataset[Any],
        probe: Tensor,
        *,
        epoch: int = 0,
        collate: Callable[[list[Any]], Any] = default_collate,
        prepare: Callable[[Any], Any] | None = None,
        loss: LossFunction | None = None,
        device: torch.device | None = None,
        memory: int = _GIB,
        path: str | None = None,
    ) -> None:
        self.layout = Layout.of(module)
        device = device or torch.device("cpu")
        self._loss = Loss(module, epoch, loss, device)
        self._source = Source(records, collate, device=device)
        if prepare is not None:
            self._source = Source(records, collate, prepare, device)
        self._trainable = [p for p in self._loss.module.parameters() if p.requires_grad]
        self._plain = Plain(self._loss, self._source, self._trainable)
        self._memory = memory
        self._records: RecordWise | None = None
        self.plan = self._choose(self._usable(probe), path)

    @property
    def broken(self) -> list[int]:
        """The records that count as zero, since their gradient holds NaN or inf."""
        return sorted(self._records.broken) if self._records is not None else []

    def means(
        self, indices: Tensor, generator: torch.Generator, per_record: PerRecord | None = None
    ) -> Tensor:
        """The gradient of the loss of each row's batch, all at once; see `blocks`."""
        blocks = list(self.blocks(indices, generator, per_record))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def blocks(
        self,
        indices: Tensor,
        generator: torch.Generator,
        per_record: PerRecord | None = None,
        width: int | None = None,
    ) -> Iterator[Tensor]:
        """The gradient of the loss of each row's batch, some rows at a time within the memory.

        Args:
            indices: record indices, int64 (n, k).
            generator: the randomness of stochastic layers, fresh for each batch.
            per_record: a map of record gradients (m, p) to (m, width) before the mean.
            width: p where left out.

        Yields:
            float32 (rows, width) on the CPU, in the order of the indices.

        Raises:
            LeakageError: NaN or inf, counted and with the layer; a per-record map where no
                record has a gradient of its own.
        """
        if self._records is None and per_record is not None:
            raise LeakageError(
                "defense: it maps the gradient of each record before the mean, but the model"
                f" {self._loss.name} gives no record a gradient of its own ({self.plan.reason})"
            )
        width = self.layout.p if width is None else width
        rows = max(self.plan.rows, self.plan.rows * self.layout.p // width)
        for part in indices.split(rows):
            if self._records is None:
                means = self._one_by_one(part, generator)
            else:
                with isolated(0, self._source.device):  # nothing stochastic takes this path
                    means = self._records.average(part, self.plan.chunk, per_record, width)
                self._refuse_broken(len(part.unique()))
            self._refuse_non_finite(means)
            yield means.cpu()

    def _one_by_one(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        seeds = torch.randint(2**62, (len(indices),), generator=generator).tolist()
        means = torch.empty(len(indices), self.layout.p, device=self._source.device)
        for place, row, seed in zip(means, indices, seeds, strict=True):
            place.copy_(self._plain.gradient(row, seed))
        return means

    def _refuse_broken(self, used: int) -> None:
        broken = len(self.broken)
        if 2 * broken > used:
            raise LeakageError(
                f"model {self._loss.name}: {broken} of {used} records have a gradient with NaN or"
                " inf; training has diverged or the records are not finite"
            )

    def _usable(self, probe: Tensor) -> Tensor:
        """The probe without records whose gradient is not finite, if that leaves two."""
        if self._plain.gradient(probe, seed=0).isfinite().all():
            return probe
        halves = probe.split(1)
        finite = [half for half in halves if self._plain.gradient(half, 0).isfinite().all()]
        usable = torch.cat(finite) if len(finite) > 1 else probe
        self._refuse_non_finite(self._plain.gradient(usable, seed=0).unsqueeze(0))
        return usable

    def _choose(self, probe: Tensor, forced: str | None) -> Plan:
        parts = self._plain.parts(probe, seed=0)
        self.unused = tuple(
            name for name, part in zip(self.layout.names, parts, strict=True) if part is None
        )
        expected = self._plain.gradient(probe, seed=0)
        again = self._plain.gradient(probe, seed=0)
        if not _close(again, expected):
            raise LeakageError(
                f"model {self._loss.name}: the same batch and random state give another gradient"
                f" the second time, first of all in {self._worst_layer(expected, again)}, so the"
                " module keeps state between batches; reset it at the start of training_step, or"
                " keep it in a buffer"
            )
        saved = -(-self._plain.saved_bytes(probe) // len(probe))
        reasons = self._reasons_against_records(probe, expected)
        for way in () if reasons else (Factored, Vmapped):
            if forced not in (None, way.path):
                continue
            reason = self._try(way, probe, expected)
            if reason is None:
                assert self._records is not None
                equal = f"equal to plain autograd on {len(probe)} records"
                return self._plan(self._records.path, "; ".join([*reasons, equal]), saved)
            reasons.append(reason)
        self._records = None
        if forced not in (None, "batch-wise"):
            raise LeakageError(f"model {self._loss.name}: no {forced} path, {'; '.join(reasons)}")
        return self._plan("batch-wise", reasons[-1] if reasons else "as asked for", saved)

    def _reasons_against_records(self, probe: Tensor, expected: Tensor) -> list[str]:
        other = self._plain.gradient(probe, seed=1)
        if _close(other, expected):
            return []
        batches = []
        for seed in (0, 1):
            with isolated(seed):
                batches.append(self._source.batch(probe))
        if not same(*batches):
            return ["records are drawn anew: the data set gives another one each time"]
        layer = self._worst_layer(expected, other)
        return [f"stochastic layers: {layer} changes from call to call"]

    def _try(self, way: type[RecordWise], probe: Tensor, expected: Tensor) -> str | None:
        """Why a way is not to be taken; None, and it is the engine's, where it is right."""
        with running(self._loss.module) as layers:
            try:
                with isolated(0, self._source.device):
                    found = way(self._loss, self._source, self._trainable, self.layout.p)
                    # In two pieces: a loss that weighs records within a batch shows.
                    half = -(-len(probe) // 2)
                    mean = found.average(probe.unsqueeze(0), half, None, self.layout.p)[0]
                    few = probe[:3]
                    each = found.of(few)
            except NotFactoredError as error:
                return f"not factored: {error}"
            except Exception as error:  # whatever a training_step does with what it is given
                place = layers[-1] if layers else self._loss.step_name
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                return f"{way.label} refuses in {place}: {said}"
        if not _close(mean, expected):
            layer = self._worst_layer(expected, mean)
            return f"records mix: {layer} differs from the mean over records"
        groups = [[0]] if len(few) == 1 else [list(c) for c in combinations(range(len(few)), 2)]
        for group in groups:  # pairs tell three records apart
            pair = self._plain.gradient(few[group], seed=0)
            if not _close(each[group].mean(0), pair):
                layer = self._worst_layer(pair, each[group].mean(0))
                return f"records mix: {layer} differs from the mean over records"
        found.broken.clear()
        self._records = found
        return None

    def _plan(self, path: str, reason: str, saved: int) -> Plan:
        row = 4 * self.layout.p
        record = self._records.bytes_of_record(saved) if self._records is not None else saved + row
        needed = 3 * max(row, record)
        if needed > self._memory:
            raise LeakageError(
                f"attack.memory: {self._memory / _GIB:.2g} GiB are too little for one record of"
                f" {self._loss.name}, which has p = {self.layout.p} parameters; at least"
                f" {needed / _GIB:.2g} GiB are needed"
            )
        rows = max(1, self._memory // 3 // row)
        chunk = max(1, min(_PIECE, self._memory // 3 // record))
        return Plan(path, reason, chunk, rows, min(self._memory, rows * row + chunk * record))

    def _worst_layer(self, expected: Tensor, found: Tensor) -> str:
        difference = (found - expected).abs().nan_to_num(torch.inf)
        spans = [difference[self.layout.span(name)].max() for name in self.layout.names]
        return self.layout.names[int(torch.stack(spans).argmax())]

    def _refuse_non_finite(self, means: Tensor) -> None:
        if means.sum(1).isfinite().all():
            return
        bad = ~means.isfinite()
        if bad.any():
            counts = [int(bad[:, self.layout.span(name)].sum()) for name in self.layout.names]
            worst = self.layout.names[counts.index(max(counts))]
            raise LeakageError(
                f"model {self._loss.name}: {int(bad.any(1).sum())} of {len(means)} batch gradients"
                f" hold NaN or inf, most of them in {worst}; training has diverged or a record"
                " is not finite"
            )


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= _TOLERANCE * expected.norm() + 1e-12)
