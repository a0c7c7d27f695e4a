"""What a sweep is asked for: configs, a grid of overrides, seeds, and where cells are played."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from leakage.errors import LeakageError

CONFIGS = "configs"
"""The key of a grid whose values are lists of config files."""
_DECIDED = {
    "seed_everything": "seeds",
    "attack.seed": "seeds",
    "audit.seed": "seeds",
    "data.seed": "seeds",
    "config": "base",
    "trainer.logger": "out",
    "trainer.default_root_dir": "out",
    "ckpt_path": "out",
}
"""Keys of a cell that a sweep sets itself, and the key of the sweep that decides them."""


@dataclass(frozen=True)
class Sweep:
    """The settings of a sweep.

    Args:
        base: config files of all cells, later over earlier. A file is looked for beside the file of
            the sweep first, then in the working directory.
        out: the folder of the cells and of sweep.parquet; a sweep that is started again in it goes
            on there.
        grid: what differs from cell to cell: keys as `fit` or `audit` has them, such as `attack.k`,
            each with the list of its values. The values of the key `configs` are lists of further
            config files. Cells are all combinations.
        seeds: each combination is played with each of these values of `seed_everything`.
        overrides: keys and values of all cells, after all config files and before the grid.
        command: what a cell is.
        jobs: cells that are played side by side, at least 1. Each may use all cores, unless
            `attack.cores` says otherwise.
        cluster: `local` processes, or jobs of a `slurm` array.
        slurm: parameters of submitit for the array, such as `timeout_min: 240`, `mem_gb: 16`,
            `cpus_per_task: 8`, `gpus_per_node: 1`, `slurm_partition: long`.
    """

    base: list[str]
    out: str
    grid: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    overrides: dict[str, Any] = field(default_factory=dict)
    command: Literal["fit", "audit"] = "fit"
    jobs: int = 1
    cluster: Literal["local", "slurm"] = "local"
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.out:
            raise LeakageError("out: the name of a folder is needed, got ''")
        for key, given in {"base": self.base, **self.axes, "seeds": self.seeds}.items():
            where = f"grid.{key}" if key in self.axes else key
            if not isinstance(given, list) or not given:
                raise LeakageError(f"{where}: a list of at least one value is needed, got {given}")
            if len({json.dumps(value) for value in given}) < len(given):
                raise LeakageError(f"{where}: distinct values are needed, got {given}")
        for files in self.axes.get(CONFIGS, []):
            if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
                raise LeakageError(
                    f"grid.{CONFIGS}: each value is a list of config files, such as"
                    f" [defenses/dp.yaml] or [], got {files!r}"
                )
        for part, keys in (("grid", self.axes), ("overrides", self.settings)):
            for key in keys:
                _check_key(part, key)
        if self.jobs < 1:
            raise LeakageError(f"jobs: at least 1 is needed, got {self.jobs}")
        if self.cluster == "slurm" and "timeout_min" not in self.slurm:
            raise LeakageError(
                "slurm.timeout_min: how many minutes may a job of the array take? A cell that needs"
                " more goes on in the same job, requeued"
            )
        for key in ("nodes", "tasks_per_node"):
            if self.slurm.get(key, 1) != 1:
                raise LeakageError(f"slurm.{key}: a cell is one task, got {self.slurm[key]}")

    @property
    def axes(self) -> dict[str, Any]:
        """The grid by whole keys."""
        return _by_whole_key(self.grid)

    @property
    def settings(self) -> dict[str, Any]:
        """The overrides by whole keys."""
        return _by_whole_key(self.overrides)


def _by_whole_key(given: dict[str, Any]) -> dict[str, Any]:
    """Both `attack.k: 4` and `attack: {k: 4}`, as `--overrides.attack.k 4` becomes, by `attack.k`.

    >>> _by_whole_key({"attack": {"k": 4}, "data.root": "x", "defense": {"class_path": "DP"}})
    {'attack.k': 4, 'data.root': 'x', 'defense': {'class_path': 'DP'}}
    """
    whole: dict[str, Any] = {}
    for key, value in given.items():
        is_section = isinstance(value, dict) and "." not in key and "class_path" not in value
        whole |= {f"{key}.{name}": part for name, part in value.items()} if is_section else {}
        whole |= {} if is_section else {key: value}
    return whole


def _check_key(part: str, key: str) -> None:
    """Refuses a key that a sweep decides, and what is no key."""
    short = key.replace(".init_args", "")
    for decided, by in _DECIDED.items():
        if short == decided or short.startswith(f"{decided}."):
            raise LeakageError(f"{part}.{key}: a sweep sets it for each cell; use its key `{by}`")
    if key in ("help", "print_config") or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise LeakageError(f"{part}.{key}: this is no key of a config, such as `attack.k`")
    if part == "overrides" and key == CONFIGS:
        raise LeakageError(f"overrides.{CONFIGS}: config files of all cells go into `base`")
