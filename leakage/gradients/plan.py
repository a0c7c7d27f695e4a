"""What is told of how shared vectors are computed."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How gradients, or updates, are computed.

    Args:
        path: `factored`: from the factors of each layer; `record-wise`: each record's gradient
            once, averaged by the table; `batch-wise`: one backward pass for each row of the table;
            `updates`: the training of each client.
        reason: why, in words.
        chunk: records at once, of updates clients at once; at least 1.
        rows: batch gradients, or means of updates, that stand whole at once, at least 1.
        memory: bytes that this takes at most, by measure of a few records.
    """

    path: str
    reason: str
    chunk: int
    rows: int
    memory: int

    def __str__(self) -> str:
        chunks = {"batch-wise": "", "updates": f"{self.chunk} clients and "}
        at_once = chunks.get(self.path, f"{self.chunk} records and ")
        return (
            f"{self.path} ({self.reason}), {at_once}{self.rows} batches at once within"
            f" {self.memory / GIB:.2g} GiB"
        )
