"""The marker that tells a folder of made-up files from one of real files, for every data set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leakage.errors import LeakageError

MARKER = "standin.json"


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a stand-in, None in a folder without one.

    Raises:
        LeakageError: the marker is unreadable, or a file is not the one that it describes.
    """
    path = folder / MARKER
    if not path.exists():
        return None
    try:
        marker = json.loads(path.read_bytes())
        sums = dict(marker["sha256"])
        dict(marker["settings"])
    except (ValueError, TypeError, KeyError):
        raise LeakageError(
            f"{path}: found a file that is not the marker of a stand-in; delete the folder to have"
            " the stand-in written again"
        ) from None
    for name, expected in sums.items():
        file = folder / name
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise LeakageError(
                f"{file}: this is not the stand-in that {MARKER} beside it describes; delete"
                f" {MARKER} if the files are real, else delete both and have them written again"
            )
    return dict(marker)


def write_standin(
    folder: Path, about: str, settings: Mapping[str, int], contents: Mapping[str, bytes]
) -> None:
    """Writes made-up files and their marker; a run killed in here leaves a marker.

    The marker comes first and holds the checksums, so half-written files are never taken for
    real ones, and files that someone puts in their place are never taken for made-up ones.

    Args:
        folder: created where it is missing.
        about: what the files are, in words.
        settings: what decides their content.
        contents: of each file, by name.

    Raises:
        LeakageError: the folder holds files that are not a stand-in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = read_marker(folder)
    present = [name for name in contents if (folder / name).exists()]
    if marker is None and present:
        raise LeakageError(
            f"{folder}: {present[0]} in it has no {MARKER} beside it and counts as real, so no"
            " stand-in was written; choose another folder"
        )
    described: dict[str, Any] = {
        "about": about,
        "settings": dict(settings),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    if marker is not None and marker != described:
        for name in present:  # else a kill would leave files that the new marker does not describe
            (folder / name).unlink()
    _write(folder / MARKER, json.dumps(described, indent=2).encode())
    for name, content in contents.items():
        _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    """Writes the file so that it is there as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
