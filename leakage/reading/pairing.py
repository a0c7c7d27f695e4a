"""What one run has more of than another, judged on the same trials or on the same records."""

from __future__ import annotations

import math

import numpy as np

from leakage.answered import answered_file, read_answered
from leakage.metrics.intervals import Estimate
from leakage.metrics.ranking import gain
from leakage.metrics.utility import accuracy_loss
from leakage.predicted import read_predicted
from leakage.reading.figures import Figure
from leakage.reading.guessers import number
from leakage.reading.runs import Files
from leakage.reading.schema import Guesser

_SAME = 1e-9


def paired(one: Files, ours: Guesser, other: Files, theirs: Guesser) -> dict[str, Figure]:
    """The differences of AUROC and of gain, with the interval of `leakage.metrics.ranking.gain`.

    That of the gain is the same where both gains are over one and the same answer.

    Args:
        one: a run.
        ours: its adversary, in one round alone or in the sum of all.
        other: another run.
        theirs: its adversary.

    Returns:
        By metric; nothing where the runs do not have the same trials, or have not left those that
        their figures are of.
    """
    places = ((who.round, who.rounds) for who in (ours, theirs))
    if one.run.contents != other.run.contents or len(set(places)) > 1:
        return {}
    name = answered_file(ours.round, ours.rounds)
    first, second = (read_answered(files.place.rounds / name) for files in (one, other))
    if first is None or second is None or not first.of_the_same_trials(second):
        return {}
    guessed = [
        told.rankings.get(place)
        for told, who in ((first, ours), (second, theirs))
        for place in ((who.knowledge, who.adversary), ("", who.rival))
    ]
    mine, my_rival, yours, your_rival = guessed
    if mine is None or yours is None or mine.shape != yours.shape:
        return {}
    figure = _figure(gain(mine, yours, first.values, first.draws), "of the same trials")
    areas = ours.figures.get("auroc"), theirs.figures.get("auroc")
    if figure is None or not _is_that_of(figure, *areas):
        return {}
    alike = my_rival is not None and your_rival is not None and np.array_equal(my_rival, your_rival)
    return {"auroc": figure} | ({"gain": figure} if alike else {})


def paired_accuracy(one: Files, other: Files, split: str) -> Figure | None:
    """The difference of accuracy, with the interval of `leakage.metrics.utility.accuracy_loss`.

    Args:
        one: a run.
        other: another run.
        split: `test` or `validation`.

    Returns:
        None where the runs do not have the same records, or have not left the predictions that
        their figures are of.
    """
    if one.run.contents != other.run.contents:
        return None
    first, second = (read_predicted(files.place.predicted) for files in (one, other))
    if first is None or second is None or not first.of_the_same_records(second, split):
        return None
    units = first.records[split][2]
    found = accuracy_loss(first.hits[split], second.hits[split], units)
    figure = _figure(found, "of the same records")
    worths = (files.run.utility.get(f"{split}_accuracy") for files in (one, other))
    return figure if figure is not None and _is_that_of(figure, *worths) else None


def _is_that_of(figure: Figure, one: Figure | None, other: Figure | None) -> bool:
    """Whether it is one figure of a run less that of another, which a file of earlier is not."""
    apart, ours, theirs = (
        math.nan if told is None else told.value for told in (figure, one, other)
    )
    if apart is None or ours is None or theirs is None:
        return False
    return abs(apart - (ours - theirs)) < _SAME


def _figure(found: Estimate, note: str) -> Figure | None:
    """The difference; None without an interval, for which there are other ways."""
    if math.isnan(found.low):
        return None
    return Figure(number(found.value), found.low, found.high, note)
