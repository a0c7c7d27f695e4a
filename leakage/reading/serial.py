"""A report as JSON, whose names are those of the schema."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from leakage.reading.schema import Report


def as_json(report: Report) -> str:
    """The report in the order of the schema; what is no finite number is null.

    Infinity is the text "inf": an epsilon has it, and JSON does not.

    >>> '"title": "x"' in as_json(Report("x", []))
    True
    """
    return json.dumps(_plain(asdict(report)), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, str | int | float | None) else str(value)
