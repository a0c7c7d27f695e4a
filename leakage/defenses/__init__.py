"""M, one file a defense: what is released in place of a gradient."""

from leakage.defenses.base import Defense, NoDefense, Rehearsal, Training
from leakage.defenses.bottleneck import (
    Bottleneck,
    GaussianLayer,
    bottlenecks,
    penalty,
    silenced,
)
from leakage.defenses.chain import Chain, at_sigma, dp_of, final_dp, noiseless
from leakage.defenses.dp import DP
from leakage.defenses.perturbation import Perturbation
from leakage.defenses.pruning import Pruning, RecordPruning
from leakage.defenses.sign import Sign
from leakage.defenses.surrogate import Surrogate, fit_surrogate

__all__ = [
    "DP",
    "Bottleneck",
    "Chain",
    "Defense",
    "GaussianLayer",
    "NoDefense",
    "Perturbation",
    "Pruning",
    "RecordPruning",
    "Rehearsal",
    "Sign",
    "Surrogate",
    "Training",
    "at_sigma",
    "bottlenecks",
    "dp_of",
    "final_dp",
    "fit_surrogate",
    "noiseless",
    "penalty",
    "silenced",
]
