"""The figure of an audit: epsilon by theory, by each pair, and by each estimator, against sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leakage.audit.names import CEILING, EXACT, PAIR, THEORY
from leakage.report.epsilons import EpsilonRow

_MARKS = "osD^vP*X"


def epsilon_figure(rows: Sequence[EpsilonRow]) -> Figure:
    """A panel for each canary: theory, the pair itself, and bounds with their limits."""
    canaries = list(dict.fromkeys(row.canary for row in rows if row.canary))
    columns = min(3, len(canaries))
    lines = math.ceil(len(canaries) / columns)
    figure = Figure(figsize=(4.6 * columns, 1.2 + 3.6 * lines))
    noises = sorted({row.sigma for row in rows if not math.isnan(row.sigma)})
    place = {sigma: float(number) for number, sigma in enumerate(noises)}
    first: Axes | None = None
    for number, canary in enumerate(canaries, 1):
        axes = figure.add_subplot(lines, columns, number, sharey=first)
        first = first or axes
        _draw(axes, [row for row in rows if row.canary in ("", canary)], place)
        axes.set_title(canary, fontsize=9)
        axes.set(xlabel="sigma" if noises else "", xticks=list(place.values()) or [0.0])
        axes.set_xticklabels([f"{sigma:g}" for sigma in noises] or ["no noise of DP"])
        axes.set(
            ylabel=f"epsilon at delta = {rows[0].delta:g}", xlim=(-0.6, len(noises or [0]) - 0.4)
        )
    figure.suptitle(f"audit of {rows[0].secret}: {rows[0].defense}", fontsize=8)
    if first is not None:  # one scale for all panels, once all are drawn
        first.set_yscale("symlog", linthresh=1)  # large and small ones side by side
        first.autoscale(axis="y")
        first.set_ylim(bottom=0)
        first.yaxis.set_major_formatter("{x:g}")
    handles, labels = first.get_legend_handles_labels() if first else ([], [])
    if labels:
        figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=7)
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1))
    return figure


def _draw(axes: Axes, rows: Sequence[EpsilonRow], place: dict[float, float]) -> None:
    claims = {
        THEORY["replace_one"]: ("DP: one record replaced (2C)", "--"),
        THEORY["add_or_remove"]: ("DP: one record added or removed", ":"),
    }
    for name, (label, style) in claims.items():
        found = [row for row in rows if row.estimator == name and math.isfinite(row.value)]
        if found:
            found.sort(key=lambda row: row.sigma)
            points = np.array([(place[row.sigma], row.value) for row in found])
            mark = "_" if style == "--" else "."  # one noise alone draws no line
            axes.plot(*points.T, style, marker=mark, ms=9, color="black", label=label)
    names = [
        name
        for name in dict.fromkeys(row.estimator for row in rows if row.canary)
        if not name.startswith(CEILING)
    ]
    for number, name in enumerate(names):
        found = [row for row in rows if row.estimator == name and row.canary]
        x = np.array([place.get(row.sigma, 0.0) for row in found])
        if name == PAIR:
            for spot, row in zip(x, found, strict=True):
                told = "epsilon infinite" if row.value else "0 for this pair"
                axes.annotate(told, (spot, 0.5), xycoords=("data", "axes fraction"))
            continue
        if name == EXACT:
            y = np.array([row.value for row in found])
            axes.plot(x, y, "x", color="tab:red", label="this pair, exact (E0)")
            continue
        x = x + 0.5 * (number / max(1, len(names)) - 0.4)
        low = np.array([row.low for row in found])
        value = np.array([row.value for row in found])
        beyond = ~np.isfinite(value)
        value = np.where(beyond, low, value)
        high = np.array([row.high for row in found])
        high = np.where(np.isfinite(high), high, value)
        label = name if found[0].valid else f"{name} (under assumptions)"
        around = np.stack([value - low, high - value]).clip(min=0)
        for spot, bottom in zip(x[beyond], low[beyond], strict=True):  # perfectly told apart
            axes.annotate("↑", (spot, bottom), ha="center", va="bottom")
        axes.errorbar(
            x, value, yerr=around, fmt=_MARKS[number % len(_MARKS)], capsize=3, ms=4, label=label
        )
