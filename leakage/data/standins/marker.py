"""Made-up files, and the marker that tells a folder of them from one of real files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from leakage.data.download import sha256_of
from leakage.errors import LeakageError
from leakage.writing import write_whole

MARKER = "standin.json"


@dataclass(frozen=True)
class StandIn:
    """A generative model that writes files in the official layout of a data set.

    Args:
        name: the data set.
        unit: what `size` counts.
        least: the smallest size.
        version: goes up with each change of what it writes, so that older files are replaced.
        files: for a size and a seed, the name in the folder and the content of each file; it may
            make them one by one.
        most: the largest size, where the layout has one.
    """

    name: str
    unit: str
    least: int
    version: int
    files: Callable[[int, int], Iterable[tuple[str, bytes]]]
    most: int | None = None

    def settings(self, size: int, seed: int) -> dict[str, int]:
        """What decides the content of the files, as the marker keeps it."""
        return {"size": size, "seed": seed, "version": self.version}

    def write(self, folder: Path, *, size: int, seed: int, key: str = "data.standin_size") -> None:
        """Writes the files and their marker; a run killed in here leaves nothing or a marker.

        The marker comes before the files and holds their checksums, so half of the files are never
        taken for real ones, and files that someone puts in their place never for made-up ones.

        Args:
            folder: created where it is missing.
            size: how many, in `unit`, from `least` to `most`.
            seed: of the random generator, the only source of randomness.
            key: what an error calls the size.

        Raises:
            LeakageError: the size is out of its range, or the folder holds what is not a stand-in.
        """
        if size < self.least:
            raise LeakageError(
                f"{key}: a stand-in of {self.name} has at least {self.least} {self.unit},"
                f" got {size}"
            )
        if self.most is not None and size > self.most:
            raise LeakageError(
                f"{key}: a stand-in of {self.name} has at most {self.most} {self.unit}, got {size}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        marker = read_marker(folder)
        present = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        if marker is None and present:
            raise LeakageError(
                f"{folder}: {present[0]} in it has no {MARKER} beside it and counts as real, so no"
                " stand-in was written; choose another folder"
            )
        with TemporaryDirectory(prefix=".standin-", dir=folder) as made:
            sums = {}
            for name, content in self.files(size, seed):
                path = Path(made, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
                sums[name] = hashlib.sha256(content).hexdigest()
            described: dict[str, Any] = {
                "about": f"made-up records, written by leakage in the layout of {self.name}",
                "settings": self.settings(size, seed),
                "sha256": sums,
            }
            if marker is not None and marker != described:
                # else a kill would leave files that the new marker does not describe
                for name in marker["sha256"]:
                    (folder / name).unlink(missing_ok=True)
            write_whole(folder / MARKER, json.dumps(described, indent=2))
            for name in sums:
                (folder / name).parent.mkdir(exist_ok=True)
                Path(made, name).replace(folder / name)


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The marker of a stand-in, None in a folder without one.

    Raises:
        LeakageError: the marker is unreadable, or a file is not one that it describes.
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
        if file.exists() and sha256_of(file) != expected:
            raise LeakageError(
                f"{file}: this is not the stand-in that {MARKER} beside it describes; delete"
                f" {MARKER} if the files are real, else delete both and have them written again"
            )
    _check_strangers(folder, sums)
    return dict(marker)


def _check_strangers(folder: Path, names: Collection[str]) -> None:
    """Refuses files beside those of a stand-in that would be read as if they were made up too."""
    kinds = {(Path(name).parent, Path(name).suffix) for name in names}
    for place in sorted({place for place, _ in kinds}):
        for file in sorted((folder / place).iterdir() if (folder / place).is_dir() else ()):
            alike = (place, file.suffix) in kinds and file.name[0] != "." and file.name != MARKER
            if alike and (place / file.name).as_posix() not in names:
                raise LeakageError(
                    f"{file}: found a file that is none of the stand-in around it, which {MARKER}"
                    " describes; put real files into a folder of their own"
                )
