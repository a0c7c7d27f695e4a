"""sweep.parquet: the figures of all finished cells in one table."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from leakage.reading.guessers import (
    guessers_of,
    last_round,
    of_the_game,
    strongest_of,
    value_of,
)
from leakage.reading.tables import read_rows
from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import Row
from leakage.sweep.cells import TABLE, Cell
from leakage.writing import write_whole

_WHOLE = re.compile(r"[+-]?\d+")


def join(cells: Iterable[Cell], path: Path) -> int:
    """Writes the rows of the finished cells, in the order of the grid whatever ended first.

    The columns are those of the runs' tables, after `cell` (its key), `folder`, `table` (the file,
    as a run may have several attacks), `grid.<key>` for each key of the grid, and `seed`. The same
    figures give the same bytes.

    Args:
        cells: all of the sweep.
        path: of the file.

    Returns:
        How many cells are in it.
    """
    finished = [cell for cell in cells if cell.finished]
    if not finished:  # then what an earlier sweep has left is not of this one
        path.unlink(missing_ok=True)
        return 0
    rows = [row for cell in finished for row in _rows(cell)]
    table = pd.DataFrame(rows, dtype="object")
    data = io.BytesIO()
    pd.DataFrame({name: _typed(table[name]) for name in table}).to_parquet(data, index=False)
    write_whole(path, data.getvalue())
    return len(finished)


def listed(cells: Iterable[Cell]) -> str:
    """sweep.json: which of the folders beside each other are cells of this sweep, and where."""
    told = [
        {"name": c.plan.name, "folder": _place(c), "grid": c.plan.values, "seed": c.plan.seed}
        for c in cells
    ]
    return json.dumps({"cells": told}, indent=2) + "\n"


def strongest(cell: Cell) -> str:
    """What a finished cell found, in a few words for people who wait for the others.

    Of the adversary that a report calls the strongest, its AUROC (or share of right guesses, where
    the secret has none) and its gain; of an audit the epsilon that it proves.
    """
    path = cell.folder / TABLE[cell.command]
    if cell.command == "audit":
        told = [row.low for row in read_rows(path, EpsilonRow)[0] if row.headline]
        lows = [low for low in told if not math.isnan(low)]
        return f"epsilon >= {max(lows):.3g}" if lows else ""
    rows, _ = read_rows(path, Row)
    found = strongest_of(last_round(guessers_of(of_the_game(rows)))) if rows else None
    if found is None:
        return ""
    figures = {name: value_of(found, name) for name in ("auroc", "asr", "gain")}
    known = {name: value for name, value in figures.items() if math.isfinite(value)}
    gain = [f"gain {known['gain']:+.3f}"] if "gain" in known else []
    level = [f"{name.upper()} {known[name]:.3f}" for name in ("auroc", "asr") if name in known]
    return ", ".join(level[:1] + gain)


def _rows(cell: Cell) -> Iterator[dict[str, str]]:
    """Those of a cell, with where they come from."""
    named = {f"grid.{key}": value for key, value in cell.plan.values.items()}
    stem = Path(TABLE[cell.command]).stem
    for path in sorted(cell.folder.glob(f"{stem}*.csv")):
        if re.fullmatch(rf"{stem}(_\d+)?", path.stem):  # attack.1.csv is of a start that was killed
            came = {"cell": cell.key, "folder": _place(cell)}
            came |= {"table": path.name, **named, "seed": str(cell.plan.seed)}
            for row in _read(cell, path.name):
                yield came | row


def _place(cell: Cell) -> str:
    """Its folder within that of the sweep."""
    return f"{cell.folder.parent.name}/{cell.folder.name}"


def _read(cell: Cell, name: str) -> Iterator[dict[str, str]]:
    with (cell.folder / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _typed(column: pd.Series) -> pd.Series:
    """Whole numbers, numbers or text, as all of its fields allow; an empty one is missing."""
    fields = [None if pd.isna(field) or field == "" else str(field) for field in column]
    known = [field for field in fields if field is not None]
    if known and all(map(_WHOLE.fullmatch, known)):
        return pd.Series([None if f is None else int(f) for f in fields], dtype="Int64")
    try:
        numbers = [None if field is None else float(field) for field in fields]
    except ValueError:
        return pd.Series(fields, dtype="string")
    return pd.Series(numbers, dtype="Float64" if known else "string")
