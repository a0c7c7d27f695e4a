"""Guesses without any gradient: what an attack has to beat on the same trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from typing_extensions import override

from leakage.adversaries.base import Array, Surface
from leakage.adversaries.classifiers import log_probabilities
from leakage.adversaries.identifiers import LinearDiscriminant, candidate_scores
from leakage.adversaries.posterior import Observed
from leakage.adversaries.scaling import on_standardised
from leakage.adversaries.witness import Witness, label_counts, mean_phi, phi_of
from leakage.gradients.layout import Layout
from leakage.population import CALIBRATE, CHALLENGE, FIT, Population
from leakage.randomness import derived_seed
from leakage.secrets import Membership, Secret, TraitSecret
from leakage.secrets.base import Hand, Seats

PRIOR, LABELS, IMPUTATION = "prior", "labels", "imputation"


class Baselines(ABC):
    """What can be guessed from the labels of a batch, and from phi(z), without its gradient."""

    @abstractmethod
    def guess(self, hands: Mapping[str, Hand]) -> dict[str, Observed]:
        """Log scores of each baseline, by its name, for the calibrate batches and the trials."""

    @abstractmethod
    def phi(self, batches: torch.Tensor) -> NDArray[np.float32]:
        """What an adversary may know of records (n, k): the mean over them, float32 (n, q)."""


def baselines_of(secret: Secret, population: Population, seats: Seats, seed: int) -> Baselines:
    """The baselines of a secret, made ready on shadow records."""
    if isinstance(secret, TraitSecret):
        return TraitBaselines(secret, population, derived_seed(seed, "witness"))
    if isinstance(secret, Membership):
        return MemberBaselines(population)
    return UserBaselines(population, seats)


class TraitBaselines(Baselines):
    """From the label histogram, and from what phi(z) says of the trait of each record.

    A logistic regression puts the evidence together; it is fitted on the calibrate split, since
    the witness knows the records of shadow-fit.
    """

    def __init__(self, secret: TraitSecret, population: Population, seed: int) -> None:
        self._witness = Witness.trained(population, secret, seed)
        self._c = len(secret.support(population))

    @override
    def guess(self, hands: Mapping[str, Hand]) -> dict[str, Observed]:
        known, asked = hands[CALIBRATE], hands[CHALLENGE]
        guesses = {PRIOR: _flat(hands, self._c)}
        for name, evidence in ((LABELS, self._witness.labels), (IMPUTATION, self._witness.told)):
            seen = evidence(known), evidence(asked)
            first, second = fit_baseline(seen[0], known.values.numpy(), self._c, *seen)
            guesses[name] = Observed([first], [second])
        return guesses

    @override
    def phi(self, batches: torch.Tensor) -> NDArray[np.float32]:
        return mean_phi(self._witness.phi, batches)


class MemberBaselines(Baselines):
    """From whether the label of the target is among those of the batch."""

    def __init__(self, population: Population) -> None:
        labels = population.labels[population.splits[FIT]]
        self._labels = population.labels
        self._shares = torch.bincount(labels, minlength=int(population.labels.max()) + 1).double()
        self._shares = (self._shares + 1) / (self._shares + 1).sum()

    @override
    def guess(self, hands: Mapping[str, Hand]) -> dict[str, Observed]:
        found = [self._log_ratio(hands[split]) for split in (CALIBRATE, CHALLENGE)]
        return {PRIOR: _flat(hands, 2), LABELS: Observed([found[0]], [found[1]])}

    def _log_ratio(self, hand: Hand) -> Array:
        """Log scores (n, 2): the count n_y of the target's label y is 1 + Bin(K - 1) or Bin(K).

        So the likelihood ratio is n_y / (K p_y).
        """
        assert hand.targets is not None
        label = self._labels[hand.targets]
        count = (self._labels[hand.batches] == label.unsqueeze(1)).sum(1).double()
        ratio = (count / hand.batches.shape[1] / self._shares[label]).log().clamp(min=-20)
        return torch.stack([torch.zeros_like(ratio), ratio], dim=1).numpy()

    @override
    def phi(self, batches: torch.Tensor) -> NDArray[np.float32]:
        return np.empty((len(batches), 0), dtype=np.float32)  # the target says nothing of itself


class UserBaselines(Baselines):
    """From the labels and from phi(z) of the records that candidates are enrolled from.

    Labels: the multinomial likelihood under each candidate's shares, which are those of all with
    its own labels added. phi(z): a linear discriminant, as on gradients.
    """

    def __init__(self, population: Population, seats: Seats) -> None:
        assert seats.enrolled is not None
        self._population, self._enrolled = population, seats.enrolled
        fit = population.splits[FIT]
        classes = int(population.labels.max()) + 1
        everybody = np.bincount(population.labels[fit].numpy(), minlength=classes) + 1.0
        own = label_counts(population.labels, self._enrolled.flatten(1))
        self._log_shares = np.log(own + classes * everybody / everybody.sum())
        self._log_shares -= np.log(np.exp(self._log_shares).sum(1, keepdims=True))
        self._phi = phi_of(population)

    @override
    def guess(self, hands: Mapping[str, Hand]) -> dict[str, Observed]:
        c = hands[CHALLENGE].candidates.shape[1]  # type: ignore[union-attr]
        phi = self.phi(hands[FIT].batches[:, : hands[FIT].k])
        surface = Surface(Layout((), ()), c, (), phi.shape[1])
        embed = LinearDiscriminant().fit(phi, hands[FIT].values.numpy(), surface, 0)
        u, e, k = self._enrolled.shape
        met = embed(self.phi(self._enrolled.view(u * e, k))).reshape(u, e, -1)
        labels, imputed = [], []
        for split in (CALIBRATE, CHALLENGE):
            hand = hands[split]
            assert hand.candidates is not None
            lines = hand.candidates.numpy()
            counts = label_counts(self._population.labels, hand.batches)
            labels.append(np.take_along_axis(counts @ self._log_shares.T, lines, axis=1))
            imputed.append(candidate_scores(embed(self.phi(hand.known)), met, lines))
        return {
            PRIOR: _flat(hands, c),
            LABELS: Observed(labels[:1], labels[1:]),
            IMPUTATION: Observed(imputed[:1], imputed[1:]),
        }

    @override
    def phi(self, batches: torch.Tensor) -> NDArray[np.float32]:
        return mean_phi(self._phi, batches)


def fit_baseline(
    evidence: Array, values: NDArray[np.int64], classes: int, *seen: Array
) -> list[Array]:
    """Log scores (n, c) for each array of evidence in `seen`, by a logistic regression."""
    model = on_standardised(LogisticRegression(max_iter=500))
    model.fit(evidence, values)
    return [log_probabilities(model, rows, classes, 1 / (len(values) + 1)) for rows in seen]


def _flat(hands: Mapping[str, Hand], c: int) -> Observed:
    """Scores that tell nothing."""
    flat = [np.zeros((len(hands[split].values), c)) for split in (CALIBRATE, CHALLENGE)]
    return Observed(flat[:1], flat[1:])
