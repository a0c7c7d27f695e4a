"""The state of a round that adversaries are shown: a module as it was, on its way to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isclose, isnan

import torch
from torch import Tensor, nn

from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.loss import Loss, computing
from leakage.gradients.making import engine_for
from leakage.gradients.source import Source
from leakage.population import Population, probe_of
from leakage.ranks import ALONE, Ranks
from leakage.rules import Game

_WITNESSES = 4  # records


@dataclass(frozen=True)
class Snapshot:
    """The weights of a round, and what makes batches for them.

    Args:
        round: epochs before it.
        step: optimizer steps before it.
        module: a copy that training does not reach.
        source: of its batches.
        live: what clients released of the first step after it, float32 (w, p), where they did.
        size: records of each client's batch in that step.
        witness: the loss of a few records where training is, for another process to find again.
    """

    round: int
    step: int
    module: nn.Module
    source: Source
    live: Tensor | None = None
    size: int = 0
    witness: float | None = None

    @classmethod
    def of(cls, module: nn.Module, source: Source, round_: int, step: int) -> Snapshot:
        """Copies a module as it is now."""
        return cls(round_, step, Loss(module, round_).module, source)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every weight and buffer by its name, a shared one once."""
        named = (*self.module.named_parameters(), *self.module.named_buffers())
        return {name: tensor.detach() for name, tensor in named}

    def at(
        self, round_: int, step: int, tensors: Mapping[str, Tensor], live: tuple[int, Tensor] | None
    ) -> Snapshot:
        """One of an earlier round: a copy at its weights.

        Args:
            round_: epochs before it.
            step: optimizer steps before it.
            tensors: weights and buffers by name.
            live: the size of batches and the releases of the first step after it.
        """
        earlier = Snapshot.of(self.module, self.source, round_, step)
        progress = getattr(earlier.module, "_trainer", None)
        if progress is not None:
            progress.global_step = step
        with torch.no_grad():
            for name, tensor in earlier.tensors.items():
                tensor.copy_(tensors[name])
        return earlier if live is None else replace(earlier, size=live[0], live=live[1])

    def digest(self, *names: str) -> str:
        """Text that changes with any weight, and with any of the names."""
        digest = hashlib.sha256(repr((self.round, *names)).encode())
        for name, tensor in self.tensors.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:32]

    def witnessed(self, population: Population, game: Game) -> Snapshot:
        """The same with its witness, where so few records have a loss."""
        try:
            return replace(self, witness=self._loss(population, game))
        except Exception:  # of whatever a loss asks of its batch; the round tells
            return self

    def check_witness(self, population: Population, game: Game) -> None:
        """Refuses another loss of the same records at the same weights than training has.

        Only the module goes to another process anew in each round. What else decides the loss, and
        has changed since: a variable of a script, a data set that follows the epoch.
        """
        if self.witness is None:
            return
        found = self._loss(population, game)
        lost = isnan(found) and isnan(self.witness)
        if not (lost or isclose(found, self.witness, rel_tol=1e-3)):
            raise LeakageError(
                f"attack.background: the loss of the same records is {self.witness:g} in training"
                f" and {found:g} in the process beside it, so something outside of the module"
                " decides it; set attack.background to false"
            )

    def _loss(self, population: Population, game: Game) -> float:
        loss = Loss(self.module, self.round, game.loss, self.source.device)
        records = probe_of(population)[:_WITNESSES]
        with computing(self.source.device):
            return float(loss(self.source.batch(records)).detach())

    def engine(self, population: Population, game: Game, ranks: Ranks = ALONE) -> GradientEngine:
        """Gradients at these weights."""
        return engine_for(self.module, self.source, population, game, self.round, ranks)
