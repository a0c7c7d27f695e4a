"""Runs whose trials are drawn by simple means and graded by the program, as files of a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakage.metrics.attack import by_class
from leakage.metrics.intervals import Draws, Floats, Ints
from leakage.metrics.ranking import auroc, gain
from leakage.report.rows import ALL, Row, write_rows

POOL, K = 120, 4
LABELS, PRIOR = "labels", "prior"


def drawn(
    rng: np.random.Generator, strengths: Sequence[float], trials: int = 160
) -> tuple[list[Floats], Ints, Draws]:
    """The log posteriors of several guessers, (n, 2) each, of one game in which units come again.

    Args:
        rng: the only source of randomness.
        strengths: how far the secret moves each guesser's score; 0 for one that knows nothing.
        trials: how many.
    """
    truth = rng.integers(0, 2, trials)
    places = rng.random((trials, POOL)).argsort(axis=1)[:, :K]
    draws = Draws(places + POOL * truth[:, None], np.repeat([0, 1], POOL))
    answers = []
    for strength in strengths:
        units = rng.normal(size=2 * POOL) + strength * np.repeat([-0.5, 0.5], POOL)
        odds = units[draws.units].sum(axis=1) + rng.normal(size=trials)
        answers.append(-np.logaddexp(0, np.column_stack([odds, -odds])))
    return answers, truth, draws


def rows_of(
    answers: Mapping[str, Floats],
    truth: Ints,
    draws: Draws,
    defense: str = "none",
    round_: int = 0,
) -> list[Row]:
    """The rows of one round: of the baselines among the answers, then of adversaries."""
    constant = np.log(np.full((len(truth), 2), 0.5))
    guessed = {PRIOR: constant} | dict(answers)
    areas = {name: auroc(answer, truth, draws) for name, answer in guessed.items()}
    rivals = [name for name in (PRIOR, LABELS) if name in guessed]
    best = max(rivals, key=lambda name: areas[name].value)
    rows = []
    for name, answer in guessed.items():
        figures = {(ALL, "auroc"): areas[name]}
        if name not in rivals:
            figures[ALL, "gain"] = gain(answer, guessed[best], truth, draws)
            shares = by_class(np.exp(answer), truth, draws)
            figures |= {(f"class {a}", "asr"): share for a, share in shares.items()}
        for knowledge in [""] if name in rivals else ["static", "adaptive"]:
            for (group, metric), found in figures.items():
                place = (round_, round_, "alone", "property_sex", K, 0, defense, knowledge, name)
                values = (found.value, found.low, found.high, found.n, found.units, found.note)
                rows.append(Row(*place, ALL, group, metric, *values))
    return rows


def leave(folder: Path, rows: Sequence[Row], **told: Any) -> Path:
    """Writes the files of a run that has found these rows.

    Args:
        folder: made where it is missing.
        rows: of attack.csv.
        told: of run.json, in place of what the plainest run has; rules of the game by their names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "attack.csv", rows)
    run = {"data": "Drawn", "standin": False, "utility": {}, "defense": rows[0].defense}
    run |= {key: told.pop(key) for key in list(told) if key in ("data", "standin", "utility")}
    rounds = sorted({row.round for row in rows})
    game = {"secret": "Property(attribute='sex')", "k": K, "others": 0, "rounds": rounds, "seed": 0}
    (folder / "run.json").write_text(json.dumps(run | {"game": game | told}))
    return folder


def drawn_run(
    folder: Path,
    rng: np.random.Generator,
    strengths: Mapping[str, float],
    rounds: int = 1,
    defense: str = "none",
    **told: Any,
) -> Path:
    """A run whose adversaries, and the baseline `labels`, know as much of the secret."""
    rows = []
    for round_ in range(rounds):
        answers, truth, draws = drawn(rng, list(strengths.values()))
        named = dict(zip(strengths, answers, strict=True))
        rows += rows_of(named, truth, draws, defense, round_)
    return leave(folder, rows, **told)
