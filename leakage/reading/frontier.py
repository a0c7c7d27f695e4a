"""What a defense keeps of utility against what it leaves to the strongest adversary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leakage.reading.labels import Labels
from leakage.reading.schema import Figure, Run, Tradeoff
from leakage.reading.settings import rules_of

_ACCURACIES = ("test_accuracy", "validation_accuracy", "val_accuracy", "val_acc")


def frontier_of(runs: Sequence[Run], labels: Labels) -> list[Tradeoff]:
    """Every run with a utility and a gain, in their order.

    Args:
        runs: of the report.
        labels: of the runs.
    """
    found = [(run, placed) for run in runs if (placed := _placed(run, labels)) is not None]
    return [
        replace(
            own,
            best=not any(
                _better(other, own) for of, other in found if _question(of) == _question(run)
            ),
        )
        for run, own in found
    ]


def utility_of(run: Run) -> tuple[str, Figure] | None:
    """The metric by which a run is useful, and its figure.

    Accuracy on held-out records, test records first; else the first that is logged of them.
    """
    known = [*_ACCURACIES, *(name for name in run.utility if name.startswith(("val", "test")))]
    for name in known:
        if name in run.utility and not name.endswith(("loss", "loss_vs_none")):
            return name, run.utility[name]
    return None


def _placed(run: Run, labels: Labels) -> Tradeoff | None:
    useful, gain = utility_of(run), run.strongest and run.strongest.figures.get("gain")
    if useful is None or useful[1].value is None or not gain or gain.value is None:
        return None
    label = labels.of(run) or run.defense
    return Tradeoff(run.name, label, useful[1], useful[0], gain, False)


def _question(run: Run) -> tuple[object, ...]:
    useful = utility_of(run)
    place = run.data, run.standin, run.secret, run.k, run.others
    return *place, rules_of(run), useful and useful[0]


def _better(one: Tradeoff, other: Tradeoff) -> bool:
    """Whether one has at least as much utility and no more gain, and is not the same in both."""
    ours, theirs = (_place(tradeoff) for tradeoff in (one, other))
    return ours != theirs and ours[0] >= theirs[0] and ours[1] <= theirs[1]


def _place(tradeoff: Tradeoff) -> tuple[float, float]:
    return tradeoff.utility.value or 0.0, tradeoff.gain.value or 0.0
