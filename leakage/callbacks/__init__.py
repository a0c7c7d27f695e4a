"""The pipeline in a Trainer: defend the shared gradient, capture it, attack it, tell the price."""

from leakage.callbacks.attack import Attack
from leakage.callbacks.audit import Audit
from leakage.callbacks.capture import Capture
from leakage.callbacks.defend import Defend
from leakage.callbacks.requeue import Requeue
from leakage.callbacks.utility import Utility

__all__ = ["Attack", "Audit", "Capture", "Defend", "Requeue", "Utility"]
