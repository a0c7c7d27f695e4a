"""Figures that set side by side: batch sizes, numbers of clients, values, and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leakage.adversaries.looks import SEEN
from leakage.metrics.intervals import Estimate
from leakage.report.rows import ALL, Row


def aggregation_figure(rows: Sequence[Row]) -> Figure:
    """AUROC of each adversary against k, and against the number of clients of k records each.

    Of the last round alone; those that know of the defense, and the baselines dotted.
    """
    last = max(row.round for row in rows)
    shown = [
        row
        for row in rows
        if (row.round, row.rounds, row.layers, row.group) == (last, "alone", SEEN, ALL)
        and row.metric == "auroc"
        and row.knowledge != "static"
    ]
    k, others = rows[0].k, rows[0].others  # of the game itself
    panels: dict[str, list[tuple[float, Row]]] = {
        "records of a client, k": [(row.k, row) for row in shown if row.others == others],
        "clients": [(1 + row.others / row.k, row) for row in shown if row.k == k],
    }
    panels = {name: points for name, points in panels.items() if len({x for x, _ in points}) > 1}
    figure = Figure(figsize=(5 * len(panels), 4))
    first: Axes | None = None
    for number, (name, points) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number, sharey=first)
        first = first or axes
        _against(axes, points)
        axes.set(xlabel=name, ylabel="AUROC (0.5: chance)")
    figure.tight_layout()
    return figure


def _against(axes: Axes, points: Sequence[tuple[float, Row]]) -> None:
    """One line with intervals for each guesser."""
    for name in dict.fromkeys(row.adversary for _, row in points):
        mine = sorted(((x, r) for x, r in points if r.adversary == name), key=lambda p: p[0])
        x = np.array([place for place, _ in mine])
        value, low, high = (
            np.array([getattr(row, part) for _, row in mine]) for part in ("value", "low", "high")
        )
        baseline = not mine[0][1].knowledge
        style = {"linestyle": ":", "alpha": 0.7} if baseline else {"linestyle": "-"}
        (line,) = axes.plot(x, value, marker="o", markersize=4, label=name, **style)
        if not baseline:
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15)
    axes.axhline(0.5, color="grey", linewidth=0.8)
    ticks = sorted({x for x, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(top=1.01)
    axes.legend(fontsize=8)


def exposure_figure(
    average: Estimate, by_class: Mapping[str, Estimate], exposed: Mapping[str, Estimate]
) -> Figure:
    """The share of right trials in all, by value of the secret, and by most exposed unit.

    The limits of units hold for all units at once; those of values hold one by one.
    """
    bars = {"all trials": average}
    bars |= {f"secret {name}": estimate for name, estimate in by_class.items()}
    bars |= exposed
    figure = Figure(figsize=(6, 1.6 + 0.28 * len(bars)))
    axes = figure.subplots()
    places = np.arange(len(bars))
    values = np.array([estimate.value for estimate in bars.values()])
    low = np.array([estimate.low for estimate in bars.values()])
    high = np.array([estimate.high for estimate in bars.values()])
    colors = ["black"] + ["tab:blue"] * len(by_class) + ["tab:red"] * len(exposed)
    axes.barh(places, values, height=0.6, color=colors, alpha=0.6)
    low, high = np.where(np.isnan(low), values, low), np.where(np.isnan(high), values, high)
    around = np.stack([values - low, high - values]).clip(min=0)
    axes.errorbar(values, places, xerr=around, fmt="none", ecolor="black", capsize=3)
    axes.axvline(average.value, color="grey", linestyle=":")
    axes.set(yticks=places, yticklabels=list(bars), xlim=(0, 1.01))
    axes.set_xlabel("share of trials that are right, unless it says AUROC")
    if not exposed:
        axes.set_title("no unit is in enough trials to be ranked", fontsize=8)
    axes.invert_yaxis()
    figure.tight_layout()
    return figure
