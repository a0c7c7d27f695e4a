"""A table, as cells to read and as a CSV to take away."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from leakage.page.wording import NONE, chance, number, with_limits
from leakage.reading.figures import Figure

_PLAIN = ",;:/?@=+$-_.!~*()"  # what an address may have as it is
Cell = str | int | float | Figure | None


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its heading.
        kind: how its cells are read: as they are, as numbers, as numbers with a sign or p-values.
        fold: whether it may stand in the caption where all its cells are the same.
    """

    name: str
    kind: Literal["text", "number", "signed", "p"] = "text"
    fold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; a figure is one cell to read, and value, low and high in the CSV.

    Args:
        caption: what it is of.
        columns: the first one names the row.
        rows: a cell for every column.
        file: the name of the download.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Cell]]
    file: str

    def told(self) -> str:
        """The caption, with what all rows have in common."""
        said = [
            f"{self.columns[place].name} {_text(self.rows[0][place], self.columns[place])}"
            for place in self._folded()
            if self.rows[0][place] not in ("", None)
        ]
        return f"{self.caption} (all: {', '.join(said)})" if said else self.caption

    def heads(self) -> list[Column]:
        """The columns that are read."""
        folded = self._folded()
        return [column for place, column in enumerate(self.columns) if place not in folded]

    def numbers(self) -> str:
        """The columns that are read as numbers, `n2` for the second, as classes of style.css."""
        heads = enumerate(self.heads(), 1)
        return " ".join(f"n{place}" for place, column in heads if column.kind != "text")

    def shown(self) -> list[list[str]]:
        """The cells as they are read."""
        folded = self._folded()
        return [
            [
                _text(cell, self.columns[place])
                for place, cell in enumerate(row)
                if place not in folded
            ]
            for row in self.rows
        ]

    def _folded(self) -> list[int]:
        """The places of columns that say the same in every row, or nothing."""
        found = []
        for place, column in enumerate(self.columns):
            cells = {row[place] for row in self.rows} if column.fold else set()
            if (len(cells) == 1 and len(self.rows) > 1) or cells in ({""}, {None}):
                found.append(place)
        return found

    def csv(self) -> str:
        """All digits of all cells."""
        wide = [
            any(isinstance(row[place], Figure) for row in self.rows)
            for place in range(len(self.columns))
        ]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            [
                name
                for column, is_wide in zip(self.columns, wide, strict=True)
                for name in ([column.name, "low", "high"] if is_wide else [column.name])
            ]
        )
        for row in self.rows:
            cells = zip(row, wide, strict=True)
            writer.writerow([part for cell, is_wide in cells for part in _parts(cell, is_wide)])
        return text.getvalue()

    def link(self) -> str:
        """The CSV as an address that holds it."""
        return f"data:text/csv;charset=utf-8,{quote(self.csv(), safe=_PLAIN)}"


def _parts(cell: Cell, is_wide: bool) -> list[str | int | float]:
    parts = [cell.value, cell.low, cell.high] if isinstance(cell, Figure) else [cell]
    if is_wide:
        parts += [None] * (3 - len(parts))
    return ["" if part is None else part for part in parts]


def _text(cell: Cell, column: Column) -> str:
    signed = column.kind == "signed"
    if isinstance(cell, Figure):
        return with_limits(cell, signed=signed)
    if cell is None or cell == "":
        return NONE
    if isinstance(cell, str):
        return cell
    return chance(cell) if column.kind == "p" else number(cell, signed=signed)
