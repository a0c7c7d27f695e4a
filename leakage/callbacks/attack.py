"""Plays the game beside training, and writes down what the adversaries got."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from tqdm import tqdm
from typing_extensions import override

from leakage.callbacks.checks import (
    check_reach,
    check_training,
    defends,
    defense_label,
    is_settled,
    settled_defense,
)
from leakage.callbacks.ledger import Ledger
from leakage.callbacks.surroundings import callbacks_of, find_population, make_engine
from leakage.defenses import Defense, NoDefense, bottlenecks, silenced
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.population import Population
from leakage.rounds import Observation
from leakage.rules import Game

_PENDING = 2  # rounds whose guesses may be under way while training goes on
_log = logging.getLogger("leakage.attack")


class Attack(Callback):
    """Plays the observed rounds of a game on the weights that training has reached.

    Leaves `attack.csv` and `run.json` in the folder of the logger, scalars and figures in it, and
    a table on the terminal. Training ends with the same weights as without it.

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
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._pending: deque[tuple[Match, Observation, int]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._ledger: Ledger | None = None
        self._owns_pool = False
        self._plan = ""
        self._splits = ""
        self._target: int | None = None  # the worst one, the same in all rounds and on the curve
        self._first_round = 0

    @property
    @override
    def state_key(self) -> str:
        # Not of what a resumed run may change, such as the rounds.
        game = self.game
        return self._generate_state_key(secret=game.secret.name, k=game.k, others=game.others)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._started = time.perf_counter()
        named = self.game.loss is not None
        check_training(trainer, pl_module, self.defense, key="attack", named_loss=named)
        check_reach(trainer, self.game.rounds, "attack")
        self._splits, self._target, self._ledger = "", None, None
        first = callbacks_of(trainer, Attack)[0]
        self._owns_pool = first is self  # all secrets share the cores
        self._pool = ThreadPoolExecutor(self.game.workers) if first is self else first._pool
        table = self._table is not None or self.game.attributes is not None
        late = table or is_overridden("configure_model", pl_module)
        if not late and is_settled(settled_defense(trainer, self.defense)):
            self._prepare(trainer, pl_module)  # a mistake then leaves no file

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"splits": self._splits, "target": self._target}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._splits, self._target = state_dict["splits"], state_dict.get("target")

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._ledger is None:  # now there are layers, and training data
            self._prepare(trainer, pl_module)
        if self._splits:  # of the checkpoint that training goes on from
            self._population.check_fingerprint(self._splits)
        self._splits = self._population.fingerprint

    def _prepare(self, trainer: Trainer, module: LightningModule) -> None:
        self._population = self._given or find_population(trainer, self.game, self._table)
        layout = Layout.of(module)
        defense = settled_defense(trainer, self.defense)
        if not is_settled(defense):
            raise LeakageError(
                "trainer.callbacks: Attack stands before Defend, which finds the noise that a"
                " target epsilon asks for; put Defend first"
            )
        self._match = Match(self.game, self._population, defense, layout)
        self._curve = [self._match.at(game) for game in self.game.curve()]
        mine = callbacks_of(trainer, Attack).index(self)
        suffix = f"_{mine + 1}" if mine else ""  # further attacks write files of their own
        if defense.rehearses and mine:
            raise LeakageError(
                f"trainer.callbacks: {defense.label} is fitted against the secret of one Attack,"
                f" found {len(callbacks_of(trainer, Attack))}; train once for each secret"
            )
        label = defense_label(module, defense)
        self._ledger = Ledger(self.game, label, self._population, self._match, suffix)
        self._seconds.clear()
        self._pending.clear()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._ledger:
            self._ledger.introduce(trainer)
        self._first_round = trainer.current_epoch + (trainer.global_step > 0)
        if trainer.global_step == 0:
            self._play(trainer, pl_module, 0)
        else:
            _log.warning(
                "resumed after %d epochs: rounds up to %d are not played again, and `sum` holds the"
                " rounds of this run alone",
                trainer.current_epoch,
                trainer.current_epoch,
            )

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.defense.rehearses:
            return
        epoch = trainer.current_epoch
        fitted = self._match.fitted(self._engine(trainer, pl_module, epoch), epoch)
        for defend in defends(trainer, self.defense):
            defend.use(fitted)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._collect(trainer, most=_PENDING)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_last_batch:
            self._play(trainer, pl_module, trainer.current_epoch + 1)
        else:
            _log.warning("epoch %d ended early and is no round", trainer.current_epoch)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._collect(trainer, most=0)
        rows = self._ledger.rows if self._ledger else []
        due = {round_ for round_ in self.game.rounds if round_ >= self._first_round}
        missed = sorted(due - {row.round for row in rows})
        if missed:
            _log.warning("rounds %s were not reached and have no figures", missed)
        if self._ledger and rows:
            self._write(self._ledger, trainer)
            self._ledger.conclude(trainer)
            print(self._ledger.summary(trainer))

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._owns_pool and self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        # What was played is not lost; after an interrupt only what is ready is waited for.
        with suppress(Exception):
            self._collect(trainer, most=0 if isinstance(exception, Exception) else _PENDING)
        if self._owns_pool and self._pool is not None:  # Lightning calls no teardown now
            self._pool.shutdown(wait=False, cancel_futures=isinstance(exception, KeyboardInterrupt))

    def _play(self, trainer: Trainer, module: LightningModule, round_: int) -> None:
        if round_ not in self.game.rounds:
            return
        start = time.perf_counter()
        engine = self._engine(trainer, module, round_)
        unaware = None
        if bottlenecks(module):
            with silenced(module):
                unaware = self._engine(trainer, module, round_)
        self._seconds["releases"] += time.perf_counter() - start
        assert self._pool is not None
        hidden = trainer.progress_bar_callback is None
        with tqdm(leave=False, disable=hidden, bar_format="{desc} ({elapsed})") as bar:

            def progress(step: str) -> None:
                bar.set_description_str(f"attack, round {round_}: {step}")

            for match in [self._match, *(self._curve if round_ == max(self.game.rounds) else [])]:
                start = time.perf_counter()
                if self._target is not None and self.game.aims_at_worst:
                    match.aim_at(self._target)
                submit = self._pool.submit
                observation = match.observe(round_, engine, submit, progress, unaware)
                self._target = match.target
                self._seconds["releases"] += time.perf_counter() - start
                self._pending.append((match, observation, trainer.global_step))
                self._collect(trainer, most=_PENDING if self.game.workers > 1 else 0)
        if engine.broken:
            _log.warning(
                "round %d: the gradients of %d records hold NaN or inf and count as zero; the first"
                " is record %d",
                round_,
                len(engine.broken),
                engine.broken[0],
            )
        if not self._plan:
            for split, reuse in self._match.reuse.items():
                _log.info("%s: %s", split, reuse)
        self._tell(engine)

    def _engine(self, trainer: Trainer, module: LightningModule, round_: int) -> GradientEngine:
        return make_engine(trainer, module, self._population, self.game, round_)

    def _collect(self, trainer: Trainer, most: int) -> None:
        """Grades the rounds whose guesses are made, and waits until at most so many are left."""
        ledger = self._ledger
        while ledger and self._pending and (self._pending[0][1].done or len(self._pending) > most):
            match, observation, step = self._pending.popleft()
            start = time.perf_counter()
            ledger.record(trainer, match, match.judge(observation), step)
            self._seconds["grading"] += time.perf_counter() - start
            self._write(ledger, trainer)

    def _tell(self, engine: GradientEngine) -> None:
        plan = f"{engine.plan}, p = {engine.layout.p} parameters"
        if plan == self._plan:
            return
        _log.info("gradients: %s", plan)
        if engine.unused and not self._plan:
            _log.warning(
                "the loss does not use %s: their gradient counts as zero", ", ".join(engine.unused)
            )
        self._plan = plan

    def _write(self, ledger: Ledger, trainer: Trainer) -> None:
        total = time.perf_counter() - self._started
        ledger.write(trainer, {"fit": total} | self._seconds, self._plan)
