"""--ckpt_path: which checkpoint a run uses, in which folder it goes on, and whether it may."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from lightning import Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from leakage.callbacks.resume import KEY
from leakage.errors import LeakageError
from leakage.rules import FREE as RULES
from leakage.sweep.contents import IDLE_KEYS

LAST = "last"
FREE = {
    *IDLE_KEYS,
    *(f"attack.{rule}" for rule in RULES),
    "audit.rounds",
    "data.root",  # a checkpoint knows its records, wherever they lie
    "data.shadow_root",  # other adversaries may look at one and the same training
}
"""What may differ from the config that a checkpoint was written under."""
_JUDGED = ("model", "data")
"""What `validate` and `test` look at."""
_log = logging.getLogger("leakage.resume")


@dataclass(frozen=True)
class Found:
    """A checkpoint that can be read.

    Args:
        path: of the file.
        config: that it was written under, by part; empty where it does not say.
    """

    path: Path
    config: dict[str, Any]


def check_checkpoint(asked: Any) -> None:
    """Refuses a checkpoint that is not there, and words that name none."""
    if not isinstance(asked, str) or asked == LAST or "://" in asked:
        return
    if not asked.endswith(".ckpt") and not Path(asked).exists():
        raise LeakageError(f"ckpt_path: a file or `{LAST}` is allowed, got {asked!r}")
    if not Path(asked).is_file():
        raise LeakageError(f"ckpt_path: there is no file {asked}")


def find_checkpoint(trainer: Trainer, asked: str | None, *, fits: bool) -> Found | None:
    """The checkpoint that was asked for; a fit then goes on in the folder of its run.

    Every rank finds the same one, as none has written anything yet.

    Args:
        trainer: whose loggers have not been used yet.
        asked: a file, or `last`: the newest that can be read in the newest folder of a run.
        fits: whether the run trains: then it need not have a checkpoint yet.

    Raises:
        LeakageError: one that cannot be read, and none beside it that can.
    """
    if asked is None or "://" in asked:
        return None
    if asked != LAST:
        path = Path(asked)
        if fits and path.parent.name == "checkpoints":
            _go_on_in(trainer, path.parent.parent)
        try:
            return _read(path)
        except _BrokenError as error:
            raise LeakageError(f"ckpt_path: {path} cannot be read: {error}") from None
    folder = _newest_run(trainer)
    if fits and folder is not None:
        _go_on_in(trainer, folder)
    found = _newest(_checkpoints(trainer, folder))
    if found is None and not fits:
        raise LeakageError(
            f"ckpt_path: there is no checkpoint in {folder or 'the folder of the logger'} yet; name"
            " a file"
        )
    return found


def check_config(found: Found, config: dict[str, Any], *, fits: bool) -> None:
    """Refuses a checkpoint of another config, by the keys that differ.

    Args:
        found: the checkpoint.
        config: of this run, by part.
        fits: whether the run trains.
    """
    before, now = dict(_settings(found.config)), dict(_settings(config))
    differing = {key for key in before.keys() & now.keys() if before[key] != now[key]} - FREE
    if not fits:
        differing = {key for key in differing if key.split(".")[0] in _JUDGED}
        differing -= {"data.batch_size"}
    # Another class has other settings anyway.
    told = [key for key in sorted(differing) if not {*_above(key)} & differing]
    if told:
        changes = "; ".join(
            f"{key} was {json.dumps(before[key])} and is {json.dumps(now[key])}" for key in told
        )
        raise LeakageError(
            f"ckpt_path: {found.path.name} was written under another config: {changes}"
        )


class _BrokenError(Exception):
    """What is wrong with a file."""


def _read(path: Path) -> Found:
    try:
        with ZipFile(path) as file:
            broken = file.testzip()
        if broken is not None:
            raise _BrokenError(f"its part {broken} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or "state_dict" not in content:
            raise _BrokenError("it holds no weights")
    except BadZipFile:
        raise _BrokenError("it was cut short, or is no checkpoint") from None
    except OSError as error:
        raise _BrokenError(str(error.strerror)) from None
    except UnpicklingError:  # code, which is not run
        raise _BrokenError("it holds more than plain values") from None
    except (RuntimeError, EOFError) as error:
        raise _BrokenError(str(error).partition("\n")[0]) from None
    return Found(path, json.loads(content.get(KEY, {}).get("config") or "{}"))


def _newest(paths: Sequence[Path]) -> Found | None:
    """The newest that can be read; the log says which ones cannot."""
    broken: list[str] = []
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True):
        try:
            found = _read(path)
        except _BrokenError as error:
            broken.append(f"{path} cannot be read: {error}")
            continue
        for words in broken:
            rank_zero_only(_log.warning)("%s; the run goes on from %s", words, path.name)
        return found
    if broken:
        raise LeakageError(f"ckpt_path: {'; '.join(broken)}; delete them to start anew")
    return None


def _checkpoints(trainer: Trainer, folder: Path | None) -> list[Path]:
    named = [
        Path(callback.dirpath)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.dirpath
    ]
    folders = named if folder is None else [*named, folder / "checkpoints"]
    return [path for place in folders for path in place.glob("*.ckpt") if path.is_file()]


def _newest_run(trainer: Trainer) -> Path | None:
    """The folder that its logger names, else the newest folder beside it that a fit has made."""
    logger = _logger(trainer)
    if logger is None:
        return Path(trainer.default_root_dir) if not trainer.loggers else None
    if logger._version is not None:
        return Path(logger.log_dir)
    folders = {int(number): path for path, number in _versions(Path(logger.root_dir))}
    fitted = [number for number, path in folders.items() if not _evaluates(path)]
    return folders[max(fitted)] if fitted else None


def _versions(root: Path) -> Iterator[tuple[Path, str]]:
    for path in root.glob("version_*"):
        number = re.fullmatch(r"version_(\d+)", path.name)
        if number and path.is_dir():
            yield path, number[1]


def _evaluates(folder: Path) -> bool:
    """Whether a folder is of `validate` or `test`, whose configs have a key that fit has not."""
    config = folder / "config.yaml"
    return config.is_file() and re.search(rb"^verbose:", config.read_bytes(), re.M) is not None


def _go_on_in(trainer: Trainer, folder: Path) -> None:
    """Has the loggers write to a folder that is one of theirs, unless the config names another."""
    number = re.fullmatch(r"version_(\d+)", folder.name)
    for logger in trainer.loggers:
        if not isinstance(logger, CSVLogger | TensorBoardLogger) or logger._version is not None:
            continue
        if Path(logger.root_dir).resolve() == folder.parent.resolve():
            logger._version = int(number[1]) if number else folder.name


def _logger(trainer: Trainer) -> CSVLogger | TensorBoardLogger | None:
    first = trainer.loggers[0] if trainer.loggers else None
    return first if isinstance(first, CSVLogger | TensorBoardLogger) else None


def _settings(part: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by key, as the command line names them; a class by the key that it stands at."""
    if isinstance(part, dict) and "class_path" in part:
        yield key, part["class_path"]
        part = {**(part.get("init_args") or {}), **(part.get("dict_kwargs") or {})}
    elif key and (not isinstance(part, dict) or "." in key):
        yield key, part
        return
    for name, value in part.items():
        yield from _settings(value, f"{key}.{name}" if key else name)


def _above(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key
