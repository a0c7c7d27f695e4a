"""One game of a run as its files tell it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from leakage.knowledge import CEILING, INFORMATION
from leakage.reading.figures import Figure
from leakage.reading.finding import CELL, Place
from leakage.reading.guessers import (
    AWARE,
    SEEN,
    figure_of,
    guessers_of,
    known,
    last_round,
    number,
    of_the_game,
    strongest_of,
)
from leakage.reading.schema import FINISHED, UNFINISHED, UNKNOWN, Audited, Guesser, Run
from leakage.reading.tables import read_config, read_json, read_rows
from leakage.reading.told import is_whole, sound_game, sound_run
from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import Row

_CEILING = "composition_ceiling"  # beside asr_ceiling, which is of DP
_CLASS, _UNIT = "class ", "unit "
_ERRORS = ("loss", "loss_vs_none", "error", "mae", "mse", "rmse", "perplexity")  # less is better
_ACCURACIES = ("test_accuracy", "validation_accuracy", "val_accuracy", "val_acc")


@dataclass(frozen=True)
class Files:
    """What was read of one game.

    Args:
        place: where.
        run: what the page shows of it.
        rows: of attack.csv, those of its curve too.
        epsilons: rows of audit.csv.
        config: of the run, by key; empty where there is none.
    """

    place: Place
    run: Run
    rows: list[Row] = field(default_factory=list)
    epsilons: list[EpsilonRow] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)


def read_run(place: Place, name: str) -> Files:
    """Reads what is there of a game; what is missing or broken makes it unfinished.

    Args:
        place: where it has left its files.
        name: unique in the report.
    """
    told, faults = _told(place)
    asked = place.folder / "config.yaml"
    asked = asked if asked.exists() else place.folder / CELL
    config, text, wrong = read_config(asked)
    faults += wrong
    source, part = place.told.name, told.get("game")
    if not part:
        source, part = asked.name, config.get("audit" if place.audits else "attack") or {}
    game, wrong = sound_game(part, source)
    faults += wrong
    rows: list[Row] = []
    epsilons: list[EpsilonRow] = []
    if place.audits:
        epsilons, no_table = read_rows(place.table, EpsilonRow)
    else:
        rows, no_table = read_rows(place.table, Row)
    faults = [no_table] * bool(no_table) + faults
    played = {row.round for row in rows}
    missed = [round_ for round_ in game.get("rounds", []) if rows and round_ not in played]
    if missed:
        faults.append(f"rounds without figures so far: {', '.join(map(str, missed))}")
    if told.get("ended") is False:
        faults.append("training has not ended, so utility and privacy are of a part of it")
    data, seed = config.get("data") or {}, config.get("seed_everything")
    run = Run(
        name=name,
        folder=str(place.folder),
        state=UNFINISHED if faults else FINISHED,
        data=str(told.get("data") or str(data.get("class_path", UNKNOWN)).split(".")[-1]),
        standin=bool(told.get("standin", (data.get("init_args") or {}).get("standin", False))),
        secret=_secret(game) if game else UNKNOWN,
        k=int(game.get("k") or 0),
        others=int(game.get("others") or 0),
        defense=str(
            told.get("defense") or (_class_of(config.get("defense")) if config else UNKNOWN)
        ),
        settings=game,
        seed=game.get("seed", seed if is_whole(seed) else None),
        utility=_utility(told.get("utility") or {}),
        privacy=told.get("privacy") or {},
        splits=told.get("splits") or {},
        seconds=told.get("seconds") or {},
        versions=told.get("versions") or {},
        started_as=text,
        faults=faults,
        contents=told.get("contents", ""),
    )
    run = replace(run, **_attacked(rows)) if rows else run
    run = replace(run, **_audited(epsilons)) if epsilons else run
    return Files(place, run, rows, epsilons, config)


def _told(place: Place) -> tuple[dict[str, Any], list[str]]:
    """What run.json tells, and what is wrong with it."""
    told, fault = read_json(place.told)
    return (told, [fault]) if fault else sound_run(told, place.told.name)


def utility_of(run: Run) -> tuple[str, Figure] | None:
    """The metric by which a run is useful, and its figure.

    Accuracy on held-out records, test records first; else the first that is logged of them, more of
    which is better as far as its name tells.
    """
    known = [*_ACCURACIES, *(name for name in run.utility if name.startswith(("val", "test")))]
    for name in known:
        if name in run.utility and not name.lower().endswith(_ERRORS):
            return name, run.utility[name]
    return None


def _attacked(rows: Sequence[Row]) -> dict[str, Any]:
    """What the rows of attack.csv say of a run."""
    first, own = rows[0], of_the_game(rows)
    guessers = guessers_of(own)
    strongest = strongest_of(last_round(guessers))
    worst = _groups(own, strongest) if strongest else {}
    view = [row for row in own if row.adversary == INFORMATION]
    view = [row for row in view if (row.round, row.rounds) == (view[-1].round, view[-1].rounds)]
    limits = [row for row in own if row.adversary == CEILING]
    return {
        "secret": first.secret,
        "k": first.k,
        "others": first.others,
        "defense": first.defense,
        "guessers": guessers,
        "strongest": strongest,
        "layers": {
            row.layers: figure_of(row)
            for row in own
            if row.layers != SEEN and row.metric == "auroc" and known(row) in AWARE
        },
        "classes": _named(worst, _CLASS),
        "exposed": _named(worst, _UNIT),
        "information": {
            _CEILING if row in limits else row.metric: figure_of(row) for row in view + limits
        },
    }


def _groups(rows: Sequence[Row], guesser: Guesser) -> dict[str, Figure]:
    """Of one adversary in its place, the figure of each group of trials."""
    place = (guesser.round, guesser.rounds, guesser.knowledge, guesser.adversary)
    return {
        row.group: figure_of(row)
        for row in rows
        if (row.round, row.rounds, known(row), row.adversary) == place
        and row.layers == SEEN
        and row.group.startswith((_CLASS, _UNIT))
    }


def _named(groups: Mapping[str, Figure], kind: str) -> dict[str, Figure]:
    return {
        group.removeprefix(kind): figure
        for group, figure in groups.items()
        if group.startswith(kind)
    }


def _audited(rows: Sequence[EpsilonRow]) -> dict[str, Any]:
    """What the rows of audit.csv say of a run."""
    first = rows[0]
    return {
        "secret": first.secret,
        "k": first.k,
        "defense": first.defense,
        "audit": [
            Audited(
                row.canary,
                row.estimator,
                number(row.sigma),
                row.delta,
                Figure(number(row.value), number(row.low), number(row.high), row.note),
                row.headline,
                row.valid is not False,
            )
            for row in rows
        ],
    }


def _utility(told: Mapping[str, Any]) -> dict[str, Figure]:
    """By name; what a module has logged itself without the folder that its tag has."""
    found = {}
    for name, figure in told.items():
        value, low, high = figure if isinstance(figure, list) else (figure, math.nan, math.nan)
        found[name.removeprefix("utility/")] = Figure(number(value), number(low), number(high))
    return found


def _secret(game: Mapping[str, Any]) -> str:
    """A name for what is asked where no figure has been written yet."""
    asked = game.get("secret", game.get("attribute") or "membership")
    if isinstance(asked, dict):  # of a config
        settings = asked.get("init_args") or {}
        parts = [_class_of(asked), settings.get("attribute")]
    else:  # of run.json
        found = re.match(r"(\w+)(?:\(attribute='([^']*)')?", str(asked))
        parts = list(found.groups()) if found else []
    return "_".join(str(part).lower() for part in parts if part)


def _class_of(part: Any) -> str:
    """The class that a part of a config names; `none` where it names no defense."""
    path = part.get("class_path", "") if isinstance(part, dict) else ""
    name = path.split(".")[-1]
    return "none" if name in ("", "NoDefense") else name
