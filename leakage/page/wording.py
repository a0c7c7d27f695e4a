"""Numbers as they are read: a figure with its interval, a p-value, a time."""

from __future__ import annotations

import math
import re

from leakage.reading.figures import Figure

NONE = "\N{EN DASH}"
"""What stands where there is no number."""
OF_SEEDS = (
    ", those of several seeds around their mean for what another seed is expected to give on the"
    " same data"
)
_MINUS = "\N{MINUS SIGN}"
_LARGE = 1e300  # of which the range of an axis is finite too
_METRICS = {
    "auroc": "AUROC",
    "asr": "Share of right guesses",
    "gain": "Gain",
    "bits": "Bits",
    "epsilon": "Epsilon",
}


def number(value: float | None, *, signed: bool = False) -> str:
    """A number to three decimals, fewer where it is large; a whole one as it is.

    >>> number(0.98412), number(-0.0312, signed=True), number(24.376), number(16), number(None)
    ('0.984', '−0.031', '24.38', '16', '–')
    """
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "infinite" if value > 0 else f"{_MINUS}infinite"
    if isinstance(value, int):
        return str(value)
    decimals = 3 if abs(value) < 10 else 2 if abs(value) < 1000 else 0
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    return text.replace("-", _MINUS)


def plain(value: float) -> str:
    """A setting, or a place on an axis, without decimals that it does not need.

    >>> plain(0.50), plain(64.0), plain(1e-05)
    ('0.5', '64', '1e-05')
    """
    return f"{value:.6g}".replace("-", _MINUS) if abs(value) >= 1e-4 else f"{value:g}"


def with_limits(figure: Figure | None, *, signed: bool = False) -> str:
    """A figure and its interval, or the one limit that it has.

    >>> with_limits(Figure(0.984, 0.97, 0.991)), with_limits(Figure(0.859, 0.661))
    ('0.984 [0.970, 0.991]', '0.859 [at least 0.661]')
    """
    if figure is None or known(figure.value) is None:
        return NONE
    text = number(figure.value, signed=signed)
    low, high = known(figure.low), known(figure.high)
    limits = [number(limit, signed=signed) for limit in (low, high) if limit is not None]
    if len(limits) == 2:
        return f"{text} [{limits[0]}, {limits[1]}]"
    if limits:
        return f"{text} [at {'most' if low is None else 'least'} {limits[0]}]"
    return text


def known(value: float | None) -> float | None:
    """A finite number, or None: what can be drawn."""
    return value if value is not None and abs(value) < _LARGE else None


def lower(figure: Figure) -> float | None:
    """What a figure is at least: its lower limit, or itself where it is exact."""
    return figure.value if figure.low is None else figure.low


def chance(p: float) -> str:
    """A p-value.

    >>> chance(0.0000012), chance(0.03121), chance(1.0)
    ('< 0.001', '0.031', '1.000')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def spent(seconds: float) -> str:
    """A time.

    >>> spent(3.27), spent(75), spent(7325)
    ('3.3 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def slug(text: str) -> str:
    """A text as part of an identifier or a file name.

    >>> slug("DP(sigma=2), k = 16")
    'dp-sigma-2-k-16'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def in_words(metric: str) -> str:
    """The name of a metric, as it is read."""
    return _METRICS.get(metric, metric.replace("_", " ").capitalize())
