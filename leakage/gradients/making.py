"""The engine that the rules of a game, or of an audit, ask for."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from leakage.gradients.engine import GradientEngine
from leakage.gradients.loss import LossFunction
from leakage.gradients.source import Source
from leakage.gradients.updates import Local
from leakage.population import Population, probe_of
from leakage.ranks import ALONE, Ranks


class Asked(Protocol):
    """What rules say of the gradients."""

    @property
    def key(self) -> str:
        """The part of the config that they are."""

    @property
    def loss(self) -> LossFunction | None:
        """L where it is not `training_step`."""

    @property
    def memory(self) -> float:
        """GiB that gradients may take."""

    @property
    def local(self) -> Local | None:
        """What a client does before it shares."""


def engine_for(
    module: nn.Module,
    source: Source,
    population: Population,
    rules: Asked,
    epoch: int,
    ranks: Ranks = ALONE,
) -> GradientEngine:
    """Gradients of records of the population at the weights of a module.

    Args:
        module: of which a copy is taken.
        source: of batches, where the module is.
        population: whose records they are.
        rules: of what is played.
        epoch: the epochs that training has finished.
        ranks: processes that call alike and share the rows.
    """
    return GradientEngine(
        module,
        source.records,
        probe_of(population),
        epoch=epoch,
        collate=source.collate,
        prepare=source.prepare,
        loss=rules.loss,
        device=source.device if source.device.type == "cuda" else None,
        memory=int(rules.memory * 2**30),
        local=rules.local,
        key=rules.key,
        ranks=ranks,
    )
