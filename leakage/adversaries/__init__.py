"""Who guesses the secret, one file a kind, and the baselines that see no gradient."""

from leakage.adversaries.base import Adversary, Scores, Surface
from leakage.adversaries.classifiers import (
    BoostedTrees,
    Classifier,
    LogisticRegression,
    NeuralNetwork,
    RandomForest,
)
from leakage.adversaries.first_layer import FirstLayer
from leakage.adversaries.identifiers import Identifier, LinearDiscriminant, NearestMean
from leakage.adversaries.likelihood import LikelihoodRatio
from leakage.adversaries.ordinal import Ordinal, Regression
from leakage.adversaries.prototypes import Prototypes

__all__ = [
    "Adversary",
    "BoostedTrees",
    "Classifier",
    "FirstLayer",
    "Identifier",
    "LikelihoodRatio",
    "LinearDiscriminant",
    "LogisticRegression",
    "NearestMean",
    "NeuralNetwork",
    "Ordinal",
    "Prototypes",
    "RandomForest",
    "Regression",
    "Scores",
    "Surface",
]
