"""Records that are told best: descent on x, then fields (after CANIFE, Maddock et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from leakage.audit.canaries.form import read_record
from leakage.audit.canaries.hunt import Found, Hunt, alignment
from leakage.audit.canaries.relaxed import Box, Mixtures, Relaxed
from leakage.errors import LeakageError

_SWEEPS = 40  # at most
_MOST_MOVES = 60_000  # changes of a field that are tried, best records first: wide tables have many
_RANGED = 256  # records whose range the entries of an image are kept in
_TINY = 1e-12
_LONGER = 0.01  # what a gradient that is clipped anyway gets for e times the norm


@dataclass(frozen=True)
class Crafting:
    """One search for a record whose neighbours are far apart.

    Args:
        hunt: what it is looked for with.
        steps: of Adam.
        restarts: how many records under some label the descent starts from.
        lr: of Adam, in shares of the range of an entry.
        penalty: the weight of the mean squared cosine with other records' gradients.
        search: how many records the starts are chosen from, each under every label.
    """

    hunt: Hunt
    steps: int
    restarts: int
    lr: float
    penalty: float
    search: int

    def best(self) -> Found:
        """The record; its score is at least that of each record that was looked at."""
        hunt = self.hunt
        starts = self._starts()
        found = starts + self._descended(starts, self._relaxed(starts))
        scores = hunt.scores(found, self.penalty).tolist()
        spent = 0
        for place in sorted(range(len(found)), key=lambda i: -scores[i]) if hunt.fields else ():
            if spent < _MOST_MOVES:
                record, score, moves = self._improved(found[place], scores[place])
                found.append(record)
                scores.append(score)
                spent += moves
        return found[scores.index(max(scores))]

    def _starts(self) -> list[Found]:
        """For each label the records that are told best, and as many at random; the best first."""
        hunt = self.hunt
        labels = list(range(hunt.labels)) if hunt.form.label is not None else []
        keys, scores = hunt.search(self.search, lambda own: labels or [own], self.penalty)
        ranked = scores.argsort(descending=True, stable=True).tolist()
        chosen, taken = ranked[:1], {keys[ranked[0]][0]}
        kinds: list[int | None] = [*labels] or [None]
        wanted = max(2, self.restarts // len(kinds))
        for y in kinds:
            for order, most in ((ranked, -(-wanted // 2)), (range(len(keys)), wanted // 2)):
                fresh = (i for i in order if y in (None, keys[i][1]) and keys[i][0] not in taken)
                some = list(islice(fresh, most))
                chosen += some
                taken |= {keys[i][0] for i in some}
        return [hunt.found(*keys[i]) for i in chosen]

    def _relaxed(self, starts: Sequence[Found]) -> Relaxed:
        if self.hunt.fields:
            return Mixtures(self.hunt.fields)
        records = [self.hunt.found(index).x for index in self.hunt.sample(_RANGED)]
        shape = starts[0].x.shape
        return Box.around(torch.stack([x for x in records if x.shape == shape]).float())

    def _descended(self, starts: Sequence[Found], relaxed: Relaxed) -> list[Found]:
        """The valid record where the descent from each start ends."""
        if self.hunt.loss is None or not self.steps:
            return []
        ends: list[Found] = []
        for start in starts:
            like = start.x.unsqueeze(0)
            record = read_record(self.hunt.variants, start.origin)
            free = relaxed.free(like).requires_grad_()
            adam = torch.optim.Adam([free], lr=self.lr)
            for _ in range(self.steps):
                free.grad = self._slope(free, like, relaxed, record, start.y)
                adam.step()
                with torch.no_grad():
                    relaxed.keep_(free)
            with torch.no_grad():
                x = relaxed.valid(relaxed.x(free, like))[0]
            ends.append(replace(start, x=x.to(start.x.dtype)))
        return ends

    def _slope(
        self, free: Tensor, like: Tensor, relaxed: Relaxed, record: object, y: int | None
    ) -> Tensor:
        """The derivative of the objective with respect to the free variables (1, ...)."""
        hunt = self.hunt
        assert hunt.loss is not None
        with torch.enable_grad():
            x = relaxed.x(free, like)[0].reshape(like.shape[1:])
            try:
                rows = [
                    hunt.loss.gradient(hunt.form.make(record, side, y))
                    for side in (
                        [x] if hunt.swap is None else [hunt.swap(x, a) for a in hunt.values]
                    )
                ]
                slope = torch.autograd.grad(self._objective(rows), free)[0]
            except RuntimeError as error:
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise LeakageError(
                    f"audit.canaries: CraftedCanary needs the second derivative of"
                    f" {hunt.loss.loss.step_name} of {hunt.loss.loss.name}, which has none: {said};"
                    " leave this canary out, or take steps: 0"
                ) from error
            finally:
                hunt.loss.restore()
        return slope.nan_to_num(0.0, 0.0, 0.0)

    def _objective(self, rows: Sequence[Tensor]) -> Tensor:
        """What is made small, of the gradients (p,) of the neighbours before they are mapped."""
        C = self.hunt.clip
        norms = [(row.square().sum() + _TINY).sqrt() for row in rows]
        if C is None:
            difference = rows[-1] - rows[0] if len(rows) == 2 else rows[0]
            value = -(difference.square().sum() + _TINY).log() / 2
        else:
            value = torch.stack([(1 - norm / C).relu().square() for norm in norms]).sum()
            if len(rows) == 2:
                value = value + rows[0] @ rows[1] / (norms[0] * norms[1])
            else:
                value = value - _LONGER * norms[0].log()
            clipped = [row * (C / norm).clamp(max=1) for row, norm in zip(rows, norms, strict=True)]
            difference = clipped[-1] - clipped[0] if len(rows) == 2 else clipped[0]
        if self.penalty and len(self.hunt.directions):
            along = alignment(difference.unsqueeze(0), self.hunt.directions)[0]
            value = value + self.penalty * along
        return value

    def _improved(self, found: Found, score: float) -> tuple[Found, float, int]:
        """Changes one field at a time, or several, as long as that helps; and how many it tried."""
        spent = 0
        for _ in range(_SWEEPS):
            moves = self._moves(found)
            spent += len(moves)
            scores = self.hunt.scores([replace(found, x=m.x, y=m.y) for m in moves], self.penalty)
            helps = [
                i
                for i in scores.argsort(descending=True, stable=True).tolist()
                if float(scores[i]) > score
            ]
            first = {moves[i].field: i for i in reversed(helps)}  # the best move of each field
            ranked = sorted(first.values(), key=lambda i: -float(scores[i]))
            if not ranked:
                return found, score, spent
            tried = [moves[ranked[0]].after(found)]
            together = tried[0]
            for i in ranked[1:]:
                together = moves[i].after(together)
                tried.append(together)
            # A few of them: the best alone, with the second, with four, ..., with all.
            counts = sorted({*(2**e for e in range(8) if 2**e <= len(tried)), len(tried)})
            tried = [tried[count - 1] for count in counts]
            joined = self.hunt.scores(tried, self.penalty)
            best = int(joined.argmax())
            if float(joined[best]) <= score * (1 + 1e-9):
                return found, score, spent
            found, score = tried[best], float(joined[best])
        return found, score, spent

    def _moves(self, found: Found) -> list[_Move]:
        """Every other entry of each field, and every other label."""
        hunt = self.hunt
        fixed = set() if hunt.swap is None else set(hunt.swap.columns)
        moves = []
        for at, field in enumerate(hunt.fields):
            columns = list(field.columns)
            if set(columns) <= fixed:
                continue
            for block in field.grid(found.x[columns].unsqueeze(0)):
                x = found.x.clone()
                x[columns] = block.to(x.dtype)
                if not torch.equal(x, found.x):
                    moves.append(_Move(at, columns, x, found.y))
        if hunt.form.label is not None:
            moves += [_Move(-1, [], found.x, y) for y in range(hunt.labels) if y != found.y]
        return moves


@dataclass(frozen=True, eq=False)
class _Move:
    """Another entry of one field (-1: the label), and the record with it."""

    field: int
    columns: list[int]
    x: Tensor
    y: int | None

    def after(self, found: Found) -> Found:
        """The same move of another record."""
        if self.field < 0:
            return replace(found, y=self.y)
        x = found.x.clone()
        x[self.columns] = self.x[self.columns]
        return replace(found, x=x)
