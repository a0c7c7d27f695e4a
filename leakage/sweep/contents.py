"""What a cell is recognised by: its config, and what is in the files that the config names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leakage import __version__
from leakage.errors import LeakageError
from leakage.idle import IDLE

IDLE_KEYS = {
    *("ckpt_path", "trainer.logger", "trainer.default_root_dir"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *(f"attack.{rule}" for rule in IDLE),
    *("audit.memory", "data.download", "data.download_url", "data.num_workers"),
}
"""They say how a run is played, and where, but change nothing of what comes out."""
_TABLES = ("attack.attributes", "audit.attributes")


class Contents:
    """Digests of files and folders, each of which is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def key_of(self, config: dict[str, Any]) -> str:
        """16 hexadecimal digits that change with any setting and with any byte of the data.

        What a config calls the data by, where they lie, does not matter.

        Args:
            config: of one cell, as plain values, whose data are there.
        """
        told = {
            key: self._of(_read_as(key, value)) if is_path(key, value) else value
            for key, value in settings_of(config)
            if key.replace(".init_args", "") not in IDLE_KEYS
        }
        text = json.dumps([__version__, told], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def take(self, config: dict[str, Any]) -> None:
        """Reads the data of a config that have just been prepared.

        Raises:
            LeakageError: they were others for a config before, as only one stand-in fits a folder.
        """
        for key, value in settings_of(config):
            if is_path(key, value):
                path = _read_as(key, value)
                found = digest_of_files(path)
                if self._known.setdefault(path.resolve(), found) != found:
                    raise LeakageError(
                        f"{key}: cells want different made-up files in one folder, {value}; give"
                        " each of them a folder of its own"
                    )

    def _of(self, path: Path) -> str:
        path = path.resolve()
        if path not in self._known:
            self._known[path] = digest_of_files(path)
        return self._known[path]


def settings_of(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All settings by whole keys, but for what is idle; a list counts as one setting."""
    if key.replace(".init_args", "") in IDLE_KEYS:
        return
    if isinstance(config, dict) and config:
        for name, part in config.items():
            yield from settings_of(part, f"{key}.{name}" if key else str(name))
    else:
        yield key, config


def is_path(key: str, value: Any) -> bool:
    """Whether a setting names data: a file or folder that is there."""
    named = isinstance(value, str) and value != ""
    return named and (key.startswith("data.") or key in _TABLES) and _read_as(key, value).exists()


def _read_as(key: str, value: str) -> Path:
    """Where a setting is looked for: in the name of a table ~ is the home of the user."""
    return Path(value).expanduser() if key in _TABLES else Path(value)


def digest_of_files(path: Path) -> str:
    """64 hexadecimal digits of a file, or of all files in a folder but for hidden ones.

    Hidden are files and folders such as `.decoded`, which is made of the others.
    """
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else _files(path):
        digest.update(f"{file.relative_to(path).as_posix()}|".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
