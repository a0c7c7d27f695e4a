"""What runs are called where a reader meets them: by what tells them apart, else by their names."""

from __future__ import annotations

from collections.abc import Sequence

from leakage.reading.schema import Run


def called(runs: Sequence[Run]) -> dict[str, str]:
    """Titles of all runs, by name.

    A folder says little, and one of a sweep nothing, so that runs are called by their data, secret,
    k and defense as far as these differ; where that is not enough, all keep their names.
    """
    parts = [
        (run.data, run.secret, f"k = {run.k}", f"{run.others} of others", run.defense)
        for run in runs
    ]
    told = [place for place in range(5) if len({part[place] for part in parts}) > 1]
    titles = [", ".join(part[place] for place in told) for part in parts]
    if len(set(titles)) < len(titles) or not all(titles):
        titles = [run.name for run in runs]
    return {run.name: title for run, title in zip(runs, titles, strict=True)}


def common(labels: Sequence[str]) -> str:
    """The parts that labels begin with alike.

    >>> common(["k = 1, none", "k = 1, Sign(zero='keep')"])
    'k = 1'
    """
    parts = [label.split(", ") for label in labels]
    alike = []
    for some in zip(*parts, strict=False):
        if len(set(some)) > 1:
            break
        alike.append(some[0])
    return ", ".join(alike)
