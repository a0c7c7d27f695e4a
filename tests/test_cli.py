"""The command line from end to end, with the YAML files that users get, shortened by overrides."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from leakage.adversaries import RandomForest
from leakage.adversaries.classifiers import Classifier
from leakage.callbacks import Attack, Defend
from leakage.cli import main
from leakage.data.adult import Adult
from leakage.data.standins.adult import ADULT
from leakage.defenses import Defense, NoDefense, Pruning
from leakage.models.tabular import Tabular
from leakage.rules import Game
from leakage.secrets import Property

pytestmark = pytest.mark.usefixtures("process_state")

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MAIN_JOB = str(CONFIGS / "adult.yaml")
COLUMNS = [
    *("round", "step", "rounds", "secret", "k", "others", "defense", "knowledge", "adversary"),
    *("layers", "group", "metric", "value", "low", "high", "n", "units", "note"),
]
TREES = [
    {"class_path": "leakage.adversaries.RandomForest", "init_args": {"trees": 5, "features": 32}},
    {"class_path": "leakage.adversaries.BoostedTrees", "init_args": {"iterations": 3}},
]
SHORT = {
    "data.standin_size": 6000,
    "attack.shadow_batches": 40,
    "attack.calibrate_batches": 40,
    "attack.trials": 40,
    "attack.rounds": [0, 1],
    "attack.adversaries": TREES[:1],
    "attack.background": False,  # on busy cores it would get hardly any
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 5,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}
# A share in 0..1 where nothing else is said; bits of a secret with c values are at most log2(c).
RANGES = {
    "advantage": (-1.0, 1.0),
    "gain": (-1.0, 1.0),
    "bits": (0.0, 1.0),
    "bits_raw": (-np.inf, 1.0),
}
METRICS = ["auroc", "asr", "balanced_accuracy", "worst_class", "advantage", "bits", "bits_raw"]
TAGGED = ["auroc", "asr", "advantage", "gain", "bits"]


@dataclass(frozen=True)
class Run:
    """What a run left and printed."""

    folder: Path
    out: str = ""
    err: str = ""
    fitted: int = 0

    @property
    def csv(self) -> bytes:
        return (self.folder / "attack.csv").read_bytes()

    @property
    def every_row(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.csv.decode().splitlines()))

    @property
    def rows(self) -> list[dict[str, str]]:
        """Those of the game itself, of adversaries that see all layers, on all trials."""
        first = self.every_row[0]
        return [
            row
            for row in self.every_row
            if (row["layers"], row["group"]) == ("all", "all")
            and (row["k"], row["others"]) == (first["k"], first["others"])
        ]

    @property
    def config(self) -> Any:
        return yaml.safe_load((self.folder / "config.yaml").read_text())


def arguments(settings: dict[str, Any]) -> list[str]:
    return [
        word
        for key, value in settings.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]


def fit_arguments(root: Path, logs: Path, *more: str, **changed: Any) -> list[str]:
    """The main job, further configs and flags, and the overrides that make it short."""
    settings = SHORT | {"data.root": str(root), "trainer.logger.save_dir": str(logs)}
    configs = [word for word in more if word.endswith(".yaml")]
    flags = [word for word in more if not word.endswith(".yaml")]
    files = [word for path in [MAIN_JOB, *configs] for word in ("--config", path)]
    return ["fit", *files, *arguments(settings | changed), *flags]


def newest(logs: Path) -> Path:
    return max((logs / "adult").iterdir(), key=lambda folder: int(folder.name.split("_")[1]))


def fit(root: Path, logs: Path, *more: str, **changed: Any) -> Run:
    main(fit_arguments(root, logs, *more, **changed))
    return Run(newest(logs))


@pytest.fixture(scope="module")
def good(adult_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The main job in a process of its own, with 1,000 calibrate batches of each value."""
    logs = tmp_path_factory.mktemp("good")
    changed = {"attack.calibrate_batches": 2000, "attack.adversaries": TREES}
    argv = fit_arguments(adult_root, logs, **changed)
    result = run_process(argv, threads=1)
    assert result.returncode == 0, result.stderr
    return Run(newest(logs), result.stdout, result.stderr)


@pytest.fixture(scope="module")
def short(adult_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with count_fits() as fitted:
        run = fit(adult_root, tmp_path_factory.mktemp("short"))
    return replace(run, fitted=len(fitted))


@pytest.fixture(scope="module")
def pruned(adult_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    logs = tmp_path_factory.mktemp("pruned")
    with count_fits() as fitted:
        run = fit(adult_root, logs, "--defense=Pruning", "--defense.keep=0.1")
    return replace(run, fitted=len(fitted))


@contextmanager
def count_fits() -> Iterator[list[str]]:
    """A list that grows by the name of each adversary that is fitted."""
    fitted: list[str] = []
    fit_one = Classifier.fit

    def counted(self: Classifier, *args: Any) -> Any:
        fitted.append(self.name)
        return fit_one(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "fit", counted)
        yield fitted


def run_process(argv: list[str], threads: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leakage", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )


# What a run leaves


def check_figures(run: Run) -> None:
    """The columns of DESIGN 6, each value within its range and its interval around it."""
    rows = run.rows
    assert rows
    assert list(rows[0]) == COLUMNS
    classes = 2 if rows[0]["secret"] not in ("property_race", "distribution_sex") else 5
    check_view([row for row in rows if row["adversary"] == "information"])
    for row in guessed(rows):
        metric, value = row["metric"], row["value"]
        low, high = RANGES.get(metric, (0.0, 1.0))
        high *= np.log2(classes) if metric.startswith("bits") else 1
        assert row["rounds"] in ("alone", "sum")
        assert row["knowledge"] in ("", "static", "adaptive", "mechanism", "surrogate")
        assert int(row["n"]) > 0
        assert int(row["units"]) > 0
        if not value:
            assert row["note"].startswith("undefined"), row
            continue
        assert low <= float(value) <= high, row
        # An adversary bounds the information from below only.
        one_sided = metric.startswith("bits")
        assert bool(row["high"]) == (bool(row["low"]) and not one_sided), row
        if row["low"]:
            assert low <= float(row["low"]) <= float(value), row
        else:
            assert row["note"], row
        if row["high"]:
            assert float(value) <= float(row["high"]) <= high, row


def guessed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those of adversaries and baselines."""
    return [row for row in rows if row["adversary"] != "information"]


def check_view(rows: list[dict[str, str]]) -> None:
    """H(a) over what is proven, from below and from above; each empty figure says why."""
    for turn in {(row["round"], row["rounds"]) for row in rows}:
        view = {r["metric"]: r for r in rows if (r["round"], r["rounds"]) == turn}
        assert list(view)[:3] == ["entropy", "bits_floor", "bits_fano"]
        entropy = float(view["entropy"]["value"])
        for metric in ("bits_floor", "bits_fano", "bits_ceiling"):
            if view[metric]["value"]:
                assert 0 <= float(view[metric]["value"]) <= entropy + 1e-9
        floor, ceiling = view["bits_floor"]["value"], view["bits_ceiling"]["value"]
        assert not floor or not ceiling or float(floor) <= float(ceiling)
        assert ("epsilon_release_record" in view) == view["entropy"]["defense"].startswith(
            ("DP", "Chain(stages=[DP")
        )
        for row in view.values():
            assert row["knowledge"] == ""
            assert row["value"] or row["note"], row


OTHER_SETS = ("health", "crema_d", "celeba", "utkface")
"""Their files are run in test_sets_in_a_run.py, on stand-ins of theirs."""


def config_files() -> list[str]:
    files = [path for path in CONFIGS.rglob("*") if path.is_file()]
    # Those are run in test_audits.py and test_sweep.py.
    files = [path for path in files if path.parent.name not in ("audits", "sweeps")]
    ours = [path for path in files if not path.name.startswith(OTHER_SETS)]
    return sorted(str(path.relative_to(CONFIGS)) for path in ours)


# What is needed to play a file on 6,000 rows, and the secret and the defense that its run names.
# A new file fails until it stands here.
# DP counts the steps of whole epochs; its noise is what its target asks for.
WHOLE_EPOCHS = {"trainer.limit_train_batches": 1.0}
EXPECTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "adult.yaml": ({}, "property_sex", "none"),
    "aggregation.yaml": ({"attack.curve_k": [4, 8]}, "property_sex", "none"),
    "defenses/bottleneck.yaml": ({}, "property_sex", "Bottleneck(dimension=16, beta=0.01)"),
    "defenses/dp.yaml": (
        WHOLE_EPOCHS,
        "property_sex",
        "DP(clip=1, batch=64, sigma=S, delta=1e-05)",
    ),
    "defenses/dp_sign.yaml": (
        WHOLE_EPOCHS,
        "property_sex",
        "Chain(stages=[DP(clip=1, batch=64, sigma=S, delta=1e-05), Sign(zero='keep')])",
    ),
    "defenses/perturbation.yaml": (
        {"defense.batches": 40},
        "property_sex",
        "Perturbation(norm='l2', eps=0.5, steps=10, objective='prior', batches=40, entries=1024,"
        " width=64)",
    ),
    "defenses/pruning.yaml": ({}, "property_sex", "Pruning(keep=0.01, scope='global')"),
    "defenses/pruning_sign.yaml": (
        {},
        "property_sex",
        "Chain(stages=[Pruning(keep=0.01, scope='global'), Sign(zero='keep')])",
    ),
    "defenses/record_pruning.yaml": (
        {},
        "property_sex",
        "RecordPruning(keep=0.01, scope='global')",
    ),
    "defenses/sign.yaml": ({}, "property_sex", "Sign(zero='keep')"),
    "secrets/adult_attribute.yaml": (
        {"attack.adversaries": [*TREES[:1], {"class_path": "leakage.adversaries.FirstLayer"}]},
        "attribute_sex",
        "none",
    ),
    "secrets/adult_attribute_target.yaml": ({}, "attribute_sex_target", "none"),
    "secrets/adult_distribution.yaml": (
        {
            "attack.adversaries": [
                {
                    "class_path": f"leakage.adversaries.{kind}",
                    "init_args": {"base": {"class_path": "leakage.adversaries.LogisticRegression"}},
                }
                for kind in ("Ordinal", "Regression")
            ]
        },
        "distribution_sex",
        "none",
    ),
    "secrets/adult_membership.yaml": (
        {"attack.adversaries": [{"class_path": "leakage.adversaries.LikelihoodRatio"}]},
        "membership",
        "none",
    ),
    "secrets/adult_persistent.yaml": ({}, "property_sex", "none"),
    "secrets/adult_property_any.yaml": ({}, "property_sex_any_uniform", "none"),
    "secrets/adult_race.yaml": ({"attack.k": 2}, "property_race", "none"),
    **{
        f"uncertainties/{name}.yaml": ({}, "property_sex", "none")
        for name in (
            "few_shadow_batches",
            "few_shadow_records",
            "last_layer",
            "late_round",
            "other_shadow_file",
            "secure_aggregation",
            "shifted_shadow",
            "wrong_k",
        )
    },
    "updates.yaml": ({}, "property_sex", "none"),
}


def test_every_config_is_played_below() -> None:
    assert config_files() == sorted(EXPECTED)


@pytest.mark.parametrize("name", config_files())
def test_a_config_runs(name: str, adult_root: Path, tmp_path: Path) -> None:
    changed, secret, defense = EXPECTED[name]
    if name.endswith("other_shadow_file.yaml"):
        ADULT.write(tmp_path / "elsewhere", size=2000, seed=1)
        changed = changed | {"data.shadow_root": str(tmp_path / "elsewhere")}
    more = () if name == "adult.yaml" else (str(CONFIGS / name),)
    run = fit(adult_root, tmp_path, *more, **changed)
    check_figures(run)
    rows = run.rows
    assert {row["secret"] for row in rows} == {secret}
    assert {re.sub(r"sigma=[\d.]+", "sigma=S", row["defense"]) for row in rows} == {defense}
    assert {(row["round"], row["rounds"]) for row in rows} == {
        ("0", "alone"),
        ("1", "alone"),
        ("1", "sum"),
    }
    classes = [a["class_path"] for a in changed.get("attack.adversaries", TREES[:1])]
    guessers = [row["adversary"] for row in rows if row["knowledge"]]
    assert list(dict.fromkeys(map(named, guessers))) == [c.split(".")[-1] for c in classes]
    for row in rows:
        if (row["adversary"], row["metric"]) == ("FirstLayer", "asr"):
            assert float(row["value"]) == 1
    without = {"prior", "labels"} if secret == "membership" else {"prior", "labels", "imputation"}
    assert {row["adversary"] for row in guessed(rows) if not row["knowledge"]} == without
    points = {(row["k"], row["others"]) for row in run.every_row}
    assert len(points) == (6 if name == "aggregation.yaml" else 1)
    given = yaml.safe_load((CONFIGS / name).read_text())
    assert_contains(run.config, given, changed=set(SHORT | changed) | {"data.root"})


def named(adversary: str) -> str:
    """The class of an adversary over another one."""
    return next((n for n in ("Ordinal", "Regression") if adversary.startswith(n)), adversary)


def assert_contains(config: Any, given: Any, changed: set[str], where: str = "") -> None:
    """All that a YAML file sets is in the saved config, but for what the test overrode."""
    for key, value in given.items():
        path = f"{where}.{key}".lstrip(".").replace(".init_args", "")
        if path in changed or path == "trainer.logger.save_dir":
            continue
        if isinstance(value, dict):
            assert_contains(config[key], value, changed, path)
        elif not isinstance(value, list) or not any(isinstance(v, dict) for v in value):
            assert config[key] == value, path


def test_attack_csv_has_every_figure_in_order(good: Run) -> None:
    check_figures(good)
    rows = good.rows
    keys = [tuple(row[c] for c in COLUMNS[:12]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert [int(row["round"]) for row in rows] == sorted(int(row["round"]) for row in rows)
    assert {(row["round"], row["step"]) for row in rows} == {("0", "0"), ("1", "5")}
    assert {(row["k"], row["others"], row["n"]) for row in rows if row["metric"] == "asr"} == {
        ("16", "0", "40")
    }
    for adversary in ("RandomForest", "BoostedTrees"):
        for knowledge in ("static", "adaptive"):
            for turn in (("0", "alone"), ("1", "alone"), ("1", "sum")):
                found = [
                    row["metric"]
                    for row in rows
                    if (row["adversary"], row["knowledge"]) == (adversary, knowledge)
                    and (row["round"], row["rounds"]) == turn
                ]
                assert found == [*METRICS, "tpr_at_1fpr", "fpr_at_1fpr", "gain"]


def test_each_layer_alone_has_an_auroc_in_the_last_round(good: Run) -> None:
    layers = [row for row in good.every_row if row["layers"] != "all"]
    found = [(row["layers"], row["knowledge"]) for row in layers]
    names = ("network.0", "network.2", "network.4")
    assert found == [(name, known) for name in names for known in ("static", "adaptive")]
    assert {(row["round"], row["rounds"], row["adversary"], row["metric"]) for row in layers} == {
        ("1", "alone", "RandomForest", "auroc")
    }
    best = max(layers, key=lambda row: float(row["value"]))
    assert f"one layer alone, round 1, AUROC of RandomForest: {best['layers']}" in good.out
    images = EventAccumulator(str(good.folder), size_guidance={"images": 0}).Reload().Tags()
    assert "attack/property_sex/RandomForest/adaptive/layers" in images["images"]


def test_tpr_at_1_percent_fpr_needs_1000_negatives(short: Run) -> None:
    assert not [row for row in short.rows if row["metric"].endswith("_at_1fpr")]


def test_run_json_says_what_the_run_was(good: Run) -> None:
    run = json.loads((good.folder / "run.json").read_text())
    assert run["data"] == "Adult"
    assert run["standin"] is True
    assert run["game"]["seed"] == 0
    assert list(run["splits"]) == [
        "train",
        "validation",
        "shadow_fit",
        "shadow_calibrate",
        "challenge",
        "test",
    ]
    assert sum(n for name, n in run["splits"].items() if name != "test") == 6000
    assert 0 < run["splits"]["test"] <= 3000
    assert 0 < run["seconds"]["releases"] <= run["seconds"]["fit"] < 100
    assert run["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"leakage", "python", "lightning", "scikit-learn", "numpy"} <= set(run["versions"])
    assert 0 <= run["utility"]["utility/val_auroc"] <= 1


def test_real_data_are_not_called_a_standin(
    real_adult: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(real_adult, tmp_path, **{"attack.rounds": [0]})
    assert json.loads((run.folder / "run.json").read_text())["standin"] is False
    assert "data Adult (records as given)" in capsys.readouterr().out


def test_a_run_leaves_its_config_and_a_checkpoint(good: Run) -> None:
    assert good.config["attack"]["calibrate_batches"] == 2000
    assert good.config["seed_everything"] == 0
    [checkpoint] = (good.folder / "checkpoints").iterdir()
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 0
    assert not list(good.folder.rglob("*.part"))


def test_tensorboard_has_the_tags_of_the_design(good: Run) -> None:
    events = EventAccumulator(str(good.folder), size_guidance={"images": 0, "scalars": 0}).Reload()
    scalars, images = set(events.Tags()["scalars"]), set(events.Tags()["images"])
    for adversary in ("RandomForest", "BoostedTrees"):
        for knowledge in ("static", "adaptive"):
            tag = f"attack/property_sex/{adversary}/{knowledge}"
            wanted = {f"{tag}/{metric}" for metric in [*TAGGED, "tpr_at_1fpr"]}
            assert wanted | {f"{name}_rounds" for name in wanted} <= scalars
        # Static and adaptive are one answer here, so its curves are drawn once.
        tag = f"attack/property_sex/{adversary}/static"
        assert {f"{tag}/roc", f"{tag}/calibration", f"{tag}/posterior"} <= images
    for baseline in ("prior", "labels", "imputation"):
        tag = f"baseline/property_sex/{baseline}"
        assert {f"{tag}/auroc", f"{tag}/asr", f"{tag}/auroc_rounds"} <= scalars
        assert f"{tag}/gain" not in scalars
    assert {"utility/train_loss", "utility/val_loss", "utility/val_accuracy"} <= scalars
    groups = {"attack", "baseline", "information", "utility", "epoch"}
    assert {tag.split("/")[0] for tag in scalars} == groups
    assert {f"information/property_sex/{name}" for name in ("entropy", "bits_floor")} <= scalars
    assert "information/property_sex/bits" in images
    for row in good.rows:
        if row["metric"] in TAGGED and row["knowledge"]:
            suffix = "_rounds" if row["rounds"] == "sum" else ""
            tag = f"attack/property_sex/{row['adversary']}/{row['knowledge']}/{row['metric']}"
            logged = {event.step: event.value for event in events.Scalars(tag + suffix)}
            assert logged[int(row["step"])] == pytest.approx(float(row["value"]), abs=1e-6)


def test_the_terminal_ends_with_a_table(good: Run) -> None:
    title, _, header, *lines = good.out.strip().splitlines()
    assert (
        title
        == "secret property_sex, k = 16, defense none, data Adult (a stand-in: made-up records)"
    )
    for column in (
        "adversary",
        "AUROC [95%]",
        "ASR",
        "gain [95%]",
        "bits",
        "best baseline",
    ):
        assert column in header
    assert "utility on 599 validation records: loss" in good.out
    assert "(majority class 0.7" in good.out
    assert lines[-1] == f"written to {good.folder}"
    assert "a stand-in: made-up records" in good.err
    figures = {tuple(row[c] for c in COLUMNS[:12]): row for row in good.rows}
    table = [line for line in lines if line.split()[2:3] == ["either"]]
    assert len(table) == 6
    for line in table:
        round_, rounds, _, adversary = line.split()[:4]
        [row] = [
            r
            for key, r in figures.items()
            if (key[0], key[2], key[8]) == (round_, rounds, adversary)
            and (key[7], key[11]) == ("static", "auroc")
        ]
        value = float(row["value"])
        low, high = (float(row[side]) for side in ("low", "high")) if row["low"] else (None, None)
        shown = f"[{low:.3f}, {high:.3f}]" if low is not None else "[no interval]"
        assert f"{value:.3f} {shown}" in line
        best = line.split()[-2]
        assert best in ("prior", "labels")  # imputation is for adversaries that know phi(z)
        [rival] = [
            r
            for key, r in figures.items()
            if (key[0], key[2], key[8], key[11]) == (round_, rounds, best, "auroc")
        ]
        assert line.endswith(f"{best} ({float(rival['value']):.3f})")


# The same figures again


def test_the_saved_config_gives_the_same_bytes(good: Run, tmp_path: Path) -> None:
    """The first run had one thread, in a process of its own; here there are as many as usual."""
    again = rerun(good, tmp_path)
    assert again.csv == good.csv
    theirs, ours = (run.config for run in (good, again))
    assert theirs["trainer"]["logger"]["init_args"].pop("save_dir") != str(tmp_path)
    assert ours["trainer"]["logger"]["init_args"].pop("save_dir") == str(tmp_path)
    assert ours == theirs


def rerun(run: Run, logs: Path, *flags: str) -> Run:
    config = str(run.folder / "config.yaml")
    main(["fit", "--config", config, "--trainer.logger.save_dir", str(logs), *flags])
    return Run(newest(logs))


def test_another_seed_gives_other_figures(short: Run, tmp_path: Path) -> None:
    other = rerun(short, tmp_path, "--seed_everything", "1")
    assert other.csv != short.csv
    assert json.loads((other.folder / "run.json").read_text())["game"]["seed"] == 1
    changed = [a["value"] != b["value"] for a, b in zip(other.rows, short.rows, strict=True)]
    assert sum(changed) > len(changed) / 4


def test_one_key_can_be_changed_and_the_others_stay(short: Run, tmp_path: Path) -> None:
    changed = rerun(
        short, tmp_path, "--attack.secret.scope", "any", "--attack.secret.value", "Male"
    )
    wanted = short.config
    secret = wanted["attack"]["secret"]["init_args"]
    secret.update(scope="any", value="Male")
    wanted["trainer"]["logger"]["init_args"]["save_dir"] = str(tmp_path)
    assert changed.config == wanted
    assert {row["secret"] for row in changed.rows} == {"property_sex_any_uniform"}


@pytest.mark.parametrize("flag", ["--data.batch_size", "--data.init_args.batch_size"])
def test_a_nested_key_keeps_its_neighbours(
    flag: str, short: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(short.folder / "config.yaml"), flag, "32", "--print_config"])
    assert ended.value.code == 0
    wanted = short.config
    wanted["data"]["init_args"]["batch_size"] = 32
    assert yaml.safe_load(capsys.readouterr().out) == wanted


# Static and adaptive


def figures_of(run: Run, knowledge: str) -> list[tuple[str, ...]]:
    rows = [row for row in run.rows if row["knowledge"] == knowledge]
    return [tuple(value for key, value in row.items() if key != "knowledge") for row in rows]


def test_without_a_defense_static_and_adaptive_are_one(short: Run) -> None:
    assert short.fitted == 2 + 3  # once in each of two rounds, and on each of three layers
    assert figures_of(short, "static") == figures_of(short, "adaptive") != []


def test_with_a_defense_static_and_adaptive_are_two(pruned: Run) -> None:
    assert pruned.fitted == 4 + 3  # the map is of one that knows of the defense
    static, adaptive = figures_of(pruned, "static"), figures_of(pruned, "adaptive")
    assert len(static) == len(adaptive)
    assert static != adaptive


def test_a_defense_changes_training_and_releases(short: Run, pruned: Run) -> None:
    weights = [
        torch.load(next((run.folder / "checkpoints").iterdir()), weights_only=True)["state_dict"]
        for run in (short, pruned)
    ]
    assert not torch.equal(weights[0]["network.0.weight"], weights[1]["network.0.weight"])
    assert figures_of(short, "static") != figures_of(pruned, "static")


# Other subcommands and resumed runs


def checkpoint_of(run: Run) -> str:
    return str(next((run.folder / "checkpoints").iterdir()))


@pytest.mark.parametrize(("command", "stage"), [("test", "test"), ("validate", "val")])
def test_a_checkpoint_is_evaluated_from_the_saved_config(
    command: str, stage: str, short: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, flags = str(short.folder / "config.yaml"), ["--trainer.logger.save_dir", str(tmp_path)]
    before = {path: path.read_bytes() for path in short.folder.rglob("*") if path.is_file()}
    main([command, "--config", config, "--ckpt_path", checkpoint_of(short), *flags])
    assert f"utility/{stage}_accuracy" in capsys.readouterr().out
    assert not (newest(tmp_path) / "attack.csv").exists()
    after = {path: path.read_bytes() for path in short.folder.rglob("*") if path.is_file()}
    assert after == before


def test_training_goes_on_from_a_checkpoint(short: Run, tmp_path: Path) -> None:
    flags = ["--ckpt_path", checkpoint_of(short), "--trainer.max_epochs", "2"]
    run = rerun(short, tmp_path, *flags, "--attack.rounds", "[0,1,2]")
    check_figures(run)
    # The rounds before the checkpoint are read from the folder that it lies in.
    assert {(row["round"], row["step"], row["rounds"]) for row in run.rows} == {
        ("0", "0", "alone"),
        *(
            (round_, step, rounds)
            for round_, step in (("1", "5"), ("2", "10"))
            for rounds in ("alone", "sum")
        ),
    }
    assert torch.load(checkpoint_of(run), weights_only=True)["global_step"] == 10


# From Python


@dataclass
class Trained:
    """A model after training, and the states of the three random generators."""

    weights: dict[str, torch.Tensor]
    torch_state: torch.Tensor
    numpy_state: Any
    python_state: Any
    folder: Path


def train(root: Path, logs: Path, callbacks: Callable[[], list[Callback]]) -> Trained:
    seed_everything(0, verbose=False)
    data = Adult(str(root), exclude=["sex", "relationship"], seed=0)
    model = Tabular(data.in_features)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=5,
        accelerator="cpu",
        devices=1,
        logger=TensorBoardLogger(logs, name="adult", default_hp_metric=False),
        callbacks=callbacks(),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    assert trainer.log_dir is not None
    return Trained(
        model.state_dict(),
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002 - the global state is the point
        random.getstate(),
        Path(trainer.log_dir),
    )


def small_game() -> Game:
    return Game(
        secret=Property("sex"),
        k=16,
        rounds=[0, 1],
        shadow_batches=40,
        calibrate_batches=40,
        trials=40,
        adversaries=[RandomForest(trees=5, features=32)],
        layer_map=True,
    )


@pytest.mark.parametrize("defense", [NoDefense(), Pruning(0.1)], ids=repr)
def test_a_trainer_of_ones_own_gives_the_same_and_is_not_disturbed(
    defense: Defense, short: Run, pruned: Run, adult_root: Path, tmp_path: Path
) -> None:
    def defended() -> list[Callback]:
        return [Defend(defense)] if isinstance(defense, Pruning) else []

    alone = train(adult_root, tmp_path, defended)
    watched = train(adult_root, tmp_path, lambda: [*defended(), Attack(small_game(), defense)])

    wanted = pruned if isinstance(defense, Pruning) else short
    assert (watched.folder / "attack.csv").read_bytes() == wanted.csv
    saved = torch.load(checkpoint_of(wanted), weights_only=True)["state_dict"]
    weights = {name for name in saved if name.startswith("network.")}
    assert weights
    for name in weights:
        assert torch.equal(alone.weights[name], watched.weights[name]), name
        assert torch.equal(alone.weights[name], saved[name]), name

    assert torch.equal(alone.torch_state, watched.torch_state)
    assert alone.python_state == watched.python_state
    for ours, theirs in zip(alone.numpy_state, watched.numpy_state, strict=True):
        assert np.array_equal(ours, theirs)


# Bad input

ATTACK_KEYS = ", ".join(
    f"attack.{key}"
    for key in (
        "adversaries",
        "attributes",
        "background",
        "batches",
        "calibrate_batches",
        "cores",
        "curve_clients",
        "curve_k",
        "k",
        "known",
        "labels",
        "layer_map",
        "layers",
        "local_batch",
        "local_lr",
        "local_steps",
        "loss",
        "memory",
        "others",
        "rounds",
        "secret",
        "shadow_batches",
        "shadow_k",
        "shadow_records",
        "shadow_shift",
        "trials",
        "units",
    )
)
TRAITS = (
    "workclass, education, marital-status, occupation, relationship, race, sex, native-country,"
    " age-band"
)
ADULT_CLASS = "leakage.data.adult.Adult"
FIRST_LETTERS = "network.0.weight, network.0.bias, network.2.weight, network.2.bias"


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> None:
        pytest.fail("a training step was taken")

    monkeypatch.setattr(Tabular, "training_step", step)


def refusal(argv: list[str], logs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a run that is refused before anything is trained or written."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
    sentences = [line for line in lines if line.startswith("error: ")]
    assert sentences == lines[-1:], err
    assert "Traceback" not in out + err
    # Lightning may already have opened an events file; nothing in it or beside it is a figure.
    for path in logs.rglob("*"):
        assert path.is_dir() or path.name.startswith("events.out.tfevents"), path
    for folder in logs.glob("adult/version_*"):
        assert EventAccumulator(str(folder)).Reload().Tags()["scalars"] == []
    return sentences[0].removeprefix("error: ")


# By name: the flags or the text of a YAML file, and the sentence; `*` stands for "and so on".
BAD: dict[str, tuple[list[str] | str, str]] = {
    "unknown attribute": (
        ["--attack.secret.attribute", "sexx"],
        "attack.secret.attribute: the data set Adult knows no attribute 'sexx'; did you mean"
        f" 'sex'? Known: {TRAITS}",
    ),
    "k larger than the smallest pool": (
        ["--attack.k", "5000"],
        "attack.k: a batch of k = 5000 needs 5000 records with sex = Female, but the shadow_fit"
        " split holds 389; lower attack.k or choose an attribute whose values are less rare",
    ),
    "k of 0": (["--attack.k", "0"], "attack.k: at least 1 is needed, got 0"),
    "k in words": (
        ["--attack.k", "many"],
        "attack.k: Expected a <class 'int'>. Got value: many",
    ),
    "fewer than 2 shadow batches a class": (
        ["--attack.shadow_batches", "3"],
        "attack.shadow_batches: 3 batches are fewer than 2 for each of the 2 values of"
        " property_sex; at least 4 are needed",
    ),
    "fewer than 2 calibrate batches a class": (
        ["--attack.calibrate_batches", "3"],
        "attack.calibrate_batches: 3 batches are fewer than 2 for each of the 2 values of"
        " property_sex; at least 4 are needed",
    ),
    "keep of 0": (
        ["--defense", "Pruning", "--defense.keep", "0"],
        "defense.keep: Pruning keeps a share of entries in (0, 1], got 0.0",
    ),
    "keep above 1": (
        ["--defense", "Pruning", "--defense.keep", "1.5"],
        "defense.keep: Pruning keeps a share of entries in (0, 1], got 1.5",
    ),
    "keep below 0, of a record": (
        ["--defense", "RecordPruning", "--defense.keep", "-.1"],
        "defense.keep: RecordPruning keeps a share of entries in (0, 1], got -0.1",
    ),
    "attribute secret on an excluded column": (
        ["--attack.secret", "Attribute", "--attack.secret.attribute", "sex"],
        "attack.secret: Attribute is about a feature of x, but 'sex' is excluded from x; take it"
        " out of data.exclude, or use the secret Property",
    ),
    "property secret on a column in x": (
        ["--data.exclude", "[relationship]"],
        "attack.secret: Property is about a trait that is no part of x, but 'sex' is in x; add it"
        " to data.exclude, or use the secret Attribute",
    ),
    "round later than the last epoch": (
        ["--attack.rounds", "[0, 3]"],
        "attack.rounds: round 3 is played after 3 epochs, but trainer.max_epochs is 1",
    ),
    "layer pattern that fits nothing": (
        ["--attack.layers", "[netwrk.0.*]"],
        "attack.layers: the pattern 'netwrk.0.*' matches no trainable parameter; did you mean"
        f" 'network.0.bias'? Known: {FIRST_LETTERS}, network.4.weight, network.4.bias",
    ),
    "excluded column that is unknown": (
        ["--data.exclude", "[sexx]"],
        "data.exclude: Adult has no column 'sexx'; did you mean 'sex'? Known: age, *",
    ),
    "key misspelt at the top, flag": (
        ["--atack.k", "3"],
        "atack.k: there is no such key; did you mean 'attack'? Known: attack, *",
    ),
    "key misspelt at the top, YAML": (
        "atack:\n  k: 3\n",
        "atack.k: there is no such key; did you mean 'attack'? Known: attack, *",
    ),
    "key of the attack, flag": (
        ["--attack.shadow_batchs", "3"],
        "attack.shadow_batchs: there is no such key; did you mean 'attack.shadow_batches'? Known:"
        f" {ATTACK_KEYS}",
    ),
    "key of the attack, YAML": (
        "attack:\n  shadow_batchs: 3\n",
        "attack.shadow_batchs: there is no such key; did you mean 'attack.shadow_batches'? Known:"
        f" {ATTACK_KEYS}",
    ),
    "key of the trainer, flag": (
        ["--trainer.max_epoch", "3"],
        "trainer.max_epoch: there is no such key; did you mean 'trainer.max_epochs'? Known:"
        " trainer.accelerator, *",
    ),
    "key of the trainer, YAML": (
        "trainer:\n  max_epoch: 3\n",
        "trainer.max_epoch: there is no such key; did you mean 'trainer.max_epochs'? Known:"
        " trainer.accelerator, *",
    ),
    "key of the data, flag": (
        ["--data.exlude", "[]"],
        f"data: {ADULT_CLASS} has no argument 'exlude'; did you mean 'exclude'? Known: root, *",
    ),
    "key of the data, long flag": (
        ["--data.init_args.exlude", "[]"],
        f"data: {ADULT_CLASS} has no argument 'exlude'; did you mean 'exclude'? Known: root, *",
    ),
    "key of the data, YAML": (
        "data:\n  init_args:\n    exlude: []\n",
        f"data: {ADULT_CLASS} has no argument 'exlude'; did you mean 'exclude'? Known: root, *",
    ),
    "key of the secret, flag": (
        ["--attack.secret.atribute", "sex"],
        "attack.secret: leakage.secrets.Property has no argument 'atribute'; did you mean"
        " 'attribute'? Known: attribute, scope, value, holders, prior",
    ),
    "key of the secret, YAML": (
        "attack:\n  secret:\n    init_args:\n      atribute: sex\n",
        "attack.secret: leakage.secrets.Property has no argument 'atribute'; did you mean"
        " 'attribute'? Known: attribute, scope, value, holders, prior",
    ),
    "key of the model, flag": (
        ["--model.hiden", "[]"],
        "model: leakage.models.tabular.Tabular has no argument 'hiden'; did you mean 'hidden'?"
        " Known: *",
    ),
    "key of the model, YAML": (
        "model:\n  init_args:\n    hiden: [3]\n",
        "model: leakage.models.tabular.Tabular has no argument 'hiden'; did you mean 'hidden'?"
        " Known: *",
    ),
    "key of the defense": (
        ["--defense", "Pruning", "--defense.kep", "0.1"],
        "defense: leakage.defenses.Pruning has no argument 'kep'; did you mean 'keep'? Known:"
        " keep, scope",
    ),
    "key of no defense": (
        ["--defense.kep", "0.1"],
        "defense: leakage.defenses.NoDefense has no argument 'kep'; it has none",
    ),
    "key of an adversary": (
        "attack:\n  adversaries:\n    - class_path: leakage.adversaries.RandomForest\n"
        "      init_args:\n        tres: 3\n",
        "attack.adversaries: leakage.adversaries.RandomForest has no argument 'tres'; did you mean"
        " 'trees'? Known: features, trees, reduce",
    ),
    "class of an adversary": (
        "attack:\n  adversaries:\n    - class_path: leakage.adversaries.RandomForrest\n",
        "attack.adversaries: there is no class 'RandomForrest'; did you mean 'RandomForest'? Known:"
        " BoostedTrees, FirstLayer, LikelihoodRatio, LinearDiscriminant, LogisticRegression,"
        " NearestMean, NeuralNetwork, Ordinal, Prototypes, RandomForest*",
    ),
    "class of the secret, flag": (
        ["--attack.secret", "Propperty"],
        "attack.secret: there is no class 'Propperty'; did you mean 'Property'? Known: Attribute,"
        " Distribution, Membership, Property, User",
    ),
    "class of the secret, YAML": (
        "attack:\n  secret:\n    class_path: leakage.secrets.Propperty\n",
        "attack.secret: there is no class 'Propperty'; did you mean 'Property'? Known: Attribute,"
        " Distribution, Membership, Property, User",
    ),
    "class of the defense, flag": (
        ["--defense", "Prunning"],
        "defense: there is no class 'Prunning'; did you mean 'Pruning'? Known: Chain, *",
    ),
    "class of the defense, YAML": (
        "defense:\n  class_path: leakage.defenses.Prunning\n",
        "defense: there is no class 'Prunning'; did you mean 'Pruning'? Known: Chain, *",
    ),
    "class of the model": (
        ["--model", "Tabularr"],
        "model: there is no class 'Tabularr'; did you mean 'Tabular'? Known: *",
    ),
    "class of the data": (
        "data:\n  class_path: leakage.data.adult.Adultt\n",
        "data: there is no class 'Adultt'; did you mean 'Adult'? Known: *",
    ),
    "module of the data": (
        "data:\n  class_path: leakage.data.adultt.Adult\n",
        "data: there is no class 'adultt'; did you mean 'Adult'? Known: *",
    ),
    "class of a callback": (
        "trainer:\n  callbacks:\n    - class_path: leakage.callbacks.Captur\n",
        "trainer.callbacks: there is no class 'Captur'; did you mean 'Capture'? Known: *",
    ),
}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(
    name: str, adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, sentence = BAD[name]
    logs = tmp_path / "logs"
    if isinstance(wrong, str):
        path = tmp_path / "wrong.yaml"
        path.write_text(wrong)
        argv = fit_arguments(adult_root, logs)
        if "adversaries" in wrong:  # else the override would win over the file
            at = argv.index("--attack.adversaries")
            del argv[at : at + 2]
        argv = [*argv, "--config", str(path)]
    else:
        argv = fit_arguments(adult_root, logs, *wrong)
    found = refusal(argv, logs, capsys)
    if sentence.endswith("*"):  # other tests define classes of their own in this process
        assert found.startswith(sentence[:-1])
    else:
        assert found == sentence


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("text", "row"), [("attack:\n  k: [3\n", 3), ("attack: {k: 3\ntrainer: 3}}\n", 2)]
)
def test_broken_yaml_is_named_with_its_row(
    text: str, row: int, adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    logs = tmp_path / "logs"
    found = refusal(fit_arguments(adult_root, logs, str(path)), logs, capsys)
    assert found.startswith(f"{path}, row {row}: ")


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("text", ["- k\n", "attack\n"])
def test_a_config_that_is_no_mapping_is_named(
    text: str, adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    logs = tmp_path / "logs"
    found = refusal(fit_arguments(adult_root, logs, str(path)), logs, capsys)
    assert found.startswith(f"{path}: ")


@pytest.mark.usefixtures("no_training")
def test_a_config_that_is_missing(
    adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, path = tmp_path / "logs", tmp_path / "none.yaml"
    found = refusal(fit_arguments(adult_root, logs, str(path)), logs, capsys)
    assert found == f"config: File does not exist: '{path}'"


@pytest.mark.usefixtures("no_training")
def test_a_checkpoint_that_is_missing(
    adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, path = tmp_path / "logs", tmp_path / "none.ckpt"
    found = refusal(fit_arguments(adult_root, logs, f"--ckpt_path={path}"), logs, capsys)
    assert found == f"ckpt_path: there is no file {path}"


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("data.seed", ""),
        ("attack.seed", ""),
        ("model.init_args.in_features", ""),
        ("", "data:\n  init_args:\n    seed: 3\n"),
    ],
)
def test_a_key_that_another_one_decides_is_refused(
    flag: str, text: str, adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An argument that is accepted is used: these would be overwritten without a word."""
    logs, path = tmp_path / "logs", tmp_path / "linked.yaml"
    path.write_text(text)
    wrong = str(path) if text else f"--{flag}=3"
    found = refusal(fit_arguments(adult_root, logs, wrong), logs, capsys)
    key = "data.seed" if text else flag.replace(".init_args", "")
    if key == "attack.seed":
        assert found == 'Linked "attack.seed" must be given via "seed_everything".'
    else:
        decides = "seed_everything" if key == "data.seed" else "the columns of the data"
        assert found == f"{key}: cannot be set by itself, {decides} decides it"


# Bad data


@pytest.fixture
def folder(adult_root: Path, tmp_path: Path) -> Path:
    """A copy of the data without their marker, to be damaged."""
    copy = tmp_path / "data"
    copy.mkdir()
    for name in ("adult.data", "adult.test"):
        shutil.copy(adult_root / name, copy)
    return copy


def damage(path: Path, row: int, change: Callable[[list[str]], list[str]]) -> None:
    """Changes the fields of one row; the first line is row 1."""
    lines = path.read_text().split("\n")
    lines[row - 1] = ", ".join(change(lines[row - 1].split(", ")))
    path.write_text("\n".join(lines))


def refused_data(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    logs = tmp_path / "logs"
    argv = fit_arguments(folder, logs, **{"data.standin": False})
    return refusal(argv, logs, capsys)


@pytest.mark.usefixtures("no_training")
def test_data_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "none"
    assert refused_data(folder, tmp_path, capsys) == (
        f"{folder}: found no adult.data or adult.test; point data.root at the folder of the"
        " official files of Adult, set data.download=true to fetch them, or set data.standin=true"
        " to work with made-up records"
    )


@pytest.mark.usefixtures("no_training")
def test_one_file_that_is_missing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "adult.test").unlink()
    assert refused_data(folder, tmp_path, capsys) == (
        f"{folder / 'adult.test'}: it is missing, while other files of Adult are there; put it"
        " beside them, or point data.root at an empty folder"
    )


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("name", ["adult.data", "adult.test"])
def test_a_row_that_is_short(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / name, 7, lambda fields: fields[:-1])
    assert refused_data(folder, tmp_path, capsys) == (
        f"{folder / name}, row 7: found 14 fields, expected 15 with a comma between them"
    )


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "", "?"])
def test_a_number_that_is_none(
    value: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "adult.data", 11, lambda fields: [value, *fields[1:]])
    assert refused_data(folder, tmp_path, capsys) == (
        f"{folder / 'adult.data'}, row 11, column age: found {value!r}, expected a number from 0"
        " to 1000000000"
    )


@pytest.mark.usefixtures("no_training")
def test_a_category_that_is_unknown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "adult.data", 5, lambda fields: [*fields[:9], "male", *fields[10:]])
    assert refused_data(folder, tmp_path, capsys) == (
        f"{folder / 'adult.data'}, row 5, column sex: found 'male', expected one of Female, Male"
    )


@pytest.mark.usefixtures("no_training")
def test_a_secret_with_one_value(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("adult.data", "adult.test"):
        lines = (folder / name).read_text().split("\n")[:300]
        (folder / name).write_text("\n".join(lines).replace(" Female,", " Male,") + "\n")
    assert refused_data(folder, tmp_path, capsys) == (
        "attack.secret.attribute: 'sex' has the one value 'Male' in the data, so there is nothing"
        " to infer; choose an attribute with two or more"
    )


def test_a_process_ends_with_the_sentence_and_code_2(adult_root: Path, tmp_path: Path) -> None:
    argv = fit_arguments(adult_root, tmp_path, "--attack.secret.attribute=sexx")
    result = run_process(argv, threads=1)
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert lines[-1].endswith(f"knows no attribute 'sexx'; did you mean 'sex'? Known: {TRAITS}")
    assert not list(tmp_path.rglob("attack.csv"))
