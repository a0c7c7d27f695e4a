"""The figure of the information view: what is proven of a secret, from below and from above."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leakage.adversaries.looks import SEEN
from leakage.knowledge import INFORMATION
from leakage.report.rows import ALL, Row


def information_figure(rows: Sequence[Row]) -> Figure:
    """Bits of each adversary in the last round, over the band that is proven.

    The band goes from what the strongest provably gets to what nobody exceeds; without a proof
    from above it goes on to H(a), hatched. A panel for the round alone, and one for all rounds.
    """
    first = rows[0]
    rows = [r for r in rows if (r.k, r.others) == (first.k, first.others) and r.layers == SEEN]
    last = max(row.round for row in rows)
    rows = [row for row in rows if row.round == last and row.group == ALL]
    panels = [name for name in ("alone", "sum") if any(row.rounds == name for row in rows)]
    height = 2 + 0.3 * len([r for r in rows if r.metric == "bits" and r.rounds == "alone"])
    figure = Figure(figsize=(6 * len(panels), height))
    for number, name in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number)
        _draw(axes, [row for row in rows if row.rounds == name])
        told = "all rounds together" if name == "sum" else f"round {last} alone"
        axes.set_title(f"{first.secret}, k = {first.k}, {told}", fontsize=9)
    figure.suptitle(first.defense, fontsize=8)
    figure.tight_layout()
    return figure


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    view = {row.metric: row.value for row in rows if row.adversary == INFORMATION}
    entropy, floor = view["entropy"], view["bits_floor"]
    ceiling = view["bits_ceiling"]
    low = 0.0 if math.isnan(floor) else floor
    if math.isnan(ceiling):
        axes.axvspan(low, entropy, fill=False, hatch="//", alpha=0.3, label="no proof from above")
    else:
        nothing = ceiling >= entropy - 1e-9
        color = "tab:orange" if nothing else "tab:green"
        told = (
            "DP guarantees nothing for this secret" if nothing else "the truth lies here (proven)"
        )
        axes.axvspan(low, max(low, ceiling), color=color, alpha=0.2, label=told)
        if not nothing:
            axes.axvline(ceiling, color=color, label="nobody exceeds (DP)")
    if low:
        axes.axvline(low, color="tab:red", label="provably leaked (95%)")
    axes.axvline(entropy, color="black", linestyle=":", label="all of the secret")
    bits = [row for row in rows if row.metric == "bits" and row.knowledge]
    if bits[0].defense == "none":  # static and adaptive are one
        bits = [row for row in bits if row.knowledge != "static"]
    for place, row in enumerate(bits):
        axes.plot(row.value, place, "o", color="tab:blue")
        if not math.isnan(row.low):
            axes.plot([row.low, row.value], [place, place], "-", color="tab:blue")
    axes.plot([], [], "o-", color="tab:blue", label="an adversary, with its lower limit")
    names = [
        row.adversary if row.defense == "none" else f"{row.adversary}, {row.knowledge}"
        for row in bits
    ]
    axes.set(yticks=range(len(bits)), yticklabels=names, ylim=(len(bits) - 0.5, -0.5))
    axes.set(xlim=(-0.02 * entropy, 1.05 * entropy), xlabel="bits of the secret")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
