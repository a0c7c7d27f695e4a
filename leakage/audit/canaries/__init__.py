"""Canaries: the records that an audit is about, and how they are found or made."""

from leakage.audit.canaries.kinds import (
    Canary,
    CraftedCanary,
    GivenCanary,
    GradientCanary,
    MislabelledCanary,
    NaturalCanary,
    RandomCanary,
)

__all__ = [
    "Canary",
    "CraftedCanary",
    "GivenCanary",
    "GradientCanary",
    "MislabelledCanary",
    "NaturalCanary",
    "RandomCanary",
]
