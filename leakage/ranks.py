"""Several processes that share one piece of work, each the same way and in the same order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed import ProcessGroup, all_gather_object

from leakage.errors import LeakageError

T = TypeVar("T")
LOST = "has lost another one"
"""What a process says of which another one can say more."""


def lost(rank: int, error: RuntimeError) -> LeakageError:
    """What a rank says whose connection to another one was closed."""
    reason = str(error).partition("\n")[0]
    return LeakageError(
        f"trainer.devices: rank {rank} {LOST}, which says why if it could ({reason})"
    )


class Ranks:
    """The processes of a group; without one, this process alone.

    Args:
        group: of a backend for the CPU.

    Attributes:
        rank: of this process, 0..size-1.
        size: how many there are.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self._group = group
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()

    def gather(self, compute: Callable[[], T]) -> list[T]:
        """What each process computes, in the order of ranks.

        Raises:
            Exception: of this process, whatever it was.
            LeakageError: an error of another process, or its end.
        """
        if self._group is None:
            return [compute()]
        mine: T | None = None
        error: Exception | None = None
        try:
            mine = compute()
        except Exception as raised:  # the others would wait for this one
            error = raised
        told: list[Any] = [None] * self.size
        said = None if error is None else str(error).strip() or type(error).__name__
        try:
            all_gather_object(told, (mine, said), group=self._group)
        except RuntimeError as closed:
            raise error or lost(self.rank, closed) from closed
        if error is not None:
            raise error
        for rank, (_, other) in enumerate(told):
            if other is not None:
                raise LeakageError(f"rank {rank}: {other}")
        return [found for found, _ in told]

    def rows(self, table: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """What a map of rows (n, ...) to rows gives, each process taking an equal share of them."""
        if self.size == 1:
            return compute(table)
        share = table.tensor_split(self.size)[self.rank]
        # A process without a row still takes part, with the first one, and drops what comes out.
        parts = self.gather(
            lambda: compute(share if len(share) else table[:1]).cpu()[: len(share)].numpy()
        )
        return torch.cat([torch.from_numpy(part) for part in parts])


ALONE = Ranks()
