"""The curves behind the figures of an attack: ROC, calibration, and the posterior."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from leakage.metrics.intervals import Estimate

_BINS = np.linspace(0, 1, 11)


def roc_figure(
    log_posterior: NDArray[np.float64], truth: NDArray[np.int64], support: tuple[str, ...]
) -> Figure:
    """ROC curves, one a value of the secret (one in all for two values)."""
    figure, axes = _square("false positive rate", "true positive rate")
    shown = [1] if len(support) == 2 else range(len(support))
    for value in shown:
        positive = truth == value
        if positive.any() and not positive.all():
            # The odds of a value rise with its log posterior less that of all others.
            rest = np.logaddexp.reduce(np.delete(log_posterior, value, axis=1), axis=1)
            fpr, tpr, _ = roc_curve(positive, log_posterior[:, value] - rest)
            axes.plot(fpr, tpr, label=support[value])
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
    axes.legend(loc="lower right")
    return figure


def calibration_figure(
    log_posterior: NDArray[np.float64], truth: NDArray[np.int64], support: tuple[str, ...]
) -> Figure:
    """How often a value is the secret where the posterior gives it so much."""
    figure, axes = _square("posterior of a value", "share of trials with that value")
    given = np.exp(log_posterior).ravel()
    right = (truth[:, None] == np.arange(len(support))).ravel()
    bin_of = np.clip(np.digitize(given, _BINS) - 1, 0, len(_BINS) - 2)
    counts = np.bincount(bin_of, minlength=len(_BINS) - 1)
    filled = counts > 0
    mean = np.bincount(bin_of, given, len(_BINS) - 1)[filled] / counts[filled]
    share = np.bincount(bin_of, right, len(_BINS) - 1)[filled] / counts[filled]
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="calibrated")
    axes.plot(mean, share, marker="o", label="adversary")
    for x, y, count in zip(mean, share, counts[filled], strict=True):
        axes.annotate(str(count), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axes.legend(loc="upper left")
    return figure


def posterior_figure(
    log_posterior: NDArray[np.float64], truth: NDArray[np.int64], support: tuple[str, ...]
) -> Figure:
    """Histograms of the posterior of the true value, one a value of the secret."""
    figure = Figure(figsize=(5, 4))
    axes = figure.add_axes((0.13, 0.13, 0.84, 0.84))
    given = np.exp(log_posterior[np.arange(len(truth)), truth])
    groups = [given[truth == value] for value in range(len(support))]
    axes.hist(groups, bins=2 * (len(_BINS) - 1), range=(0, 1), label=list(support))
    axes.set(xlabel="posterior of the true value", ylabel="trials")
    axes.legend(loc="upper left")
    return figure


def layers_figure(figures: Mapping[str, Estimate]) -> Figure:
    """AUROC of an adversary that sees one layer alone, with its interval; input layer on top."""
    figure = Figure(figsize=(6, 1.2 + 0.3 * len(figures)))
    axes = figure.subplots()
    places = np.arange(len(figures))
    values = np.array([estimate.value for estimate in figures.values()])
    low = np.array([estimate.low for estimate in figures.values()])
    high = np.array([estimate.high for estimate in figures.values()])
    axes.barh(places, values - 0.5, left=0.5, height=0.6, color="tab:blue")
    known = np.isfinite(low) & np.isfinite(high)
    around = np.stack([values - low, high - values])[:, known].clip(min=0)
    axes.errorbar(values[known], places[known], xerr=around, fmt="none", ecolor="black", capsize=3)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:.3f}", (0.005, place), xycoords=("axes fraction", "data"), va="center"
        )
    axes.axvline(0.5, color="grey", linestyle=":")
    axes.set(yticks=places, yticklabels=list(figures), xlabel="AUROC (0.5: chance)")
    axes.set_xlim(min(0.35, *values), 1.01)
    axes.invert_yaxis()
    figure.tight_layout()
    return figure


def _square(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.5, 4.5))
    axes = figure.add_axes((0.13, 0.13, 0.84, 0.84))
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure, axes
