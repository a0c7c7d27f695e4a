"""What a reader has to know of a run, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from leakage.metrics.intervals import Estimate
from leakage.report.rows import Row
from leakage.rules import Game


def told(game: Game) -> list[str]:
    """What is not as in the plainest game, in words."""
    said = []
    if game.local is not None:
        batch = game.local.batch or "all"
        said.append(
            f"clients share updates: {game.local.steps} steps of {batch} records at the rate"
            f" {game.local.lr:g}, over and over their {game.k} in a new order each time"
        )
    lacks = []
    if game.shadow_records is not None:
        lacks.append(f"has {game.shadow_records} shadow records")
    if game.shadow_shift is not None:
        shares = "; ".join(
            f"{trait} " + ", ".join(f"{value} {share:g}" for value, share in shift.items())
            for trait, shift in game.shadow_shift.items()
        )
        lacks.append(f"has shadow records with other shares ({shares})")
    if game.shadow_k not in (None, game.k):
        lacks.append(f"takes k for {game.shadow_k}")
    if game.layers != ["*"]:
        lacks.append(f"sees {', '.join(game.layers)}")
    return [*said, *(["the adversary " + "; ".join(lacks)] if lacks else [])]


def priced(figures: Mapping[str, Estimate]) -> list[str]:
    """Utility with its intervals, and what the defense has cost.

    Args:
        figures: of the callback `Utility`, by name; none before training has ended.
    """
    said = []
    for split in ("validation", "test"):
        if f"{split}_accuracy" in figures:
            found = figures[f"{split}_accuracy"]
            said.append(f"{split} accuracy {with_limits(found)} on {found.n} records")
    if "loss_vs_none" in figures:
        loss = with_limits(figures["loss_vs_none"])
        said.append(f"undefended run less this one: {loss}")
    return [", ".join(said)] if said else []


def spent(privacy: Mapping[str, float]) -> list[str]:
    """What training under DP has spent.

    Args:
        privacy: of the callback `Defend`, by name; empty without DP.
    """
    if not privacy:
        return []
    return [
        f"training under DP: epsilon = {privacy['epsilon_training']:.2f} (PLD; RDP"
        f" {privacy['epsilon_training_rdp']:.2f}, PRV {privacy['epsilon_training_prv']:.2f}) at"
        f" delta = {privacy['delta']:g} for one record added or removed, sigma ="
        f" {privacy['sigma']:g}, q = {privacy['q']:.2g}, {privacy['steps']:.0f} steps"
    ]


def with_limits(figure: Estimate | Row, *, sign: bool = False) -> str:
    """A figure and its 95% interval, or that it has none."""
    plus = "+" if sign else ""
    if math.isnan(figure.value):
        return "undefined"
    if math.isnan(figure.low):
        return f"{figure.value:{plus}.3f} [no interval]"
    return f"{figure.value:{plus}.3f} [{figure.low:{plus}.3f}, {figure.high:{plus}.3f}]"
