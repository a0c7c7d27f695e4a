"""M, one file a defense: what is released in place of a gradient."""

from leakage.defenses.base import Defense, NoDefense
from leakage.defenses.chain import Chain
from leakage.defenses.pruning import Pruning, RecordPruning
from leakage.defenses.sign import Sign

__all__ = ["Chain", "Defense", "NoDefense", "Pruning", "RecordPruning", "Sign"]
