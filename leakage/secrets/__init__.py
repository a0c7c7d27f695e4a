"""The sensitive variable a, one file a kind: its values, their prior, and batches that have it."""

from leakage.secrets.attribute import Attribute
from leakage.secrets.base import Pool, Seats, Secret, Sizes
from leakage.secrets.distribution import Distribution
from leakage.secrets.membership import Membership
from leakage.secrets.property import Property
from leakage.secrets.trait import TraitSecret
from leakage.secrets.user import User

__all__ = [
    "Attribute",
    "Distribution",
    "Membership",
    "Pool",
    "Property",
    "Seats",
    "Secret",
    "Sizes",
    "TraitSecret",
    "User",
]
