"""Plays the game beside training, and writes down what the adversaries got."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.optim import Optimizer
from typing_extensions import override

from leakage.callbacks.checks import (
    check_order,
    check_ranks,
    check_reach,
    check_training,
    defends,
    defense_label,
    is_settled,
    settled_defense,
)
from leakage.callbacks.play import Play
from leakage.callbacks.requeue import leave_if_wanted
from leakage.callbacks.sides import Side
from leakage.callbacks.surroundings import callbacks_of, find_population, make_engine
from leakage.defenses import Defense, NoDefense
from leakage.errors import LeakageError, Requeued
from leakage.gradients.layout import Layout
from leakage.player import Setting
from leakage.population import Population
from leakage.rules import FREE, Game

_PENDING = 2  # rounds that may be under way while training goes on
_log = logging.getLogger("leakage.attack")


class Attack(Callback):
    """Plays the observed rounds of a game on the weights that training has reached.

    Rounds are played in a process beside training, or within it where the rules say so. Leaves
    `attack.csv` and `run.json` in the folder of the logger, the rounds in its folder `attack`,
    scalars and figures, and a table on the terminal. Training ends with the same weights as
    without it, and a run that goes on from a checkpoint with the figures of one that was never
    interrupted.

    Args:
        game: the rules.
        defense: M, the same object that `Defend` trains through; none where left out.
        population: the data; that of the data module, or of a table of attributes, where left out.
        attributes: a table with a row for each record of the training data, in its order.
    """

    def __init__(
        self,
        game: Game,
        defense: Defense | None = None,
        population: Population | None = None,
        attributes: pd.DataFrame | None = None,
    ) -> None:
        if population is not None and (attributes is not None or game.attributes is not None):
            raise LeakageError(
                "attack.attributes: a table and a population both say what the records are; give"
                " one of them"
            )
        self.game = game
        self.defense = NoDefense() if defense is None else defense
        self._given, self._table = population, attributes
        self._reset()

    def _reset(self) -> None:
        self._side: Side | None = None
        self._play: Play | None = None
        self._splits = ""
        self._keys: dict[int, str] = {}
        self._target: int | None = None

    @property
    @override
    def state_key(self) -> str:
        # Of all that tells attacks apart, but what a resumed run may change, such as the rounds.
        rules = {name: value for name, value in self.game.settings.items() if name not in FREE}
        # Of someone's own class that names no settings, the address is another one in each run.
        return self._generate_state_key(rules=re.sub(r" at 0x[0-9a-f]+", "", repr(rules)))

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._reset()
        named = self.game.loss is not None
        check_training(trainer, pl_module, self.defense, key="attack", named_loss=named)
        check_reach(trainer, self.game.rounds, "attack")
        attacks = callbacks_of(trainer, Attack)
        if attacks[0] is self:
            beside = any(attack.game.background for attack in attacks)
            self._side = Side(beside and not trainer.fast_dev_run)  # type: ignore[attr-defined]
        else:
            self._side = attacks[0]._side
        table = self._table is not None or self.game.attributes is not None
        late = table or is_overridden("configure_model", pl_module)
        if not late and is_settled(settled_defense(trainer, self.defense)):
            self._prepare(trainer, pl_module)  # a mistake then leaves no file

    @override
    def state_dict(self) -> dict[str, Any]:
        keys = self._play.keys if self._play else self._keys
        target = self._play.target if self._play else self._target
        rounds = {str(round_): key for round_, key in keys.items()}
        return {"splits": self._splits, "target": target, "rounds": rounds}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._splits, self._target = state_dict["splits"], state_dict.get("target")
        self._keys = {int(round_): key for round_, key in state_dict.get("rounds", {}).items()}

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._play is None:  # now there are layers, and training data
            self._prepare(trainer, pl_module)
        if self._splits:  # of the checkpoint that training goes on from
            self._population.check_fingerprint(self._splits)
        self._splits = self._population.fingerprint

    def _prepare(self, trainer: Trainer, module: LightningModule) -> None:
        self._population = self._given or find_population(trainer, self.game, self._table)
        check_ranks(trainer, self._population)
        defense = settled_defense(trainer, self.defense)
        check_order(trainer, self)
        mine = callbacks_of(trainer, Attack).index(self)
        if defense.rehearses and mine:
            raise LeakageError(
                f"trainer.callbacks: {defense.label} is fitted against the secret of one Attack,"
                f" found {len(callbacks_of(trainer, Attack))}; train once for each secret"
            )
        label = defense_label(module, defense)
        assert self._side is not None
        setting = Setting(self.game, self._population, defense, Layout.of(module))
        self._play = Play(mine, setting, label, self._side)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)
        if trainer.global_step == 0:
            self._playing.take(trainer, pl_module, 0)

    @property
    def _playing(self) -> Play:
        assert self._play is not None
        return self._play

    def _begin(self, trainer: Trainer, module: LightningModule) -> Play:
        if not self._playing.begun:
            self._playing.begin(trainer, module, self._keys, self._target)
        return self._playing

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._playing.side.refuse_failed()
        if not self.defense.rehearses:
            return
        epoch = trainer.current_epoch
        engine = make_engine(trainer, pl_module, self._population, self.game, epoch)
        fitted = self._playing.player.match.fitted(engine, epoch)
        for defend in defends(trainer, self.defense):
            defend.use(fitted)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._playing.waits:
            self._playing.count(batch)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._playing.waits:
            self._playing.release(trainer, pl_module)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._collect(trainer, _PENDING)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_last_batch:
            self._playing.take(trainer, pl_module, trainer.current_epoch + 1)
            self._collect(trainer, _PENDING)
        else:
            _log.warning("epoch %d ended early and is no round", trainer.current_epoch)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for attack in callbacks_of(trainer, Attack):
            # Where the checkpoint was that of the end, nothing has begun.
            attack._begin(trainer, pl_module).give(trainer)
        side = self._playing.side
        while side.waiting and not side.failed:
            self._collect(trainer, 0)
            leave_if_wanted(trainer)
            if trainer.received_sigterm:
                raise SIGTERMException
        side.refuse_failed()
        self._playing.conclude(trainer)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._side is not None:
            self._side.close()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        # What was played is not lost; what is under way when training is to stop, is played when
        # it goes on from its checkpoint.
        stops = not isinstance(exception, Exception) or isinstance(exception, Requeued)
        # Other ranks may not fail, and would never play with this one the round that waits.
        gives = not stops and trainer.world_size == 1
        with suppress(Exception):
            for attack in callbacks_of(trainer, Attack) if gives else ():
                attack._playing.give(trainer, fails=True)
            self._collect(trainer, sys.maxsize if stops else 0)
        if self._side is not None:  # Lightning calls no teardown now
            self._side.close()

    def _collect(self, trainer: Trainer, most: int) -> None:
        """Writes down the rounds that are over, and waits until at most so many are left."""
        attacks = callbacks_of(trainer, Attack)
        if self._side is not None:
            for result in self._side.collect(trainer, most):
                attacks[result.number]._playing.write_down(trainer, result)
