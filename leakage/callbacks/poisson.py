"""Batches as DP-SGD draws them: each record on its own, with the same chance in every step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sized
from typing import Any

import torch
from lightning import Trainer
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.randomness import torch_generator

_log = logging.getLogger("leakage.defend")


class PoissonBatches(Sampler[list[int]]):
    """Record indices step by step; each of N records is in each batch with the chance q = B / N.

    Of several ranks each draws from a share of its own, every `ranks`-th record, of which the
    smallest counts: N is its size, so that q is the same for every record on every rank.

    The draw of a step follows from the seed and the number of the step alone, so that a resumed
    run goes on with the draws of an uninterrupted one. A draw without a record becomes a batch of
    one, which does not count: `sizes` says 0 of it.

    Args:
        records: of the training set.
        batch: B, the records of a batch on average, at most N.
        seed: of the draws.
        taken: tells how many steps were taken when an iteration starts.
        rank: whose share is drawn from.
        ranks: at most as many as records.
    """

    def __init__(
        self,
        records: int,
        batch: int,
        seed: int,
        taken: Callable[[], int],
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.records = records // ranks
        self.q = batch / self.records
        self.sizes: dict[int, int] = {}
        largest = -(-records // ranks)
        self._steps = -(-largest // batch)  # the same on all ranks
        self._seed, self._taken = seed, taken
        self._all, self._rank, self._ranks = records, rank, ranks

    def __len__(self) -> int:
        return self._steps  # of an epoch, in which a record is drawn about once

    @override
    def __iter__(self) -> Iterator[list[int]]:
        first = self._taken()
        epoch, place = divmod(first, len(self))
        generator = torch_generator(self._seed, "poisson", epoch)
        for _ in range(place):  # of an epoch that was begun before
            self._draw(generator)
        for step in range(first, first + len(self)):
            if step > first and step % len(self) == 0:
                generator = torch_generator(self._seed, "poisson", step // len(self))
            drawn = self._draw(generator)
            self.sizes[step] = len(drawn)
            yield drawn or [self._rank]

    def _draw(self, generator: torch.Generator) -> list[int]:
        # In float64: the steps of a float32 draw are 6e-8, which is not little beside a small q.
        chances = torch.rand(self._all, generator=generator, dtype=torch.float64)
        chances[torch.arange(self._all) % self._ranks != self._rank] = 1.0  # others' records
        return (chances < self.q).nonzero().flatten().tolist()


def draw_by_poisson(trainer: Trainer, batch: int, seed: int, taken: Callable[[], int]) -> Any:
    """Puts Poisson batches in the place of those of the training loader.

    Args:
        trainer: knows where its loader comes from, and has not asked for it yet.
        batch: B.
        seed: of the draws.
        taken: tells how many steps were taken.

    Returns:
        The `PoissonBatches`.

    Raises:
        LeakageError: a loader whose records cannot be drawn with the same chance.
    """
    source = trainer.fit_loop._data_source
    loader = _refuse_other_loaders(source.dataloader())
    assert isinstance(loader.dataset, Sized)
    records, ranks = len(loader.dataset), trainer.world_size
    if batch > records // ranks:
        share = f"{records // ranks} that the smallest share of {ranks} ranks has of the "
        raise LeakageError(
            f"defense.batch: {batch} records are more than the {share if ranks > 1 else ''}"
            f"{records} of the training set"
        )
    batches = PoissonBatches(records, batch, seed, taken, trainer.global_rank, ranks)
    if ranks > 1:  # that of Lightning gives a rank other records in each epoch
        trainer._accelerator_connector.use_distributed_sampler = False
    if loader.batch_size != batch:
        _log.info(
            "the loader's batches of %s records became Poisson ones of %d on average",
            loader.batch_size,
            batch,
        )
    source.instance = DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )
    return batches


def _refuse_other_loaders(found: Any) -> DataLoader[Any]:
    """The one training loader, of batches that Poisson ones can take the place of."""
    what = f"found a {type(found).__name__}"
    if not isinstance(found, DataLoader):
        raise LeakageError(
            "data: DP draws its batches from the records of one training DataLoader,"
            f" {what}{f' of {len(found)}' if isinstance(found, list | tuple | dict) else ''}"
        )
    records, sampler = found.dataset, found.sampler
    if isinstance(records, IterableDataset) or not isinstance(records, Sized):
        raise LeakageError(
            "data: DP draws records by their number, found the iterable data set"
            f" {type(records).__name__}, which has none; use a map-style data set with a length"
        )
    if type(found).__iter__ is not DataLoader.__iter__:
        raise LeakageError(
            f"data: DP makes its own batches, but the training loader {type(found).__name__} has"
            " its own way through the data; use a plain torch.utils.data.DataLoader"
        )
    if found.batch_sampler is None or type(found.batch_sampler) is not BatchSampler:
        kind = type(found.batch_sampler).__name__
        raise LeakageError(
            "data: DP draws its batches record by record, found"
            f" {'no batches' if found.batch_sampler is None else f'the batch sampler {kind}'};"
            " give the training DataLoader a batch_size instead"
        )
    plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(records)
    )
    if not plain:
        raise LeakageError(
            "data: DP draws every record with the same chance, in order or shuffled, found a"
            f" {type(sampler).__name__} of its own; leave the sampler out"
        )
    return found
