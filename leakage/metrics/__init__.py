"""Attack metrics with unit-aware intervals."""
