"""What a canary is looked for with: the gradients of made-up records at one state of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Generator, Tensor

from leakage.audit.canaries.form import Form, Swap, Variants, read_record
from leakage.audit.canaries.record_loss import RecordLoss
from leakage.fields import Field, project
from leakage.gradients.engine import GradientEngine
from leakage.gradients.records import PerRecord

_ENTRIES = 2**24  # of gradients that are held at once
_LEAST = torch.finfo(torch.float64).tiny
_FULL = 1 - 1e-6  # of C: what float32 leaves of a norm of C


@dataclass(frozen=True, eq=False)
class Found:
    """A record that is audited; the values of an attribute are set by the swap.

    Args:
        x: in its own shape.
        y: the label; None where records of this kind hold none.
        origin: the index of the record that it was made from, whose other parts it has.
    """

    x: Tensor
    y: int | None
    origin: int


@dataclass(frozen=True)
class Hunt:
    """Neighbouring gradients of records that are made up, at one state of the model.

    Neighbours are a record with one value of an attribute and with another, or, in an audit of
    membership, no record and the record.

    Args:
        engine: at that state, over `variants`.
        variants: the records of the population, to which made-up ones are added.
        form: how a record is made.
        fields: what the columns of x mean; empty where x is no vector.
        pool: record indices that canaries may be made of, int64 (m,).
        labels: how many there are: 0, 1, ...
        clip: C, the norm that M leaves of a record's gradient; None where it clips none.
        record_map: what M does to a record's gradient; None for nothing.
        swap: sets the attribute; None for membership.
        values: the positions of the two values of the attribute.
        loss: L of one record, where canaries are crafted by its derivatives.
        others: gradients of other records after `record_map`, (m, p), where the auditor knows no
            more of the background than what they are like; None where it knows the background.
        seed: of every draw, so that no hunt depends on those before it.
    """

    engine: GradientEngine
    variants: Variants
    form: Form
    fields: tuple[Field, ...]
    pool: Tensor
    labels: int
    clip: float | None
    record_map: PerRecord | None
    swap: Swap | None = None
    values: tuple[int, int] = (0, 1)
    loss: RecordLoss | None = None
    others: Tensor | None = None
    seed: int = 0

    @cached_property
    def directions(self) -> Tensor:
        """Those of the gradients of others, float32 (m, p); m = 0 where there are none."""
        if self.others is None:
            return torch.empty(0, self.engine.layout.p)
        return (self.others / _norms(self.others).clamp(min=_LEAST)).float()

    def sample(self, m: int) -> list[int]:
        """At most m records of the pool, at random: the first ones of one and the same order."""
        order = torch.randperm(len(self.pool), generator=Generator().manual_seed(self.seed))
        return self.pool[order[:m]].tolist()

    def found(self, index: int, y: int | None = None) -> Found:
        """A record as it is, or with another label."""
        record = read_record(self.variants, index)
        label = self.form.y(record) if y is None else y
        return Found(self.form.x(record), label, index)

    def search(
        self, m: int, labels: Callable[[int | None], Sequence[int | None]], penalty: float = 0.0
    ) -> tuple[list[tuple[int, int | None]], Tensor]:
        """Goes through at most m records of the pool, some at a time.

        Args:
            m: how many.
            labels: under which labels a record is looked at, given its own.
            penalty: that of `scores`.

        Returns:
            The index and label of each candidate, and their scores, float64.
        """
        keys: list[tuple[int, int | None]] = []

        def candidates() -> Iterator[Found]:
            for index in self.sample(m):
                record = self.found(index)
                for y in labels(record.y):
                    keys.append((index, y))
                    yield replace(record, y=y)

        scores = self.scores(candidates(), penalty)
        return keys, scores

    def valid(self, x: Tensor) -> Tensor:
        """The nearest valid records of some of any shape (n, ...)."""
        return project(self.fields, x).to(x.dtype) if self.fields else x

    def records(self, found: Found, base: Any = None) -> tuple[Any, Any]:
        """The neighbours that a canary stands for: a0 and a1, or None and the record.

        Args:
            found: the canary.
            base: the record that it was made from, where that has been read.
        """
        if base is None:
            base = read_record(self.variants, found.origin)
        if self.swap is None:
            return None, self.form.make(base, found.x, found.y)
        zero, one = (self.form.make(base, self.swap(found.x, a), found.y) for a in self.values)
        return zero, one

    def index(self, found: Found) -> tuple[int | None, int]:
        """Adds both neighbours to the variants; their indices, None where there is no record."""
        zero, one = self.records(found)
        return None if zero is None else self.variants.add(zero), self.variants.add(one)

    def pairs(self, found: Sequence[Found]) -> Tensor:
        """The gradients of both neighbours after `record_map`, (m, 2, p); of no record, 0."""
        return torch.cat([mapped for mapped, _ in self._blocks(found)])

    def distances(self, found: Sequence[Found]) -> Tensor:
        """How far the two gradients of each are apart, float64 (m,)."""
        return torch.cat([_apart(mapped) for mapped, _ in self._blocks(found)])

    def scores(self, found: Iterable[Found], penalty: float = 0.0) -> Tensor:
        """What canaries are chosen by, float64 (m,): their distances.

        Of records in an audit of membership that are all clipped to C, the larger gradient counts
        a little more: it stays clipped longest as the model moves.

        Args:
            found: m candidates, at least 1.
            penalty: the share of the distance that a difference along other records would cost.
        """
        scores = []
        for mapped, norms in self._blocks(found):
            score = _apart(mapped)
            if self._counts_norms and self.clip is not None:
                full = score >= self.clip * _FULL
                bonus = self.clip * (1 - _FULL) * norms / (norms + self.clip)
                score = torch.where(full, self.clip + bonus, score)
            if penalty and len(self.directions):
                along = alignment(mapped[:, 1] - mapped[:, 0], self.directions)
                score = score * (1 - penalty * along.double())
            scores.append(score)
        return torch.cat(scores)

    @property
    def _counts_norms(self) -> bool:
        """Whether what was clipped counts too."""
        return self.swap is None and self.clip is not None

    def _blocks(self, found: Iterable[Found]) -> Iterator[tuple[Tensor, Tensor]]:
        """Mapped gradients (b, 2, p), and the norms of the second ones before the map (b,)."""
        p = self.engine.layout.p
        step = max(1, _ENTRIES // (2 * p))
        ahead = iter(found)
        while some := list(islice(ahead, step)):
            origins = {record.origin for record in some}
            bases = {origin: read_record(self.variants, origin) for origin in origins}
            sides = (self.records(record, bases[record.origin]) for record in some)
            added = [self.variants.add(side) for pair in sides for side in pair if side is not None]
            try:
                mapped, norms = self._mapped(torch.tensor(added).unsqueeze(1))
            finally:
                self.variants.drop(added)
            if self.swap is None:
                yield torch.stack([torch.zeros_like(mapped), mapped], 1), norms
            else:
                yield mapped.reshape(len(some), 2, p), norms[1::2]

    def _mapped(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of records (n, 1) as M maps them (n, p), and their norms before (n,)."""
        generator, per_record = Generator().manual_seed(self.seed), self.record_map
        if per_record is None or not self._counts_norms:
            rows = self.engine.means(table, generator, per_record)
            return rows, _norms(rows).squeeze(1) if self._counts_norms else torch.empty(len(rows))

        def with_norm(gradients: Tensor) -> Tensor:
            mapped = per_record(gradients)
            return torch.cat([mapped, _norms(gradients).to(mapped.dtype)], 1)

        width = self.engine.layout.p + 1
        rows = torch.cat(list(self.engine.blocks(table, generator, with_norm, width)))
        return rows[:, :-1], rows[:, -1].double()


def alignment(differences: Tensor, directions: Tensor) -> Tensor:
    """The mean squared cosine of each difference (n, p) with directions of norm 1 (m, p): (n,)."""
    unit = differences / _norms(differences).clamp(min=_LEAST)
    return (unit.float() @ directions.T).square().mean(1)


def _norms(rows: Tensor) -> Tensor:
    """Of rows (n, p), float64 (n, 1)."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64, keepdim=True)
    return norms


def _apart(mapped: Tensor) -> Tensor:
    return _norms(mapped[:, 1].double() - mapped[:, 0].double()).squeeze(1)
