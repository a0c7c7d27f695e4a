"""Updates of clients that train on their own records (FedAvg, McMahan et al. 2017)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, isfinite
from textwrap import shorten

import torch
from torch import Generator, Tensor

from leakage.errors import LeakageError
from leakage.gradients.choice import Choice, Comparison
from leakage.gradients.compare import is_close, refuse_non_finite, worst_layer
from leakage.gradients.layout import rows_at_once
from leakage.gradients.loss import failing_layer
from leakage.gradients.plan import Plan
from leakage.gradients.records import PerRecord
from leakage.gradients.training import NotStackedError, OneByOne, Stacked, Training
from leakage.ranks import Ranks

_log = logging.getLogger("leakage.gradients")

_FORMED = 2**22  # entries of stacked weights at once: what more would gain, the caches lose
# Bytes that a step saves for its backward pass, up to which stacking clients is faster on a CPU, by
# measure: larger steps are not faster for it, and those of convolutions slower.
_SHORT = 2**19
_PROBED = 3  # clients and steps of the comparison
_TOLERANCE = 1e-2  # of the norm of an update that is used, as of a batch that is


@dataclass(frozen=True)
class Local:
    """What a client does before it shares: some steps of plain SGD on its own k records.

    It shares (theta - theta_local) / lr, the sum of the gradients of its steps; one step with all
    its records is the gradient.

    Args:
        steps: at least 1.
        lr: their rate, above 0.
        batch: records of a step, 1 to k; all k where left out.
    """

    steps: int
    lr: float
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise LeakageError(f"attack.local_steps: at least 1 is needed, got {self.steps}")
        if not (isfinite(self.lr) and self.lr > 0):
            raise LeakageError(f"attack.local_lr: a finite rate above 0 is needed, got {self.lr}")
        if self.batch is not None and self.batch < 1:
            raise LeakageError(
                f"attack.local_batch: at least 1 record a step is needed, got {self.batch}"
            )

    def trains(self, k: int) -> bool:
        """Whether a client of k records shares something else than their gradient."""
        if self.batch is not None and self.batch > k:
            raise LeakageError(
                f"attack.local_batch: a client has k = {k} records, fewer than the {self.batch} of"
                " a step"
            )
        return self.steps > 1 or (self.batch is not None and self.batch < k)

    def spans(self, k: int) -> list[slice]:
        """The batch of each step, as a part of the walk of a client through its k records.

        Batches follow each other; the last one of a pass may be smaller. A batch of all k records
        is the same in every step.
        """
        size = self.batch or k
        if size >= k:
            return [slice(0, k)] * self.steps
        each = ceil(k / size)  # steps of a pass
        starts = [(step // each * k, step % each * size) for step in range(self.steps)]
        return [slice(pass_ + at, pass_ + min(at + size, k)) for pass_, at in starts]

    def walk(self, records: Tensor, seed: int) -> Tensor:
        """The records of a client (k,) in the order in which it goes through them.

        Each pass is a permutation of its own: the ranks of k numbers drawn from the seed. A batch
        of all records has no order.

        Returns:
            int64 (k,) with such a batch, else (passes * k,).
        """
        k = len(records)
        if (self.batch or k) >= k:
            return records
        passes = ceil(self.steps / ceil(k / self.batch))  # type: ignore[operator]
        keys = torch.rand(passes, k, generator=Generator().manual_seed(seed))
        return records[keys.argsort(dim=1).flatten()]


class Updates:
    """The updates of clients at one state of a module.

    They train stacked under vmap where their steps are short, and where that gives what plain
    training gives to a few clients of a probe and to the first one of each table; else one by one.

    Args:
        local: how a client trains.
        comparison: has plain autograd, and the records of a probe.
        choice: what the comparison has measured.
        memory: bytes that updates may take at once, beside the weights and the records.
        ranks: processes that call alike and share the rows.
    """

    def __init__(
        self,
        local: Local,
        comparison: Comparison,
        choice: Choice,
        memory: int,
        ranks: Ranks,
    ) -> None:
        self.local, self._layout, self._plain = local, comparison.layout, comparison.plain
        self._saved, self._scale, self._memory = choice.saved, choice.scale * local.steps, memory
        self._ranks, self._looped = ranks, OneByOne(self._plain, local.lr)
        self._stacked: Stacked | None = None
        on_cpu = self._plain.source.device.type == "cpu"
        self._most = _SHORT // max(1, choice.saved) if on_cpu else sys.maxsize
        found = comparison.reason_against_vmap() or self._try(comparison.probe)
        self.plan = self._plan(found, local.batch or len(comparison.probe))

    def blocks(
        self, indices: Tensor, generator: Generator, per_record: PerRecord | None, clients: int
    ) -> Iterator[Tensor]:
        """The mean update of each row's clients, some rows at a time within the memory.

        Args:
            indices: record indices, int64 (n, clients * k), those of a client side by side.
            generator: the randomness: two seeds for each client of the table, int64
                (n, clients, 2), of its walk and of what else it draws at random.
            per_record: refused, since an update has no gradient of each record.
            clients: of a row.

        Yields:
            float32 (rows, p) on the CPU, in the order of the indices.
        """
        if per_record is not None:
            raise LeakageError(
                "defense: it maps the gradient of each record before the mean, but with"
                f" attack.local_steps = {self.local.steps} a client shares an update, in which no"
                " record has a gradient of its own"
            )
        k = indices.shape[1] // clients
        seeds = torch.randint(2**62, (len(indices), clients, 2), generator=generator)
        few = slice(min(4, self._chunk(k)))
        self._check(indices[few].reshape(-1, k)[few], seeds[few].reshape(-1, 2)[few])
        for part, drawn in zip(
            indices.split(self.plan.rows), seeds.split(self.plan.rows), strict=True
        ):
            seeded = torch.cat([part.reshape(len(part), clients, k), drawn.to(part)], 2)
            yield self._ranks.rows(seeded, self._means).cpu()

    def _means(self, seeded: Tensor) -> Tensor:
        """The mean update of rows (m, clients, k + 2): of each client its records and its seeds."""
        m, clients, k = seeded.shape[0], seeded.shape[1], seeded.shape[2] - 2
        table, drawn = seeded[..., :k].reshape(-1, k), seeded[..., k:].reshape(-1, 2)
        means = torch.zeros(m, self._layout.p, device=self._plain.source.device)
        row = torch.arange(len(table), device=means.device) // clients
        for start in range(0, len(table), chunk := self._chunk(k)):
            some = slice(start, start + chunk)
            means.index_add_(0, row[some], self._train(table[some], drawn[some]))
        means /= clients
        refuse_non_finite(
            means,
            self._layout,
            self._plain.loss.name,
            "updates",
            f"the training of a client diverged at attack.local_lr = {self.local.lr:g}, or a"
            " record is not finite",
        )
        return means

    def _train(self, clients: Tensor, seeds: Tensor) -> Tensor:
        """The update of each client (m, k) under its seeds (m, 2), float32 (m, p)."""
        if isinstance(way := self._way(clients.shape[1]), Stacked):
            try:
                return self._by(way, clients, seeds)
            except Exception as error:  # of records that do not go together
                self._loop(_said(error))
        return self._by(self._looped, clients, seeds)

    def _by(self, training: Training, clients: Tensor, seeds: Tensor) -> Tensor:
        pairs = zip(clients, seeds[:, 0].tolist(), strict=True)
        walks = torch.stack([self.local.walk(records, seed) for records, seed in pairs])
        return training.train(walks, self.local.spans(clients.shape[1]), seeds[:, 1].tolist())

    def _way(self, k: int) -> Training:
        """How clients of k records train."""
        short = (self.local.batch or k) <= self._most
        return self._stacked if self._stacked is not None and short else self._looped

    def _chunk(self, k: int) -> int:
        """How many clients of k records train at once."""
        client = self._way(k).bytes_of_client(self._saved * (self.local.batch or k))
        return min(self.plan.chunk, self._at_once(client))

    def _at_once(self, client: int) -> int:
        """How many clients train at once that take so many bytes each."""
        return max(1, min(_FORMED // self._layout.p, self._memory // 3 // client))

    def _try(self, probe: Tensor) -> str | None:
        """Takes stacked training if it equals plain training on a few clients; else why not."""
        if (self.local.batch or 1) > self._most:
            return f"a step of {self.local.batch or 1} records is long enough by itself"
        clients = torch.stack([probe.roll(shift) for shift in range(_PROBED)])
        clients[:, 0] = clients[:, -1]  # so that no two have the same records
        m = len(probe)
        size = 1 if self.local.batch == 1 else min(m, max(2, ceil(m / 2)))
        halves = [slice(0, size), slice(m - size, m)]
        spans = (halves * _PROBED)[: min(self.local.steps, _PROBED)]
        seeds = [0] * len(clients)
        try:
            expected = self._looped.train(clients, spans, seeds)
        except LeakageError:
            return f"no {size} records of the probe are a batch to compare on"
        if not expected.isfinite().all():
            return f"the probe diverges at attack.local_lr = {self.local.lr:g}"

        def stacked() -> tuple[Stacked, Tensor]:
            made = Stacked(self._plain, self.local.lr, probe)
            return made, made.train(clients, spans, seeds)

        try:
            found, updates = stacked()
        except NotStackedError as error:
            return str(error)
        except Exception as error:  # whatever a training_step does with what it is given
            place = failing_layer(self._plain.loss.module, stacked) or self._plain.loss.step_name
            return f"vmap refuses in {place}: {_said(error)}"
        finally:
            self._plain.loss.state.restore()
        for one, other in zip(updates, expected, strict=True):
            if not is_close(one, other, self._scale):
                return f"{worst_layer(self._layout, other, one)} differs under vmap"
        if self._at_once(found.bytes_of_client(self._saved * size)) < 2:
            return "the weights of two are too many to be stacked"
        self._stacked = found
        return None

    def _check(self, clients: Tensor, seeds: Tensor) -> None:
        """Compares the first client of a table with plain training: a probe cannot show all."""
        if self._way(clients.shape[1]) is self._looped:
            return
        expected = self._by(self._looped, clients[:1], seeds[:1])[0]
        if not expected.isfinite().all():
            return  # it is counted where it is used
        found = self._train(clients, seeds)[0]  # beside other clients
        if not is_close(found, expected, self._scale, _TOLERANCE):
            self._loop(f"{worst_layer(self._layout, expected, found)} differs under vmap")

    def _loop(self, reason: str) -> None:
        self._stacked = None
        self.plan = self._plan(reason, self.local.batch or 1)
        _log.warning("model %s: clients now train one by one: %s", self._plain.loss.name, reason)

    def _plan(self, against: str | None, batch: int) -> Plan:
        """The plan for steps of so many records."""
        p = self._layout.p
        row, step = 4 * p, rows_at_once(p)
        way = self._stacked or self._looped
        client = way.bytes_of_client(self._saved * batch)
        rows = self._memory // 6 // row // step * step  # as of gradients
        chunk = self._at_once(client)
        reason = "vmap over clients"
        if against is not None:
            reason = f"one client at a time: {against}"
        elif self.local.batch is None and self._most < sys.maxsize:
            reason += f", one at a time where a step has more than {self._most} records"
        memory = min(self._memory, 2 * rows * row + chunk * client)
        return Plan("updates", reason, chunk, rows, memory)


def _said(error: Exception) -> str:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return shorten(said, 120, placeholder="...")
