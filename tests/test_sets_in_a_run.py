"""Each data set from the command line, on a small stand-in, with the YAML files that users get."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from leakage.cli import main
from leakage.cli.standin import SETS

pytestmark = pytest.mark.usefixtures("process_state")

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SIZES = {"health": 600, "crema_d": 364, "celeba": 400, "utkface": 300}
LABELS = {"health": 2, "crema_d": 6, "celeba": 2, "utkface": 5}
SHORT = {
    "attack.shadow_batches": 60,
    "attack.calibrate_batches": 60,
    "attack.trials": 60,
    "attack.rounds": [1],
    "attack.layer_map": False,
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 4,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}
TREES = [
    {"class_path": "leakage.adversaries.RandomForest", "init_args": {"trees": 5, "features": 32}}
]
FEW = {"attack.secret.init_args.candidates": 3}
"""For stand-ins that are small: as few users in the calibrate split as have enough records."""
ONE_EACH = {"attack.secret.init_args.enrolment": 1, "attack.secret.init_args.queries": 1}
SECRETS: dict[str, dict[str, Any]] = {
    "health_age": {"attack.adversaries": TREES},
    "health_user": FEW | {"data.standin_size": 600, "attack.calibrate_batches": 60},
    "crema_d_age": {"attack.adversaries": TREES},
    "crema_d_race": {"attack.adversaries": TREES},
    "crema_d_user": FEW | ONE_EACH | {"attack.k": 1},
    "celeba_male": {"attack.adversaries": TREES},
    "celeba_user": FEW | ONE_EACH | {"attack.k": 1},
    "utkface_gender": {"attack.adversaries": TREES},
}


def set_of(secret: str) -> str:
    return next(name for name in SIZES if secret.startswith(name))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A stand-in of each set, written by the command line."""
    folder = tmp_path_factory.mktemp("sets")
    for name, size in SIZES.items():
        main(["standin", "--set", name, "--out", str(folder / name), "--size", str(size)])
    return {name: folder / name for name in SIZES}


def fit(name: str, root: Path, logs: Path, *configs: str, **changed: Any) -> Path:
    """Runs the config of a set, and further ones; returns the folder that it left."""
    settings = SHORT | {
        "data.root": str(root),
        "data.standin_size": SIZES[name],
        "trainer.logger.init_args.save_dir": str(logs),
    }
    words = ["fit", "--config", str(CONFIGS / f"{name}.yaml")]
    for config in configs:
        words += ["--config", str(CONFIGS / "secrets" / f"{config}.yaml")]
    for key, value in (settings | changed).items():
        words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    main(words)
    return logs / name / "version_0"


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "attack.csv").read_text().splitlines()))


def test_every_config_of_a_set_is_run_here() -> None:
    sets = {path.stem for path in CONFIGS.glob("*.yaml")} - {"adult", "aggregation", "updates"}
    assert sets == set(SIZES)
    secrets = {path.stem for path in (CONFIGS / "secrets").glob("*.yaml")}
    assert {name for name in secrets if not name.startswith("adult")} == set(SECRETS)


@pytest.mark.parametrize("name", SIZES)
def test_a_set_runs_from_its_config(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in roots[name].rglob("*") if path.is_file()}
    folder = fit(name, roots[name], tmp_path, **{"attack.adversaries": TREES})
    run = json.loads((folder / "run.json").read_text())
    assert run["standin"] is True
    assert run["data"] == SETS[name].name
    assert min(run["splits"].values()) > 0
    assert {"auroc", "asr", "bits"} <= {row["metric"] for row in rows_of(folder)}
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["init_args"]["root"] == str(
        roots[name]
    )
    weights = torch.load(next(folder.glob("checkpoints/*.ckpt")), weights_only=True)["state_dict"]
    assert list(weights.values())[-1].shape == (LABELS[name],)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.parametrize("secret", SECRETS)
def test_a_further_secret_runs_from_its_file(
    secret: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    name = set_of(secret)
    folder = fit(name, roots[name], tmp_path, secret, **SECRETS[secret])
    played = {row["secret"] for row in rows_of(folder)}
    expected = yaml.safe_load((CONFIGS / "secrets" / f"{secret}.yaml").read_text())
    given = expected["attack"]["secret"]["init_args"]
    trait, value = given.get("attribute"), given.get("value")
    asked = (
        "user"
        if trait is None
        else f"property_{trait}" + (f"_any_{given['holders']}" if value else "")
    )
    assert played == {asked}


@pytest.mark.parametrize("secret", ["health_user", "crema_d_user", "celeba_user"])
def test_the_users_of_a_set_are_the_units_of_its_splits(
    secret: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    """No candidate is in the shadow data, since no member, actor or identity is in two splits."""
    data = yaml.safe_load((CONFIGS / f"{set_of(secret)}.yaml").read_text())["data"]
    module, _, kind = data["class_path"].rpartition(".")
    loaded = getattr(__import__(module, fromlist=[kind]), kind)(root=str(roots[set_of(secret)]))
    loaded.prepare_data()
    loaded.setup()
    population = loaded.population
    assert len(population.units.unique()) < len(population.units)
    units = [set(population.units[indices].tolist()) for indices in population.splits.values()]
    assert sum(map(len, units)) == len(set.union(*units))


# Bad input


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as error:
        main(words)
    assert error.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


@pytest.fixture(autouse=True)
def _logs_are_left_in_a_folder_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)


@pytest.mark.parametrize("name", SIZES)
def test_an_empty_folder_names_the_ways_out(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(CONFIGS / f"{name}.yaml")
    words = ["fit", "--config", config, "--data.root", str(tmp_path), "--data.standin", "false"]
    told = refused(words, capsys)
    assert told.startswith(f"{tmp_path}: found no ")
    assert told.endswith(
        f"; point data.root at the folder of the official files of {SETS[name].name}, or set"
        " data.standin=true to work with made-up records"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html>", "found a web page (a failed download), expected an archive"),
        (
            b"PK",
            "found an archive; unpack it, so that {root} has AudioWAV and VideoDemographics.csv",
        ),
    ],
)
def test_an_archive_that_is_none_or_not_unpacked(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CREMA-D.zip").write_bytes(content)
    words = ["fit", "--config", str(CONFIGS / "crema_d.yaml"), "--data.root", str(tmp_path)]
    said = refused([*words, "--data.standin", "false"], capsys)
    assert said == f"{tmp_path / 'CREMA-D.zip'}: " + told.format(root=tmp_path)


def test_pointers_stop_the_run_unless_a_key_allows_them(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "pointers"
    shutil.copytree(roots["crema_d"], root, ignore=shutil.ignore_patterns("standin.json", ".*"))
    clips = sorted((root / "AudioWAV").iterdir())
    for clip in clips[:10]:
        clip.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    changed = {"attack.adversaries": TREES}
    words = ["fit", "--config", str(CONFIGS / "crema_d.yaml"), "--data.root", str(root)]
    told = refused([*words, "--data.standin", "false"], capsys)
    assert told == (
        f"{root / 'AudioWAV'}: 10 of 364 clips left out: a Git-LFS pointer in place of the sound;"
        " run `git lfs pull` where it was cloned, or download it with git-lfs (the first:"
        f" {clips[0].name}); data.max_unreadable allows a share of 0.01, repair the files or raise"
        " it"
    )
    changed |= {"data.max_unreadable": 0.05, "data.standin": False}
    folder = fit("crema_d", root, tmp_path / "logs", **changed)
    run = json.loads((folder / "run.json").read_text())
    assert run["standin"] is False
    assert sum(run["splits"].values()) == 354


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "celba"], "--set: there is no set 'celba'; did you mean 'celeba'? Known: "),
        (["--size", "3"], "--size: a stand-in of CelebA has at least 200 images, got 3"),
        (["--size", "few"], "size: Expected a <class 'int'>. Got value: few"),
        (["--seed", "-1"], "--seed: a number from 0 to 2^32 - 1, got -1"),
        (["--sed", "1"], "sed: there is no such key; did you mean 'seed'?"),
    ],
)
def test_what_is_wrong_with_the_words_of_standin(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["--set", "celeba", "--out", str(out), "--size", "200", *words]
    assert refused(["standin", *given], capsys).startswith(told)
    assert not out.exists()


def test_a_number_of_labels_that_the_data_lack_is_refused(
    roots: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--config", str(CONFIGS / "utkface.yaml"), "--model.classes", "4"]
    assert refused([*words, "--data.root", str(roots["utkface"])], capsys) == (
        "model.classes: found 4, but UTKFace has 5 labels; set it to 5"
    )


def test_real_files_beside_those_of_a_standin_are_refused(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be read as made-up ones, or be overwritten by a stand-in of another size."""
    shutil.copytree(roots["celeba"], tmp_path / "celeba")
    stranger = tmp_path / "celeba" / "img_align_celeba" / "190000.jpg"
    stranger.write_bytes(b"a real face")
    config = str(CONFIGS / "celeba.yaml")
    told = (
        f"{stranger}: found a file that is none of the stand-in around it, which standin.json"
        " describes; put real files into a folder of their own"
    )
    words = ["fit", "--config", config, "--data.root", str(tmp_path / "celeba")]
    assert refused(words, capsys) == told
    words = ["standin", "--set", "celeba", "--out", str(tmp_path / "celeba"), "--size", "300"]
    assert refused(words, capsys) == told
    assert stranger.read_bytes() == b"a real face"


def test_an_archive_is_named_where_a_standin_would_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "UTKFace.tar.gz").write_bytes(b"\x1f\x8b")
    words = ["fit", "--config", str(CONFIGS / "utkface.yaml"), "--data.root", str(tmp_path)]
    assert refused(words, capsys).startswith(
        f"{tmp_path / 'UTKFace.tar.gz'}: found an archive; unpack it, so that {tmp_path} has images"
    )


def test_a_trait_of_which_nothing_is_known_is_refused(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "crema_d"
    shutil.copytree(
        roots["crema_d"], root, ignore=shutil.ignore_patterns("standin.json", "*_IEO_*")
    )
    words = ["fit", "--config", str(CONFIGS / "crema_d.yaml"), "--data.root", str(root)]
    told = refused([*words, "--attack.secret.init_args.attribute", "intensity"], capsys)
    assert told == (
        "attack.secret.attribute: 'intensity' has no known value in the data, so there is nothing"
        " to infer; choose an attribute with two or more"
    )
