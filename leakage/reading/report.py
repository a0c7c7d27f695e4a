"""Reads runs, and puts together all that a report says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from leakage import __version__
from leakage.reading.claims import Family, family_of
from leakage.reading.curves import curves_of
from leakage.reading.figures import Difference
from leakage.reading.finding import names_of, places_in
from leakage.reading.frontier import frontier_of
from leakage.reading.guessers import value_of
from leakage.reading.labels import Labels
from leakage.reading.runs import Files, read_run
from leakage.reading.schema import FINISHED, UNKNOWN, Report, Run
from leakage.reading.seeds import spreads_of
from leakage.reading.verdicts import sentences

_FEW = 3  # runs that are named


def report_of(folders: Sequence[Path], compare: bool = False) -> Report:
    """The report on all runs in some folders.

    Args:
        folders: of runs, or above them.
        compare: whether each run is set beside the first.

    Raises:
        LeakageError: a folder that is not there, or has no run in it.
    """
    places = places_in(folders)
    found = [read_run(*pair) for pair in zip(places, names_of(places), strict=True)]
    family = family_of(found)
    runs = [replace(files.run, sentences=sentences(files, family)) for files in found]
    labels = Labels(runs)
    return Report(
        title=_title(runs),
        runs=runs,
        claims=sorted(family.claims, key=lambda claim: claim.p_holm),
        frontier=frontier_of(found, labels),
        curves=curves_of(found, labels),
        differences=_differences(found) if compare else [],
        spreads=list(spreads_of(found, labels)),
        notes=list(_notes(found, family)),
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        warnings=[*_unfinished(runs), *_made_up(runs)],
    )


def _differences(found: Sequence[Files]) -> list[Difference]:
    # It loads the metrics, for which no other report waits.
    from leakage.reading.differences import differences_of

    return differences_of(found)


def _title(runs: Sequence[Run]) -> str:
    def listed(names: Sequence[str]) -> str:
        some = list(dict.fromkeys(names))
        return some[0] if len(some) == 1 else f"{len(some)} {{}}"

    told = [run for run in runs if run.data != UNKNOWN] or runs
    secrets = listed([run.secret for run in told]).format("secrets")
    data = listed([run.data for run in told]).format("data sets")
    runs_of = f", {len(runs)} runs" if len(runs) > 1 else ""
    return f"What gradients leak: {secrets} in {data}{runs_of}"


def _unfinished(runs: Sequence[Run]) -> Iterator[str]:
    """Which runs are not whole, and why; of many, how many."""
    found = [run for run in runs if run.state != FINISHED]
    if len(found) <= _FEW:
        for run in found:
            yield f"{run.name} is unfinished: {'; '.join(run.faults)}."
    else:
        yield f"{len(found)} of {len(runs)} runs are unfinished: {_some(found)}."


def _made_up(runs: Sequence[Run]) -> Iterator[str]:
    """Whose records are made up."""
    found = [run for run in runs if run.standin]
    if found:
        several = f"{len(found)} of {len(runs)} runs ({_some(found)})"
        which = f"The records of {several}" if len(found) < len(runs) else "All records"
        yield (
            f"{which} are a stand-in, made up: figures validate the tool and say nothing of real"
            " people."
        )


def _some(runs: Sequence[Run]) -> str:
    """The names of a few runs, and how many more there are."""
    names = [run.name for run in runs[:_FEW]]
    rest = len(runs) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")


def _notes(found: Sequence[Files], family: Family) -> Iterator[str]:
    """What the reader has to know of the whole."""
    runs = [files.run for files in found]
    told = [run for run in runs if run.data != UNKNOWN]
    data = Counter(f"{run.data}{' (a stand-in)' * run.standin}" for run in told)
    if len(data) > 1:
        each = ", ".join(f"{count} on {name}" for name, count in data.items())
        yield f"The runs are of several data sets ({each}): figures of one say nothing of another."
    count = len(family.statements)
    if count:
        several = f"{count} statements are" if count > 1 else "1 statement is"
        yield (
            f"{several} judged: of each adversary that knows of the defense, in every observed"
            " round alone and in all of them together. P-values are corrected by Holm's method"
            " (1979), and limits that hold at once by Bonferroni's; other intervals are 95% each by"
            " itself. They account for the records that trials share, not for another training run"
            " or another seed."
        )
    yield from _outdone(runs)
    for name, reasons in family.unclaimed.items():
        yield f"{name}: nothing is claimed of some adversaries, {'; '.join(reasons)}."
    if any(files.epsilons for files in found):
        yield (
            "An audit's epsilon is one of its record or attribute against an observer who knows"
            " whose batch a release is of; it is no bound on what a secret of many records loses."
        )


def _outdone(runs: Sequence[Run]) -> Iterator[str]:
    """Baselines that are no rivals in their game, where they tell more than the strongest does."""
    found: dict[str, int] = {}
    for run in runs:
        strongest, others = run.strongest, run.guessers
        if strongest is None or not strongest.rival:
            continue
        place = (strongest.round, strongest.rounds)
        for one in (g for g in others if not g.knowledge and (g.round, g.rounds) == place):
            level = value_of(strongest, "auroc") - value_of(strongest, "gain")
            if value_of(one, "auroc") > level + 1e-9:
                found[one.adversary] = found.get(one.adversary, 0) + 1
    for name, count in found.items():
        yield (
            f"In {count} of {len(runs)} runs {name} guesses better without gradients than the"
            " baseline that the gain of the strongest adversary is over. It is no rival there, as"
            " it needs what adversaries of that game do not know (the other features of the"
            " records); so no gain is one over it."
        )
