"""Fits an M that needs it, in every round, on batches whose secrets the one who fits it knows."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from leakage.dealing import Dealer
from leakage.defenses import Defense, Rehearsal
from leakage.defenses.checks import check_defense
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.population import FIT, Population
from leakage.randomness import derived_seed
from leakage.rules import Game
from leakage.secrets import Membership, User

_OWN = "train"


class Rehearsals:
    """The defender's M, fitted on training records, and an adversary's, on shadow records.

    Args:
        game: the settings.
        population: the records.
        shadowed: the same with the shadow records that the adversary has.
        prior: P(a), float64 (c,).
        defense: M, not yet fitted.
        layout: the entries of a gradient.
    """

    def __init__(
        self,
        game: Game,
        population: Population,
        shadowed: Population,
        prior: Tensor,
        defense: Defense,
        layout: Layout,
    ) -> None:
        _check(game, population, defense, layout)
        self._game, self._prior, self._defense, self._layout = game, prior, defense, layout
        # To the dealer the training records are those that batches with known secrets come from.
        own = population.splits[_OWN]
        splits = {**population.splits, FIT: own, _OWN: own[:0]}
        rehearsed = replace(game, shadow_batches=defense.rehearses, shadow_k=None)
        records = replace(population, splits=splits)
        try:
            game.secret.check(records, rehearsed.sizes)
        except LeakageError as error:  # by the name that the split has
            raise LeakageError(
                str(error).replace(f"the {FIT} split", f"the {_OWN} split")
            ) from None
        self._defender = Dealer(
            replace(rehearsed, seed=derived_seed(game.seed, "rehearsal", "defender")),
            records,
            prior,
        )
        self._adversary = Dealer(
            replace(
                game,
                shadow_batches=defense.rehearses,
                seed=derived_seed(game.seed, "rehearsal", "adversary"),
            ),
            shadowed,
            prior,
        )
        self._last: tuple[int, Defense] | None = None

    def defender(self, engine: GradientEngine, round_: int) -> Defense:
        """M as the defender has fitted it in a round."""
        if self._last is None or self._last[0] != round_:
            self._last = round_, self._fit("defender", self._defender, engine, round_)
            check_defense(self._last[1], self._layout, self._game.k)
        return self._last[1]

    def adversary(self, engine: GradientEngine, round_: int) -> Defense:
        """M as an adversary fits it again who knows how, but not what came of it."""
        return self._fit("adversary", self._adversary, engine, round_)

    def _fit(self, who: str, dealer: Dealer, engine: GradientEngine, round_: int) -> Defense:
        hand = dealer.deal(FIT, round_)
        seed = derived_seed(self._game.seed, "rehearsal", who, round_)
        clients = hand.batches.shape[1] // hand.k if self._game.local else 1
        generator = Generator().manual_seed(seed)
        per_record = self._defense.record_map(self._layout)
        means = torch.cat(list(engine.blocks(hand.batches, generator, per_record, clients=clients)))
        k = hand.batches.shape[1]
        return self._defense.fitted(
            Rehearsal(means, hand.values, self._prior, k, self._layout, seed)
        )


def _check(game: Game, population: Population, defense: Defense, layout: Layout) -> None:
    """Refuses what no M can be fitted on, before training."""
    if isinstance(game.secret, User | Membership):
        raise LeakageError(
            f"defense: {defense.label} is fitted on batches whose secrets are known, which the"
            f" secret {type(game.secret).__name__} does not have; use it with Attribute, Property"
            " or Distribution"
        )
    if not len(population.splits.get(_OWN, ())):
        raise LeakageError(
            f"defense: {defense.label} is fitted on records of the defender's own, but the data set"
            f" {population.name} has no {_OWN} split beside those of the game; give a Population"
            " that has one"
        )
    gib = 4 * layout.p * defense.rehearses / 2**30
    if gib > game.memory:
        raise LeakageError(
            f"attack.memory: {defense.label} is fitted on {defense.rehearses} whole gradients of"
            f" {layout.p} entries, which take {gib:.3g} GiB, but {game.memory:g} are allowed; fit"
            " it on fewer batches, or allow more"
        )
