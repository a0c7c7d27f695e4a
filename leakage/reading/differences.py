"""Runs side by side: what one has more of than another, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from leakage.reading.claims import when
from leakage.reading.guessers import last_round, strongest_of, whole
from leakage.reading.pairing import paired, paired_accuracy
from leakage.reading.runs import Files, utility_of
from leakage.reading.schema import Difference, Figure, Guesser, Run
from leakage.reading.settings import differing, numbers_of, settings_of

_TOLD = 4  # settings that are named


def differences_of(runs: Sequence[Files]) -> list[Difference]:
    """Each run with figures less the first of them: of the strongest adversaries, and of utility.

    Of adversaries in the last round alone, and where there are several in all of them together.
    Where both runs were judged on the same trials, or records, the interval is that of the paired
    difference.

    Args:
        runs: as they were read, in the order in which they were given.
    """
    attacked = [files for files in runs if files.run.strongest is not None]
    return [found for other in attacked[1:] for found in _between(other, attacked[0])]


def _between(one: Files, other: Files) -> Iterator[Difference]:
    names, note = (one.run.name, other.run.name), _note(one, other)
    for rounds in ("alone", "sum"):
        ours, theirs = (_strongest(files, rounds) for files in (one, other))
        if ours is None or theirs is None:
            continue
        place = " less ".join(dict.fromkeys([when(ours), when(theirs)]))
        same = paired(one, ours, other, theirs)
        for metric in ("auroc", "gain"):
            figure = same.get(metric) or _less(ours.figures.get(metric), theirs.figures.get(metric))
            if figure is not None:
                yield Difference(*names, metric, figure, metric in same, note, place)
    useful, others = utility_of(one.run), utility_of(other.run)
    if useful is None or others is None or useful[0] != others[0]:
        return
    name = useful[0]
    split = name.removesuffix("_accuracy")
    figure = paired_accuracy(one, other, split) if split != name else None
    if figure is not None:
        yield Difference(*names, name, figure, True, note)
    elif (figure := _less(useful[1], others[1])) is not None:
        yield Difference(*names, name, figure, False, note)


def _strongest(files: Files, rounds: str) -> Guesser | None:
    """Of the last round of a run, alone or with all before it."""
    return strongest_of(g for g in last_round(files.run.guessers) if g.rounds == rounds)


def _less(one: Figure | None, other: Figure | None) -> Figure | None:
    """One less the other as if they were independent (MOVER, Zou & Donner 2008)."""
    if one is None or other is None or one.value is None or other.value is None:
        return None
    value, ours, theirs = one.value - other.value, whole(one), whole(other)
    if ours is None or theirs is None:
        return Figure(value, note="no interval: one of the two has none")
    below = math.hypot(ours[0] - ours[1], theirs[2] - theirs[0])
    above = math.hypot(ours[2] - ours[0], theirs[0] - theirs[1])
    return Figure(value, value - below, value + above, "as if the two were independent")


def _note(one: Files, other: Files) -> str:
    """In what two runs differ."""
    if one.run.data != other.run.data or one.run.standin != other.run.standin:
        return f"other data: {_data(one.run)} and {_data(other.run)}"
    names = differing(settings_of(one), settings_of(other))
    if "defense" in names:  # whose numbers are not those of the other
        numbers = numbers_of(one.run.defense) | numbers_of(other.run.defense)
        names = [name for name in names if name not in numbers]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"they differ in {', '.join(names[:_TOLD])}{more}" if names else "of one config"


def _data(run: Run) -> str:
    return f"{run.data} (stand-in)" if run.standin else run.data
