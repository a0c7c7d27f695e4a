"""The rounds of one attack: taken, given to the side where they are played, and written down."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer

from leakage.adversaries.looks import SEEN
from leakage.answered import Answered, named
from leakage.background.messages import Result
from leakage.callbacks.course import Course
from leakage.callbacks.ledger import Ledger
from leakage.callbacks.records import count_records
from leakage.callbacks.resume import Resume
from leakage.callbacks.sides import Side
from leakage.callbacks.surroundings import as_written, callbacks_of, make_source
from leakage.distributed import gathered
from leakage.gradients.shared import read_shared_gradient
from leakage.knowledge import INFORMATION
from leakage.player import Played, Player, Setting
from leakage.rounds import Graded
from leakage.snapshot import Snapshot

_log = logging.getLogger("leakage.attack")


class Play:
    """One match in a Trainer.

    Args:
        number: of the attack among those of the Trainer.
        setting: of the match.
        defense: M with its settings, in words.
        side: where rounds are played.

    Attributes:
        player: the match, as this process has it.
        side: where rounds are played.
        begun: whether rounds may be taken.
        target: the record that all trials are about, once it is known.
    """

    def __init__(self, number: int, setting: Setting, defense: str, side: Side) -> None:
        self.player, self.begun = Player(setting), False
        self.target: int | None = None
        self._number, self.side = number, side
        self._name = f"_{number + 1}" if number else ""  # further attacks have files of their own
        population, match = setting.population, self.player.match
        self._ledger = Ledger(setting.game, defense, population, match, self._name)
        self._course = Course(None, None, setting, {})
        self._due: Snapshot | None = None  # waits for the release of the next step
        self._size = 0
        self._provisional: set[int] = set()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._started = time.perf_counter()
        self._plan = ""

    @property
    def keys(self) -> dict[int, str]:
        """By round that was taken, what its figures follow from."""
        return self._course.keys

    @property
    def waits(self) -> bool:
        """Whether a round waits for what clients release of the next step."""
        return self._due is not None

    def begin(
        self,
        trainer: Trainer,
        module: LightningModule,
        keys: Mapping[int, str],
        target: int | None,
    ) -> None:
        """Opens the match, and plays what a run that was interrupted has left unplayed.

        Args:
            trainer: that trains.
            module: as it is now.
            keys: of the rounds before the checkpoint that training goes on from.
            target: that of those rounds.
        """
        self.begun, self.target = True, target
        self._ledger.introduce(trainer)
        name, origin = f"attack{self._name}", trainer.ckpt_path
        folder = self._ledger.folder / name
        kept = trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self._course = Course(
            folder if kept else None,
            Path(origin).parent.parent / name if kept and origin else None,
            self.player.setting,
            keys,
            next((resume.config for resume in callbacks_of(trainer, Resume)), ""),
        )
        if target is not None:
            self.player.aim_at(target)
        self.side.open(trainer, self._number, self.player)
        if not keys:
            return
        now = self._snapshot(trainer, module, trainer.current_epoch)
        for round_, found in self._course.before(now):
            if round_ not in self.player.setting.game.rounds:
                continue
            here = round_ == max(keys) == trainer.current_epoch
            if isinstance(found, Played) and not (here and self._lacks(trainer, found)):
                self.side.recall(self._number, self.player.trimmed(found))
            elif isinstance(found, Played):
                self._wait(trainer, now)
            elif found is None:
                _log.warning(
                    "round %d was under way when training was interrupted and nothing of it is"
                    " left here, so that it has no figures and is in no sum",
                    round_,
                )
            elif found.live is None and here:
                self._wait(trainer, found)
            else:
                _log.info(
                    "round %d is played on its weights; what else the module holds is that of the"
                    " checkpoint",
                    round_,
                )
                self.side.play(trainer, self._number, found)

    def take(self, trainer: Trainer, module: LightningModule, round_: int) -> None:
        """Has an observed round played at the weights of now."""
        setting = self.player.setting
        if round_ not in setting.game.rounds:
            return
        snapshot = self._snapshot(trainer, module, round_)
        witnessed = snapshot.witnessed(setting.population, setting.game)
        if self.side.is_beside(self._number):
            snapshot = witnessed
            if not self.keys:
                # A mistake comes out before training, as it does where the round is played here.
                engine = snapshot.engine(setting.population, setting.game)
                engine.layout.check_same(setting.layout, round_)
        played = self._course.take(witnessed)
        if played is not None and not self._lacks(trainer, played):
            self.side.recall(self._number, self.player.trimmed(played))
            return
        self._course.hold(snapshot)
        self._wait(trainer, snapshot)

    def _snapshot(self, trainer: Trainer, module: LightningModule, round_: int) -> Snapshot:
        source = make_source(trainer, module, self.player.setting.population)
        with as_written(module):
            return Snapshot.of(module, source, round_, trainer.global_step)

    def _wait(self, trainer: Trainer, snapshot: Snapshot) -> None:
        """For the first step at these weights, which under manual optimization nobody knows."""
        automatic = trainer.lightning_module.automatic_optimization
        self._due, self._size = snapshot, 0
        if not (self.player.match.scores_live and automatic):
            self.give(trainer)

    def count(self, batch: Any) -> None:
        """Counts the records of a batch of the next step."""
        self._size += count_records(batch)

    def release(self, trainer: Trainer, module: LightningModule) -> None:
        """Has the round that waits played, with what all clients release of this step."""
        assert self._due is not None
        live = torch.stack(gathered(read_shared_gradient(module).cpu()))
        if live.isfinite().all():
            self._due = replace(self._due, live=live, size=self._size)
        else:
            _log.warning(
                "round %d: what was released of its first step holds NaN or inf and is not scored",
                self._due.round,
            )
        self.give(trainer)

    def _lacks(self, trainer: Trainer, played: Played) -> bool:
        """Whether a round was the last of a run that now goes on, or is the last one only now."""
        limit = trainer.max_epochs
        goes_on = limit is None or limit < 0 or played.round < limit
        unscored = goes_on and self.player.match.scores_live and not played.size
        last = played.round == max(self.player.setting.game.rounds)
        return unscored or (last and not played.last)

    def give(self, trainer: Trainer, *, fails: bool = False) -> None:
        """Has the round that waits played, if there is one.

        Args:
            trainer: that trains.
            fails: whether training fails, so that the step comes when it goes on.
        """
        if self._due is not None:
            snapshot, self._due = self._due, None
            if fails:
                self._provisional.add(snapshot.round)
            self._course.hold_live(snapshot)
            self.side.play(trainer, self._number, snapshot)

    def write_down(self, trainer: Trainer, result: Result) -> None:
        """Keeps a round that was played: on disk first, so that no figure is lost or made twice."""
        played, start = result.played, time.perf_counter()
        self.target = played.target
        if not trainer.is_global_zero:
            return
        if played.round not in self._provisional:
            self._course.keep(played, self._answered(result.figures[0]))
        self._tell(played)
        for match, figures in zip(self.player.matches, result.figures, strict=False):
            self._ledger.record(trainer, match, figures, played.step, played.size)
        for stage, seconds in played.seconds.items():
            self._seconds[stage] += seconds
        self._seconds["writing"] += time.perf_counter() - start
        self._write(trainer)

    def _answered(self, figures: Sequence[Graded]) -> dict[str, Answered]:
        """By `alone` and `sum`, as far as there are rounds to put together."""
        found: dict[str, Answered] = {}
        for result in figures:
            if result.layers == SEEN and result.name != INFORMATION:
                new = Answered(self.player.match.truth.values, result.draws, {})
                rankings = found.setdefault(result.rounds, new).rankings
                rankings[named(result.knowledge), result.name] = result.answer.ranking
        return found

    def conclude(self, trainer: Trainer) -> None:
        """Ends the attack: what takes all rounds, and the table on the terminal."""
        rows = self._ledger.rows
        if not trainer.is_global_zero:
            return
        missed = sorted(set(self.player.setting.game.rounds) - {row.round for row in rows})
        if missed:
            _log.warning("rounds %s were not reached and have no figures", missed)
        if rows:
            self._write(trainer, ended=True)
            self._ledger.conclude(trainer)
            print(self._ledger.summary(trainer))

    def _write(self, trainer: Trainer, *, ended: bool = False) -> None:
        seconds = {"fit": time.perf_counter() - self._started} | self._seconds
        goes_on = self._course.goes_on
        self._ledger.write(trainer, seconds, self._plan, goes_on=goes_on, ended=ended)

    def _tell(self, played: Played) -> None:
        if played.broken:
            _log.warning(
                "round %d: the gradients of %d records hold NaN or inf and count as zero; the first"
                " is record %d",
                played.round,
                len(played.broken),
                played.broken[0],
            )
        if not self._plan:
            for split, reuse in played.reuse.items():
                _log.info("%s: %s", split, reuse)
            if played.unused:
                _log.warning(
                    "the loss does not use %s: their gradient counts as zero",
                    ", ".join(played.unused),
                )
        if played.plan != self._plan:
            _log.info("gradients: %s", played.plan)
            self._plan = played.plan
