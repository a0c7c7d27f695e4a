"""What a defense keeps of utility against what it leaves to the strongest adversary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leakage.reading.figures import Tradeoff
from leakage.reading.labels import Labels
from leakage.reading.runs import Files, utility_of
from leakage.reading.schema import Run
from leakage.reading.seeds import alike, mean_of, range_of, strongest_of_seeds
from leakage.reading.settings import rules_of


def frontier_of(runs: Sequence[Files], labels: Labels) -> list[Tradeoff]:
    """Every run with a utility and a gain, in their order; runs that differ in the seed as one.

    Args:
        runs: as they were read.
        labels: of the runs.
    """
    groups = [[files.run for files in group] for group in alike(runs)]
    found = [(some[0], own) for some in groups if (own := _placed(some, labels)) is not None]
    return [
        replace(
            own,
            best=not any(
                _better(other, own) for of, other in found if _question(of) == _question(run)
            ),
        )
        for run, own in found
    ]


def _placed(runs: Sequence[Run], labels: Labels) -> Tradeoff | None:
    """One place for the seeds of a run, as far as they have both figures."""
    worths = [(run, utility_of(run)) for run in runs if run.strongest is not None]
    runs = [run for run, told in worths if told is not None]
    useful = [told for _, told in worths if told is not None]
    gains = [g.figures["gain"] for g in strongest_of_seeds(runs) if "gain" in g.figures]
    if not runs or len(gains) < len(runs) or len({name for name, _ in useful}) > 1:
        return None
    metric = useful[0][0]
    utility = mean_of([figure for _, figure in useful], range_of(metric))
    gain = mean_of(gains, range_of("gain"))
    if utility.value is None or gain.value is None:
        return None
    label = labels.of(runs[0], *["seed"] * (len(runs) > 1)) or runs[0].defense
    return Tradeoff([run.name for run in runs], label, utility, metric, gain, False)


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
