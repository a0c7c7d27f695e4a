"""`python -m leakage report` on runs that the program has made: of a leak, and of nothing."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leakage.answered import answered_file, read_answered
from leakage.callbacks.play import Play
from leakage.cli import main
from leakage.metrics.ranking import auroc
from leakage.predicted import read_predicted

pytestmark = pytest.mark.usefixtures("process_state")

MAIN_JOB = Path(__file__).resolve().parent.parent.parent / "configs" / "adult.yaml"
SHORT = {
    "attack.k": 4,
    "attack.rounds": [0, 1],
    "attack.shadow_batches": 120,
    "attack.calibrate_batches": 80,
    "attack.trials": 160,
    "attack.background": False,
    "attack.adversaries": [
        {"class_path": "leakage.adversaries.RandomForest", "init_args": {"trees": 30}}
    ],
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 5,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}


def permuted(folder: Path, out: Path) -> Path:
    """The same files with sex in random order, so that nothing tells it."""
    shutil.copytree(folder, out)
    (out / "standin.json").unlink()  # which would not be true of them
    for file in (out / "adult.data", out / "adult.test"):
        rows = [line.split(", ") for line in file.read_text().splitlines()]
        whole = [row for row in rows if len(row) == 15]
        sexes = [row[9] for row in whole]
        random.Random(0).shuffle(sexes)
        for row, sex in zip(whole, sexes, strict=True):
            row[9] = sex
        file.write_text("".join(", ".join(row) + "\n" for row in rows))
    return out


def fit(root: Path, logs: Path, **changed: Any) -> None:
    settings = SHORT | {"data.root": str(root), "trainer.logger.save_dir": str(logs)} | changed
    words = [
        word
        for key, value in settings.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    main(["fit", "--config", str(MAIN_JOB), *words])


@pytest.fixture(scope="module")
def runs(adult_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run that leaks, `leaks`, and one on permuted secrets, `permuted`."""
    folder = tmp_path_factory.mktemp("runs")
    fit(adult_root, folder / "leaks")
    fit(permuted(adult_root, folder / "files"), folder / "permuted")
    return folder


def report(*words: str, code: int = 0) -> None:
    """Runs the command, which has to end with this code."""
    if not code:
        main(["report", *words])
        return
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert ended.value.code == code


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "attack.csv").read_text().splitlines()))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_leak_is_claimed_with_its_numbers_and_nothing_of_permuted_secrets(
    runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    report(str(runs), "--out", str(out))
    told = read(out)
    held = {claim["run"].split("/")[0] for claim in told["claims"] if claim["holds"]}
    assert held == {"leaks"}
    leaks, nothing = told["runs"]
    rows = table(Path(leaks["folder"]))
    rows = [row for row in rows if row["layers"] == row["group"] == "all"]
    of_forest = [row for row in rows if row["adversary"] == "RandomForest"]
    for metric in ("auroc", "gain"):
        figures = {
            tuple(f"{float(row[name]):.3f}" for name in ("value", "low", "high"))
            for row in of_forest
            if row["metric"] == metric
        }
        sign = "+" if metric == "gain" else ""
        said = [f"{sign}{value} [{sign}{low}, {sign}{high}]" for value, low, high in figures]
        assert any(words in leaks["sentences"][0] for words in said)
    assert nothing["sentences"][0].startswith(
        "Without a defense none of the listed adversaries (RandomForest) beat the best baseline by"
    )
    assert [leaks["standin"], nothing["standin"]] == [True, False]
    assert told["warnings"][0].startswith("The records of 1 of 2 runs (leaks/adult/version_0) are")


@pytest.mark.parametrize("rounds", ["alone", "sum"])
def test_a_run_keeps_its_trials_for_its_owner_alone_and_they_give_its_figures(
    runs: Path, rounds: str
) -> None:
    folder = runs / "leaks/adult/version_0"
    kept = read_answered(folder / "attack" / answered_file(1, rounds))
    assert kept is not None
    rows = {
        (row["knowledge"], row["adversary"], row["metric"]): tuple(
            float(row[name] or "nan") for name in ("value", "low", "high")
        )
        for row in csv.DictReader((folder / "attack.csv").open())
        if (row["round"], row["rounds"], row["layers"], row["group"]) == ("1", rounds, "all", "all")
        and row["value"]
    }
    names = {("", "prior"), ("", "labels"), ("", "imputation"), ("either", "RandomForest")}
    assert set(kept.rankings) == names
    for (knowledge, name), ranking in kept.rankings.items():
        found = auroc(ranking, kept.values, kept.draws)
        expected = rows["adaptive" if knowledge else "", name, "auroc"]
        assert (found.value, found.low, found.high) == pytest.approx(expected, nan_ok=True)
    for file in (folder / "attack").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_run_keeps_its_predictions_and_two_runs_are_compared_by_them(
    runs: Path, tmp_path: Path
) -> None:
    folder = runs / "leaks/adult/version_0"
    kept = read_predicted(folder / "predicted.safetensors")
    assert kept is not None
    assert stat.S_IMODE((folder / "predicted.safetensors").stat().st_mode) == 0o600
    told = read(folder / "run.json")["utility"]
    for split, hits in kept.hits.items():
        assert hits.mean() == told[f"{split}_accuracy"][0]
        assert len(hits) == kept.records[split].shape[1] > 100
    again = shutil.copytree(folder, tmp_path / "again")
    report(str(folder), str(again), "--compare", "--out", str(tmp_path / "report.json"))
    found = read(tmp_path / "report.json")["differences"]
    assert [row["metric"] for row in found] == [*2 * ["auroc", "gain"], "test_accuracy"]
    for row in found:
        assert row["paired"]
        assert row["figure"]["value"] == 0
        assert row["figure"]["low"] == -row["figure"]["high"] < 0


def test_conditions_end_with_a_code_and_a_sentence(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "report.json")
    words = (str(runs), "--out", out)
    report(*words, "--fail-if", "low(gain) > 0.9", "--fail-if", "test_accuracy < 0.1")
    report(*words, "--fail-if", "gain > 0.9", "--fail-if", "auroc > 0.6", code=3)
    said = capsys.readouterr().err
    assert "--fail-if 'auroc > 0.6': in leaks/adult/version_0 the auroc of RandomForest" in said
    assert "gain > 0.9" not in said
    report(*words, "--fail-if", "epsilon > 1", code=2)
    assert "no run has a metric 'epsilon'; " in capsys.readouterr().err
    (half := tmp_path / "half").mkdir()
    (half / "attack.csv").write_text("")
    report(str(half), "--out", out)
    assert f"{out}: wrote a report on 1 run\n" in capsys.readouterr().err
    report(str(half), *words, "--fail-if", "gain > 0.9", code=2)
    assert "is unfinished, so nothing is sure of it" in capsys.readouterr().err


def test_a_report_needs_no_torch_and_takes_the_place_of_no_other_file(
    runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    program = (
        "import sys; from leakage.cli import main; main(sys.argv[1:]);"
        " assert not {'torch', 'lightning', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    argv = [sys.executable, "-c", program, "report", str(runs), "--out", str(out), "--compare"]
    assert subprocess.run(argv, capture_output=True, text=True).returncode == 0
    report(str(runs), "--out", str(out))  # a report may take the place of one
    out.write_text("my notes")
    report(str(runs), "--out", str(out), code=2)
    assert out.read_text() == "my notes"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "pdf"), "--format: there is no format 'pdf'; Known: html, json"),
        (("--out", "absent/report.html"), "--out: there is no folder absent"),
        (("--fail-if", "gain"), "--fail-if: found 'gain', expected a metric"),
        (("--compar", "x"), "--compar: there is no such option; did you mean 'compare'?"),
        (("--compare", "logs"), "logs: the folders stand side by side"),
    ],
)
def test_a_mistake_is_one_sentence(
    runs: Path, words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report(str(runs), *words, code=2)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_report_on_standard_output_is_alone_there(runs: Path, tmp_path: Path) -> None:
    def reported(*words: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "leakage", "report", str(runs), "--out", "-", *words]
        return subprocess.run(argv, cwd=tmp_path, timeout=120, check=False, **streams)

    done = reported("--format", "json", "--fail-if", "auroc > 0.6", capture_output=True)
    told = json.loads(done.stdout)
    assert (done.returncode, len(told["runs"])) == (3, 2)
    said = done.stderr.decode().splitlines()
    assert said[:2] == ["standard output: wrote a report on 2 runs", *told["warnings"]]
    assert said[2].startswith("--fail-if 'auroc > 0.6': in leaks")
    done = reported("--fail-if", "gain > 2", capture_output=True)
    assert done.returncode == 0
    assert done.stdout.startswith(b"<!doctype html>")
    assert done.stdout.rstrip().endswith(b"</html>")
    assert list(tmp_path.iterdir()) == []
    for unbuffered in ("", "1"):
        argv = [sys.executable, "-m", "leakage", "report", str(runs), "--out", "-"]
        env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, env=env, stdout=pipe, stderr=pipe) as cut:
            assert cut.stdout is not None
            assert cut.stderr is not None
            cut.stdout.read(3)
            cut.stdout.close()  # before all of the page is in it
            assert b"--out: standard output cannot be written: Broken pipe" in cut.stderr.read()
        assert cut.returncode == 2
    with Path("/dev/full").open("wb") as full:
        done = reported(stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr.decode()) == (
        2,
        "error: --out: standard output cannot be written: No space left on device\n",
    )


def test_a_run_that_was_killed_after_its_last_round_is_not_whole(
    adult_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Play, "conclude", lambda self, trainer: None)
        fit(adult_root, tmp_path / "run", **{"attack.rounds": [1], "trainer.max_epochs": 2})
    out = tmp_path / "report.json"
    words = (str(tmp_path / "run"), "--out", str(out), "--fail-if", "val_accuracy > 1")
    report(*words, code=2)  # its utility is that of a part of training
    (run,) = read(out)["runs"]
    assert (run["state"], [fault[:23] for fault in run["faults"]]) == (
        "unfinished",
        ["training has not ended,"],
    )
    file = Path(run["folder"]) / "run.json"
    file.write_text(json.dumps(read(file) | {"ended": True}))
    report(*words)
