"""What a Trainer tells the game: the records, how batches are made of them, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import default_collate
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.making import Asked, engine_for
from leakage.gradients.source import BatchHooks, Source
from leakage.population import Population
from leakage.table import population_of, read_table

Kind = TypeVar("Kind", bound=Callback)
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class Rules(Asked, Protocol):
    """What the rules of a game, and those of an audit, say of the records and of the gradients."""

    @property
    def attributes(self) -> str | None:
        """A table with a row for each record."""

    @property
    def labels(self) -> str | None:
        """Its column of labels."""

    @property
    def units(self) -> str | None:
        """Its column of units."""

    @property
    def seed(self) -> int:
        """Of every draw."""


def callbacks_of(trainer: Trainer, kind: type[Kind]) -> list[Kind]:
    """The callbacks of one kind, in their order."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kind)]


def find_population(
    trainer: Trainer, game: Rules, table: pd.DataFrame | None, *, needs_traits: bool = True
) -> Population:
    """The records of a table of attributes, else those of the data module.

    Args:
        trainer: about to train.
        game: may name a table.
        table: one from Python, instead.
        needs_traits: whether anything is asked of the records but which they are.
    """
    if not isinstance(table, pd.DataFrame | None):
        raise LeakageError(
            f"{game.key}.attributes: a pandas.DataFrame is needed, got {type(table).__name__}; a"
            f" file is read by pandas.read_csv, or named by {type(game).__name__}(attributes=...)"
        )
    data = getattr(trainer, "datamodule", None)
    population = getattr(data, "population", None)
    if table is None and game.attributes is not None:
        table = read_table(game.attributes)
    plain = table is None and not needs_traits and not isinstance(population, Population)
    if table is not None or plain:
        trainer.fit_loop.setup_data()  # as Lightning does, once, before the first epoch
        records = getattr(trainer.train_dataloader, "dataset", None)
        if records is None:
            raise LeakageError(
                f"{game.key}.attributes: a row is about a record of the data set of one training"
                f" DataLoader, found a {type(trainer.train_dataloader).__name__} without a data set"
            )
        return population_of(
            records,
            pd.DataFrame(index=range(len(records))) if table is None else table,
            name=type(records).__name__,
            labels=game.labels,
            units=game.units,
            seed=game.seed,
            trained_on=True,
            source=f"{game.key}.attributes" if game.attributes is None else str(game.attributes),
            key=game.key,
        )
    for key in ("units", "labels"):
        if getattr(game, key) is not None:
            raise LeakageError(
                f"{game.key}.{key}: {getattr(game, key)!r} is a column of a table, but there is"
                f" none; name one in {game.key}.attributes, or leave the key out"
            )
    if not isinstance(population, Population):
        found = "there is no data module" if data is None else f"{type(data).__name__} has none"
        raise LeakageError(
            f"{game.key}.attributes: the {game.key} needs to know the attributes of the records;"
            " name a table with a row for each record of the training data, or use a data module"
            " with an attribute `population` of type leakage.population.Population"
            f" ({found})"
        )
    return population


def make_engine(
    trainer: Trainer, module: LightningModule, population: Population, game: Rules, epoch: int
) -> GradientEngine:
    """The engine at the weights that training has reached, on the device that it uses."""
    source = make_source(trainer, module, population)
    with as_written(module):
        return engine_for(module, source, population, game, epoch)


def progress_line(trainer: Trainer) -> tqdm[Any]:
    """Where what is under way is shown, with the time that it takes; by the first process alone."""
    hidden = trainer.progress_bar_callback is None or not trainer.is_global_zero
    return tqdm(leave=False, disable=hidden, bar_format="{desc} ({elapsed})")


def make_source(trainer: Trainer, module: LightningModule, population: Population) -> Source:
    """Batches of the population as the training loader makes them, where the module is."""
    return Source(
        population.records,
        collate=getattr(trainer.train_dataloader, "collate_fn", None) or default_collate,
        prepare=_batch_hooks(trainer, module),
        device=module.device,
    )


@contextmanager
def as_written(module: LightningModule) -> Iterator[None]:
    """Takes the steps that `trainer.fit(torch.compile(module))` compiled out of a module.

    They are bound to this very module, which a copy of it would go on to call.
    """
    names = ("forward", *_STEPS) if getattr(module, "_compiler_ctx", None) else ()
    compiled = {name: vars(module).pop(name) for name in names if name in vars(module)}
    try:
        yield
    finally:
        vars(module).update(compiled)


def _batch_hooks(trainer: Trainer, module: LightningModule) -> BatchHooks:
    """The batch-transfer hooks of the data module, else of the module, as Lightning picks them."""
    owners = [owner for owner in (getattr(trainer, "datamodule", None), module) if owner]
    hooks = []
    for name in ("on_before_batch_transfer", "on_after_batch_transfer"):
        owner = next((owner for owner in owners if is_overridden(name, owner)), None)
        if owner is not None:
            hooks.append(getattr(owner, name))
    return BatchHooks(tuple(hooks))


def writers_of(trainer: Trainer) -> list[SummaryWriter]:
    """Those of TensorBoard."""
    return [log.experiment for log in trainer.loggers if isinstance(log, TensorBoardLogger)]


def folder_of(trainer: Trainer) -> Path:
    """Where the run leaves its files."""
    return Path(trainer.log_dir or trainer.default_root_dir)
