"""The pipeline in a Trainer: defend the shared gradient, capture it, attack it."""

from leakage.callbacks.attack import Attack
from leakage.callbacks.capture import Capture
from leakage.callbacks.defend import Defend

__all__ = ["Attack", "Capture", "Defend"]
