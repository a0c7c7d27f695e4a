"""Which cells a sweep has, what they are recognised by, and how their tables are joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from leakage.errors import LeakageError
from leakage.sweep.cells import Cell
from leakage.sweep.contents import Contents
from leakage.sweep.grid import Plan, plans_of
from leakage.sweep.joined import join
from leakage.sweep.settings import Sweep


def sweep(**changed: Any) -> Sweep:
    settings: dict[str, Any] = {"base": ["base.yaml"], "out": "out"}
    return Sweep(**settings | changed)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    for name in ("base.yaml", "dp.yaml"):
        (tmp_path / name).touch()
    return tmp_path


def test_cells_are_all_combinations_with_the_seeds_moving_fastest(beside: Path) -> None:
    given = sweep(grid={"attack.k": [1, -4], "configs": [[], ["dp.yaml"]]}, seeds=[3, 5])
    plans = plans_of(given, beside)
    assert [plan.name for plan in plans] == [
        f"attack.k={k}, configs={files}, seed={seed}"
        for k in (1, -4)
        for files in ("none", "dp")
        for seed in (3, 5)
    ]


def test_a_cell_takes_its_configs_then_the_overrides_then_its_place_in_the_grid(
    beside: Path,
) -> None:
    grid = {"configs": [["dp.yaml"]], "attack.secret": ["a b"], "defense": [{"class_path": "Sign"}]}
    (plan,) = plans_of(sweep(grid=grid, overrides={"attack": {"rounds": [0]}}), beside)
    base, extra = (str(beside / name) for name in ("base.yaml", "dp.yaml"))
    assert plan.words == [
        *("fit", "--config", base, "--config", extra, "--attack.rounds=[0]"),
        *("--attack.secret=a b", '--defense={"class_path": "Sign"}', "--seed_everything=0"),
    ]
    assert plan.values == {"configs": "dp", "attack.secret": "a b", "defense": "Sign"}


def test_config_files_of_one_name_are_told_apart(beside: Path) -> None:
    for folder in ("weak", "strong"):
        (beside / folder).mkdir()
        (beside / folder / "dp.yaml").write_text("{}")
    (beside / "base.yaml").write_text("{}")
    files = [["weak/dp.yaml"], ["strong/dp.yaml"]]
    plans = plans_of(Sweep(["base.yaml"], "out", {"configs": files}), beside)
    assert [plan.values["configs"] for plan in plans] == ["weak/dp.yaml", "strong/dp.yaml"]


def test_a_config_is_also_found_in_the_working_directory(
    beside: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside)
    (plan,) = plans_of(sweep(), tmp_path_factory.mktemp("elsewhere"))
    assert plan.words[2] == "base.yaml"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"grid": {"attack.k": []}}, "grid.attack.k: a list of at least one value is needed"),
        ({"grid": {"attack.k": 4}}, "grid.attack.k: a list of at least one value is needed, got 4"),
        ({"base": []}, "base: a list of at least one value is needed"),
        ({"seeds": [1, 1]}, "seeds: distinct values are needed, got [1, 1]"),
        ({"grid": {"attack": {"k": [4, 4]}}}, "grid.attack.k: distinct values are needed"),
        (
            {"grid": {"seed_everything": [1]}},
            "grid.seed_everything: a sweep sets it for each cell;",
        ),
        ({"grid": {"data.init_args.seed": [1]}}, "use its key `seeds`"),
        ({"grid": {"trainer.logger.name": ["x"]}}, "use its key `out`"),
        ({"overrides": {"ckpt_path": "last"}}, "overrides.ckpt_path: a sweep sets it"),
        ({"overrides": {"configs": ["x"]}}, "config files of all cells go into `base`"),
        ({"grid": {"configs": ["dp.yaml"]}}, "grid.configs: each value is a list of config files"),
        ({"grid": {"print_config": [1]}}, "grid.print_config: this is no key of a config"),
        ({"grid": {"attack k": [1]}}, "grid.attack k: this is no key of a config"),
        ({"out": ""}, "out: the name of a folder is needed, got ''"),
        ({"jobs": 0}, "jobs: at least 1 is needed, got 0"),
        ({"cluster": "slurm"}, "slurm.timeout_min: how many minutes may a job of the array take?"),
        ({"slurm": {"nodes": 2}}, "slurm.nodes: a cell is one task, got 2"),
    ],
)
def test_bad_settings_are_one_sentence(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LeakageError) as error:
        sweep(**changed)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("changed", "key"), [({"base": ["no.yaml"]}, "base"), ({"grid": {"configs": [["no.yaml"]]}}, 0)]
)
def test_a_missing_config_is_named(beside: Path, changed: dict[str, Any], key: str) -> None:
    with pytest.raises(LeakageError, match=rf"{key or 'grid.configs'}: there is no file no.yaml"):
        plans_of(sweep(**changed), beside)


# What a cell is recognised by


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "within").mkdir(parents=True)
    (tmp_path / "data" / "within" / "rows.csv").write_text("1,2\n")
    return tmp_path / "data"


def config(data: Path, **changed: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "seed_everything": 0,
        "data": {"class_path": "Adult", "init_args": {"root": str(data), "num_workers": 0}},
        "attack": {"k": 4, "cores": 0, "attributes": None},
        "trainer": {"logger": {"init_args": {"save_dir": "a"}}, "max_epochs": 1},
    }
    for key, value in changed.items():
        section, _, name = key.partition("__")
        part = told[section]
        (part["init_args"] if section == "data" else part)[name] = value
    return told


def key_of(told: dict[str, Any]) -> str:
    return Contents().key_of(told)


def test_a_key_changes_with_any_setting_that_counts(data: Path) -> None:
    keys = [key_of(config(data))]
    keys += [key_of(config(data, **{name: 9})) for name in ("attack__k", "trainer__max_epochs")]
    keys += [key_of({**config(data), "seed_everything": 1})]
    assert len(set(keys)) == 4


def test_a_key_stays_with_what_changes_no_figure(data: Path) -> None:
    logger = {"init_args": {"save_dir": "b"}}
    same = config(data, attack__cores=2, data__num_workers=2, trainer__logger=logger)
    assert key_of(same) == key_of(config(data))


def test_a_key_is_that_of_the_data_wherever_they_lie(data: Path) -> None:
    before = key_of(config(data))
    moved = data.rename(data.with_name("moved"))
    assert key_of(config(moved)) == before


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_a_key_changes_with_any_file_of_the_data(data: Path, change: str) -> None:
    before, rows = key_of(config(data)), data / "within" / "rows.csv"
    if change == "content":
        rows.write_text("1,3\n")
    elif change == "name":
        rows.rename(rows.with_name("other.csv"))
    else:
        (data / "empty.csv").touch()
    assert key_of(config(data)) != before


def test_a_key_stays_with_what_was_decoded_beside_the_data(data: Path) -> None:
    before = key_of(config(data))
    (data / ".decoded").mkdir()
    (data / ".decoded" / "cache").write_text("x")
    (data / ".rows.part").write_text("x")
    assert key_of(config(data)) == before


def test_a_key_changes_with_the_table_of_attributes(data: Path) -> None:
    table = data.parent / "people.csv"
    table.write_text("sex\nm\n")
    before = key_of(config(data, attack__attributes=str(table)))
    table.write_text("sex\nf\n")
    assert key_of(config(data, attack__attributes=str(table))) != before


def test_a_key_changes_with_a_table_in_the_home_of_the_user(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(data.parent))
    (data.parent / "table.csv").write_text("sex\nF\n")
    before = key_of(config(data, attack__attributes="~/table.csv"))
    (data.parent / "table.csv").write_text("sex\nM\n")
    assert key_of(config(data, attack__attributes="~/table.csv")) != before


def test_one_folder_cannot_hold_two_stand_ins(data: Path) -> None:
    contents = Contents()
    contents.take(config(data))
    contents.take(config(data, attack__k=9))
    (data / "within" / "rows.csv").write_text("made up again")
    with pytest.raises(LeakageError, match=r"data.init_args.root: cells want different made-up"):
        contents.take(config(data))


# The joined table


def finished(folder: Path, k: int, **files: str) -> Cell:
    cell = Cell(Plan({"attack.k": str(k)}, 0, ["fit"]), f"key{k}", folder / "cells" / f"key{k}", "")
    cell.folder.mkdir(parents=True)
    for name, text in files.items():
        (cell.folder / f"{name}.csv").write_text(text)
    (cell.folder / "finished.json").write_text('{"seconds": 1}')
    return cell


def test_the_table_has_every_row_of_finished_cells_and_where_it_comes_from(tmp_path: Path) -> None:
    one = finished(tmp_path, 1, attack="k,value,low,note\n1,1,,\n1,0.5,,x\n")
    two = finished(
        tmp_path, 4, attack="k,value,low,note\n4,2,,\n", attack_2="k,value,low,note\n4,3,,\n"
    )
    (two.folder / "attack.1.csv").write_text("k,value,low,note\n4,9,,\n")
    never = Cell(Plan({"attack.k": "9"}, 0, ["fit"]), "key9", tmp_path / "cells" / "key9", "")
    assert join([one, never, two], tmp_path / "sweep.parquet") == 2
    table = pd.read_parquet(tmp_path / "sweep.parquet")
    assert list(table["cell"]) == ["key1", "key1", "key4", "key4"]
    assert list(table["folder"]) == ["cells/key1", "cells/key1", "cells/key4", "cells/key4"]
    assert list(table["table"]) == ["attack.csv"] * 3 + ["attack_2.csv"]
    assert list(table["grid.attack.k"]) == [1, 1, 4, 4]
    assert list(table["value"]) == [1, 0.5, 2, 3]
    assert table["low"].isna().all()
    assert list(table["note"].fillna("")) == ["", "x", "", ""]
    assert [str(table[name].dtype) for name in ("k", "value")] == ["Int64", "Float64"]


def test_the_table_does_not_depend_on_which_cell_ended_first(tmp_path: Path) -> None:
    text = "k,value\n{0},0.{0}\n"
    written = []
    for order in ((1, 4), (4, 1)):
        folder = tmp_path / str(order)
        cells = {k: finished(folder, k, attack=text.format(k)) for k in order}
        join([cells[1], cells[4]], folder / "sweep.parquet")
        written.append((folder / "sweep.parquet").read_bytes())
    assert written[0] == written[1]
