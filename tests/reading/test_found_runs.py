"""Which runs a report finds, and what it says of broken, half-written and several ones."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import LABELS, drawn_run

from leakage.errors import LeakageError
from leakage.reading.finding import names_of, places_in
from leakage.reading.gate import condition_of, judge
from leakage.reading.report import report_of
from leakage.reading.serial import as_json

LEAKY = {LABELS: 0.3, "Forest": 1.5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "version_0"
    return drawn_run(folder, np.random.default_rng(0), LEAKY, rounds=2)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "version_0"))


def test_runs_are_found_below_any_folder_once_and_in_the_order_of_their_numbers(
    whole: Path, tmp_path: Path
) -> None:
    for name in ("adult/version_10", "adult/version_2", "health/version_2"):
        shutil.copytree(whole, tmp_path / name)
    for name in ("attack_2.csv", "run_2.json", "audit.csv", "attack.1.csv"):
        (tmp_path / "health/version_2" / name).write_text("")
    (tmp_path / "adult/version_2/attack/attack.csv").parent.mkdir()
    (tmp_path / "adult/version_2/attack/attack.csv").write_text("no run of its own")
    places = places_in([tmp_path, tmp_path / "adult"])
    assert names_of(places) == [
        *("adult/version_2", "adult/version_10", "health/version_2"),
        *("health/version_2, attack 2", "health/version_2, audit"),
    ]
    assert names_of(places_in([tmp_path / "adult/version_10"])) == ["version_10"]


def test_a_folder_that_cannot_be_read_is_refused_wherever_it_lies(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not passed over: a run in it could be the one that fails a condition."""
    (shut := tmp_path / "shut").mkdir()
    scan = os.scandir

    def scandir(path: str | Path) -> Iterator[os.DirEntry[str]]:
        if Path(path) == shut:  # as of a folder without permission; of root there is none
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert names_of(places_in([run])) == ["version_0"]
    for folder in (shut, tmp_path):
        with pytest.raises(LeakageError, match=r"shut: it cannot be read: Permission denied$"):
            places_in([folder])


def test_of_a_sweep_the_cells_that_it_names_are_read_under_their_names(
    whole: Path, tmp_path: Path
) -> None:
    for name in ("b", "a", "of_an_earlier_grid"):
        shutil.copytree(whole, tmp_path / "sweep/cells" / name)
    named = {"k=1": "cells/b", "k=4": "cells/a", "k=16": "cells/not_played_yet"}
    cells = [{"name": name, "folder": folder} for name, folder in named.items()]
    path = tmp_path / "sweep/sweep.json"
    path.write_text(json.dumps({"cells": cells}))
    assert names_of(places_in([tmp_path])) == ["k=1", "k=4", "k=16"]
    report = report_of([tmp_path])  # a cell that failed before its first figure is not passed over
    assert [run.state for run in report.runs] == ["finished", "finished", "unfinished"]
    assert not any("several data sets" in note for note in report.notes)
    assert judge(report, [condition_of("gain > 2")]).lacking != []
    shutil.copytree(tmp_path / "sweep", tmp_path / "again")
    assert names_of(places_in([tmp_path]))[0] == "again/cells/b"
    for text in ("[]", '{"cells": [{"folder": 1, "name": "a"}]}', "[" * 9000):
        path.write_text(text)
        with pytest.raises(LeakageError, match=f"{re.escape(str(path))}: it does not name the cel"):
            places_in([tmp_path])


@pytest.mark.parametrize(
    ("name", "said"),
    [("absent", "it is not there"), ("file", "it is a file"), ("empty", "there is no run in it")],
)
def test_a_folder_without_runs_is_refused_in_one_sentence(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "empty/evaluated").mkdir(parents=True)
    (tmp_path / "empty/evaluated/config.yaml").write_text("attack:\n  k: 1\nverbose: true\n")
    (tmp_path / "file").write_text("")
    with pytest.raises(LeakageError, match=f"{re.escape(str(tmp_path / name))}: {said}"):
        report_of([tmp_path / name])


def test_a_whole_run_is_finished(run: Path) -> None:
    found = report_of([run]).runs[0]
    assert (found.state, found.data, found.secret, found.k) == (
        *("finished", "Drawn", "property_sex"),
        4,
    )
    assert [(g.round, g.knowledge, g.adversary, g.rival) for g in found.guessers] == [
        *((0, "", "prior", ""), (0, "", "labels", ""), (0, "either", "Forest", "labels")),
        *((1, "", "prior", ""), (1, "", "labels", ""), (1, "either", "Forest", "labels")),
    ]


def cut_in_a_row(run: Path) -> None:
    text = (run / "attack.csv").read_text()
    (run / "attack.csv").write_text(text[: text.rindex("asr") + 3])


def cut_at_the_end_of_a_row(run: Path) -> None:
    (run / "attack.csv").write_text((run / "attack.csv").read_text()[:-1])


def emptied(run: Path) -> None:
    (run / "attack.csv").write_text("")


def without_a_column(run: Path) -> None:
    text = (run / "attack.csv").read_text()
    (run / "attack.csv").write_text(text.replace("knowledge", "lore", 1))


def without_run_json(run: Path) -> None:
    (run / "run.json").unlink()


def with_broken_run_json(run: Path) -> None:
    (run / "run.json").write_text((run / "run.json").read_text()[:40])


def killed_between_rounds(run: Path) -> None:
    lines = (run / "attack.csv").read_text().splitlines(keepends=True)
    (run / "attack.csv").write_text("".join(line for line in lines if not line.startswith("1,")))


def killed_before_a_figure(run: Path) -> None:
    for file in run.iterdir():
        file.unlink()
    (run / "config.yaml").write_text(
        "data:\n  class_path: leakage.data.adult.Adult\n"
        "attack:\n  k: 8\n  secret:\n    class_path: leakage.secrets.Property\n"
        "    init_args:\n      attribute: sex\n"
    )


@pytest.mark.parametrize(
    ("spoil", "why", "kept"),
    [
        (cut_in_a_row, "attack.csv, row 21: it is not whole", 6),
        (cut_at_the_end_of_a_row, "attack.csv, row 21: it is not whole", 6),
        (emptied, "attack.csv: it is empty", 0),
        (without_a_column, "attack.csv: the columns knowledge are missing", 0),
        (without_run_json, "run.json: there is none", 6),
        (with_broken_run_json, "run.json: it cannot be read", 6),
        (killed_between_rounds, "rounds without figures so far: 1", 3),
        (killed_before_a_figure, "attack.csv: there is none", 0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_half_written_run_is_shown_as_unfinished_with_what_is_there(
    run: Path, spoil: object, why: str, kept: int
) -> None:
    assert callable(spoil)
    spoil(run)
    report = report_of([run])
    found = report.runs[0]
    assert found.state == "unfinished"
    assert why in "; ".join(found.faults)
    assert report.warnings == [f"version_0 is unfinished: {'; '.join(found.faults)}."]
    assert why not in " ".join([*found.sentences, *report.notes])  # it is said once
    assert len(found.guessers) == kept
    assert found.secret == "property_sex" or not (kept or (run / "config.yaml").exists())
    json.loads(as_json(report))


def test_runs_of_several_data_sets_and_stand_ins_are_named(whole: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    drawn_run(tmp_path / "one", rng, LEAKY, data="Adult", standin=True)
    drawn_run(tmp_path / "two", rng, LEAKY, data="Health")
    report = report_of([tmp_path], compare=True)
    notes = " ".join(report.notes)
    assert "several data sets (1 on Adult (a stand-in), 1 on Health)" in notes
    assert report.warnings == [
        "The records of 1 of 2 runs (one) are a stand-in, made up: figures validate the tool and"
        " say nothing of real people."
    ]
    assert "made up" not in " ".join([*report.notes, *report.runs[0].sentences])
    assert {d.note for d in report.differences} == {"other data: Health and Adult (stand-in)"}


def test_the_json_is_that_of_the_schema_and_has_no_number_that_json_lacks(run: Path) -> None:
    told = json.loads((run / "run.json").read_text())
    told["utility"] = {"utility/val_accuracy": float("nan"), "test_accuracy": [0.9, 0.8, 0.95]}
    told["privacy"] = {"epsilon_training": "inf"}
    (run / "run.json").write_text(json.dumps(told))
    report = report_of([run])
    rules = {"memory": float("inf"), "lr": float("nan"), "rounds": (0, 1)}
    text = as_json(replace(report, runs=[replace(report.runs[0], settings=rules)]))
    read = json.loads(text, parse_constant=pytest.fail)
    assert list(read)[:3] == ["title", "runs", "claims"]
    assert read["schema"] == "leakage-report/1"
    assert read["runs"][0]["utility"] == {
        "val_accuracy": {"value": None, "low": None, "high": None, "note": ""},
        "test_accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "note": ""},
    }
    assert read["runs"][0]["settings"] == {"memory": "inf", "lr": None, "rounds": [0, 1]}
    assert read["runs"][0]["privacy"] == {"epsilon_training": "inf"}
