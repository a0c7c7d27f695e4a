"""Guesses without any gradient: what an attack has to beat on the same trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from leakage.adversaries.base import Array
from leakage.adversaries.classifiers import log_probabilities
from leakage.population import Population
from leakage.secrets import Secret

PRIOR, LABELS, IMPUTATION = "prior", "labels", "imputation"


@dataclass(frozen=True)
class Evidence:
    """What can be known of each batch without its gradient, one row a batch.

    Args:
        labels: the histogram of its labels, (n, number of labels), other clients' included.
        imputation: what phi(z), the other features and the label of the client's records (of the
            target, where there is one), say of the secret, (n, 2c).
        phi: phi(z) itself, the mean over those records, float32 (n, q).
    """

    labels: Array
    imputation: Array
    phi: NDArray[np.float32]


@dataclass(frozen=True)
class Witness:
    """Collects that evidence from the records of a population.

    Args:
        labels: the label of each record, (N,).
        phi: phi(z) of each record, float32 (N, q).
        log_ratios: log p(class | phi(z)) - log p(class) of each record, (N, c).
        targets: whether the first record of a batch alone is known.
    """

    labels: NDArray[np.int64]
    phi: NDArray[np.float32]
    log_ratios: Array
    targets: bool

    def of(self, batches: Tensor, k: int) -> Evidence:
        """The evidence of batches (n, k + others) of record indices, the client's k first."""
        table = batches.numpy()
        own = table[:, : 1 if self.targets else k]
        number = int(self.labels.max()) + 1
        counts = np.stack([(self.labels[table] == y).sum(1) for y in range(number)], axis=1)
        ratios = self.log_ratios[own]  # (n, k, c)
        # Sufficient where all records share the value, and where one record alone has it.
        together, one = ratios.sum(1), logsumexp(ratios, axis=1)
        phi = np.stack([self.phi[row].mean(0) for row in own])  # never (n, k, q) whole
        return Evidence(counts.astype(np.float64), np.concatenate([together, one], axis=1), phi)


def train_witness(population: Population, secret: Secret, seed: int) -> Witness:
    """Fits p(class | phi(z)) on the shadow-fit records (imputation, Jayaraman & Evans 2022)."""
    trait = population.traits[secret.attribute]
    kept = torch.ones(population.features.shape[1], dtype=torch.bool)
    kept[list(trait.columns)] = False
    known = torch.cat(
        [population.features[:, kept], torch.nn.functional.one_hot(population.labels).float()], 1
    ).numpy()
    c = len(secret.support(population))
    classes = secret.classes(population).numpy()
    fit = population.splits["shadow_fit"].numpy()
    fit = fit[classes[fit] >= 0]
    model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=seed)
    model.fit(known[fit], classes[fit])
    log_q = log_probabilities(model, known, c, floor=1 / (len(fit) + 1))
    shares = np.bincount(classes[fit], minlength=c) / len(fit)
    log_ratios = log_q - np.log(np.maximum(shares, 1 / (len(fit) + 1)))
    return Witness(population.labels.numpy(), known, log_ratios, secret.targets)


def fit_baseline(
    evidence: Array, values: NDArray[np.int64], classes: int, *seen: Array
) -> list[Array]:
    """Log scores (n, c) for each array of evidence in `seen`, by a logistic regression.

    It is fitted on batches of the calibrate split: the witness knows those of shadow-fit.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(evidence, values)
    return [log_probabilities(model, rows, classes, 1 / (len(values) + 1)) for rows in seen]
