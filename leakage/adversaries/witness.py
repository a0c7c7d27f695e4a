"""What can be known of batches without their gradients: labels, and phi(z) of each record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from leakage.adversaries.base import Array
from leakage.adversaries.classifiers import log_probabilities
from leakage.population import FIT, Population
from leakage.secrets import TraitSecret
from leakage.secrets.base import Hand


@dataclass(frozen=True)
class Witness:
    """Collects evidence from the records of a population.

    Args:
        all_labels: the label of each record, int64 (N,).
        phi: phi(z) of each record: its features but those that tell the trait, and its label,
            float32 (N, q).
        log_ratios: log p(class | phi(z)) - log p(class) of each record, (N, number of classes).
        shares: p(class | phi(z)), where the secret is a share of the records; else None.
    """

    all_labels: Tensor
    phi: NDArray[np.float32]
    log_ratios: Array
    shares: Array | None

    @classmethod
    def trained(cls, population: Population, secret: TraitSecret, seed: int) -> Witness:
        """Fits p(class | phi(z)) on shadow-fit records (imputation, Jayaraman & Evans 2022)."""
        phi = phi_of(population, population.traits[secret.attribute].columns)
        c = len(secret.class_names(population))
        classes = secret.classes(population).numpy()
        fit = population.splits[FIT].numpy()
        fit = fit[classes[fit] >= 0]
        model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=seed)
        model.fit(phi[fit], classes[fit])
        log_q = log_probabilities(model, phi, c, floor=1 / (len(fit) + 1))
        shares = np.bincount(classes[fit], minlength=c) / len(fit)
        log_ratios = log_q - np.log(np.maximum(shares, 1 / (len(fit) + 1)))
        share = softmax(log_q, axis=1) if secret.levels else None
        return cls(population.labels, phi, log_ratios, share)

    def labels(self, hand: Hand) -> Array:
        """The histogram of the labels of each batch, those of other clients included, (n, L)."""
        return label_counts(self.all_labels, hand.batches)

    def told(self, hand: Hand) -> Array:
        """What phi(z) of the client's records, or of the target, says of the secret, (n, q)."""
        known = hand.known.numpy()
        ratios = self.log_ratios[known]  # (n, k, classes)
        # Sufficient where all records share the value, and where one record alone has it.
        evidence = [ratios.sum(1), logsumexp(ratios, axis=1)]
        if self.shares is not None:
            evidence.append(self.shares[known].mean(1))
        return np.concatenate(evidence, axis=1)


def phi_of(population: Population, left_out: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """The features of each record, some left out, and its label one-hot, float32 (N, q)."""
    kept = torch.ones(population.features.shape[1], dtype=torch.bool)
    kept[list(left_out)] = False
    labels = torch.nn.functional.one_hot(population.labels).float()
    return np.asarray(torch.cat([population.features[:, kept], labels], 1).numpy())


def mean_phi(phi: NDArray[np.float32], batches: Tensor) -> NDArray[np.float32]:
    """The mean of phi(z) over each row of records (n, k): (n, q), never (n, k, q) whole."""
    return np.stack([phi[row].mean(0) for row in batches.numpy()])


def label_counts(labels: Tensor, batches: Tensor) -> Array:
    """How many records of each row (n, k) have each label, (n, number of labels)."""
    found = labels[batches]
    counts = [(found == y).sum(1) for y in range(int(labels.max()) + 1)]
    return torch.stack(counts, dim=1).double().numpy()
