"""The tables and files of a run as values, as far as they can be read."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kind = TypeVar("Kind", bound=DataclassInstance)

_TRUTHS = {"True": True, "False": False, "": None}


def read_rows(path: Path, kind: type[Kind]) -> tuple[list[Kind], str]:
    """The rows of a table that `write_rows` has written, up to the first that is not whole.

    Args:
        path: of the file.
        kind: of its rows.

    Returns:
        The rows, and what is wrong with the file in words; nothing where it is whole.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], f"{path.name}: there is none"
    except (OSError, UnicodeDecodeError) as error:
        return [], f"{path.name}: it cannot be read: {error}"
    if not text.strip():
        return [], f"{path.name}: it is empty"
    lines = csv.reader(text.splitlines(keepends=True))
    header, hints = next(lines), get_type_hints(kind)
    lacks = [field.name for field in fields(kind) if field.name not in header]
    if lacks:
        return [], f"{path.name}: the columns {', '.join(lacks)} are missing"
    places = {field.name: header.index(field.name) for field in fields(kind)}
    found: list[Kind] = []
    for cells in lines:
        broken = f"{path.name}, row {lines.line_num}: it is not whole"
        if len(cells) != len(header):
            return found, broken
        try:
            values = {name: _value(cells[place], hints[name]) for name, place in places.items()}
        except (KeyError, ValueError):
            return found, broken
        found.append(kind(**values))
    if not text.endswith("\n"):
        return found[:-1], f"{path.name}, row {lines.line_num}: it is not whole"
    return found, "" if found else f"{path.name}: it has no rows"


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """A JSON file with names at its top, and what is wrong with it in words."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, f"{path.name}: there is none"
    except (OSError, ValueError) as error:
        return {}, f"{path.name}: it cannot be read: {error}"
    return (content, "") if isinstance(content, dict) else ({}, f"{path.name}: it has no names")


def read_config(path: Path) -> tuple[dict[str, Any], str]:
    """The config of a run as values and as text; empty where there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}, ""
    return (content, text) if isinstance(content, dict) else ({}, text)


def _value(cell: str, hint: Any) -> Any:
    if hint is float:
        return float(cell) if cell else math.nan
    if hint is int:
        return int(cell)
    return cell if hint is str else _TRUTHS[cell]
