"""What a defense costs: accuracy on held-out records, and against the run without a defense."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from leakage.callbacks.surroundings import as_written, make_source
from leakage.distributed import gathered, rank, world
from leakage.errors import LeakageError, Requeued
from leakage.gradients.state import State
from leakage.metrics.intervals import Estimate
from leakage.metrics.utility import accuracy, accuracy_loss
from leakage.population import Population
from leakage.predicted import Predicted
from leakage.randomness import isolated

_SPLITS = ("validation", "test")
_TAGS = {
    "validation_accuracy": "utility/val_accuracy",  # as Classifier logs it
    "test_accuracy": "utility/test_accuracy",
    "loss_vs_none": "utility/loss_vs_none",
}
_BATCH = 64  # records, where the training loader names no number
_log = logging.getLogger("leakage.utility")


class Predicts(Protocol):
    """A module whose predictions can be counted."""

    def hits(self, batch: object) -> Tensor:
        """Whether the label of each record of a batch is predicted, bool (k,)."""
        ...


class Utility(Callback):
    """Counts, at the end of training, which validation and test records a module is right about.

    The module needs a method `hits` as in `Predicts`. It is called in evaluation mode, on all
    records of the two splits, whatever the Trainer limits; ranks share them, and each record
    counts once. Training is not disturbed. Stands before `Attack`, which tells of it.

    In Python, with the same seed before each of the two runs::

        none = Utility()
        Trainer(callbacks=[none]).fit(model, data)
        Trainer(callbacks=[Defend(Sign()), Utility(against=none)]).fit(another, data)

    Args:
        against: that of the run without a defense; or what trains such a run, at the end of this
            one, and returns it.
        population: the data; that of the data module where left out.

    Attributes:
        hits: by split, whether each record of it is predicted, bool (n,), in the order of the
            population; empty before the end of training.
        figures: `validation_accuracy`, `test_accuracy`, and with `against` `loss_vs_none` (the
            accuracy without a defense less this one, on the test records, else on those for
            validation) and `validation_loss_vs_none`.
        seconds: spent on `utility` and on an `undefended twin`.
    """

    def __init__(
        self,
        against: Utility | Callable[[], Utility] | None = None,
        population: Population | None = None,
    ) -> None:
        self.hits: dict[str, Tensor] = {}
        self.figures: dict[str, Estimate] = {}
        self.seconds: dict[str, float] = {}
        self._against = against
        self._given = population
        self._population: Population | None = None
        self._judged: dict[str, Tensor] = {}  # by split, (3, n): index, label and unit

    @property
    def predicted(self) -> Predicted | None:
        """What another run's utility can be compared with; None before the end of training."""
        if not self.hits:
            return None
        return Predicted(
            {split: table.numpy() for split, table in self._judged.items()},
            {split: hits.numpy() for split, hits in self.hits.items()},
        )

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        for kept in (self.hits, self.figures, self.seconds, self._judged):
            kept.clear()
        self._population, lacks = self._find(trainer, pl_module)
        if self._population is None:
            _log.info("utility: no interval and no loss_vs_none, since %s", lacks)
            return
        for split in _SPLITS:
            records = self._population.splits.get(split, torch.empty(0, dtype=torch.int64))
            if len(records):
                labels, units = self._population.labels[records], self._population.units[records]
                self._judged[split] = torch.stack([records, labels.long(), units])
        if isinstance(self._against, Utility):
            if not self._against.hits:
                raise LeakageError(
                    "Utility.against: the run without a defense has predicted nothing yet; fit it"
                    " first, with a module that has a method `hits`"
                )
            self._check_same_records(self._against)

    def _find(self, trainer: Trainer, module: LightningModule) -> tuple[Population | None, str]:
        """The population, or why no prediction can be counted."""
        if not callable(getattr(module, "hits", None)):
            return None, f"{type(module).__name__} has no method `hits`"
        data = getattr(trainer, "datamodule", None)
        population = self._given or getattr(data, "population", None)
        if not isinstance(population, Population):
            return None, "no data module with a `population` says which records were held out"
        if not any(len(population.splits.get(split, ())) for split in _SPLITS):
            return None, f"{population.name} has no validation and no test records"
        return population, ""

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for records, *_ in self._judged.values():  # a mistake comes out now, not after training
            self._predict(trainer, pl_module, records[:2])

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._judged:
            return
        if not all(p.isfinite().all() for p in pl_module.parameters()):
            _log.warning("utility: no figure, since weights are NaN or inf: training has diverged")
            return
        start = time.perf_counter()
        for split, (records, _, units) in self._judged.items():
            self.hits[split] = self._predict_together(trainer, pl_module, records)
            figure = accuracy(self.hits[split].numpy(), units.numpy())
            self.figures[f"{split}_accuracy"] = figure
        self.seconds["utility"] = time.perf_counter() - start
        if self._against is not None:
            self._compare(self._against)
        self._tell(trainer)

    def _compare(self, against: Utility | Callable[[], Utility]) -> None:
        if not isinstance(against, Utility):
            start = time.perf_counter()
            try:
                against = against()
                self._check_same_records(against)
                if not against.hits:
                    raise LeakageError("its training has diverged")
            except Requeued:
                raise
            except Exception as error:  # the run itself is over, and loses nothing
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                _log.warning("utility: the undefended twin failed, so no loss_vs_none: %s", said)
                return
            finally:
                self.seconds["undefended twin"] = time.perf_counter() - start
        losses = {
            split: accuracy_loss(against.hits[split].numpy(), hits.numpy(), units.numpy())
            for (split, hits), (_, _, units) in zip(
                self.hits.items(), self._judged.values(), strict=True
            )
        }
        self.figures["loss_vs_none"] = losses.get("test", next(iter(losses.values())))
        if "validation" in losses:
            self.figures["validation_loss_vs_none"] = losses["validation"]

    def _check_same_records(self, against: Utility) -> None:
        for split in _SPLITS:
            ours, theirs = (of._judged.get(split, torch.empty(0)) for of in (self, against))
            if not torch.equal(ours, theirs):
                raise LeakageError(
                    f"Utility.against: the {split} records of the run without a defense are not"
                    " those of this run; give both the same data and the same seed of the splits"
                )

    def _predict_together(
        self, trainer: Trainer, module: LightningModule, records: Tensor
    ) -> Tensor:
        """The same as `_predict`, of which each rank does its share."""
        hits = torch.empty(len(records), dtype=torch.bool)
        mine = records[rank() :: world()]
        for other, part in enumerate(gathered(self._predict(trainer, module, mine))):
            hits[other :: world()] = part
        return hits

    def _predict(self, trainer: Trainer, module: LightningModule, records: Tensor) -> Tensor:
        """Whether the label of each record is predicted, bool (n,)."""
        assert self._population is not None
        source = make_source(trainer, module, self._population)
        size = getattr(trainer.train_dataloader, "batch_size", None) or _BATCH
        precision = trainer.precision_plugin
        found = [torch.empty(0, dtype=torch.bool)]
        with _observed(module), precision.forward_context():
            for indices in records.split(size) if len(records) else ():
                batch = precision.convert_input(source.batch(indices))
                hits = cast(Predicts, module).hits(batch)
                _check_hits(hits, len(indices), type(module).__name__)
                found.append(hits.cpu())
        return torch.cat(found)

    def _tell(self, trainer: Trainer) -> None:
        told: dict[str, float] = {}
        for name, tag in _TAGS.items():
            figure = self.figures.get(name)
            if figure is None:
                continue
            # Else the module has logged it by itself; of ranks, some count a record twice.
            if tag not in trainer.callback_metrics or trainer.world_size > 1:
                told[tag] = figure.value
            told |= {f"{tag}_low": figure.low, f"{tag}_high": figure.high}
        told = {tag: value for tag, value in told.items() if math.isfinite(value)}
        for logger in trainer.loggers:
            logger.log_metrics(told, trainer.global_step)


def _check_hits(hits: object, records: int, module: str) -> None:
    if isinstance(hits, Tensor) and hits.dtype == torch.bool and hits.shape == (records,):
        return
    shaped = f"{hits.dtype} of shape {tuple(hits.shape)}" if isinstance(hits, Tensor) else ""
    raise LeakageError(
        f"model {module}: hits must give one torch.bool for each of the {records} records of a"
        f" batch, found {shaped or type(hits).__name__}"
    )


@contextmanager
def _observed(module: LightningModule) -> Iterator[None]:
    """The module in evaluation mode, without gradients; nothing of it stays changed."""
    modes, state = [(part, part.training) for part in module.modules()], State(module)
    try:
        module.eval()
        with (
            isolated(0, module.device),
            torch.no_grad(),
            as_written(module),
            torch.compiler.set_stance("force_eager"),  # else once for every size of a batch
        ):
            yield
    finally:
        state.restore()
        for part, training in modes:
            part.training = training
