"""Records by themselves: whether one has a gradient, and whose is farthest from all others."""

from __future__ import annotations

from torch import Generator, Tensor

from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine


def farthest(engine: GradientEngine, records: Tensor, columns: Tensor) -> int:
    """The record (of N) whose gradient has the largest distance from the mean of all.

    Args:
        engine: at the weights of the round.
        records: record indices, int64 (N,).
        columns: the entries that count.
    """
    # Twice through them, so that never (N, p) stands whole.
    total, distances = None, []
    for block in engine.blocks(records[:, None], Generator().manual_seed(0), clients=0):
        part = block[:, columns].sum(0)
        total = part if total is None else total + part
    assert total is not None
    for block in engine.blocks(records[:, None], Generator().manual_seed(0), clients=0):
        distances.extend((block[:, columns] - total / len(records)).norm(dim=1).tolist())
    return int(records[max(range(len(distances)), key=distances.__getitem__)])


def try_alone(engine: GradientEngine, record: Tensor) -> None:
    """Refuses a model that takes no batch of one record, where a target is looked at by itself."""
    try:
        engine.means(record.view(1, 1), Generator().manual_seed(0), clients=0)
    except LeakageError as error:
        raise LeakageError(
            "attack.secret: Membership compares a release with the gradient of the target by"
            f" itself, and the model takes no batch of one record: {error}"
        ) from error
