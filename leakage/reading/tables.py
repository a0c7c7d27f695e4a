"""The tables and files of a run as values, as far as they can be read."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import yaml

from leakage.reading.told import fault_of, sound_config
from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import Row

if TYPE_CHECKING:
    from _csv import Reader

Kind = TypeVar("Kind", Row, EpsilonRow)
_DEEP = 30  # parts within parts: no file of a run has as many
_LARGE = 10**300
_TRUTHS = {"True": True, "False": False, "": None}


def read_rows(path: Path, kind: type[Kind]) -> tuple[list[Kind], str]:
    """The rows of a table that `write_rows` has written, up to the first that is not whole.

    Args:
        path: of the file.
        kind: of its rows, `Row` or `EpsilonRow`.

    Returns:
        The rows, and what is wrong with the file in words; nothing where it is whole.
    """
    text, fault = _text_of(path)
    if fault or not text.strip():
        return [], fault or f"{path.name}: it is empty"
    lines = csv.reader(io.StringIO(text, newline=""))
    found: list[Kind] = []
    try:
        wrong = _read_into(found, lines, kind)
    except csv.Error as error:
        wrong = f", row {lines.line_num}: it is no CSV: {error}"
    if not wrong and not text.endswith("\n"):
        found, wrong = found[:-1], f", row {lines.line_num}: it is not whole"
    if not wrong and not found:
        wrong = ": it has no rows"
    return found, f"{path.name}{wrong}" if wrong else ""


def _read_into(found: list[Kind], lines: Reader, kind: type[Kind]) -> str:
    """Adds rows up to the first that is not whole, and says where and what is wrong with it."""
    header, hints = next(lines), get_type_hints(kind)
    lacks = [field.name for field in fields(kind) if field.name not in header]
    if lacks:
        return f": the columns {', '.join(lacks)} are missing"
    places = {field.name: header.index(field.name) for field in fields(kind)}
    for cells in lines:
        broken = f", row {lines.line_num}: "
        if len(cells) != len(header):
            return f"{broken}it is not whole"
        try:
            values = {name: _value(cells[place], hints[name]) for name, place in places.items()}
        except (KeyError, ValueError):
            return f"{broken}it is not whole"
        row = kind(**values)
        if wrong := fault_of(row):
            return f"{broken}{wrong}"
        found.append(row)
    return ""


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """A JSON file with names at its top, and what is wrong with it in words."""
    text, fault = _text_of(path)
    if fault:
        return {}, fault
    try:
        content = _plain(json.loads(text))
    except (ValueError, RecursionError) as error:
        return {}, f"{path.name}: it cannot be read: {error}"
    return (content, "") if isinstance(content, dict) else ({}, f"{path.name}: it has no names")


def read_config(path: Path) -> tuple[dict[str, Any], str, list[str]]:
    """The config of a run as values and as text, and what is wrong with it in words.

    A run need not have one: it is empty where there is none.
    """
    text, fault = _text_of(path)
    if fault:
        return {}, "", [fault] if path.exists() else []
    try:
        content = _plain(yaml.safe_load(text))
    except Exception as error:  # whatever its constructors raise of a value that is no date, ...
        return {}, text, [f"{path.name}: it cannot be read: {' '.join(str(error).split())}"]
    if not isinstance(content, dict):
        return {}, text, [f"{path.name}: it has no keys"]
    kept, faults = sound_config(content, path.name)
    return kept, text, faults


def _text_of(path: Path) -> tuple[str, str]:
    """What is in a file, and why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8"), ""
    except FileNotFoundError:
        return "", f"{path.name}: there is none"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"{path.name}: it cannot be read: {error}"


def _plain(value: Any, depth: int = 0) -> Any:
    """A value of a file as JSON has it: keys as text, numbers that a float can be."""
    if depth > _DEEP:
        return "..."
    if isinstance(value, dict):
        return {str(name): _plain(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, depth + 1) for part in value]
    if isinstance(value, int) and abs(value) > _LARGE:
        return float("inf") if value > 0 else float("-inf")
    return value if isinstance(value, str | int | float | None) else str(value)


def _value(cell: str, hint: Any) -> Any:
    if hint is float:
        return float(cell) if cell else math.nan
    if hint is int:
        return int(cell)
    return cell if hint is str else _TRUTHS[cell]
