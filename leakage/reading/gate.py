"""`--fail-if "gain > 0.1"`: conditions on the figures of a report, for pipelines."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leakage.errors import LeakageError, nearest
from leakage.reading.figures import Figure
from leakage.reading.guessers import AWARE, number
from leakage.reading.schema import FINISHED, Report, Run

EPSILON = "epsilon"
_LESS = ("mae", "rps")  # errors, of which the strongest adversary has the least
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(?:(low|high)\s*\(\s*([\w/]+)\s*\)|([\w/]+))\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """Under which a report fails.

    Args:
        text: as it was given.
        limit: `low` or `high` for a limit of the interval; empty for the figure itself.
        metric: its name.
        sign: >, >=, < or <=.
        bound: the number that it is compared with.
    """

    text: str
    limit: str
    metric: str
    sign: str
    bound: float


def condition_of(text: str) -> Condition:
    """Reads a condition.

    >>> condition_of("low(gain) > 0.1").metric
    'gain'

    Raises:
        LeakageError: it is none.
    """
    match = _FORM.fullmatch(text)
    try:
        bound = float(match[5]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or math.isnan(bound):
        raise LeakageError(
            f"--fail-if: found {text!r}, expected a metric, one of >, >=, < and <=, and a number,"
            " as in 'gain > 0.1' or 'low(gain) > 0'"
        )
    return Condition(text, match[1] or "", match[2] or match[3], match[4], bound)


@dataclass(frozen=True)
class Outcome:
    """What conditions found.

    Args:
        met: a sentence for each condition and run that fails.
        lacking: a sentence for each run that does not have what is asked for.
    """

    met: list[str]
    lacking: list[str]


def judge(report: Report, conditions: Sequence[Condition]) -> Outcome:
    """Holds a report against conditions.

    A figure of an attack is that of the strongest adversary by this very figure: of those that know
    of the defense, in any observed round, alone or together with those before. `epsilon` is what
    the headline of an audit has proven, the largest of all noises. An attack need not have an
    epsilon, nor an audit a figure of an attack; but an unfinished run has nothing for sure.

    Raises:
        LeakageError: a metric that no run has.
    """
    known = sorted({name for run in report.runs for name in _figures(run)})
    met, lacking = [], []
    for run in report.runs if conditions else ():
        if run.state != FINISHED:
            lacking.append(f"--fail-if: {run.name} is {run.state}, so nothing is sure of it")
    for condition in conditions:
        name = condition.metric
        if lacking and not known:
            continue  # no run has any figure yet: the metric may be right
        if name not in known:
            torn = ", ".join(run.name for run in report.runs if run.state != FINISHED)
            some = f" ({torn} unfinished)" if torn else ""
            raise LeakageError(
                f"--fail-if: no run has a metric {name!r}{some}; {nearest(name, known)}"
            )
        for run in report.runs:
            found = _figures(run).get(name, [])
            other = bool(run.audit) != (name == EPSILON) and (run.audit or run.guessers)
            if other and not found:
                continue
            numbers = [(_asked(figure, condition), where) for figure, where in found]
            sure = [(number, where) for number, where in numbers if number is not None]
            if not sure or len(sure) < len(numbers):
                lacking.append(
                    f"--fail-if {condition.text!r}: {run.name} has no {_told(condition)}"
                )
            number, where = (min if name in _LESS else max)(sure, default=(math.nan, ""))
            if _SIGNS[condition.sign](number, condition.bound):
                met.append(
                    f"--fail-if {condition.text!r}: in {run.name} the {_told(condition)}{where} is"
                    f" {number:.6g}"
                )
    return Outcome(met, lacking)


def _figures(run: Run) -> dict[str, list[tuple[Figure, str]]]:
    """The figures of a run by metric, each with words that say whose it is."""
    found: dict[str, list[tuple[Figure, str]]] = {}
    for guesser in run.guessers:
        if guesser.knowledge in AWARE:
            where = f" of {guesser.adversary} ({guesser.when})"
            for name, figure in guesser.figures.items():
                found.setdefault(name, []).append((figure, where))
    for name, figure in (run.utility | run.information).items():
        found.setdefault(name, [(figure, "")])
    for name, value in run.privacy.items():
        found.setdefault(name, [(Figure(number(float(value))), "")])
    for row in run.audit:
        if row.headline:
            noise = "" if row.sigma is None else f" at sigma = {row.sigma:g}"
            found.setdefault(EPSILON, []).append((row.epsilon, f" of {row.canary}{noise}"))
    return found


def _asked(figure: Figure, condition: Condition) -> float | None:
    if condition.limit:
        return figure.low if condition.limit == "low" else figure.high
    if condition.metric == EPSILON and figure.low is not None:
        return figure.low  # the value beside it is no more than likely
    return figure.value


def _told(condition: Condition) -> str:
    limit = {"low": "lower limit of ", "high": "upper limit of "}.get(condition.limit, "")
    return f"{limit}{condition.metric}"
