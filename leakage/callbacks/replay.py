"""A training loader that remembers its random numbers, so that an epoch can go on in its middle."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.fabric.utilities.types import _Stateful
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from typing_extensions import override

from leakage.callbacks.poisson import PoissonBatches
from leakage.randomness import isolated, random_state, set_random_state

State = dict[str, Any]


class WatchedLoader(CombinedLoader):
    """The loader of a Trainer that notes where randomness stood, and draws none by itself.

    Attributes:
        begun: before the iterator of this epoch was made; None of the first epoch of a run, whose
            iterator Lightning makes before it calls anyone.
        first: before the first batch of this epoch.
        then: to be set before the next batch.
    """

    device: torch.device
    begun: State | None = None
    first: State | None = None
    then: State | None = None

    @staticmethod
    def watch(loader: CombinedLoader, device: torch.device) -> WatchedLoader | None:
        """The same loader, watched from now on; None if it is one of someone's own making."""
        if type(loader) is CombinedLoader:
            loader.__class__ = WatchedLoader
        if not isinstance(loader, WatchedLoader):
            return None
        loader.device = device
        return loader

    @override
    def __iter__(self) -> WatchedLoader:
        self.begun, self.first = self.state(), None
        super().__iter__()
        return self

    @override
    def __next__(self) -> Any:
        if self.then is not None:
            self.set_state(self.then)
        if self.first is None:
            self.first = self.state()
        return super().__next__()

    def state(self) -> State:
        """Where the global randomness stands, and that of the loaders."""
        own = [generator.get_state() for generator in self._generators()]
        return random_state(self.device) | {"loaders": own}

    def set_state(self, state: State) -> None:
        """Goes back, or on, to a state."""
        self.then = None
        set_random_state(state, self.device)
        for generator, own in zip(self._generators(), state["loaders"], strict=False):
            generator.set_state(own)

    def _generators(self) -> list[torch.Generator]:
        found: dict[int, torch.Generator] = {}
        for loader in self.flattened:
            for part in (loader, getattr(loader, "sampler", None)):
                generator = getattr(part, "generator", None)
                if isinstance(generator, torch.Generator):
                    found[id(generator)] = generator
        return list(found.values())

    @property
    def finds_its_place(self) -> bool:
        """Whether its batches go on where they were by themselves."""
        return all(
            isinstance(loader, _Stateful)
            or isinstance(getattr(loader, "batch_sampler", None), PoissonBatches)
            for loader in self.flattened
        )


def replay(trainer: Trainer, loader: WatchedLoader, noted: State, taken: int) -> None:
    """Makes the loader go on after the batches that were taken of this epoch.

    They are loaded again and thrown away, as shuffling, workers and data sets may draw with each.

    Args:
        trainer: at `on_train_start`, within an epoch.
        loader: its own.
        noted: what `begun` and `first` were then.
        taken: how many batches.
    """
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    if taken >= trainer.fit_loop.max_batches:
        return  # of this epoch none is left
    if noted["begun"] is not None:
        for part in loader.flattened:
            _set_sampler_epoch(part, trainer.current_epoch)
        loader.set_state(noted["begun"])
        iter(fetcher)
    if loader.finds_its_place or noted["first"] is None:
        return
    loader.set_state(noted["first"])
    for _ in range(taken):
        next(fetcher)
    fetcher.fetched -= taken  # Lightning adds them


def started_validation(trainer: Trainer) -> list[bool]:
    """Which of the validation loaders have workers that stay and have been started."""
    loader = trainer.fit_loop.epoch_loop.val_loop._combined_loader
    parts = [] if loader is None else loader.flattened
    return [getattr(part, "_iterator", None) is not None for part in parts]


def start_validation(trainer: Trainer, started: list[bool]) -> None:
    """Starts them, as a run that was never stopped has done once: it draws the workers' seeds."""
    if not any(started):
        return
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.setup_data()
    parts = [] if loop._combined_loader is None else loop._combined_loader.flattened
    with isolated(0, trainer.strategy.root_device):
        for part, before in zip(parts, started, strict=False):
            if before and getattr(part, "persistent_workers", False) and part._iterator is None:
                iter(part)
