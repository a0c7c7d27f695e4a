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

__all__ = [
    "Adversary",
    "BoostedTrees",
    "Classifier",
    "FirstLayer",
    "LogisticRegression",
    "NeuralNetwork",
    "RandomForest",
    "Scores",
    "Surface",
]
