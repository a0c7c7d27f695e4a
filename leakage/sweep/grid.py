"""The cells of a sweep as command lines: all combinations of the grid's values, with each seed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from leakage.errors import LeakageError
from leakage.sweep.settings import CONFIGS, Sweep


@dataclass(frozen=True)
class Plan:
    """A cell before anything is known of it but its command line.

    Args:
        values: of the grid, by key, in words.
        seed: of everything in it.
        words: of the command line.
    """

    values: dict[str, str]
    seed: int
    words: list[str]

    @property
    def name(self) -> str:
        """What messages call it."""
        named = [f"{key}={value}" for key, value in self.values.items()]
        return ", ".join([*named, f"seed={self.seed}"])


def plans_of(sweep: Sweep, beside: Path) -> list[Plan]:
    """All cells, the last key of the grid and then the seeds moving fastest.

    Args:
        sweep: the settings.
        beside: the folder of its file, where config files are looked for first.

    Raises:
        LeakageError: a config file is missing.
    """
    base = _config_words("base", sweep.base, beside)
    overrides = [_word(key, value) for key, value in sweep.settings.items()]
    stems = [_told(CONFIGS, files) for files in sweep.axes.get(CONFIGS, [])]
    whole = len(set(stems)) < len(stems)  # files of several folders may share a name
    plans = []
    for chosen in product(*sweep.axes.values()):
        given = dict(zip(sweep.axes, chosen, strict=True))
        files = _config_words(f"grid.{CONFIGS}", given.get(CONFIGS, []), beside)
        words = [_word(key, value) for key, value in given.items() if key != CONFIGS]
        plans += [
            Plan(
                {key: _told(key, value, whole=whole) for key, value in given.items()},
                seed,
                [sweep.command, *base, *files, *overrides, *words, f"--seed_everything={seed}"],
            )
            for seed in sweep.seeds
        ]
    return plans


def _config_words(key: str, names: Iterable[str], beside: Path) -> list[str]:
    """The words for config files."""
    words = []
    for name in names:
        found = [path for path in (beside / name, Path(name)) if path.is_file()]
        if not found:
            raise LeakageError(
                f"{key}: there is no file {name}, neither in {beside} nor in the working directory"
            )
        words += ["--config", str(found[0])]
    return words


def _word(key: str, value: Any) -> str:
    """One word, so that a value such as -1 is not taken for an option."""
    return f"--{key}={value if isinstance(value, str) else json.dumps(value)}"


def _told(key: str, value: Any, *, whole: bool = False) -> str:
    """A value in words, config files by their whole names where asked for.

    >>> _told("configs", []), _told("configs", ["defenses/dp.yaml"]), _told("attack.k", 4)
    ('none', 'dp', '4')
    >>> _told("defense", {"class_path": "leakage.defenses.Pruning", "init_args": {"keep": 0.1}})
    'Pruning {"keep": 0.1}'
    """
    if key == CONFIGS:
        return "+".join(name if whole else Path(name).stem for name in value) or "none"
    if isinstance(value, dict) and "class_path" in value:
        arguments = [json.dumps(value["init_args"])] if value.get("init_args") else []
        return " ".join([str(value["class_path"]).rpartition(".")[2], *arguments])
    return value if isinstance(value, str) else json.dumps(value)
