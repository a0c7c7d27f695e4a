"""How the cells of a sweep stand: a table that is drawn anew on a terminal, else a line each."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TextIO

from leakage.sweep.cells import Cell

_FINAL = ("finished", "failed")


@dataclass(frozen=True)
class Standing:
    """How a cell stands.

    Args:
        word: `waiting`, `running` or the job that it is in, `finished` or `failed`.
        seconds: that it has taken; 0 where nobody knows.
        figure: what it found, in words.
        sentence: why it failed.
    """

    word: str
    seconds: float = 0.0
    figure: str = ""
    sentence: str = ""


class Board:
    """Shows how cells stand.

    Args:
        cells: how many there are.
        stream: where to.
    """

    def __init__(self, cells: int, stream: TextIO) -> None:
        self.standings: dict[str, Standing] = {}
        self._names: dict[str, str] = {}
        self._cells = cells
        self._stream = stream
        self._drawn = 0  # lines on the terminal

    def tell(self, cell: Cell, standing: Standing) -> None:
        """Takes down how a cell stands; where there is no terminal, says what it has come to."""
        before = self.standings.get(cell.key, Standing(""))
        self.standings[cell.key], self._names[cell.key] = standing, cell.plan.name
        # Not of each that was finished by an earlier start: they are counted at the end.
        if self._stream.isatty() or before.word in ("", standing.word):
            return
        done = sum(told.word in _FINAL for told in self.standings.values())
        words = f"{done} of {self._cells} cells done: {cell.plan.name}: {_line(standing)}"
        print(words, file=self._stream, flush=True)

    def show(self) -> None:
        """Draws the table over the one before; where it is too long, what is final goes first."""
        if not self._stream.isatty():
            return
        width, height = shutil.get_terminal_size()
        counts = Counter(standing.word for standing in self.standings.values())
        lines = [", ".join(f"{counts[word]} {word}" for word in sorted(counts))]
        keys = sorted(self.standings, key=lambda key: self.standings[key].word in _FINAL)
        shown = keys if len(keys) < height - 2 else keys[: height - 3]
        column = max((len(self._names[key]) for key in shown), default=0)
        lines += [
            f"{self._names[key]:<{column}}  {_line(self.standings[key])}"
            for key in self.standings
            if key in set(shown)
        ]
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._stream.write(back + "".join(f"{line[: width - 1]}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)


def _line(standing: Standing) -> str:
    """All of it in a line.

    >>> _line(Standing("finished", 41.3, "AUROC 0.930"))
    'finished, 41 s, AUROC 0.930'
    """
    seconds = f"{standing.seconds:.0f} s" if standing.seconds else ""
    return ", ".join(filter(None, [standing.word, seconds, standing.figure, standing.sentence]))
