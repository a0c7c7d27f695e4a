"""Files that are whole or not there: written beside their place, forced to disk, then renamed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

from leakage.errors import LeakageError

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")


@contextmanager
def whole(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of `path` once all of it is on disk.

    Whoever reads `path`, also after a kill or a full disk, finds what was there before or all that
    was written, never a part.

    Args:
        path: in a folder that exists.
        private: whether its owner alone may read it.

    Raises:
        LeakageError: it cannot be written, which leaves what was there before.
    """
    # Named so that no other process, on whatever host, writes to it, and no `*.csv` finds it.
    part = path.with_name(f".{path.name}.{token_hex(4)}.part")
    mode = 0o600 if private else 0o666
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise LeakageError(f"{path}: it cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # after a rename there is none, and in a folder that is read-only
            part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | memoryview | str, *, private: bool = False) -> None:
    """Writes a file, text as UTF-8, by way of `whole`."""
    with whole(path, private=private) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def keep_earlier(path: Path) -> None:
    """Renames a file, or folder, of an earlier run in the same place, as attack.1.csv and so on.

    But not an empty folder, which a run that was killed as it began has left.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        number = 1
        while (kept := path.with_suffix(f".{number}{path.suffix}")).exists():
            number += 1
        path.replace(kept)


def remove_parts(folder: Path) -> None:
    """Removes what writers that were killed have left in a run's folder and in those within it.

    None may write there now. What other programs call a part stays.
    """
    for part in (*folder.glob(".*.part"), *folder.glob("*/.*.part")):
        if _PART.fullmatch(part.name):
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Forces names to disk too; not every file system can, and the file is whole without it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
