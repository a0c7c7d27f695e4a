"""Turns a table of records into what is shared: one row of indices, one gradient or update."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from leakage.errors import LeakageError
from leakage.gradients.choice import Comparison
from leakage.gradients.clip import Clip
from leakage.gradients.compare import is_close, refuse_non_finite, worst_layer
from leakage.gradients.layout import Layout, rows_at_once
from leakage.gradients.loss import Loss, LossFunction, computing
from leakage.gradients.plain import Plain
from leakage.gradients.plan import GIB, Plan
from leakage.gradients.records import PerRecord
from leakage.gradients.source import Source, as_it_is
from leakage.gradients.updates import Local, Updates
from leakage.ranks import ALONE, Ranks

_log = logging.getLogger("leakage.gradients")

PATHS = ("factored", "record-wise", "batch-wise")
_TOLERANCE = 1e-2  # of the norm of a batch that is used; mixing records shows as 1e-1 and more
_BLOCK, _FEW = 24 * 2**20, 8  # bytes on a CPU: from 32 MiB on a block has new pages; least rows
_PIECE = 1024  # records at once where the memory allows more
_FORMED = 2**24  # entries that are formed at once: more would be slower, not faster
_LARGE = 2**21  # entries of a record's gradient from which on it is not formed for one batch


class GradientEngine:
    """Gradients of batches of records at one state of a module.

    The path is chosen by comparing on a few records, and compared again on the first batch of
    each table: where the gradient of a batch is the mean of its records' gradients, each record is
    computed once, however many batches hold it; where records mix (BatchNorm in training mode),
    anything draws at random or vmap refuses, each batch is computed by itself. With local steps a
    row holds clients that train, and gives the mean of their updates. Neither the module nor any
    global random state changes.

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
        local: how a client trains before it shares; where left out, it shares the gradient.
        key: the part of the config that an error names.
        ranks: processes that call alike and share the rows.
    """

    def __init__(
        self,
        module: nn.Module,
        records: Dataset[Any],
        probe: Tensor,
        *,
        epoch: int = 0,
        collate: Callable[[list[Any]], Any] = default_collate,
        prepare: Callable[[Any], Any] = as_it_is,
        loss: LossFunction | None = None,
        device: torch.device | None = None,
        memory: int = 2 * GIB,
        path: str | None = None,
        local: Local | None = None,
        key: str = "attack",
        ranks: Ranks = ALONE,
    ) -> None:
        self.layout = Layout.of(module)
        device = device or torch.device("cpu")
        self._loss = Loss(module, epoch, loss, device)
        self._source = Source(records, collate, prepare, device)
        self._trainable = [p for p in self._loss.module.parameters() if p.requires_grad]
        self._plain = Plain(self._loss, self._source, self._trainable)
        self._memory, self._key, self._ranks = memory, key, ranks
        comparison = Comparison(self._plain, self.layout, probe)
        self._choice = comparison.choose(path)
        self._probe, self._passed = comparison.probe, 0
        self._records = self._choice.records
        self.unused = comparison.unused
        way = self._records.path if self._records is not None else "batch-wise"
        self._gradients = self._plan(way, self._choice.reason, self._choice.saved)
        self._updates: Updates | None = None
        self._trains = local is not None and (local.steps > 1 or local.batch is not None)
        # Where records mix, one step on those of all clients is not the mean of their steps.
        if local is not None and (self._trains or self._records is None):
            self._updates = Updates(local, comparison, self._choice, memory, ranks)

    @property
    def plan(self) -> Plan:
        """How what is shared is computed: updates where a client may train."""
        if self._updates is not None and self._trains:
            return self._updates.plan
        return self._gradients

    @plan.setter
    def plan(self, plan: Plan) -> None:
        if self._updates is not None and self._trains:
            self._updates.plan = plan
        else:
            self._gradients = plan

    def plan_for(self, indices: Tensor, clients: int = 1) -> Plan:
        """How the rows of a table are computed; the arguments are those of `blocks`.

        One step with a batch of k records is the gradient, as is what no client computes.
        """
        if clients < 0 or indices.shape[1] % max(1, clients):
            raise LeakageError(
                f"attack.others: a row of {indices.shape[1]} records is not that of {clients}"
                " clients with as many records each"
            )
        if self._updates is None or clients == 0:
            return self._gradients
        trains = self._updates.local.trains(indices.shape[1] // clients)
        alone = clients > 1 and self._records is None
        return self._updates.plan if trains or alone else self._gradients

    @property
    def records_mix(self) -> bool:
        """Whether no record has a gradient of its own."""
        return self._records is None

    @property
    def broken(self) -> list[int]:
        """The records that count as zero here, since their gradient holds NaN or inf."""
        return sorted(self._records.broken) if self._records is not None else []

    def means(
        self,
        indices: Tensor,
        generator: torch.Generator,
        per_record: PerRecord | None = None,
        clients: int = 1,
    ) -> Tensor:
        """What each row shares, all at once; see `blocks`."""
        blocks = list(self.blocks(indices, generator, per_record, clients=clients))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def blocks(
        self,
        indices: Tensor,
        generator: torch.Generator,
        per_record: PerRecord | None = None,
        width: int | None = None,
        clients: int = 1,
    ) -> Iterator[Tensor]:
        """What each row shares, some rows at a time within the memory.

        It is the gradient of the loss of the row's batch; with local steps the mean over its
        clients of their updates.

        Args:
            indices: record indices, int64 (n, clients * k), those of a client side by side.
            generator: the randomness of stochastic layers, fresh for each batch, and of the order
                in which clients go through their records.
            per_record: a map of record gradients (m, p) to (m, width) before the mean.
            width: p where left out.
            clients: whose records stand in a row, each with k; 0: nobody trains on them.

        Yields:
            float32 (rows, width) on the CPU, in the order of the indices.

        Raises:
            LeakageError: NaN or inf, counted and with the layer; a per-record map where no
                record has a gradient of its own; records that are not those of so many clients.
        """
        plan = self.plan_for(indices, clients)
        if self._updates is not None and plan is self._updates.plan:
            yield from self._updates.blocks(indices, generator, per_record, clients)
            return
        self._check(indices[: min(4, self._gradients.rows)])
        if self._records is None and per_record is not None:
            raise LeakageError(
                "defense: it maps the gradient of each record before the mean, but the model"
                f" {self._loss.name} gives no record a gradient of its own"
                f" ({self._gradients.reason})"
            )
        width = self.layout.p if width is None else width
        rows = self._rows(indices, width)
        for part in indices.split(rows):
            seeds = torch.zeros(len(part), dtype=torch.int64)
            if self._records is None:
                seeds = torch.randint(2**62, (len(part),), generator=generator)
            seeded = torch.cat([part, seeds.to(part)[:, None]], 1)
            yield self._ranks.rows(seeded, lambda some: self._block(some, per_record, width)).cpu()

    def _block(self, seeded: Tensor, per_record: PerRecord | None, width: int) -> Tensor:
        """What rows share, each with the seed of what it draws at random behind its records."""
        part, seeds = seeded[:, :-1], seeded[:, -1].tolist()
        if self._records is None:
            means = self._plain.gradients(part, seeds)
            refuse_non_finite(means, self.layout, self._loss.name)
        elif per_record is None and self._is_dear(part):
            means = self._plain.gradients(part, seeds)
            if not means.sum(1).isfinite().all():  # a broken record counts as zero
                means = self._average(part, None, width)
        else:
            means = self._average(part, per_record, width)
            self._refuse_broken(part)  # means of numbers are numbers
        return means

    def _rows(self, indices: Tensor, width: int) -> int:
        """How many batches stand whole at once, with the factors that are kept for them."""
        if width < self.layout.p:  # what is left of a record is small, and nothing is kept
            return self._gradients.rows * self.layout.p // width
        held = self._records.held if self._records is not None else 0
        third, step = self._memory // 3, rows_at_once(self.layout.p)
        if held * min(len(indices.unique()), self._gradients.rows * indices.shape[1]) <= third:
            return self._gradients.rows
        rows = third // (held * indices.shape[1]) // step * step
        return max(step, min(rows, self._gradients.rows))

    def _average(self, indices: Tensor, per_record: PerRecord | None, width: int) -> Tensor:
        assert self._records is not None
        chunk = self._gradients.chunk
        if per_record is not None and not isinstance(per_record, Clip):  # they are formed whole
            chunk = max(1, min(chunk, self._memory // 3 // (8 * self.layout.p)))
        with computing(self._source.device):  # nothing stochastic takes this path
            return self._records.average(indices, chunk, per_record, width)

    def _is_dear(self, indices: Tensor) -> bool:
        """Whether the gradients of records would cost more than those of the batches.

        They do where hardly a record is in two batches, and where large ones must be formed.
        """
        assert self._records is not None
        seldom = 2 * len(indices.unique()) > indices.numel()
        return seldom and self._records.formed > _LARGE

    def _check(self, indices: Tensor) -> None:
        """Compares the first batch (k,) that is used with plain autograd: a probe cannot show all.

        Records of several lengths, a branch that few take, a loss of pairs that are alike. Beside
        records of other batches, and in a few pieces: alone, any loss would be its own mean.
        """
        if self._records is None or torch.equal(indices[0], self._probe):
            return
        expected = self._plain.gradient(indices[0])
        if not expected.isfinite().all():
            return  # it is counted where it is used
        try:
            with computing(self._source.device):
                chunk = min(self._gradients.chunk, max(2, len(indices.unique()) // 4))
                found = self._records.average(indices, chunk, None, self.layout.p)[0]
        except Exception:  # of records that do not go together
            found = torch.full_like(expected, torch.nan)
        if is_close(found, expected, self._choice.scale, _TOLERANCE):
            self._passed += 1
            return
        layer = worst_layer(self.layout, expected, found)
        reason = f"records mix: {layer} differs from the mean over {indices.shape[1]} records"
        if self._passed:
            raise LeakageError(
                f"model {self._loss.name}: {reason}, after {self._passed} batches where it was the"
                " mean; let the loss of each batch be the mean of its records' losses, or of none"
            )
        self._records = None
        self._gradients = self._plan("batch-wise", reason, self._choice.saved)
        _log.warning("model %s: gradients are now %s", self._loss.name, self._gradients)

    def _refuse_broken(self, indices: Tensor) -> None:
        if not self.broken:
            return
        used = indices.unique()
        broken = int(torch.isin(used, torch.tensor(self.broken, device=used.device)).sum())
        if 2 * broken > len(used):
            raise LeakageError(
                f"model {self._loss.name}: {broken} of {len(used)} records have a gradient with"
                " NaN or inf; training has diverged or the records are not finite"
            )

    def _plan(self, path: str, reason: str, saved: int) -> Plan:
        row = 4 * self.layout.p
        record = self._records.bytes_of_record(saved) if self._records is not None else saved + row
        step = rows_at_once(self.layout.p)
        # The comparison holds some gradients at once; a block is made while the last one is used.
        needed = max(6 * step * row, 3 * record, 16 * row)
        if needed > self._memory:
            raise LeakageError(
                f"{self._key}.memory: {self._memory / GIB:.2g} GiB are too little for one record of"
                f" {self._loss.name}, which has p = {self.layout.p} parameters; at least"
                f" {needed / GIB:.2g} GiB are needed"
            )
        caps = self._source.device.type == "cpu" and _BLOCK // row >= _FEW
        rows = min(self._memory // 6, _BLOCK if caps else self._memory) // row // step * step
        formed = self._records.largest if self._records is not None else self.layout.p
        piece = min(_PIECE, max(16, _FORMED // max(1, formed)))
        chunk = max(1, min(piece, self._memory // 3 // record))
        return Plan(path, reason, chunk, rows, min(self._memory, 2 * rows * row + chunk * record))
