"""Runs side by side: what one has more of than another, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from leakage.reading.frontier import utility_of
from leakage.reading.guessers import last_alone, strongest_of, whole
from leakage.reading.pairing import paired
from leakage.reading.runs import Files
from leakage.reading.schema import Difference, Figure, Run
from leakage.reading.settings import differing, numbers_of, settings_of

_SAME = 1e-9
_TOLD = 4  # settings that are named


def differences_of(runs: Sequence[Files]) -> list[Difference]:
    """Each run with figures less the first of them: of the strongest adversaries, and accuracy.

    Both adversaries are those of the last round alone. Where they were judged on the same trials
    the interval is that of the paired difference.

    Args:
        runs: as they were read, in the order in which they were given.
    """
    attacked = [files for files in runs if files.run.strongest is not None]
    return [found for other in attacked[1:] for found in _between(other, attacked[0])]


def _between(one: Files, other: Files) -> Iterator[Difference]:
    names, note = (one.run.name, other.run.name), _note(one, other)
    ours, theirs = (strongest_of(last_alone(files.run.guessers)) for files in (one, other))
    if ours is not None and theirs is not None:
        same = paired(one, ours, other, theirs)
        for metric in ("auroc", "gain"):
            figure = same.get(metric) or _less(ours.figures.get(metric), theirs.figures.get(metric))
            if figure is not None:
                yield Difference(*names, metric, figure, metric in same, note)
    figure = _priced(one, other)
    if figure is not None:
        yield Difference(*names, _split(one.run), figure, True, note)
        return
    useful, others = utility_of(one.run), utility_of(other.run)
    if useful is not None and others is not None and useful[0] == others[0]:
        figure = _less(useful[1], others[1])
        if figure is not None:
            yield Difference(*names, useful[0], figure, False, note)


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


def _priced(one: Files, other: Files) -> Figure | None:
    """The paired loss, where one of the two is what the other has found its twin to be."""
    for defended, none, sign in ((one.run, other.run, -1.0), (other.run, one.run, 1.0)):
        loss, ours, theirs = (
            run.utility.get(name)
            for run, name in (
                (defended, "loss_vs_none"),
                (defended, _split(defended)),
                (none, _split(defended)),
            )
        )
        alike = none.defense == "none" and (none.data, none.seed) == (defended.data, defended.seed)
        if not alike or loss is None or ours is None or theirs is None:
            continue
        values = (loss.value, loss.low, loss.high, ours.value, theirs.value)
        value, low, high, kept, whole = (math.nan if v is None else v for v in values)
        if abs(whole - kept - value) < _SAME:
            low, high = sorted((sign * low, sign * high))
            return Figure(sign * value + 0.0, low, high, "of the same records")
    return None


def _split(run: Run) -> str:
    return "test_accuracy" if "test_accuracy" in run.utility else "validation_accuracy"


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
