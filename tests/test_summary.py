"""What the terminal says of the secret after a run, in words."""

from __future__ import annotations

import math

import pytest

from leakage.knowledge import INFORMATION
from leakage.report.rows import ALL, Row
from leakage.report.summary import summary_table

TOLD = "proven by RandomForest, one-sided 95%"


def row(metric: str, value: float, note: str = "", adversary: str = INFORMATION) -> Row:
    knowledge = "" if adversary in (INFORMATION, "prior") else "adaptive"
    what = ("property_sex", 4, 0, "Sign", knowledge, adversary, "all", ALL, metric)
    return Row(0, 0, "alone", *what, value, math.nan, math.nan, 100, 100, note)


@pytest.mark.parametrize(
    ("floor", "note", "said"),
    [
        (0.25, TOLD, f"at least 0.250 ({TOLD})"),
        (0.0, TOLD, "none is proven to leak (one-sided 95%)"),
        (math.nan, "too few batches", "no least number (too few batches)"),
    ],
)
def test_what_is_proven_of_the_secret_is_said_of_none_too(
    floor: float, note: str, said: str
) -> None:
    rows = [row(metric, 0.5, adversary="RandomForest") for metric in ("auroc", "asr", "bits")]
    rows += [row("gain", 0.0, adversary="RandomForest"), row("auroc", 0.5, adversary="prior")]
    rows += [row("entropy", 1.0), row("bits_floor", floor, note)]
    rows += [row("bits_ceiling", math.nan, "no proven upper bound")]
    table = summary_table(rows, {(0, "alone"): "prior"}, "utility: 0.9", "Adult")
    line = f"of 1.000 bits, round 0: {said}; no proven upper bound"
    assert line in table.splitlines()
