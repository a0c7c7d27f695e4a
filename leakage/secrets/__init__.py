"""The sensitive variable a, one file a kind: its values, their prior, and batches that have it."""

from leakage.secrets.attribute import Attribute
from leakage.secrets.base import Pool, Secret
from leakage.secrets.property import Property

__all__ = ["Attribute", "Pool", "Property", "Secret"]
