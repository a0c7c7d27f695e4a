"""`python -m leakage sweep` from end to end, with the files that users get, shrunk by overrides."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from leakage.cli import main, sweeping
from leakage.cli.resolving import resolver_of
from leakage.data.standins.adult import ADULT
from leakage.sweep.board import Board, Standing
from leakage.sweep.cells import FINISHED, Cell
from leakage.sweep.grid import plans_of
from leakage.sweep.settings import Sweep

pytestmark = pytest.mark.usefixtures("process_state")

SWEEPS = Path(__file__).resolve().parent.parent / "configs" / "sweeps"
TREES = {"class_path": "leakage.adversaries.RandomForest", "init_args": {"trees": 3}}
SHORT: dict[str, Any] = {
    "trainer.max_epochs": 1,
    "trainer.limit_val_batches": 1,
    "trainer.enable_model_summary": False,
}
SHORT_OF = {
    "fit": {
        "attack.k": 4,
        "attack.shadow_batches": 20,
        "attack.calibrate_batches": 20,
        "attack.trials": 20,
        "attack.rounds": [0, 1],
        "attack.adversaries": [TREES],
        "attack.layer_map": False,
        "attack.background": False,
        "undefended_twin": False,
    },
    "audit": {
        "audit.trials": 200,
        "audit.canaries": [{"class_path": "leakage.audit.canaries.GradientCanary"}],
    },
}


def words(
    name: str, root: Path, out: Path, *more: str, command: str = "fit", **changed: Any
) -> list[str]:
    """The words for one of the files, shrunk; keyword arguments take the place of its own keys."""
    overrides = {"data.root": str(root), "data.standin_size": 1200, **SHORT, **SHORT_OF[command]}
    settings = {"out": str(out), "overrides": overrides, **changed}
    given = [f"--{key}={v if isinstance(v, str) else json.dumps(v)}" for key, v in settings.items()]
    return ["sweep", "--config", str(SWEEPS / name), *given, *more]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adult")
    ADULT.write(folder, size=1200, seed=0)
    return folder


@contextmanager
def cells_within() -> Iterator[list[str]]:
    """Plays cells within this process, which spares its start; a list of those that were."""
    played: list[str] = []

    def play(cells: Iterable[Cell], sweep: Sweep, board: Board) -> None:
        for cell in cells:
            if not cell.finished:
                played.append(cell.plan.name)
                cell.prepare()
                main(cell.program[3:])
                (cell.folder / FINISHED).write_text('{"seconds": 1}')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "play", play)
        yield played


@pytest.fixture
def within() -> Iterator[list[str]]:
    with cells_within() as played:
        yield played


# The files


def sweep_files() -> list[str]:
    return sorted(path.name for path in SWEEPS.iterdir())


# The cell that is played of each file, and the columns by which its figure is drawn.
PLAYED: dict[str, dict[str, list[Any]]] = {
    "aggregation.yaml": {"attack.k": [4], "attack.others": [16]},
    "audit_sigma.yaml": {"defense.sigma": [2.0], "defense.clip": [0.5]},
    "batch_size.yaml": {"attack.k": [4], "configs": [["../defenses/sign.yaml"]]},
    "defense_strength.yaml": {"defense.epsilon": [8.0]},
    "rounds.yaml": {"attack.batches": ["persistent"]},
    "shadow_size.yaml": {"attack.shadow_batches": [50], "attack.shadow_records": [200]},
    "static_adaptive.yaml": {"configs": [["../defenses/pruning.yaml"]]},
}


def test_every_sweep_is_played_below() -> None:
    assert sweep_files() == sorted(PLAYED)


@pytest.fixture(scope="module")
def resolvers() -> dict[str, Callable[[Sequence[str]], Any]]:
    return {command: resolver_of(command) for command in ("fit", "audit")}


@pytest.mark.parametrize("name", sweep_files())
def test_every_cell_of_a_sweep_is_one_that_a_run_would_take(
    name: str, resolvers: dict[str, Callable[[Sequence[str]], Any]]
) -> None:
    """Each value once, whatever stands beside it, as they are refused or not by themselves."""
    sweep = Sweep(**yaml.safe_load((SWEEPS / name).read_text()))
    assert len(plans_of(sweep, SWEEPS)) >= 6
    texts = []
    for i in range(max(map(len, sweep.axes.values()))):
        grid = {key: [values[i % len(values)]] for key, values in sweep.axes.items()}
        (plan,) = plans_of(replace(sweep, grid=grid, seeds=[0]), SWEEPS)
        texts.append(resolvers[sweep.command](plan.words).text)
    assert len(set(texts)) == len(texts)
    for key, values in PLAYED[name].items():
        assert key in sweep.axes
        assert values[0] in sweep.axes[key] or key == "attack.shadow_records"


@pytest.mark.parametrize("name", sweep_files())
def test_a_sweep_runs(name: str, root: Path, tmp_path: Path, within: list[str]) -> None:
    command = "audit" if name.startswith("audit") else "fit"
    main(words(name, root, tmp_path, "--seeds=[1]", command=command, grid=PLAYED[name]))
    table = pd.read_parquet(tmp_path / "sweep.parquet")
    assert len(within) == 1
    assert (tmp_path / table["folder"].iloc[0] / f"{table['table'].iloc[0]}").is_file()
    assert set(table["seed"]) == {1}
    for key, (value,) in PLAYED[name].items():
        told = Path(value[0]).stem if key == "configs" else value
        assert set(table[f"grid.{key}"]) == {told}
    if name == "static_adaptive.yaml":
        assert {"static", "adaptive"} <= set(table["knowledge"].dropna())


# What is played again, and what is not


def test_only_what_changed_is_played_again(
    root: Path, tmp_path: Path, within: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    ADULT.write(other, size=1000, seed=1)
    grid = {"data.root": [str(root), str(other)], "data.standin": [False], "attack.k": [4]}
    again = words("batch_size.yaml", root, tmp_path / "out", grid=grid)
    main(again)
    assert len(within) == 2
    assert "python -m leakage report" in capsys.readouterr().out
    first = (tmp_path / "out" / "sweep.parquet").read_bytes()
    main(again)
    main([*again, "--overrides.attack.cores=1"])  # changes no figure
    assert len(within) == 2
    assert (tmp_path / "out" / "sweep.parquet").read_bytes() == first
    rows = other / "adult.data"
    rows.write_text(rows.read_text().replace("Private", "State-gov", 1))
    (other / "standin.json").unlink()
    main(again)
    assert [name.split(",")[0] for name in within[2:]] == [f"data.root={other}"]
    assert len(json.loads((tmp_path / "out" / "sweep.json").read_text())["cells"]) == 2


def test_a_cell_that_failed_is_named_at_the_end(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its sentence and its log; the figures of the other one are there."""

    def play(cells: Iterable[Cell], sweep: Sweep, board: Board) -> None:
        one, two = cells
        one.folder.mkdir(parents=True)
        (one.folder / "attack.csv").write_text("value\n1\n")
        (one.folder / FINISHED).write_text('{"seconds": 1}')
        board.tell(two, Standing("failed", sentence="attack.k: no good"))

    monkeypatch.setattr(sweeping, "play", play)
    with pytest.raises(SystemExit) as ended:
        main(words("batch_size.yaml", root, tmp_path, grid={"attack.k": [4, 8]}))
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "1 of 2 cells are finished" in told.out
    (log,) = re.findall(r"error: cell attack.k=8, seed=0: attack.k: no good \((.*)\)", told.err)
    assert Path(log).parent.parent == tmp_path / "cells"
    assert len(pd.read_parquet(tmp_path / "sweep.parquet")) == 1


# In processes, with a kill


def processes_of(session: int) -> list[int]:
    """Those that a sweep has started, and itself: all with its mark in the environment."""
    mark, found = f"LEAKAGE_TEST_SWEEP={session}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [int(path.name)] if marked else []
    return found


def start(argv: list[str], mark: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "leakage", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "LEAKAGE_TEST_SWEEP": str(mark)},
    )


def test_a_sweep_that_was_killed_ends_with_the_bytes_of_one_that_was_not(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed, with all that it has started, as its second cell begins to train."""
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    grid = {"attack.k": [2, 4]}
    with cells_within():
        main(words("batch_size.yaml", root, whole, grid=grid))
        main(words("batch_size.yaml", root, cut, grid={"attack.k": [2]}))
    (cut / "sweep.parquet").unlink()

    argv, mark = words("batch_size.yaml", root, cut, grid=grid), os.getpid()
    killed = start(argv, mark)
    until = time.monotonic() + 300
    while len(list(cut.glob("cells/*/config.yaml"))) < 2:
        assert time.monotonic() < until
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    for number in processes_of(mark):
        os.kill(number, signal.SIGKILL)
    killed.communicate()
    assert not (cut / "sweep.parquet").exists()
    (finished,) = cut.glob(f"cells/*/{FINISHED}")
    before = {path: path.stat().st_mtime_ns for path in finished.parent.rglob("*")}
    capsys.readouterr()

    main(argv)
    assert "2 of 2 cells are finished, 1 of them were before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.parent.rglob("*")} == before
    assert (cut / "sweep.parquet").read_bytes() == (whole / "sweep.parquet").read_bytes()


# Bad input: a sentence before any cell


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        (
            {"attack.kk": [4]},
            "error: cell attack.kk=4, seed=0: attack.kk: there is no such key; did you mean"
            " 'attack.k'?",
        ),
        ({"attack.k": [4, 0]}, "error: cell attack.k=0, seed=0: attack.k: at least 1 is needed"),
        ({"attack.k": ["x"]}, "error: cell attack.k=x, seed=0: attack.k: "),
        ({"attack.k": []}, "error: grid.attack.k: a list of at least one value is needed, got []"),
        ({"attack.cores": [1, 2]}, "are one and the same by config and data"),
        ({"configs": [["no.yaml"]]}, "error: grid.configs: there is no file no.yaml, neither in"),
    ],
)
def test_a_bad_grid_is_a_sentence_before_any_cell(
    grid: dict[str, list[Any]],
    sentence: str,
    root: Path,
    tmp_path: Path,
    within: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sentence in refusal(words("batch_size.yaml", root, tmp_path / "out", grid=grid), capsys)
    assert within == []
    if "one and the same" not in sentence:  # which only the data tell
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", ["gird: {attack.k: [4]}", "gird: [4]"])
def test_a_wrong_key_of_a_sweep_is_named_with_the_nearest(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path := tmp_path / "sweep.yaml").write_text(wrong)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--config", str(path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "error: gird: there is no such key; did you mean 'grid'? Known: base, cluster" in said


def test_a_file_without_its_key_is_told_where_it_belongs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = refusal(["sweep", "grid.yaml"], capsys)
    assert "grid.yaml: it follows no key; a file of keys is given as `--config FILE`" in said


def test_a_folder_that_is_no_folder_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        said = refusal(words("batch_size.yaml", root, out), capsys)
        assert said == f"error: out: {tmp_path / 'file'} is a file, a folder is needed"


def test_two_sweeps_at_once_in_one_folder_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"attack.k": [4]}
    with sweeping._alone(tmp_path):
        said = refusal(words("batch_size.yaml", root, tmp_path, grid=grid), capsys)
    assert said == f"error: out: another sweep is at work in {tmp_path}; wait for it"


def test_a_folder_without_locks_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    said = refusal(words("batch_size.yaml", root, tmp_path, grid={"attack.k": [4]}), capsys)
    assert said == f"error: {tmp_path / '.lock'}: it cannot be locked: No locks available"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_says_how_it_goes_on(
    number: signal.Signals,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def play(cells: Iterable[Cell], sweep: Sweep, board: Board) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(sweeping, "play", play)
    handler = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        main(words("batch_size.yaml", root, tmp_path, grid={"attack.k": [4]}))
    assert ended.value.code == 128 + number
    assert "goes on from here with: python -m leakage sweep --config" in capsys.readouterr().err
    assert signal.getsignal(number) is handler


def test_help_and_print_config_are_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for key in Sweep.__dataclass_fields__:
        assert f"--{key}" in told
    assert "cells that are played side by side" in told
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--config", str(SWEEPS / "rounds.yaml"), "--jobs=3", "--print_config"])
    assert ended.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["jobs"] == 3
    assert printed["grid"] == {"attack.batches": ["fresh", "persistent"]}
