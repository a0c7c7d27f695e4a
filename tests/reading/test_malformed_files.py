"""Files of a run with anything in them: a report with the reason, and never a traceback."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from drawn_runs import LABELS, drawn_run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from leakage.cli import main
from leakage.page import page
from leakage.reading.gate import condition_of, judge
from leakage.reading.report import report_of
from leakage.reading.schema import Report
from leakage.reading.serial import as_json
from leakage.report.epsilons import EpsilonRow
from leakage.report.rows import write_rows

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "data": {"class_path": "leakage.data.adult.Adult", "init_args": {"standin": False}},
    "model": {"class_path": "leakage.models.tabular.Tabular", "init_args": {"width": 8}},
    "attack": {
        "k": 4,
        "rounds": [0, 1],
        "secret": {"class_path": "leakage.secrets.Property", "init_args": {"attribute": "sex"}},
    },
    "audit": {"k": 4, "attribute": "sex"},
    "trainer": {"max_epochs": 1, "callbacks": [{"class_path": "a.B", "init_args": {"c": 1}}]},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
    "defense": {"class_path": "leakage.defenses.Sign", "init_args": {}},
}
TOLD: dict[str, Any] = {
    "utility": {"utility/val_loss": 0.3, "test_accuracy": [0.8, 0.7, 0.9]},
    "privacy": {"epsilon_training": 1.5, "delta": 1e-5},
    "splits": {"train": 100, "test": 50},
    "seconds": {"fit": 1.5},
    "versions": {"leakage": "0.1.0"},
}
FAST = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text()
    | st.sampled_from(["16", "inf", "\ud800", "", "0.5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def audited(value: float = 1.0) -> list[EpsilonRow]:
    """What an audit finds at two noises."""
    rest = (1e-5, 0.95, value, 0.5, 0.4, 3.0, 50, 50, True, True, "", "")
    return [
        EpsilonRow(1, 9, 2, "membership", "", 4, "known", 1.0, "DP()", sigma, *made, *rest)
        for sigma in (1.0, 2.0)
        for made in (("natural", "one_run", "epsilon"), ("", "theory_add_or_remove", "epsilon"))
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An attack and an audit of one run, and another run beside it."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        run = drawn_run(folder / name, rng, {LABELS: 0.3, "Forest": 1.5}, rounds=2)
        told = json.loads((run / "run.json").read_text()) | TOLD
        (run / "run.json").write_text(json.dumps(told))
        (run / "audit.json").write_text(json.dumps(told))
        write_rows(run / "audit.csv", audited())
        (run / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture
def runs(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "runs"))


def told_of(folder: Path) -> Report:
    """The report, whose page and JSON can be written, and that can be judged."""
    report = report_of([folder], compare=True)
    page(report).encode(errors="replace")
    json.loads(as_json(report))
    judge(report, [condition_of("gain > 2")])
    return report


def paths_in(value: Any) -> Iterator[tuple[Any, ...]]:
    """All places in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (key,)
        if isinstance(part, dict | list):
            yield from ((key, *path) for path in paths_in(part))


def changed(value: Any, path: tuple[Any, ...], to: Any, drop: bool) -> Any:
    """A copy with another value in a place, or without it."""
    found = copy.deepcopy(value)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return found


@FAST
@given(data=st.data(), to=ANYTHING, drop=st.booleans())
@pytest.mark.parametrize("name", ["run.json", "audit.json"])
def test_any_value_anywhere_in_run_json(
    whole: Path, runs: Path, name: str, data: st.DataObject, to: Any, drop: bool
) -> None:
    told = json.loads((whole / "one" / name).read_text())
    path = data.draw(st.sampled_from([*paths_in(told), ()]))
    other = changed(told, path, to, drop) if path else to
    (runs / "one" / name).write_text(json.dumps(other))
    report = told_of(runs)
    assert [run.state for run in report.runs[2:]] == ["finished"] * 2
    if path in [("seconds",), ("utility",), ("game",), ("splits",)] and not (
        drop or isinstance(to, dict)
    ):
        assert "unfinished" in {run.state for run in report.runs[:2]}
        assert f"{name}: {path[0]}: found " in report.warnings[0]


@FAST
@given(data=st.data(), to=ANYTHING, drop=st.booleans())
@example(data=None, to="!!timestamp x", drop=False)
@example(data=None, to="[" * 3000, drop=False)
@example(data=None, to="{1: {a: 1}, 2024-01-01: 3, ? [1] : 2}", drop=False)
@example(data=None, to="\x00", drop=False)
def test_any_value_anywhere_in_a_config(
    whole: Path, runs: Path, data: st.DataObject | None, to: Any, drop: bool
) -> None:
    text = str(to)
    if data is not None:
        path = data.draw(st.sampled_from([*paths_in(CONFIG), ()]))
        text = yaml.safe_dump(changed(CONFIG, path, to, drop) if path else to)
    (runs / "one/config.yaml").write_text(text, errors="replace")
    for played in (True, False):  # as it says what the run was where nothing else does
        shutil.copy(whole / "one/run.json", runs / "one")
        if not played:
            (runs / "one/run.json").unlink()
        report = told_of(runs)
        if data is None:
            assert "config.yaml: it " in "; ".join(report.runs[0].faults)


def test_keys_that_are_no_text_are_read_as_text(runs: Path) -> None:
    (runs / "one/run.json").unlink()
    (runs / "one/config.yaml").write_text("attack: {memory: 2, 1: {2: a, b: c, 2024-01-01: d}}")
    assert told_of(runs).runs[0].settings == {
        "memory": 2,
        "1": {"2": "a", "b": "c", "2024-01-01": "d"},
    }


@FAST
@given(data=st.data(), cell=st.text() | st.floats().map(str) | st.integers().map(str))
@pytest.mark.parametrize("name", ["attack.csv", "audit.csv"])
def test_any_cell_anywhere_in_a_table(
    whole: Path, runs: Path, name: str, data: st.DataObject, cell: str
) -> None:
    lines = (whole / "one" / name).read_text().splitlines()
    row = data.draw(st.integers(0, len(lines) - 1))
    cells = lines[row].split(",")
    place = data.draw(st.integers(0, len(cells) - 1))
    lines[row] = ",".join([*cells[:place], cell, *cells[place + 1 :]])
    (runs / "one" / name).write_text("\n".join(lines) + "\n", errors="replace")
    told_of(runs)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", '{"data": "A"}', "run.json: standin is missing"),
        ("run.json", "[" * 9000, "run.json: it cannot be read"),
        ("run.json", "null", "run.json: it has no names"),
        ("config.yaml", "attack: [1]", "config.yaml: attack: found [1], expected keys with values"),
        ("config.yaml", "a: {class_path: 1}", "config.yaml: a.class_path: found 1, expected text"),
        (
            "config.yaml",
            "data: {class_path: a.B, init_args: [1]}",
            "config.yaml: data.init_args: found [1], expected keys with values",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(runs: Path, name: str, text: str, said: str) -> None:
    (runs / "one" / name).write_text(text)
    report = told_of(runs)
    assert report.runs[0].state == "unfinished"
    assert any(fault.startswith(said) for fault in report.runs[0].faults)


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("utility", None, "run.json: utility: found null, expected keys with values"),
        (
            "utility",
            {"test_accuracy": None},
            "run.json: utility.test_accuracy: found null, expected a number, or its value, low and"
            " high",
        ),
        ("seconds", {"fit": "3"}, 'run.json: seconds.fit: found "3", expected a finite number'),
        ("splits", {"train": None}, "run.json: splits.train: found null, expected a whole number"),
        ("standin", "no", 'run.json: standin: found "no", expected true or false'),
        ("game", {"k": "16"}, 'run.json: k: found "16", expected a whole number or null'),
    ],
)
def test_a_value_of_another_kind_makes_a_run_unfinished_with_the_reason_on_the_terminal(
    runs: Path, part: str, value: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs / "one/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    assert told_of(runs).runs[0].faults == [said]
    main(["report", str(runs), "--out", str(runs / "report.html")])
    assert capsys.readouterr().err.splitlines()[1:] == [f"one is unfinished: {said}."]
    assert said in (runs / "report.html").read_text().replace("&#34;", '"')


@pytest.mark.parametrize(
    ("metric", "value"), [("auroc", "1.5"), ("gain", "-2"), ("asr", "inf"), ("auroc", "-0.1")]
)
def test_a_share_beyond_its_range_is_named_with_its_row(
    runs: Path, metric: str, value: str
) -> None:
    path = runs / "one/attack.csv"
    lines = path.read_text().splitlines()
    row = next(n for n, line in enumerate(lines) if f",{metric}," in line)
    cells = lines[row].split(",")
    cells[lines[0].split(",").index("value")] = value
    lines[row] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    fault = told_of(runs).runs[0].faults[0]
    assert fault.startswith(f"attack.csv, row {row + 1}: {metric} is {float(value):g}, expected ")


def test_many_unfinished_runs_are_one_line(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"run {number}").mkdir()
        (tmp_path / f"run {number}/attack.csv").write_text("")
    said = "5 of 5 runs are unfinished: run 0, run 1, run 2 and 2 more."
    assert report_of([tmp_path]).warnings == [said]
