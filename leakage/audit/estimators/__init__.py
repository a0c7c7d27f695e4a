"""Lower bounds on epsilon from the scores of an audit, one file an estimator."""

from leakage.audit.estimators.base import Bound, Estimator
from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.credible import Credible
from leakage.audit.estimators.gaussian_curve import GaussianCurve
from leakage.audit.estimators.one_run import OneRun
from leakage.audit.estimators.scores import Scores
from leakage.audit.estimators.thresholds import Bonferroni, Explicit, Split, Threshold

__all__ = [
    "Bonferroni",
    "Bound",
    "ClopperPearson",
    "Credible",
    "Estimator",
    "Explicit",
    "GaussianCurve",
    "OneRun",
    "Scores",
    "Split",
    "Threshold",
]
