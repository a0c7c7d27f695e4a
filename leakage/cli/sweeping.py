"""sweep: plays all cells of a grid of configs, and joins their figures."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import NoReturn

import yaml
from jsonargparse import ArgumentParser
from tqdm import tqdm

from leakage.cli.errors import check_configs, one_sentence, parsed
from leakage.cli.overview import PROG
from leakage.cli.resolving import Resolved, resolver_of
from leakage.errors import LeakageError
from leakage.sweep.board import Board
from leakage.sweep.cells import LOCK, LOG, Cell, locked
from leakage.sweep.contents import Contents, settings_of
from leakage.sweep.grid import Plan, plans_of
from leakage.sweep.joined import join, listed
from leakage.sweep.running import JOBS, play
from leakage.sweep.settings import Sweep
from leakage.writing import write_whole

_ABOUT = """Plays fit or audit for all combinations of a grid, and joins their figures in
OUT/sweep.parquet. Cells that are finished are not played again, unless their config or their data
have changed; others go on where they were. For example:
python -m leakage sweep --config configs/sweeps/batch_size.yaml --jobs 2 --seeds [0,1,2]"""


def sweep(words: Sequence[str]) -> None:
    """Runs `python -m leakage sweep` with these words.

    Raises:
        LeakageError: what is wrong with them, or with the config of a cell.
    """
    settings, beside = _parse(words)
    plans = plans_of(settings, beside)
    out = Path(settings.out)
    _check_out(out)
    with _stopping(words):
        resolved = _resolve(plans)
        out.mkdir(parents=True, exist_ok=True)  # not for a sweep that is refused
        with _alone(out):
            cells = _cells_of(plans, resolved, out / "cells")
            write_whole(out / "sweep.json", listed(cells))
            earlier = sum(cell.finished for cell in cells)
            board = Board(len(cells), sys.stderr)
            play(cells, settings, board)
            finished = join(cells, out / "sweep.parquet")
            if finished == len(cells):
                shutil.rmtree(out / JOBS, ignore_errors=True)  # what submitit has left
    print(f"{finished} of {len(cells)} cells are finished, {earlier} of them were before")
    if finished:
        print(f"figures: {out / 'sweep.parquet'}; next: {PROG} report {out}")
    failed = [cell for cell in cells if not cell.finished]
    for cell in failed:
        said = board.standings[cell.key].sentence
        print(f"error: cell {cell.plan.name}: {said} ({cell.folder / LOG})", file=sys.stderr)
    if failed:
        sys.exit(1)


def _parse(words: Sequence[str]) -> tuple[Sweep, Path]:
    """The settings, and the folder that their config files are looked for in first."""
    parser = ArgumentParser(
        prog=f"{PROG} sweep",
        description=_ABOUT,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file of the keys below")
    parser.add_class_arguments(Sweep)
    check_configs(words)
    names = [field.name for field in fields(Sweep)]
    given = parsed(parser, words, lambda told: one_sentence(told, [*names, "config"]))
    files = [Path(str(file)) for file in given.config or []]
    plain = yaml.safe_load(parser.dump(given))  # within, what looks like a class is none here
    settings = Sweep(**{name: plain[name] for name in names})
    return settings, files[-1].parent if files else Path()


def _check_out(out: Path) -> None:
    """Refuses a folder that cannot be written to, before anything is done for it."""
    there = next(place for place in (out, *out.parents) if place.exists())
    if not there.is_dir():
        raise LeakageError(f"out: {there} is a file, a folder is needed")
    if not os.access(there, os.W_OK | os.X_OK):
        raise LeakageError(f"out: {there} cannot be written to")


def _resolve(plans: Sequence[Plan]) -> list[Resolved]:
    """The config of each cell, all of them before any is played."""
    resolver = resolver_of(plans[0].words[0])
    resolved = []
    for plan in tqdm(plans, "configs", unit="cell", leave=False, disable=None):
        try:
            resolved.append(resolver(plan.words))
        except LeakageError as error:
            raise LeakageError(f"cell {plan.name}: {error}") from error
    return resolved


def _cells_of(plans: Sequence[Plan], resolved: Sequence[Resolved], folder: Path) -> list[Cell]:
    """The cells by their keys, for which the data have to be there; made-up ones are written."""
    contents, prepared, cells = Contents(), set[str](), dict[str, Cell]()
    for found in resolved:
        asked = json.dumps([s for s in settings_of(found.told["data"]) if s[0] != "init_args.seed"])
        if asked not in prepared:
            found.data.prepare_data()
            contents.take(found.told)
            prepared.add(asked)
    for plan, found in zip(plans, resolved, strict=True):
        key = contents.key_of(found.told)
        if key in cells:
            raise LeakageError(
                f"grid: the cells {cells[key].plan.name} and {plan.name} are one and the same by"
                " config and data"
            )
        cells[key] = Cell(plan, key, folder / key, found.text)
    return list(cells.values())


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Where no other sweep is at work in the same folder."""
    try:
        with locked(out / LOCK, wait=False):
            yield
    except BlockingIOError:
        raise LeakageError(f"out: another sweep is at work in {out}; wait for it") from None


@contextmanager
def _stopping(words: Sequence[str]) -> Iterator[None]:
    """Where Ctrl-C and SIGTERM end the sweep, with how to go on."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for told in (signal.SIGINT, signal.SIGTERM):  # once is enough
            signal.signal(told, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt as error:
        command = f"{PROG} sweep {shlex.join(words)}"
        print(f"stopped; it goes on from here with: {command}", file=sys.stderr)
        sys.exit(128 + error.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
