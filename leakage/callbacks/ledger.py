"""What an attack leaves while it runs: rows, files, scalars and figures of each graded round."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lightning import Trainer

from leakage.adversaries.looks import SEEN
from leakage.callbacks.defend import Defend
from leakage.callbacks.surroundings import callbacks_of, folder_of, writers_of
from leakage.callbacks.utility import Utility
from leakage.game import Match
from leakage.knowledge import CEILING, INFORMATION
from leakage.metrics.intervals import Estimate
from leakage.origin import origin
from leakage.population import Population
from leakage.report.band import information_figure
from leakage.report.board import (
    draw_curves,
    draw_exposure,
    draw_layers,
    introduce,
)
from leakage.report.comparisons import aggregation_figure
from leakage.report.rows import ALL, Row, write_rows
from leakage.report.run import write_run
from leakage.report.summary import summary_table
from leakage.report.words import priced, spent, told
from leakage.rounds import Graded
from leakage.rules import Game
from leakage.writing import keep_earlier, write_whole

_SHOWN = ("auroc", "asr", "tpr_at_1fpr", "advantage", "gain", "bits", "mae", "rps", "top5")


class Ledger:
    """Writes down what one attack found.

    Args:
        game: its rules.
        defense: M with its settings, in words.
        population: the data.
        match: the game under way.
        suffix: of the files, where several attacks run in one Trainer.

    Attributes:
        rows: so far.
        folder: of the run.
    """

    def __init__(
        self, game: Game, defense: str, population: Population, match: Match, suffix: str
    ) -> None:
        self.rows: list[Row] = []
        self.folder = Path()
        self._game, self._defense, self._population = game, defense, population
        self._match, self._suffix = match, suffix
        self._best: dict[tuple[int, str], str] = {}
        self._written = False

    @property
    def _data(self) -> str:
        kind = origin(self._population.standin)
        trained_on = ", which the model trains on" if self._population.trained_on else ""
        return f"{self._population.name} ({kind}{trained_on})"

    def introduce(self, trainer: Trainer) -> None:
        """Finds the folder, for which all processes have to ask, and tells what the run is."""
        self.folder = folder_of(trainer)
        told = {"data": self._data, "defense": self._defense} | self._game.settings
        for writer in writers_of(trainer):
            introduce(writer, self._game.secret.name, told)

    def record(
        self, trainer: Trainer, match: Match, results: Sequence[Graded], step: int, size: int
    ) -> None:
        """Adds the figures of a round that was played after so many optimizer steps.

        Args:
            trainer: has the loggers.
            match: that of the ledger, or one at another point of its aggregation curve.
            results: of one round.
            step: optimizer steps before it.
            size: records of each client's batch in the real step that was scored.
        """
        for result in results:
            for knowledge in result.knowledge or ("",):
                self._add(match, result, knowledge, step, size)
                if result.layers == SEEN and match is self._match:
                    self._log(trainer, result, knowledge, step)
        if match.ceiling is not None:
            note = "what the drawn composition of a batch allows in one round"
            limit = Estimate(match.ceiling, math.nan, math.nan, match.game.trials, 0, note)
            nobody = replace(results[0], name=CEILING, figures={"asr": limit})  # from a baseline
            self._add(match, nobody, "", step)
        layers = [result for result in results if result.layers != SEEN]
        if layers:
            tag = f"attack/{self._game.secret.name}/{layers[0].name}/{layers[0].knowledge[-1]}"
            figures = {result.layers: result.figures["auroc"] for result in layers}
            for writer in writers_of(trainer):
                draw_layers(writer, tag, step, figures)

    def _add(self, match: Match, result: Graded, knowledge: str, step: int, size: int = 0) -> None:
        if result.best_baseline and match is self._match:
            self._best[result.round, result.rounds] = result.best_baseline
        figures = {(ALL, metric): figure for metric, figure in result.figures.items()}
        if result.layers != SEEN:
            figures = {(ALL, "auroc"): result.figures["auroc"]}
        elif knowledge:
            figures |= {(f"class {v}", "asr"): figure for v, figure in result.by_class.items()}
            figures |= self._live(match, result, size)
            if result.round == max(self._game.rounds):
                metric = "auroc" if match.truth.clustered else "asr"
                figures |= {(f"unit {u}", metric): figure for u, figure in result.exposed.items()}
        for (group, metric), figure in figures.items():
            if metric == "worst_class":  # by its name
                named = re.sub(r"^class (\d+)", lambda m: _class(match, m), figure.note)
                figure = replace(figure, note=named)
            self.rows.append(
                Row(
                    result.round,
                    step,
                    result.rounds,
                    match.game.secret.name,
                    match.game.k,
                    match.game.others,
                    self._defense,
                    knowledge,
                    result.name,
                    result.layers,
                    group,
                    metric,
                    figure.value,
                    figure.low,
                    figure.high,
                    figure.n,
                    figure.units,
                    figure.note,
                )
            )

    def _live(self, match: Match, result: Graded, size: int) -> dict[tuple[str, str], Estimate]:
        """What is answered of the release of each client in a real step: no trial of the game."""
        if result.answer.live is None or match is not self._match:
            return {}
        note = f"of one real step on {size} records; batches of the game have {match.game.k}"
        return {
            (f"live {client}", f"posterior of {value}"): Estimate(
                math.exp(log_share), math.nan, math.nan, 1, 0, note
            )
            for client, shares in enumerate(result.answer.live.tolist())
            for value, log_share in zip(match.support, shares, strict=True)
        }

    def conclude(self, trainer: Trainer) -> None:
        """Draws what takes all rows: attack against k and clients, and what is proven in bits."""
        secret = self._game.secret.name
        figures = {f"information/{secret}/bits": information_figure(self.rows)}
        if self._game.curve():
            figures[f"attack/{secret}/aggregation"] = aggregation_figure(self.rows)
        for writer in writers_of(trainer):
            for tag, figure in figures.items():
                writer.add_figure(tag, figure, self.rows[-1].step, close=False)

    def _log(self, trainer: Trainer, result: Graded, knowledge: str, step: int) -> None:
        if result.name == INFORMATION:
            self._log_view(trainer, result, step)
            return
        group = "attack" if knowledge else "baseline"
        tag = "/".join(filter(None, (group, self._game.secret.name, result.name, knowledge)))
        suffix = "_rounds" if result.rounds == "sum" else ""
        shown = {
            f"{tag}/{metric}{suffix}": result.figures[metric].value
            for metric in _SHOWN
            if metric in result.figures
        }
        new = knowledge in result.knowledge[:1]  # static and adaptive may be one answer
        for logger in trainer.loggers:
            logger.log_metrics(shown, step)
        for writer in writers_of(trainer) if new and not suffix else ():
            answer, truth, support = result.answer, self._match.truth.values, self._match.support
            draw_curves(writer, tag, step, answer.log_posterior, answer.ranking, truth, support)
            users = self._match.truth.clustered
            exposed = {
                f"AUROC of unit {unit}" if users else f"unit {unit}": figure
                for unit, figure in result.exposed.items()
            }
            draw_exposure(writer, tag, step, result.figures["asr"], result.by_class, exposed)

    def _log_view(self, trainer: Trainer, result: Graded, step: int) -> None:
        """The information view: bits and shares by secret, and what DP says of the releases."""
        suffix = "_rounds" if result.rounds == "sum" else ""
        secret = self._game.secret.name
        shown = {
            f"privacy/{metric}{self._suffix}{suffix}"
            if metric.startswith("epsilon")
            else f"information/{secret}/{metric}{suffix}": figure.value
            for metric, figure in result.figures.items()
            if not math.isnan(figure.value)
        }
        for logger in trainer.loggers:
            logger.log_metrics(shown, step)

    def write(
        self,
        trainer: Trainer,
        seconds: Mapping[str, float],
        plan: str,
        *,
        goes_on: bool,
        ended: bool,
    ) -> None:
        """Writes the files anew.

        Args:
            trainer: knows the folder and the utility so far.
            seconds: spent in each stage so far.
            plan: how gradients were computed.
            goes_on: whether the files of the folder are of this very run, which was killed.
            ended: whether training has.
        """
        if trainer.fast_dev_run or not self.rows:  # type: ignore[attr-defined]
            return  # the one leaves nothing behind, and an empty file would take a full one's place
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = self.folder
        table, run = (folder / f"attack{self._suffix}.csv", folder / f"run{self._suffix}.json")
        hits = folder / f"predicted{self._suffix}.safetensors"
        if not self._written and not goes_on:
            for earlier in (table, run, hits):
                keep_earlier(earlier)
        self._written = True
        write_rows(table, self.rows)
        metrics = trainer.callback_metrics.items()
        utility: dict[str, float | list[float]] = {
            name: float(v) for name, v in metrics if "utility" in name or "val" in name
        }
        utility |= {name: [e.value, e.low, e.high] for name, e in _priced(trainer).items()}
        settings, defense = self._game.settings, self._defense
        population, privacy = self._match.population, _spent(trainer)
        write_run(run, population, settings, defense, seconds, utility, privacy, plan, ended=ended)
        utilities = callbacks_of(trainer, Utility)
        if utilities and (predicted := utilities[0].predicted) is not None:
            write_whole(hits, predicted.packed(), private=True)

    def summary(self, trainer: Trainer) -> str:
        """The table that a run ends with, and where the files are."""
        limits = []
        if self._match.ceiling is not None:
            limits = [
                f"ceiling: the composition of a batch is drawn, so that no ASR of one round at k ="
                f" {self._game.k} exceeds {self._match.ceiling:.3f}"
            ]
        data, utility = self._data, self._utility(trainer)
        notes = [*told(self._game), *limits, *spent(_spent(trainer)), *priced(_priced(trainer))]
        table = summary_table(self.rows, self._best, utility, data, notes)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return f"\n{table}"
        return f"\n{table}\n\nwritten to {self.folder}"

    def _utility(self, trainer: Trainer) -> str:
        figures = [
            f"{name.removeprefix('utility/').removeprefix('val_')} {float(value):.3f}"
            for name, value in trainer.callback_metrics.items()
            if name.removeprefix("utility/").startswith("val")
        ]
        shown = ", ".join(figures) or "no metric named val... or utility/val... was logged"
        records = self._population.splits.get("validation")
        if records is None or not len(records):
            return f"utility: {shown}"
        labels = self._population.labels[records]
        majority = float(labels.bincount().max()) / len(labels)
        return (
            f"utility on {len(labels)} validation records: {shown} (majority class {majority:.3f})"
        )


def _class(match: Match, found: re.Match[str]) -> str:
    return f"class {match.support[int(found[1])]}"


def _priced(trainer: Trainer) -> dict[str, Estimate]:
    """Utility with its intervals, once training has ended."""
    found = callbacks_of(trainer, Utility)
    return found[0].figures if found else {}


def _spent(trainer: Trainer) -> dict[str, float]:
    """What training under DP has spent."""
    found = callbacks_of(trainer, Defend)
    return found[0].privacy() if found else {}
