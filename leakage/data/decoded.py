"""Files that are decoded once, in workers, and kept beside a fingerprint of what they were."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from leakage.data.unreadable import Unreadable, UnreadableError
from leakage.errors import LeakageError
from leakage.writing import whole

logger = logging.getLogger("leakage.data")

CACHE = ".decoded"
"""The folder beside the data that holds what was decoded; it may be deleted at any time."""
VERSION = 1
"""Goes up with each change of what a decoder makes of a file, so that older caches are not read."""
_ALONE = 500
"""Files that one process decodes faster than workers start."""
_CHUNK = 64


class Decoder(ABC):
    """Makes a tensor of a file; a frozen dataclass, whose settings are all that decides which."""

    @abstractmethod
    def decode(self, path: Path) -> tuple[Tensor, str]:
        """The record in a file, of one shape and type for all, and a remark or "".

        A remark says what had to be done to it, without its name.

        Raises:
            UnreadableError: what the file is instead.
        """


@dataclass(frozen=True)
class Decoded:
    """What became of files.

    Args:
        x: of each file that was decoded, (m, ...), mapped from the file that keeps them.
        position: of each of them among all files, int64 (m,), ascending.
    """

    x: Tensor
    position: Tensor


@dataclass(frozen=True)
class _Told:
    """What there is to say: by position why a file failed, by remark how many and the first."""

    failed: dict[int, str]
    remarks: dict[str, tuple[int, int]]


def decode(
    files: Sequence[Path], decoder: Decoder, folder: Path, unreadable: Unreadable
) -> Decoded:
    """Decodes files, or reads what an earlier call made of the very same files and settings.

    Args:
        files: at least one.
        decoder: of all of them; the figures do not depend on who of several workers runs it.
        folder: of the data. Where it cannot be written to nothing is kept.
        unreadable: gets the name of each file that could not be decoded, and the reason.
    """
    mark = _fingerprint(files, decoder)
    path = folder / CACHE / f"{type(decoder).__name__.lower()}-{mark}.safetensors"
    found = _read(path)
    if found is None:
        found = _decode(files, decoder)
        try:
            _keep(*found, path)
        except (OSError, SafetensorError, LeakageError) as error:
            logger.warning(
                "%s: what was decoded cannot be kept there (%s), so each run decodes the files"
                " again",
                path.parent,
                getattr(error, "strerror", error),
            )
        else:
            found = _read(path) or found  # mapped from the file, the memory is free again
    decoded, told = found
    for position, reason in told.failed.items():
        unreadable.add(files[position].name, reason)
    for remark, (count, first) in told.remarks.items():
        unreadable.remark(count, len(files), remark, files[first].name)
    return decoded


def _fingerprint(files: Sequence[Path], decoder: Decoder) -> str:
    """Changes with any file, by its name, size and times, and with any setting.

    The time of the last change of a file or its rights is one that nobody can set.
    """
    digest = hashlib.sha256(f"{VERSION} {torch.__version__} {decoder!r}".encode())
    for file in files:
        told: tuple[int, ...] = ()
        with suppress(OSError):  # a link to nothing, which then cannot be decoded
            stat = file.stat()
            told = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        digest.update(f"|{file.name} {told}".encode())
    return digest.hexdigest()[:16]


class _Files(Dataset[tuple[Tensor | None, str]]):
    def __init__(self, files: Sequence[Path], decoder: Decoder) -> None:
        self._files, self._decoder = files, decoder

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor | None, str]:
        try:
            return self._decoder.decode(self._files[index])
        except UnreadableError as error:
            return None, str(error)


def _stack(
    chunk: Sequence[tuple[Tensor | None, str]],
) -> tuple[Tensor | None, list[tuple[bool, str]]]:
    """One tensor of a chunk, made in the worker: each by itself would take a file handle."""
    made = [x for x, _ in chunk if x is not None]
    return torch.stack(made) if made else None, [(x is not None, words) for x, words in chunk]


def _decode(files: Sequence[Path], decoder: Decoder) -> tuple[Decoded, _Told]:
    workers = joblib.cpu_count() if len(files) > _ALONE else 0
    loader: DataLoader[Any] = DataLoader(
        _Files(files, decoder),
        batch_size=_CHUNK,
        num_workers=workers,
        collate_fn=_stack,
        # Without one of its own it would draw from the randomness of training, and the run that
        # decodes would train otherwise than those that find the files decoded.
        generator=torch.Generator(),
    )
    x = torch.empty(0)
    position: list[int] = []
    failed: dict[int, str] = {}
    remarked: list[tuple[str, int]] = []
    with tqdm(total=len(files), unit="file", disable=None, desc="decoding") as progress:
        for made, told in loader:
            if made is not None and not len(position):
                x = made.new_empty(len(files), *made.shape[1:])
            if made is not None:
                x[len(position) : len(position) + len(made)] = made
            for n, (good, words) in enumerate(told, start=len(position) + len(failed)):
                if not good:
                    failed[n] = words
                    continue
                position.append(n)
                remarked += [(words, n)] if words else []
            progress.update(len(told))
    count = Counter(words for words, _ in remarked)
    first = dict(reversed(remarked))
    return (
        Decoded(x[: len(position)], torch.tensor(position, dtype=torch.int64)),
        _Told(failed, {words: (count[words], first[words]) for words in count}),
    )


def _keep(decoded: Decoded, told: _Told, path: Path) -> None:
    """Leaves this file and no other of its kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = json.dumps([list(told.failed.items()), told.remarks])
    with whole(path, private=True) as file:
        save_file({"x": decoded.x, "position": decoded.position}, Path(file.name), {"words": words})
    for other in path.parent.glob(f"{path.name.split('-')[0]}-*.safetensors"):
        if other != path:
            other.unlink(missing_ok=True)


def _read(path: Path) -> tuple[Decoded, _Told] | None:
    """What was kept, without its tensors in memory before they are read; None if there is none."""
    try:
        with safe_open(path, "pt") as file:
            failed, remarks = json.loads(file.metadata()["words"])
            decoded = Decoded(file.get_tensor("x"), file.get_tensor("position"))
    except (OSError, SafetensorError):  # the second: a file that was cut short
        return None
    return decoded, _Told(dict(failed), {what: (n, at) for what, (n, at) in remarks.items()})
