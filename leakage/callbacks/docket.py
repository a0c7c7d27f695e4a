"""What an audit leaves: rows, files, scalars and a figure of its epsilons, and its canaries."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning import Trainer

from leakage.audit.auditor import Auditor
from leakage.audit.rules import AuditRules
from leakage.callbacks.surroundings import folder_of, writers_of
from leakage.origin import origin
from leakage.population import Population
from leakage.report.canaries import canary_files
from leakage.report.epsilon_figure import epsilon_figure
from leakage.report.epsilons import EpsilonRow, epsilon_rows, epsilon_table
from leakage.report.rows import write_rows
from leakage.report.run import write_run
from leakage.report.verdicts import verdict
from leakage.writing import keep_earlier, write_whole


class Docket:
    """Writes down what one audit found.

    Args:
        rules: its settings.
        defenses: by the noise, as text, M with its settings in words; its own first.
        population: the data.
        auditor: the audit under way.
        suffix: of the files, where several audits run in one Trainer.
    """

    def __init__(
        self,
        rules: AuditRules,
        defenses: Mapping[str, str],
        population: Population,
        auditor: Auditor,
        suffix: str,
    ) -> None:
        self.rows: list[EpsilonRow] = []
        self._rules, self._defenses, self._population = rules, defenses, population
        self._auditor, self._suffix = auditor, suffix

    def conclude(self, trainer: Trainer) -> None:
        """Bounds epsilon, and tells the loggers."""
        delta, step = self._auditor.delta, trainer.global_step
        results = self._auditor.conclude()
        values = self._auditor.values
        self.rows = epsilon_rows(results, self._rules, values, self._defenses, delta, step)
        figures = {
            self._tag(row): row.value if math.isnan(row.low) else row.low for row in self.rows
        }
        shown = {tag: figure for tag, figure in figures.items() if math.isfinite(figure)}
        for logger in trainer.loggers:
            logger.log_metrics(shown, step)
        for writer in writers_of(trainer):
            figure = epsilon_figure(self.rows)
            writer.add_figure(f"audit/{self._rules.secret}/epsilon{self._suffix}", figure, step)

    def _tag(self, row: EpsilonRow) -> str:
        """The noise is named where there are several."""
        several = len({r.sigma for r in self.rows if r.sigma == r.sigma}) > 1
        noise = f"sigma_{row.sigma:g}" if several else ""
        parts = ("audit", self._rules.secret, noise, row.canary, row.estimator, "epsilon")
        return "/".join(filter(None, parts)) + self._suffix

    def write(self, trainer: Trainer, seconds: Mapping[str, float], plan: str) -> None:
        """Writes the files; the canaries for their owner alone."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = folder_of(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        table, run = folder / f"audit{self._suffix}.csv", folder / f"audit{self._suffix}.json"
        for path in (table, run):
            keep_earlier(path)
        write_rows(table, self.rows)
        settings = self._rules.settings | {"values": list(self._auditor.values)}
        privacy = {"delta": self._auditor.delta}
        own = next(iter(self._defenses.values()))
        write_run(run, self._population, settings, own, seconds, {}, privacy, plan, ended=True)
        private = folder / f"canaries{self._suffix}"
        keep_earlier(private)
        private.mkdir(mode=0o700)
        for name, data in canary_files(self._auditor).items():
            write_whole(private / name, data, private=True)

    def summary(self, trainer: Trainer) -> str:
        """The table that an audit ends with, and where the files are."""
        kind = origin(self._population.standin)
        told = [
            f"data: {self._population.name} ({kind})",
            *verdict(self.rows, self._rules.attribute is not None),
        ]
        table = epsilon_table(self.rows, told)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return f"\n{table}"
        return f"\n{table}\n\nwritten to {folder_of(trainer)}"
