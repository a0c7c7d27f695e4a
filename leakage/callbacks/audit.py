"""Audits M beside training: the least epsilon that its releases of known neighbours prove."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from typing_extensions import override

from leakage.audit.auditor import Auditor
from leakage.audit.canaries.record_loss import RecordLoss
from leakage.audit.rules import AuditRules
from leakage.audit.tally import noises_of
from leakage.callbacks.checks import (
    check_reach,
    check_training,
    defense_label,
    is_settled,
    settled_defense,
)
from leakage.callbacks.defend import Defend
from leakage.callbacks.docket import Docket
from leakage.callbacks.surroundings import (
    as_written,
    callbacks_of,
    find_population,
    make_engine,
    make_source,
    progress_line,
)
from leakage.defenses import Defense, NoDefense
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.loss import Loss
from leakage.population import Population

_log = logging.getLogger("leakage.audit")


class Audit(Callback):
    """Plays the trials of an audit on the weights that training has reached.

    Leaves `audit.csv`, `audit.json` and the canaries (for their owner alone) in the folder of the
    logger, scalars and a figure in it, and a table on the terminal. Training ends with the same
    weights as without it.

    Args:
        rules: the settings.
        defense: M; where left out that of `Defend`, which training goes through, else none.
        population: the data; that of the data module, or of a table of attributes, where left out.
        attributes: a table with a row for each record of the training data, in its order.
        stops: whether training ends with the last observed round.
    """

    def __init__(
        self,
        rules: AuditRules,
        defense: Defense | None = None,
        population: Population | None = None,
        attributes: pd.DataFrame | None = None,
        stops: bool = False,
    ) -> None:
        if population is not None and (attributes is not None or rules.attributes is not None):
            raise LeakageError(
                "audit.attributes: a table and a population both say what the records are; give one"
                " of them"
            )
        self.rules = rules
        self.defense = defense
        self.stops = stops
        self._given, self._table = population, attributes
        self._seconds: dict[str, float] = {}
        self._auditor: Auditor | None = None
        self._plan = ""
        self._splits = ""
        self._concluded = False

    @property
    @override
    def state_key(self) -> str:
        rules = self.rules  # all that a second audit beside it would change
        return self._generate_state_key(
            secret=rules.secret,
            values=rules.values,
            k=rules.k,
            rounds=rules.rounds,
            background=rules.background,
            q=rules.q,
            seed=rules.seed,
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"splits": self._splits}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._splits = state_dict["splits"]

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._started = time.perf_counter()
        self._seconds, self._auditor, self._splits, self._concluded = {}, None, "", False
        defense = self._defense(trainer)
        named = self.rules.loss is not None
        check_training(trainer, pl_module, defense, key="audit", named_loss=named)
        check_reach(trainer, self.rules.rounds, "audit")
        late = self._given is None and not hasattr(
            getattr(trainer, "datamodule", None), "population"
        )
        late = late or self._table is not None or self.rules.attributes is not None
        late = late or is_overridden("configure_model", pl_module)
        if not late and is_settled(settled_defense(trainer, defense)):
            self._prepare(trainer, pl_module)  # a mistake then leaves no file

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._auditor is None:
            self._prepare(trainer, pl_module)
        if self._splits:
            self._population.check_fingerprint(self._splits)
        self._splits = self._population.fingerprint

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        first = trainer.current_epoch + (trainer.global_step > 0)
        if first > min(self.rules.rounds):
            raise LeakageError(
                f"audit.rounds: round {min(self.rules.rounds)} was over when this run resumed after"
                f" {trainer.current_epoch} epochs, and an audit needs all of its rounds in one run;"
                f" name rounds from {first} on"
            )
        if trainer.global_step == 0:
            self._play(trainer, pl_module, 0)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._concluded or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        said = (
            f"audit.rounds: round {max(self.rules.rounds)} was never reached, since training ended"
            f" after {trainer.global_step} steps; let it train on, or name earlier rounds"
        )
        if self.stops:  # nothing else was wanted of the run
            raise LeakageError(said)
        _log.warning("%s", said)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_last_batch:
            self._play(trainer, pl_module, trainer.current_epoch + 1)

    def _defense(self, trainer: Trainer) -> Defense:
        if self.defense is not None:
            return self.defense
        found = callbacks_of(trainer, Defend)
        return found[0].defense if found else NoDefense()

    def _prepare(self, trainer: Trainer, module: LightningModule) -> None:
        asks = self.rules.attribute is not None
        self._population = self._given or find_population(
            trainer, self.rules, self._table, needs_traits=asks
        )
        defense = settled_defense(trainer, self._defense(trainer))
        if not is_settled(defense):
            raise LeakageError(
                "trainer.callbacks: Audit stands before Defend, which finds the noise that a target"
                " epsilon asks for; put Defend first"
            )
        self._auditor = Auditor(self.rules, self._population, defense, Layout.of(module))
        mine = callbacks_of(trainer, Audit).index(self)
        suffix = f"_{mine + 1}" if mine else ""
        noises = {None: defense} | noises_of(self.rules, defense)
        labels = {
            str(math.nan if sigma is None else sigma): defense_label(module, noisy)
            for sigma, noisy in noises.items()
        }
        self._docket = Docket(self.rules, labels, self._population, self._auditor, suffix)

    def _play(self, trainer: Trainer, module: LightningModule, round_: int) -> None:
        if round_ not in self.rules.rounds or self._auditor is None:
            return
        start, auditor = time.perf_counter(), self._auditor
        with progress_line(trainer) as bar:
            engine = make_engine(trainer, module, auditor.population, self.rules, round_)
            source = make_source(trainer, module, auditor.population)
            with as_written(module):
                loss = Loss(module, round_, self.rules.loss, source.device)

            def progress(step: str) -> None:
                bar.set_description_str(f"audit, round {round_}: {step}")

            auditor.observe(round_, engine, RecordLoss(loss, source), progress)
        plan = f"{engine.plan}, p = {engine.layout.p} parameters"
        if plan != self._plan:
            _log.info("gradients: %s", plan)
            self._plan = plan
        self._seconds[f"round {round_}"] = time.perf_counter() - start
        if round_ == max(self.rules.rounds):
            self._conclude(trainer)

    def _conclude(self, trainer: Trainer) -> None:
        start = time.perf_counter()
        self._docket.conclude(trainer)
        self._seconds["bounds"] = time.perf_counter() - start
        total = time.perf_counter() - self._started
        self._docket.write(trainer, {"audit": total} | self._seconds, self._plan)
        print(self._docket.summary(trainer))
        self._concluded = True
        audits = callbacks_of(trainer, Audit)
        if self.stops and all(audit._concluded for audit in audits):
            trainer.should_stop = True
