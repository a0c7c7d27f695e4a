"""Gradients record by record, averaged by a table: where a batch is the mean of its records."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.utils._pytree import tree_map, tree_map_only
from typing_extensions import override

from leakage.gradients.loss import Loss
from leakage.gradients.source import Source

PerRecord = Callable[[Tensor], Tensor]
"""Maps record gradients (m, p) to (m, q), each row by itself."""

_WIDE = 2**13  # entries from which on a step of Python costs less than a row


class RecordWise(ABC):
    """A way to the gradients of records.

    Args:
        loss: L at fixed weights.
        source: the records.
        trainable: the parameters in the order of the layout.
        p: their entries.
    """

    path: str
    label: str

    def __init__(self, loss: Loss, source: Source, trainable: list[nn.Parameter], p: int) -> None:
        self.loss, self.source, self.trainable, self.p = loss, source, trainable, p
        self.broken: set[int] = set()

    @abstractmethod
    def of(self, records: Tensor) -> Tensor:
        """The gradient of each record (m,), float32 (m, p)."""

    @property
    def formed(self) -> int:
        """The entries of a record's gradient that are formed before they are averaged."""
        return self.p

    @property
    def largest(self) -> int:
        """The most of them that are formed at once."""
        return self.p

    @property
    def held(self) -> int:
        """Bytes that are kept of each record until all records of some batches are computed."""
        return 0

    @abstractmethod
    def bytes_of_record(self, saved: int) -> int:
        """What one record takes of the memory while its gradient is computed.

        Args:
            saved: what its forward pass keeps.
        """

    def average(
        self, table: Tensor, chunk: int, per_record: PerRecord | None, width: int
    ) -> Tensor:
        """The mean over each row of a table (n, k) of what is left of its records: (n, width)."""
        n, k = table.shape
        used, position = table.unique(return_inverse=True)
        out = torch.empty(n, width, device=self.source.device)
        for start, piece in pieces(used, chunk):
            gradients = self.of(piece)
            whole = self.finite(gradients, piece)
            if not whole.all():
                gradients[~whole] = 0
            if per_record is not None:
                gradients = per_record(gradients)
            members = Membership((position - start).to(out.device), len(piece))
            members.add(out, gradients, new=start == 0)
        return out.div_(k)

    def finite(self, rows: Tensor, records: Tensor) -> Tensor:
        """Which rows (m, ...) hold numbers; the records of the others are remembered as broken."""
        whole = rows.flatten(1).sum(1).isfinite()  # one pass, no mask of the same size
        if not whole.all():
            suspects = (~whole).nonzero().flatten()
            whole[suspects] = rows[suspects].flatten(1).isfinite().all(1)
            self.broken.update(records[~whole.cpu()].tolist())
        return whole


class Vmapped(RecordWise):
    """`vmap` of `grad`: each record as a batch of one."""

    path = "record-wise"
    label = "vmap"

    def __init__(self, loss: Loss, source: Source, trainable: list[nn.Parameter], p: int) -> None:
        super().__init__(loss, source, trainable, p)
        if loss.state.moves_parameters:  # it would leave tensors of vmap in them
            raise RuntimeError("it changes parameters by itself")
        self._scratch = loss.twin()
        names = {id(parameter): name for name, parameter in self._scratch.named_parameters()}
        self._names = [names[id(parameter)] for parameter in trainable]

    @override
    def of(self, records: Tensor) -> Tensor:
        batch = tree_map_only(Tensor, lambda leaf: leaf.unsqueeze(1), self.source.batch(records))

        def loss(parameters: dict[str, Tensor], record: Any) -> Tensor:
            return functional_call(self._scratch, parameters, (record,))  # type: ignore[no-any-return]

        pairs = zip(self._names, self.trainable, strict=True)
        detached = {name: parameter.detach() for name, parameter in pairs}
        axes = tree_map(lambda leaf: 0 if isinstance(leaf, Tensor) else None, batch)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            try:
                gradients = vmap(grad(loss), in_dims=(None, axes))(detached, batch)
            finally:
                self._scratch.state.restore()
        return torch.cat([g.flatten(1) for g in gradients.values()], dim=1).float()

    @override
    def bytes_of_record(self, saved: int) -> int:
        return 2 * saved + 3 * 4 * self.p


def pieces(used: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """Records (m,) in nearly equal pieces of at most `chunk`, each with its first position.

    A last piece of one record would meet code that squeezes a batch of one.
    """
    start = 0
    for piece in used.tensor_split(-(-len(used) // chunk)):
        yield start, piece
        start += len(piece)


class Membership:
    """Which records of a piece stand in which rows of a table.

    Args:
        row: where each entry of the table (n, k) stands in the piece; outside 0..m-1: elsewhere.
        m: the records of the piece.
    """

    def __init__(self, row: Tensor, m: int) -> None:
        here = (row >= 0) & (row < m)
        self._rows, self._records = here.nonzero()[:, 0], row[here]
        ends = F.pad(here.sum(1).cumsum(0), (1, 0))
        ones = torch.ones(len(self._records), device=row.device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse ", category=UserWarning)
            self._matrix = torch.sparse_csr_tensor(ends, self._records, ones, (len(row), m))

    def add(self, out: Tensor, gradients: Tensor, *, new: bool) -> None:
        """Adds the gradients (m, q) of the piece to the sums (n, q).

        Args:
            out: a sum for each row of the table.
            gradients: of the records of the piece.
            new: whether `out` holds nothing yet.
        """
        if new:
            out.zero_()
        if out.shape[1] < _WIDE or len(self._records) > len(out):
            torch.addmm(out, self._matrix, gradients, out=out)
            return
        # Few records in many rows: a product would go through all of them.
        for row, record in zip(self._rows.tolist(), self._records.tolist(), strict=True):
            out[row] += gradients[record]
