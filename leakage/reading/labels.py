"""Short names of runs: that in which they differ from the others of the report."""

from __future__ import annotations

from collections.abc import Iterable

from leakage.reading.schema import Run
from leakage.reading.settings import question_of, unnumbered


class Labels:
    """Names runs by what they are about, as far as that differs in the report.

    Args:
        runs: of the report.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        parts = [_parts(run) for run in runs]
        names = dict.fromkeys(name for part in parts for name in part)
        self._told = [name for name in names if len({part.get(name) for part in parts}) > 1]

    def of(self, run: Run, *without: str) -> str:
        """The label of a run.

        Args:
            run: one of the report.
            without: settings that are no part of it: that along an axis, such as `k` or `sigma`,
                and `seed` where several stand for one.
        """
        parts = _parts(run) | {"defense": unnumbered(run.defense, without)}
        told = [parts[name] for name in self._told if name in parts and name not in without]
        return ", ".join(told)


def _parts(run: Run) -> dict[str, str]:
    """What a run is about, the most telling first; of its rules those that are one word."""
    parts = {
        "data": f"{run.data} (stand-in)" if run.standin else run.data,
        "secret": run.secret,
        "k": f"k = {run.k}",
        "others": f"{run.others} of others",
        "defense": run.defense,
        "seed": f"seed {run.seed}",
    }
    rules = {
        name: f"{name.replace('_', ' ')} {value}"
        for name, value in question_of(run).items()
        if isinstance(value, str | int | float) and name not in parts
    }
    return parts | rules
