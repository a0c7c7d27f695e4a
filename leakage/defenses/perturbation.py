"""Adversarial perturbation: what is shared misleads an adversary of the defender's own."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.defenses.base import Defense, Rehearsal
from leakage.defenses.surrogate import Surrogate, fit_surrogate
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

Norm = Literal["l2", "linf"]
Objective = Literal["prior", "err"]

_log = logging.getLogger("leakage.defend")


@dataclass(frozen=True)
class Perturbation(Defense):
    """Releases g + delta, norm(delta) <= eps * norm(g), found by PGD (Madry et al. 2018).

    PGD runs against a surrogate, an adversary that the defender fits in every round on batches of
    its own. It starts at delta = 0 and draws nothing, each row by itself. delta lives on the
    entries that the surrogate looks at; all others are released as they are. Nothing is proven: an
    adversary that is trained on releases of M may see as much as before (Adult after 2 epochs,
    k = 16, AUROC of a random forest: .95 undefended; .54 where it does not know M, .79 where it
    fits a surrogate of its own, .94 where it knows the defender's).

    `prior` moves the posterior of the surrogate to P(a), no further than that takes, and reads no
    secret. `err` moves it away from the true value, so that delta itself tells that value.

    Args:
        norm: `l2` or `linf`, of delta and of g alike.
        eps: the budget, relative to the norm of the gradient, above 0; kept to the last digit.
        steps: of PGD, at least 1.
        objective: `prior` or `err`.
        batches: on which the surrogate is fitted in each round, at least 10.
        entries: how many entries of a gradient the surrogate looks at, at least 1.
        width: of the surrogate's hidden layer, at least 1.
    """

    norm: Norm = "l2"
    eps: float = 0.5
    steps: int = 10
    objective: Objective = "prior"
    batches: int = 1000
    entries: int = 1024
    width: int = 64
    # Not settings: what came of a fit, and the secrets of the batches that come next.
    _surrogate: Surrogate | None = field(default=None, init=False, repr=False, compare=False)
    _values: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.norm not in ("l2", "linf"):
            raise LeakageError(
                f"defense.norm: Perturbation knows 'l2' and 'linf', got {self.norm!r}"
            )
        if self.objective not in ("prior", "err"):
            raise LeakageError(
                f"defense.objective: Perturbation knows 'prior' and 'err', got {self.objective!r}"
            )
        if not 0 < self.eps < math.inf:
            raise LeakageError(
                "defense.eps: a finite share of the gradient's norm above 0 is needed, got"
                f" {self.eps}"
            )
        least = {"steps": 1, "batches": 10, "entries": 1, "width": 1}
        for name, bound in least.items():
            found = getattr(self, name)
            if not isinstance(found, int) or isinstance(found, bool) or found < bound:
                raise LeakageError(
                    f"defense.{name}: a whole number of at least {bound} is needed, got {found}"
                )
        if self.reads_secret:
            _log.warning(
                "defense.objective: 'err' reads the secret of each batch and leaks it to whoever"
                " knows the surrogate"
            )

    @property
    @override
    def rehearses(self) -> int:
        return self.batches

    @property
    @override
    def reads_secret(self) -> bool:
        return self.objective == "err"

    @override
    def fitted(self, rehearsal: Rehearsal) -> Defense:
        surrogate = fit_surrogate(
            rehearsal.means,
            rehearsal.values,
            rehearsal.prior,
            entries=self.entries,
            width=self.width,
            seed=rehearsal.seed,
        )
        return self._with("_surrogate", surrogate)

    def against(self, surrogate: Surrogate) -> Perturbation:
        """The defense with a surrogate that is there already."""
        return self._with("_surrogate", surrogate)

    @override
    def told(self, values: Tensor) -> Defense:
        return self._with("_values", values) if self.reads_secret else self

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        surrogate, values = self._surrogate, self._values
        if surrogate is None:
            raise LeakageError(
                "defense: Perturbation releases nothing before it is fitted to the model of a"
                " round; train with the callbacks Defend and Attack, or call fitted"
            )
        if self.reads_secret and (values is None or len(values) != len(means)):
            known = 0 if values is None else len(values)
            raise LeakageError(
                f"defense.objective: 'err' has to be told the secret of each of {len(means)}"
                f" batches, found {known}"
            )
        with torch.inference_mode(False), torch.no_grad():
            means = means.clone()  # whatever mode it was made in
            loss = _Loss(surrogate, None if values is None else values.clone())
            radius = self._radius(means)
            entries = means[:, surrogate.columns].double()
            moved = entries + _descend(loss, entries, radius, self.norm, self.steps)
            # To clip is to come nearer to the gradient, which is finite.
            limit = torch.finfo(means.dtype).max
            means[:, surrogate.columns] = moved.clamp(-limit, limit).to(means.dtype)
        return means

    def _radius(self, means: Tensor) -> Tensor:
        """The greatest norm of delta, float64 (n, 1), less what rounding g + delta can add."""
        unit = torch.finfo(means.dtype).eps / 2
        return _norm(means, self.norm) * max(0.0, self.eps - unit * (1 + self.eps))

    def _with(self, name: str, value: object) -> Perturbation:
        other = copy.copy(self)
        object.__setattr__(other, name, value)
        return other


@dataclass(frozen=True)
class _Loss:
    """What PGD minimises: KL(P(a) || q(.|g)), or log q(a|g) of the true value."""

    surrogate: Surrogate
    values: Tensor | None

    def __call__(self, entries: Tensor) -> Tensor:
        """The loss of each row (n, m), (n,)."""
        log_q = self.surrogate.of_entries(entries)
        if self.values is not None:
            return log_q.gather(1, self.values.unsqueeze(1)).squeeze(1)
        prior = self.surrogate.prior
        return (prior * (prior.log() - log_q)).sum(1).clamp(min=0)

    @property
    def bounded(self) -> bool:
        """Whether its least value is 0."""
        return self.values is None


def _descend(loss: _Loss, entries: Tensor, radius: Tensor, norm: Norm, steps: int) -> Tensor:
    """The delta (n, m) of the lowest loss on the way, norm(delta) <= radius in every row.

    Steps of 2.5 radius / steps, as Madry et al. (2018), along S grad(loss), S the covariance of
    the entries: the steepest descent by the Mahalanobis distance, and of the loss of a linear
    adversary. Along grad(loss) alone the entries of least spread would move most, which misleads
    the surrogate and nobody else. Towards a least value of 0, a step does not go beyond
    2 loss / (grad(loss)' S grad(loss)) of it, where a parabola would have that value.
    """
    delta = torch.zeros_like(entries)
    best, lowest = delta, torch.full_like(radius, torch.inf)
    for step in range(steps + 1):
        with torch.enable_grad():
            at = (entries + delta).requires_grad_()
            losses = loss(at)
            (slope,) = torch.autograd.grad(losses.sum(), at)
        losses = losses.detach().unsqueeze(1)
        better = losses < lowest
        best, lowest = torch.where(better, delta, best), torch.where(better, losses, lowest)
        if step == steps:
            break
        along = slope @ loss.surrogate.covariance
        descent = (slope * along).sum(1, keepdim=True)
        length = 2.5 * radius / steps / _norm(along, norm)
        if loss.bounded:
            length = torch.minimum(length, 2 * losses / descent)
        delta = _project(delta - torch.where(descent > 0, length * along, 0), radius, norm)
    return best


def _norm(rows: Tensor, norm: Norm) -> Tensor:
    """The norm of each row, float64 (n, 1)."""
    order = 2 if norm == "l2" else torch.inf
    size: Tensor = torch.linalg.vector_norm(rows, order, 1, keepdim=True, dtype=torch.float64)
    return size


def _project(delta: Tensor, radius: Tensor, norm: Norm) -> Tensor:
    """The nearest delta within the ball of each row."""
    if norm == "linf":
        return delta.clamp(-radius, radius)
    size = _norm(delta, norm)
    return torch.where(size > radius, delta * (radius / size), delta)
