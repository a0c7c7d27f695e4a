"""Plays the game beside training, and writes down what the adversaries got."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import default_collate
from tqdm import tqdm
from typing_extensions import override

from leakage.callbacks.checks import check_training
from leakage.defenses import Defense, NoDefense
from leakage.errors import LeakageError
from leakage.game import Graded, Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.population import Population
from leakage.report.board import draw_curves, introduce
from leakage.report.rows import Row, keep_earlier, write_rows
from leakage.report.run import write_run
from leakage.report.summary import summary_table
from leakage.rules import Game

_SHOWN = ("auroc", "asr", "tpr_at_1fpr", "advantage", "gain", "bits")
_PROBED_LABELS = 64
_log = logging.getLogger("leakage.attack")


class Attack(Callback):
    """Plays the observed rounds of a game on the weights that training has reached.

    Leaves `attack.csv` and `run.json` in the folder of the logger, scalars and figures in it, and
    a table on the terminal. Training ends with the same weights as without it.

    Args:
        game: the rules.
        defense: M, the same object that `Defend` trains through; none where left out.
        population: the data; that of the data module where left out.
    """

    def __init__(
        self, game: Game, defense: Defense | None = None, population: Population | None = None
    ) -> None:
        self.game = game
        self.defense = NoDefense() if defense is None else defense
        self._given = population
        self._rows: list[Row] = []
        self._best: dict[tuple[int, str], str] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._plan = ""
        self._suffix = ""
        self._splits = ""
        self._first_round = 0
        self._written = False

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
        check_training(trainer, pl_module, self.defense)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        mine = [callback for callback in callbacks if isinstance(callback, Attack)].index(self)
        self._suffix = f"_{mine + 1}" if mine else ""  # further attacks write files of their own
        last, epochs = max(self.game.rounds), trainer.max_epochs
        if epochs is not None and 0 <= epochs < last:
            raise LeakageError(
                f"attack.rounds: round {last} is played after {last} epochs, but"
                f" trainer.max_epochs is {epochs}"
            )
        self._population = self._given or _population_of(trainer)
        self._splits = self._population.fingerprint
        layout = Layout.of(pl_module)
        self._match = Match(self.game, self._population, self.defense, layout)
        self._written = False
        self._rows.clear()
        self._seconds.clear()
        self._best.clear()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"splits": self._splits}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._splits:  # it plays: validate and test have nothing to attack
            self._population.check_fingerprint(state_dict["splits"])

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                settings = {"defense": self.defense.label} | self.game.settings
                data = f"{self._population.name}, {self._kind()}"
                introduce(logger.experiment, self.game.secret.name, {"data": data} | settings)
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
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_last_batch:
            self._play(trainer, pl_module, trainer.current_epoch + 1)
        else:
            _log.warning("epoch %d ended early and is no round", trainer.current_epoch)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = {round_ for round_ in self.game.rounds if round_ >= self._first_round}
        missed = sorted(due - {row.round for row in self._rows})
        if missed:
            _log.warning("rounds %s were not reached and have no figures", missed)
        self._write(trainer)
        if self._rows:
            data = f"{self._population.name} ({self._kind()})"
            print("\n" + summary_table(self._rows, self._best, self._utility(trainer), data))
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                print(f"\nwritten to {_folder(trainer)}")

    def _play(self, trainer: Trainer, module: LightningModule, round_: int) -> None:
        if round_ not in self.game.rounds:
            return
        start = time.perf_counter()
        engine = GradientEngine(
            module,
            self._population.records,
            self._probe(),
            epoch=round_,
            collate=getattr(trainer.train_dataloader, "collate_fn", None) or default_collate,
        )
        plan = f"{engine.plan.path} ({engine.plan.reason}), p = {engine.layout.p} parameters"
        if plan != self._plan:
            _log.info("gradients: %s", plan)
            self._plan = plan
        hidden = trainer.progress_bar_callback is None
        with tqdm(total=self._match.steps, leave=False, disable=hidden) as bar:

            def progress(step: str) -> None:
                bar.set_description(f"attack, round {round_}: {step}")
                bar.update()

            graded = self._match.play(round_, engine, progress)
        if not self._rows:
            for split, reuse in self._match.reuse.items():
                _log.info("%s: %s", split, reuse)
        for result in graded:
            self._record(trainer, result)
        self._seconds["attack"] += time.perf_counter() - start
        self._write(trainer)

    def _probe(self) -> torch.Tensor:
        """Records for the engine's comparison: four, and one of each further label."""
        records = self._population.splits["shadow_fit"].tolist()
        labels = self._population.labels.tolist()
        of_label = {labels[record]: record for record in reversed(records)}
        return torch.tensor(sorted({*records[:4], *list(of_label.values())[:_PROBED_LABELS]}))

    def _record(self, trainer: Trainer, result: Graded) -> None:
        secret, step = self.game.secret.name, trainer.global_step
        suffix = "_rounds" if result.rounds == "sum" else ""
        if result.best_baseline:
            self._best[result.round, result.rounds] = result.best_baseline
        for knowledge in result.knowledge or ("",):
            group = "attack" if knowledge else "baseline"
            tag = "/".join(filter(None, (group, secret, result.name, knowledge)))
            for metric, figure in result.figures.items():
                self._rows.append(
                    Row(
                        result.round,
                        step,
                        result.rounds,
                        secret,
                        self.game.k,
                        self.game.others,
                        self.defense.label,
                        knowledge,
                        result.name,
                        metric,
                        figure.value,
                        figure.low,
                        figure.high,
                        figure.n,
                        figure.units,
                        figure.note,
                    )
                )
            shown = {
                f"{tag}/{metric}{suffix}": result.figures[metric].value
                for metric in _SHOWN
                if metric in result.figures
            }
            new = knowledge in result.knowledge[:1]  # static and adaptive may be one answer
            for logger in trainer.loggers:
                logger.log_metrics(shown, step)
                if isinstance(logger, TensorBoardLogger) and new and not suffix:
                    posterior = result.answer.log_posterior
                    truth, support = self._match.truth.values, self._match.support
                    draw_curves(logger.experiment, tag, step, posterior, truth, support)

    def _write(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run or not self._rows:  # type: ignore[attr-defined]
            return  # the one leaves nothing behind, and an empty file would take a full one's place
        folder = _folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        if not self._written:
            for name in (f"attack{self._suffix}.csv", f"run{self._suffix}.json"):
                keep_earlier(folder / name)
            self._written = True
        write_rows(folder / f"attack{self._suffix}.csv", self._rows)
        total = time.perf_counter() - self._started
        seconds = {"fit": total} | self._seconds
        utility = {k: float(v) for k, v in trainer.callback_metrics.items() if "utility" in k}
        write_run(
            folder / f"run{self._suffix}.json",
            self._population,
            self.game.settings,
            self.defense.label,
            seconds,
            utility,
            self._plan,
        )

    def _kind(self) -> str:
        return "a stand-in: made-up records" if self._population.standin else "real records"

    def _utility(self, trainer: Trainer) -> str:
        labels = self._population.labels[self._population.splits["validation"]]
        majority = float(labels.bincount().max()) / len(labels)
        figures = [
            f"{name.removeprefix('utility/val_')} {float(value):.3f}"
            for name, value in trainer.callback_metrics.items()
            if name.startswith("utility/val_")
        ]
        shown = ", ".join(figures) or "no metric named utility/val_... was logged"
        return (
            f"utility on {len(labels)} validation records: {shown} (majority class {majority:.3f})"
        )


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.log_dir or trainer.default_root_dir)


def _population_of(trainer: Trainer) -> Population:
    data = getattr(trainer, "datamodule", None)
    population = getattr(data, "population", None)
    if not isinstance(population, Population):
        raise LeakageError(
            f"data: {type(data).__name__} has no attribute `population` of type"
            " leakage.population.Population, which tells the attack the records, their attributes"
            " and splits; give it one, or pass one to Attack"
        )
    return population
