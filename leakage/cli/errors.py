"""Turns what the parser says of a bad command line or config into one sentence."""

from __future__ import annotations

import inspect
import re
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from inspect import Parameter
from itertools import pairwise
from pathlib import Path
from traceback import walk_tb
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from leakage.errors import LeakageError, nearest

# By their paths, so that a command which needs none of them does not wait for torch.
_BASES = {
    "attack.adversaries": "leakage.adversaries.Adversary",
    "attack.secret": "leakage.secrets.Secret",
    "data": "lightning.LightningDataModule",
    "defense": "leakage.defenses.Defense",
    "model": "lightning.LightningModule",
    "trainer.callbacks": "lightning.Callback",
    "trainer.logger": "lightning.pytorch.loggers.Logger",
}
# The parser overwrites these without a word.
_LINKED = {"data.seed": "seed_everything", "model.in_features": "the columns of the data"}
_NOISE = re.compile(
    r"(- )?Does not validate|Subtypes:|Errors:|Given value|- Expected a <class 'NoneType'>"
    r"|- Expected a path|tip:"
)


def parsed(
    parser: ArgumentParser, words: Sequence[str] | None, sentence: Callable[[str], str]
) -> Namespace:
    """What a parser makes of the words of a command line.

    Args:
        parser: that raises instead of leaving the process.
        words: those after the command; of the process where left out.
        sentence: makes one of the parser's own words, such as `one_sentence`.

    Raises:
        LeakageError: what is wrong with them.
    """
    try:
        found: Namespace = parser.parse_args(None if words is None else list(words))
    except ArgumentError as error:
        raise LeakageError(sentence(str(error))) from None
    return found


def check_configs(words: Sequence[str]) -> None:
    """Refuses what the parser cannot place: a broken file, and a key that another one decides.

    Args:
        words: of the command line.
    """
    for word, following in pairwise([*words, ""]):
        flag, _, value = word.partition("=")
        _check_linked({flag.removeprefix("--").replace(".init_args", "")})
        path = Path(value or following)
        if flag == "--config" and path.is_file():
            _check_linked(_keys(_read(path)))


def sentence_of(error: Exception) -> str:
    """What an error says; of one that names no file, such as a full disk for TensorBoard, too."""
    if not isinstance(error, OSError) or error.filename is not None or error.errno is None:
        return str(error)
    if isinstance(error.__context__, LeakageError):  # what came first
        return str(error.__context__)
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    names = [getattr(frame.f_locals.get("self"), "_file_name", None) for frame in frames]
    named = next(filter(None, names), "a file")
    return f"{named}: it cannot be written: {error.strerror}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LeakageError(f"{path}, row {row}: {error.problem}; this is no YAML") from None
    except yaml.YAMLError as error:
        raise LeakageError(f"{path}: {' '.join(str(error).split())}") from None
    if content is not None and not isinstance(content, dict):
        raise LeakageError(f"{path}: found {content!r}, expected keys with values, as in `k: 16`")
    return content or {}


def _keys(content: dict[str, Any]) -> set[str]:
    """The keys of the first two levels, such as `data.seed`."""
    sections = {name: part for name, part in content.items() if isinstance(part, dict)}
    return {
        f"{name}.{key}"
        for name, part in sections.items()
        for key in {**part, **(part.get("init_args") or {})}
    }


def _check_linked(keys: set[str]) -> None:
    for key in sorted(keys & _LINKED.keys()):
        raise LeakageError(f"{key}: cannot be set by itself, {_LINKED[key]} decides it")


def one_sentence(message: str, keys: Iterable[str]) -> str:
    """The config key, what was found, and the nearest thing that is allowed.

    Args:
        message: the parser's own words, over several lines.
        keys: all keys that the config knows.
    """
    unknown = re.search(r"unrecognized arguments: --(?:no_)?([\w.]+)", message)
    unknown = unknown or re.search(r"does not accept option '([\w.]+)'", message)
    if unknown:
        return f"{unknown[1]}: there is no such key; {_nearest_key(unknown[1], list(keys))}"
    word = re.search(r"unrecognized arguments: ([^-]\S*)", message)
    if word:
        hint = "; a file of keys is given as `--config FILE`" if "config" in keys else ""
        return f"{word[1]}: it follows no key{hint}"
    key = re.search(r'Parser key "([\w.]+)"', message)
    where = f"{key[1]}: " if key else ""
    option = re.search(r"given class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message)
    if option:
        known = _arguments(option[1])
        return f"{where}{option[1]} has no argument {option[2]!r}; {nearest(option[2], known)}"
    top = re.search(r"^\W*Option '([\w.]+)' is not accepted", message)
    if top:  # in a file whose keys are not those of a class
        name = top[1].split(".")[0]
        return f"{name}: there is no such key; {_nearest_key(name, list(keys))}"
    absent = re.search(r"dot import path string: ([\w.]+)", message)
    absent = absent or re.search(r"module '[\w.]+' has no attribute '(\w+)'", message)
    absent = absent or re.search(r"No module named '([\w.]+)'", message)
    if absent:
        known = class_names(key[1] if key else "")
        hint = f"; {nearest(absent[1].split('.')[-1], known)}" if known else ""
        return f"{where}there is no class {absent[1]!r}{hint}"
    kept = [line.strip() for line in message.splitlines() if line.strip()]
    kept = [line.removeprefix("- ") for line in kept if not _NOISE.match(line)]
    return re.sub(r'Parser key "([\w.]+)":', r"\1:", " ".join(kept))


def _nearest_key(found: str, keys: list[str]) -> str:
    """Compares within the part of the config where the key stands, else with its parts."""
    section = found.rpartition(".")[0]
    siblings = sorted({key for key in keys if key.rpartition(".")[0] == section})
    parts = sorted({key.split(".")[0] for key in keys})
    return nearest(found, siblings if section and siblings else parts)


def _arguments(class_path: str) -> list[str]:
    return list(inspect.signature(_imported(class_path)).parameters)


def _imported(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def class_names(key: str) -> list[str]:
    """The classes that a key of the config can name, without their paths; none for other keys."""
    base = next((base for prefix, base in _BASES.items() if key.startswith(prefix)), None)
    return sorted({child.__name__ for child in _leaves(_imported(base))}) if base else []


def class_keys(key: str) -> list[str]:
    """The keys below one that names a class, such as `defense.clip`, of all that it can name."""
    if key not in _BASES:
        return []
    kinds = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    found = {
        f"{key}.{name}"
        for child in _leaves(_imported(_BASES[key]))
        for name, parameter in inspect.signature(child).parameters.items()
        if parameter.kind not in kinds
    }
    return sorted(found - _LINKED.keys())


def _leaves(base: Any) -> Iterator[Any]:
    for child in base.__subclasses__():
        if not inspect.isabstract(child) and not child.__name__.startswith("_"):
            yield child
        yield from _leaves(child)
