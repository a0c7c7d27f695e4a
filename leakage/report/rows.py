"""attack.csv: one row a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from leakage.writing import write_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ALL = "all"
"""The name of all trials."""


@dataclass(frozen=True)
class Row:
    """One figure with its 95% interval.

    Args:
        round: epochs before the release.
        step: optimizer steps before the release.
        rounds: `alone`, or `sum` of all rounds so far.
        secret: its short name.
        k: records of a batch.
        others: records of other clients in the mean.
        defense: M with its settings.
        knowledge: of M: `static` or `adaptive`; empty for a baseline.
        adversary: its name, or that of the baseline.
        layers: what it saw of a release: `all` that adversaries see, or one layer.
        group: the trials that it is about: `all`, those of one value of the secret (`class Male`),
            or those that hold one unit (`unit 17`).
        metric: its name; shares are in 0..1, `bits` and `bits_raw` in bits.
        value: the figure; empty where it is undefined.
        low: lower 95% limit; empty where there is none.
        high: upper 95% limit; empty where there is none.
        n: trials.
        units: distinct units that the trials drew.
        note: what the reader has to know.
    """

    round: int
    step: int
    rounds: str
    secret: str
    k: int
    others: int
    defense: str
    knowledge: str
    adversary: str
    layers: str
    group: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    units: int
    note: str


def write_rows(path: Path, rows: Sequence[DataclassInstance]) -> None:
    """Writes a table anew, one row or more of one kind, so that a reader never sees half of it."""
    names = [field.name for field in fields(rows[0])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_text(getattr(row, name)) for name in names])
    write_whole(path, text.getvalue())


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)
