"""Runs side by side: what one has more of than another, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leakage.reading.figures import Difference, Figure
from leakage.reading.guessers import strongest_in, whole
from leakage.reading.pairing import paired, paired_accuracy
from leakage.reading.runs import Files, utility_of
from leakage.reading.schema import Run
from leakage.reading.seeds import alike, mean_of, range_of
from leakage.reading.settings import differing, numbers_of, settings_of

_TOLD = 4  # settings that are named


@dataclass(frozen=True)
class _Told:
    """One figure of a run less that of another."""

    names: tuple[str, str]
    figure: Figure
    paired: bool
    note: str


def differences_of(runs: Sequence[Files]) -> list[Difference]:
    """Each run with figures less the first of them: of the strongest adversaries, and of utility.

    Of adversaries in the last round alone, and where there are several in all of them together.
    Where both runs were judged on the same trials, or records, the interval is that of the paired
    difference. Runs that differ in the seed are compared seed by seed, as far as both have it;
    where no run differs in anything else, each stands for itself.

    Args:
        runs: as they were read, in the order in which they were given.
    """
    attacked = [files for files in runs if files.run.strongest is not None]
    groups = alike(attacked)
    first, *others = groups if len(groups) > 1 else ([files] for files in attacked)
    return [found for other in others for found in _between(_by_seed(other, first))]


def _by_seed(ones: Sequence[Files], others: Sequence[Files]) -> list[tuple[Files, Files]]:
    """Pairs of the same seed; the first two where there are none."""
    pairs = [(one, other) for one in ones for other in others if one.run.seed == other.run.seed]
    return pairs or [(ones[0], others[0])]


def _between(pairs: Sequence[tuple[Files, Files]]) -> Iterator[Difference]:
    groups: dict[tuple[str, str], list[_Told]] = {}
    for one, other in pairs:
        for metric, place, told in _of_a_pair(one, other):
            groups.setdefault((metric, place), []).append(told)
    for (metric, place), group in groups.items():
        least, most = range_of(metric)
        figure = mean_of([told.figure for told in group], (least - most, most - least))
        ones, others = (list(names) for names in zip(*(told.names for told in group), strict=True))
        paired = all(told.paired for told in group)
        yield Difference(ones, others, metric, figure, paired, group[0].note, place)


def _of_a_pair(one: Files, other: Files) -> Iterator[tuple[str, str, _Told]]:
    """By metric and place."""
    names, note = (one.run.name, other.run.name), _note(one, other)
    for rounds in ("alone", "sum"):
        ours, theirs = (strongest_in(files.run.guessers, rounds) for files in (one, other))
        if ours is None or theirs is None:
            continue
        place = " less ".join(dict.fromkeys([ours.when, theirs.when]))
        same = paired(one, ours, other, theirs)
        for metric in ("auroc", "gain"):
            figure = same.get(metric) or _less(ours.figures.get(metric), theirs.figures.get(metric))
            if figure is not None:
                yield metric, place, _Told(names, figure, metric in same, note)
    useful, others = utility_of(one.run), utility_of(other.run)
    if useful is None or others is None or useful[0] != others[0]:
        return
    name = useful[0]
    split = name.removesuffix("_accuracy")
    figure = paired_accuracy(one, other, split) if split != name else None
    if figure is not None:
        yield name, "", _Told(names, figure, True, note)
    elif (figure := _less(useful[1], others[1])) is not None:
        yield name, "", _Told(names, figure, False, note)


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
