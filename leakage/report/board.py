"""What TensorBoard shows beside the scalars: the run in words, an overview, and curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from leakage.metrics.intervals import Estimate
from leakage.report.comparisons import exposure_figure
from leakage.report.figures import (
    calibration_figure,
    layers_figure,
    posterior_figure,
    roc_figure,
)


def introduce(writer: SummaryWriter, secret: str, told: Mapping[str, Any]) -> None:
    """Writes the settings to the text tab, and lays out the tab of custom scalars.

    Args:
        writer: of the run.
        secret: its short name, as in the tags.
        told: what the run is, by name.
    """
    table = ["|key|value|", "|---|---|", *(f"|{key}|{value}|" for key, value in told.items())]
    writer.add_text("leakage", "\n".join(table))
    charts = {
        "AUROC, one round": f"(attack|baseline)/{secret}/.*/auroc$",
        "AUROC, rounds so far": f"(attack|baseline)/{secret}/.*/auroc_rounds$",
        "gain in AUROC over the best baseline": f"attack/{secret}/.*/gain$",
        "bits": f"attack/{secret}/.*/bits$",
        "what is proven, bits": f"information/{secret}/(entropy|bits_floor|bits_ceiling)$",
        "epsilon": "privacy/epsilon_.*",
        "utility": "utility/val_(accuracy|auroc)$",
    }
    layout = {title: ["Multiline", [tags]] for title, tags in charts.items()}
    writer.add_custom_scalars({"leakage": layout})


def draw_curves(
    writer: SummaryWriter,
    tag: str,
    step: int,
    log_posterior: NDArray[np.float64],
    ranking: NDArray[np.float64],
    truth: NDArray[np.int64],
    support: tuple[str, ...],
) -> None:
    """Adds the ROC curve, the calibration and the posterior of one adversary as images.

    Args:
        writer: of the run.
        tag: of the adversary.
        step: optimizer steps before the release.
        log_posterior: (n, c), natural logarithm.
        ranking: the same, by which trials are ordered.
        truth: the secrets, (n,).
        support: the names of the c values.
    """
    for name, draw, shown in (
        ("roc", roc_figure, ranking),
        ("calibration", calibration_figure, log_posterior),
        ("posterior", posterior_figure, log_posterior),
    ):
        writer.add_figure(f"{tag}/{name}", draw(shown, truth, support), step)


def draw_layers(
    writer: SummaryWriter, tag: str, step: int, figures: Mapping[str, Estimate]
) -> None:
    """Adds the map of leakage by layer.

    Args:
        writer: of the run.
        tag: of the adversary that looked at each layer alone.
        step: optimizer steps before the release.
        figures: the AUROC of each layer, from the input to the output.
    """
    writer.add_figure(f"{tag}/layers", layers_figure(figures), step)


def draw_exposure(
    writer: SummaryWriter,
    tag: str,
    step: int,
    average: Estimate,
    by_class: Mapping[str, Estimate],
    exposed: Mapping[str, Estimate],
) -> None:
    """Adds the worst case beside the average: the share right by value and by exposed unit.

    Args:
        writer: of the run.
        tag: of the adversary.
        step: optimizer steps before the release.
        average: the share of all trials that are right.
        by_class: of those with each value of the secret.
        exposed: of those that hold each of the most exposed units, or the AUROC of each user.
    """
    figure = exposure_figure(average, by_class, exposed)
    writer.add_figure(f"{tag}/exposure", figure, step)
