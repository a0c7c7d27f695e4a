"""Step 2 of the game: secrets are drawn, then the batches of a round, with their units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leakage.population import CALIBRATE, CHALLENGE, FIT, Population
from leakage.randomness import torch_generator
from leakage.rules import Game
from leakage.secrets import Membership, Pool, Seats
from leakage.secrets.base import Hand, draw_beside, draw_distinct, draw_strangers
from leakage.secrets.user import strangers_of


class Dealer:
    """Draws secrets once, and batches anew in each round or once, as the game says.

    Args:
        game: the settings.
        population: the records, the shadow ones as the adversary has them.
        prior: P(a), float64 (c,).

    Attributes:
        seats: who takes which part.
        answers: by split of the game, the position of each secret among the c values, (n,).
        candidates: by split, whom each batch may be of where the secret is about users, (n, c).
    """

    def __init__(self, game: Game, population: Population, prior: Tensor) -> None:
        self._game, self._population, self._secret = game, population, game.secret
        self.seats: Seats = game.secret.seats(population, game.sizes)
        c = len(self.seats.support)
        values, numbers = {}, {FIT: game.shadow_batches, CALIBRATE: game.calibrate_batches}
        for split, n in numbers.items():
            classes = c
            if self.seats.enrolled is not None:
                classes = int(self.seats.pools[split].classes.max()) + 1  # its users
            values[split] = balanced(n, classes, torch_generator(game.seed, "values", split))
        generator = torch_generator(game.seed, "values", CHALLENGE)
        values[CHALLENGE] = torch.multinomial(
            prior, game.trials, replacement=True, generator=generator
        )
        self._values, self.answers = values, dict(values)
        self.candidates: dict[str, Tensor] = {}
        if self.seats.enrolled is not None:
            self._line_up(len(self.seats.enrolled) - c, c)

    def _line_up(self, users: int, c: int) -> None:
        """For each batch of a user of the calibrate split, that user among c - 1 others of it."""
        generator = torch_generator(self._game.seed, "line-up")
        asked = self._values[CALIBRATE]
        keys = torch.rand(len(asked), users, generator=generator)
        keys[torch.arange(len(asked)), asked] = -1  # the user first, then others at random
        line = keys.argsort(dim=1)[:, :c]
        places = balanced(len(asked), c, generator)
        rows = torch.arange(len(asked))
        line[rows, 0], line[rows, places] = line[rows, places], line[rows, 0].clone()
        self.candidates[CALIBRATE], self.answers[CALIBRATE] = line, places
        self.candidates[CHALLENGE] = (users + torch.arange(c)).expand(self._game.trials, -1)

    def aim_at(self, record: int) -> None:
        """Makes one record the target of every trial."""
        assert isinstance(self._secret, Membership)
        self._secret = replace(self._secret, target=record)

    def deal(self, split: str, round_: int, k: int | None = None) -> Hand:
        """Draws the batches of a split in a round, of k records where the split's k is wrong."""
        game = self._game
        k = game.sizes.of(split) if k is None else k
        pool, values = self.seats.pools[split], self._values[split]
        kept = torch_generator(game.seed, "batches", split, "kept")
        fresh = torch_generator(game.seed, "batches", split, round_)
        targets = self._secret.aim(values, pool, kept)  # they stay, whatever is drawn beside them
        generator = fresh if game.batches == "fresh" else kept
        batches = self._secret.draw(values, k, pool, generator, targets)
        if game.others:
            beside = strangers_of(self._population, split, self.seats)
            if self.seats.enrolled is not None:
                units = self._population.units
                others = draw_strangers(batches, units, beside, game.others, generator)
            else:
                taken = batches
                if targets is not None and not (batches == targets[:, None]).any(1).all():
                    taken = torch.cat([batches, targets[:, None]], 1)  # nor are others the target
                others = draw_beside(taken, beside, game.others, generator)
            batches = torch.cat([batches, others], 1)
        return Hand(batches, k, values, targets, self.candidates.get(split))

    def counted(self, round_: int) -> dict[str, Hand]:
        """Calibrate batches for baselines, which count labels: they know k where others do not."""
        sizes = self._game.sizes
        if self.seats.enrolled is not None or sizes.k == sizes.shadow_k:
            return {}
        return {CALIBRATE: self.deal(CALIBRATE, round_, sizes.k)}

    def met(self) -> Hand:
        """The batches that users are enrolled from, among others of whom the adversary has records.

        Those of each user in turn, (U * e, k + others); the same in every round.
        """
        assert self.seats.enrolled is not None
        game = self._game
        batches = self.seats.enrolled.flatten(0, 1)
        if game.others:
            generator = torch_generator(game.seed, "batches", "enrolled")
            records = self._population.splits[FIT]
            others = draw_distinct(records, len(batches), game.others, generator)
            batches = torch.cat([batches, others], 1)
        k = self.seats.enrolled.shape[2]
        return Hand(batches, k, torch.arange(len(batches)) // self.seats.enrolled.shape[1])

    def reuse(self, split: str, hand: Hand) -> str:
        """How far the batches of a split share records."""
        batches = hand.batches
        records, distinct = len(self._population.splits[split]), len(batches.unique())
        return (
            f"{distinct} of {records} records in {len(batches)} batches of {batches.shape[1]},"
            f" each drawn {batches.numel() / distinct:.1f} times on average"
        )


class Units:
    """The units of the challenge split, numbered 0..U-1, for the metrics.

    Args:
        pool: that the challenger draws from.
        population: the records.

    Attributes:
        names: the number that the population gives each, (U,).
        pools: the pool of each, (U,): its class, one more where it has none.
    """

    def __init__(self, pool: Pool, population: Population) -> None:
        records = population.splits[CHALLENGE]
        names, numbers = population.units[records].unique(return_inverse=True)
        of_record = torch.full((len(population.units),), -1, dtype=torch.int64)
        of_record[records] = numbers
        none = int(pool.classes.max()) + 1
        pools = torch.full((len(names),), none, dtype=torch.int64)
        pools[of_record[pool.records]] = torch.where(pool.classes < 0, none, pool.classes)
        self.names, self.pools = names.numpy(), pools.numpy()
        self._of_record: NDArray[np.int64] = of_record.numpy()

    def drawn(self, hand: Hand) -> NDArray[np.int64]:
        """The units of each trial, (n, j), -1 for none: a target first, and once.

        A target of all trials is no part of what varies between them. A user counts alone.
        """
        if hand.candidates is not None:
            return np.asarray(self._of_record[hand.batches[:, :1].numpy()])
        units = np.asarray(self._of_record[hand.batches.numpy()])
        if hand.targets is None:
            return units
        others = np.where(hand.batches == hand.targets[:, None], -1, units)
        target = self._of_record[hand.targets.numpy()]
        if len(hand.targets.unique()) == 1:
            target = np.full_like(target, -1)
        return np.concatenate([target[:, None], others], axis=1)


def balanced(n: int, c: int, generator: torch.Generator) -> Tensor:
    """N values of 0..c-1, as many of each as can be, in random order."""
    return (torch.arange(n) % c)[torch.randperm(n, generator=generator)]
