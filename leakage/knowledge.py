"""What an adversary may know of M, by the names that stand in tables."""

from __future__ import annotations

STATIC, ADAPTIVE, MECHANISM, SURROGATE = "static", "adaptive", "mechanism", "surrogate"
"""What an adversary knows of M: nothing, all, all but what it was fitted on, also the result."""
HEADLINE = frozenset({ADAPTIVE, SURROGATE})
"""Of those, what the strongest adversary knows (Kerckhoffs)."""
EITHER = "either"
"""Where there is no M to know, for both static and adaptive."""
INFORMATION = "information"
"""The name under which the information-theoretic view stands beside adversaries."""
CEILING = "ceiling"
"""The name under which what a drawn composition allows stands beside adversaries."""
