"""Membership inference: a is whether a known target record is in the batch (Shokri et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.population import CHALLENGE, GAME_SPLITS, Population
from leakage.secrets.base import Pool, Seats, Secret, Sizes, check_others, draw_beside

_IN = 1


@dataclass(frozen=True)
class Membership(Secret):
    """Whether a target, whom the adversary knows wholly, is one of the k records or not.

    Args:
        target: `natural`: each trial is about a record of its own, drawn at random; `worst`: all
            are about the record of the challenge split whose gradient lies farthest from the mean
            of all in the first observed round; a number: about that record of the challenge split.
    """

    target: Literal["natural", "worst"] | int = "natural"

    def __post_init__(self) -> None:
        if isinstance(self.target, str) and self.target not in ("natural", "worst"):
            raise LeakageError(
                f"{self.key}.target: Membership knows 'natural', 'worst' and the number of a"
                f" record, got {self.target!r}"
            )

    @property
    @override
    def name(self) -> str:
        return "membership" + ("" if self.target == "natural" else f"_{self.target}")

    @property
    @override
    def has_targets(self) -> bool:
        return True

    @property
    @override
    def reveals_targets(self) -> bool:
        return True

    @override
    def changed(self, k: int, c: int) -> Tensor:
        return super().changed(1, c)

    @override
    def seats(self, population: Population, sizes: Sizes) -> Seats:
        pools = {
            split: Pool(split, records, torch.zeros(len(records), dtype=torch.int64))
            for split, records in population.splits.items()
            if split in GAME_SPLITS
        }
        return Seats(("out", "in"), pools)

    @override
    def aim(self, values: Tensor, pool: Pool, generator: Generator) -> Tensor | None:
        if isinstance(self.target, int):
            return torch.full((len(values),), self.target)
        drawn = torch.randint(len(pool.records), (len(values),), generator=generator)
        return pool.records[drawn]

    @override
    def draw(
        self, values: Tensor, k: int, pool: Pool, generator: Generator, targets: Tensor | None
    ) -> Tensor:
        assert targets is not None
        target = targets.unsqueeze(1)
        batches = draw_beside(target, pool.records, k, generator)
        batches[values == _IN, 0] = targets[values == _IN]
        return batches

    @override
    def check(self, population: Population, sizes: Sizes) -> None:
        check_others(population, sizes, beside=1)
        if isinstance(self.target, int):
            records = population.splits[CHALLENGE].tolist()
            if self.target not in records:
                holders = [s for s, held in population.splits.items() if self.target in held]
                found = f"is in the {holders[0]} split" if holders else "is in no split"
                raise LeakageError(
                    f"{self.key}.target: record {self.target} {found}, but a target is a record of"
                    f" the challenge split, such as {', '.join(map(str, records[:3]))}"
                )
