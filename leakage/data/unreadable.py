"""What of a data set could not be read: named, counted, and more than a few of them refused."""

from __future__ import annotations

import logging
from pathlib import Path

from leakage.errors import LeakageError

logger = logging.getLogger("leakage.data")


class UnreadableError(ValueError):
    """Why one file, row or name is none of the data set; it goes on after "3 of 20 clips: "."""


class Unreadable:
    """Counts what was left out of a data set, by the reason, with the first of each.

    Args:
        source: the folder or file that all of it is in.
        kind: what is counted, in the plural, such as clips.
    """

    def __init__(self, source: Path, kind: str) -> None:
        self._source = source
        self._kind = kind
        self._found: dict[str, list[str]] = {}

    def add(self, where: str, reason: str) -> None:
        """Notes one of them: its name or row, and what is wrong with it, without its name."""
        self._found.setdefault(reason, []).append(where)

    def remark(self, count: int, total: int, words: str, first: str) -> None:
        """Tells what had to be done to some of them that can be read."""
        logger.info(
            "%s: %d of %d %s %s (the first: %s)",
            self._source,
            count,
            total,
            self._kind,
            words,
            first,
        )

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def settle(self, total: int, most: float) -> None:
        """Warns of each reason, or refuses the data.

        Args:
            total: how many there are, those that were left out among them.
            most: the share of them that may be unreadable, in 0..1.

        Raises:
            LeakageError: their share is larger.
        """
        told = [
            f"{len(where)} of {total} {self._kind} left out: {reason} (the first: {where[0]})"
            for reason, where in sorted(self._found.items(), key=lambda one: -len(one[1]))
        ]
        if len(self) > most * total:
            raise LeakageError(
                f"{self._source}: {'; '.join(told)}; data.max_unreadable allows a share of"
                f" {most:g}, repair the files or raise it"
            )
        for line in told:
            logger.warning("%s: %s", self._source, line)


def check_max_unreadable(share: float) -> None:
    """Refuses a setting that is no share."""
    if not 0 <= share <= 1:
        raise LeakageError(f"data.max_unreadable: a share in 0..1, got {share}")
