"""What the files of a run say, without what is not of its kind: a report ends for none of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import Row

_LONG = 40  # letters of what was found
RANGES = {"auroc": (0.0, 1.0), "asr": (0.0, 1.0), "gain": (-1.0, 1.0)}
"""The least and the largest value of metrics, in files too."""
_SLACK = 1e-9
_LEAST = {"round": 0, "k": 1, "others": 0, "n": 0, "units": 0}
_PARTS = ("attack", "audit", "data", "trainer")  # of a config; each has keys of its own


@dataclass(frozen=True)
class _Kind:
    """What a value may be, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; a truth is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return is_whole(value) or isinstance(value, float)


def _is_figure(value: Any) -> bool:
    return _is_number(value) or (
        isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))
    )


def _is_spent(value: Any) -> bool:
    return _is_number(value) or value in ("inf", "-inf", "nan")  # those that JSON lacks


_TEXT = _Kind("text", lambda value: isinstance(value, str))
_KEYS = _Kind("keys with values", lambda value: isinstance(value, dict))
_TRUTH = _Kind("true or false", lambda value: isinstance(value, bool))
_WHOLE = _Kind("a whole number", is_whole)
_MAYBE = _Kind("a whole number or null", lambda value: value is None or is_whole(value))
_TIME = _Kind("a finite number", lambda value: _is_number(value) and math.isfinite(value))
_RUN = {
    "data": _TEXT,
    "standin": _TRUTH,
    "defense": _TEXT,
    "game": _KEYS,
}
_LATER = {"ended": _TRUTH, "contents": _TEXT}  # which runs of earlier versions lack
_GAME = {
    "k": _MAYBE,
    "others": _MAYBE,
    "seed": _MAYBE,
    "secret": _Kind("text or a class", lambda value: isinstance(value, str | dict)),
    "rounds": _Kind(
        "a list of whole numbers",
        lambda value: isinstance(value, list) and all(map(is_whole, value)),
    ),
}
_EACH = {
    "utility": _Kind("a number, or its value, low and high", _is_figure),
    "privacy": _Kind("a number", _is_spent),
    "splits": _WHOLE,
    "seconds": _TIME,
    "versions": _TEXT,
}
_CONFIG = dict.fromkeys(
    _PARTS, _Kind("keys with values", lambda v: v is None or isinstance(v, dict))
)


def sound_run(told: Mapping[str, Any], file: str) -> tuple[dict[str, Any], list[str]]:
    """What run.json tells, as far as it is of its kind, and what is not, in words."""
    lacks = [f"{file}: {name} is missing" for name in _RUN if name not in told]
    found, faults = _fitting(told, _RUN | _LATER | dict.fromkeys(_EACH, _KEYS), f"{file}: ")
    for name, kind in _EACH.items():
        part = found.get(name, {})
        found[name], wrong = _fitting(part, dict.fromkeys(part, kind), f"{file}: {name}.")
        faults += wrong
    return found, lacks + faults


def sound_game(game: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """The rules of a game likewise.

    Args:
        game: the rules by name.
        where: the file that has them.
    """
    return _fitting(game, _GAME, f"{where}: ")


def sound_config(config: Mapping[str, Any], file: str) -> tuple[dict[str, Any], list[str]]:
    """A config likewise; what has a class is left out where that, or its arguments, are none."""
    found, faults = _fitting(config, _CONFIG, f"{file}: ")
    kept = {}
    for name, part in found.items():
        if wrong := _no_class(part, name):
            faults.append(f"{file}: {wrong}")
        else:
            kept[name] = part
    return kept, faults


def fault_of(row: Row | EpsilonRow) -> str:
    """What is wrong with the numbers of a row, in words; nothing where it may be true."""
    for name, least in _LEAST.items():
        number = getattr(row, name, least)
        if number < least:
            return f"{name} is {number}, expected {least} or more"
    low, high = RANGES.get(row.metric, (-math.inf, math.inf))
    for limit in (row.value, row.low, row.high) if row.metric in RANGES else ():
        inside = math.isnan(limit) or low - _SLACK <= limit <= high + _SLACK
        if not inside:
            return f"{row.metric} is {limit:g}, expected {low:g} to {high:g}"
    return ""


def _fitting(
    values: Mapping[str, Any], kinds: Mapping[str, _Kind], where: str
) -> tuple[dict[str, Any], list[str]]:
    wrong = [name for name, kind in kinds.items() if name in values and not kind.fits(values[name])]
    faults = [
        f"{where}{name}: found {_short(values[name])}, expected {kinds[name].words}"
        for name in wrong
    ]
    return {name: value for name, value in values.items() if name not in wrong}, faults


def _no_class(part: Any, key: str) -> str:
    """The first key below at which a class or its arguments are of another kind, in words."""
    if isinstance(part, list):
        return next(filter(None, (_no_class(one, f"{key}[{n}]") for n, one in enumerate(part))), "")
    if not isinstance(part, dict):
        return ""
    if not isinstance(part.get("class_path", ""), str):
        return f"{key}.class_path: found {_short(part['class_path'])}, expected text"
    if "class_path" in part and not isinstance(part.get("init_args") or {}, dict):
        found = _short(part["init_args"])
        return f"{key}.init_args: found {found}, expected keys with values"
    return next(filter(None, (_no_class(one, f"{key}.{name}") for name, one in part.items())), "")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
