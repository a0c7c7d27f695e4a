"""What the two processes say to each other, over a socket that no other process can reach."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from leakage.player import Played
from leakage.rounds import Graded


@dataclass(frozen=True)
class Hello:
    """The first word of the parent: settings of torch on which the last digits may depend."""

    threads: int
    dtype: torch.dtype
    precision: str
    deterministic: bool
    benchmark: bool

    @classmethod
    def here(cls) -> Hello:
        """Those of this process."""
        return cls(
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
        )

    def take(self) -> None:
        """Makes them those of this process."""
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.precision)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
        torch.backends.cudnn.benchmark = self.benchmark


@dataclass(frozen=True)
class Meeting:
    """Where the processes of all ranks meet to share their work.

    Args:
        host: of rank 0.
        port: there.
        rank: of this one, 0..size-1.
        size: how many there are.
    """

    host: str
    port: int
    rank: int
    size: int


@dataclass(frozen=True)
class Open:
    """A match begins.

    Args:
        number: of the attack among those of the Trainer.
        setting: packed.
        meeting: where ranks meet; None where there is one.
    """

    number: int
    setting: bytes
    meeting: Meeting | None


@dataclass(frozen=True)
class Play:
    """A round to play, its snapshot packed; or one to grade that was played before."""

    number: int
    round: int
    snapshot: bytes = b""
    played: Played | None = None
    target: int | None = None


@dataclass(frozen=True)
class Result:
    """A round is over.

    Args:
        number: of the attack.
        played: what was guessed.
        figures: of each match; none but in rank 0.
    """

    number: int
    played: Played
    figures: list[list[Graded]]


@dataclass(frozen=True)
class Step:
    """What is under way."""

    number: int
    round: int
    text: str


@dataclass(frozen=True)
class Said:
    """A record of the log."""

    name: str
    level: int
    text: str


@dataclass(frozen=True)
class Failed:
    """A round has failed.

    Args:
        number: of the attack.
        round: which.
        text: one sentence.
        trace: the traceback, empty where the sentence says all.
    """

    number: int
    round: int
    text: str
    trace: str = field(default="", repr=False)
