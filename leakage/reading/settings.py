"""The settings of runs by name, and in which of them runs differ."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from leakage.idle import IDLE
from leakage.reading.runs import Files
from leakage.reading.schema import Run

_FREE = {*IDLE, "curve_k", "curve_clients", "layer_map"}
"""Rules that change no figure of the game itself."""
_PARTS = ("model", "data", "optimizer", "lr_scheduler")
_TRAINED = (
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "fast_dev_run"),
    *("limit_train_batches", "overfit_batches", "accumulate_grad_batches", "precision"),
    *("gradient_clip_val", "gradient_clip_algorithm", "devices", "num_nodes", "callbacks"),
)
"""What a Trainer changes of a model; the rest says how it is shown and where it runs."""
_PLACES = re.compile(
    r"data\.(root|shadow_root|num_workers|download|download_url)|model\.bottleneck\b.*"
)
"""Settings of a config that say where data lie, or that the name of the defense says too."""
_NUMBER = re.compile(r"(\w+)=(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?=[,)])")
_VARIES = "..."


def settings_of(files: Files) -> dict[str, Any]:
    """All that the figures of a run follow from, as plain values by name.

    The rules of the game have their own names, numbers of the defense theirs, and what else the
    config says that of the command line. `defense` is its name without numbers.
    """
    found = {name: v for name, v in files.run.settings.items() if name not in _FREE}
    run = files.run
    found |= {"k": run.k, "others": run.others, "seed": run.seed}
    found |= {"records": [run.data, run.standin, run.contents]}
    for part in _PARTS:
        found |= dict(_leaves(files.config.get(part), part))
    trainer = files.config.get("trainer") or {}
    found |= {f"trainer.{name}": trainer.get(name) for name in _TRAINED}
    return (
        found
        | numbers_of(files.run.defense)
        | {"defense": _NUMBER.sub(rf"\1={_VARIES}", files.run.defense)}
    )


def question_of(run: Run) -> dict[str, object]:
    """The rules of a game that its figures follow from, but for the seed."""
    free = _FREE | {"seed"}
    return {name: value for name, value in run.settings.items() if name not in free}


def rules_of(run: Run) -> str:
    """The same as text, which is equal for runs with one and the same question."""
    return json.dumps(question_of(run), sort_keys=True, default=str)


def numbers_of(defense: str) -> dict[str, float]:
    """The numbers of a defense by name; that of a later stage with a mark.

    >>> numbers_of("Pruning(keep=0.5) + Pruning(keep=0.1)")
    {'keep': 0.5, "keep'": 0.1}
    """
    found: dict[str, float] = {}
    for name, value in _NUMBER.findall(defense):
        while name in found:
            name += "'"
        found[name] = float(value)
    return found


def varying(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of numbers in which some of the runs differ, in the order of the runs."""
    names = dict.fromkeys(name for some in settings for name in some)
    return [
        name
        for name in names
        if name != "seed" and len({s[name] for s in settings if is_number(s.get(name))}) > 1
    ]


def rest_of(settings: Mapping[str, Any], *names: str) -> str:
    """All other settings as text, which is the same for runs that differ in these alone."""
    return json.dumps(
        {other: value for other, value in settings.items() if other not in names},
        sort_keys=True,
        default=str,
    )


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of all settings in which two runs differ."""
    return [
        name
        for name in dict.fromkeys([*one, *other])
        if json.dumps(one.get(name), default=str) != json.dumps(other.get(name), default=str)
    ]


def unnumbered(defense: str, names: Collection[str]) -> str:
    """The name of a defense without some of its numbers.

    >>> unnumbered("DP(clip=1, sigma=0.5)", {"sigma"})
    'DP(clip=1, sigma=...)'
    """
    return _NUMBER.sub(lambda m: f"{m[1]}={_VARIES}" if m[1] in names else m[0], defense)


def is_number(value: Any) -> bool:
    """Whether a setting is one that a curve may stand against."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(part: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The settings of a part of a config; a class by the key that it stands at."""
    if isinstance(part, dict):
        if "class_path" in part:
            yield key, part["class_path"]
            part = part.get("init_args") or {}
        for name, value in part.items():
            if not _PLACES.fullmatch(f"{key}.{name}"):
                yield from _leaves(value, f"{key}.{name}")
    elif part is not None:
        yield key, part
