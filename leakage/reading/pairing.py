"""What one run's adversary gets more than another's, judged on the same trials."""

from __future__ import annotations

import math

import numpy as np

from leakage.answered import answered_file, read_answered
from leakage.metrics.ranking import gain
from leakage.reading.guessers import number
from leakage.reading.runs import Files
from leakage.reading.schema import Figure, Guesser


def paired(one: Files, ours: Guesser, other: Files, theirs: Guesser) -> dict[str, Figure]:
    """The differences of AUROC and of gain, with the interval of `leakage.metrics.ranking.gain`.

    That of the gain is the same where both gains are over one and the same answer.

    Args:
        one: a run.
        ours: its adversary, in one round alone.
        other: another run.
        theirs: its adversary, in the same round alone.

    Returns:
        By metric; nothing where the runs do not have the same trials, or have not left them.
    """
    if ours.round != theirs.round:
        return {}
    name = answered_file(ours.round)
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
    found = gain(mine, yours, first.values, first.draws)
    if math.isnan(found.low):
        return {}
    figure = Figure(number(found.value), found.low, found.high, "of the same trials")
    alike = my_rival is not None and your_rival is not None and np.array_equal(my_rival, your_rival)
    return {"auroc": figure} | ({"gain": figure} if alike else {})
