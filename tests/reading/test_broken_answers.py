"""What runs are compared by, with anything in it: no pair then, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_runs import LABELS, drawn, leave, rows_of
from safetensors import safe_open
from safetensors.numpy import load_file, save

from leakage.answered import Answered, answered_file
from leakage.metrics.utility import accuracy
from leakage.predicted import Predicted
from leakage.reading.report import report_of

Change = Callable[[dict[str, Any], dict[str, Any]], object]
TRIALS: dict[str, Change] = {
    "no word of the sample": lambda told, _: told.pop("clustered"),
    "units are no sample": lambda told, _: told.update(clustered=True),
    "names of one letter": lambda told, _: told.update(guessers=[1, 2]),
    "units out of range": lambda _, a: a.update(units=a["units"] + 10**6),
    "units of floats": lambda _, a: a.update(units=a["units"] * 1.0),
    "secrets of floats": lambda _, a: a.update({"values": a["values"] * 1.0}),
    "secrets out of range": lambda _, a: a.update({"values": a["values"] + 7}),
    "no number": lambda _, a: a.update({"ranking/1": a["ranking/1"] * np.nan}),
    "no posterior": lambda _, a: a.update({"ranking/1": a["ranking/1"] + 1}),
    "one value": lambda _, a: a.update({"ranking/1": a["ranking/1"][:, 0]}),
    "too few trials": lambda _, a: a.update({"ranking/1": a["ranking/1"][:9]}),
    "of other figures": lambda _, a: a.update({"ranking/1": a["ranking/1"][:, ::-1]}),
}
RECORDS: dict[str, Change] = {
    "no units": lambda _, a: a.update({"records/test": a["records/test"][:2]}),
    "no table": lambda _, a: a.update({"records/test": a["records/test"][0]}),
    "no truths": lambda _, a: a.update({"hits/test": a["hits/test"].astype(np.int64)}),
    "too few": lambda _, a: a.update({"hits/test": a["hits/test"][:9]}),
    "of other figures": lambda _, a: a.update({"hits/test": ~a["hits/test"]}),
}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of the same trials and the same held-out records."""
    rng = np.random.default_rng(0)
    (labels, *answers), truth, draws = drawn(rng, [0.3, 1.2, 0.6])
    table = np.stack([np.arange(300), rng.integers(0, 2, 300), np.arange(300)])
    folders = []
    for name, answer in zip(("one", "two"), answers, strict=True):
        hits = rng.random(300) < 0.8
        worth = accuracy(hits, table[2])
        rows = rows_of({LABELS: labels, "Forest": answer}, truth, draws)
        utility = {"test_accuracy": [worth.value, worth.low, worth.high]}
        folders.append(leave(tmp_path / name, rows, utility=utility))
        (folders[-1] / "attack").mkdir()
        kept = Answered(truth, draws, {("", LABELS): labels, ("either", "Forest"): answer})
        (folders[-1] / "attack" / answered_file(0, "alone")).write_bytes(kept.packed())
        predicted = Predicted({"test": table}, {"test": hits}).packed()
        (folders[-1] / "predicted.safetensors").write_bytes(predicted)
    return folders


def change(path: Path, changed: Change) -> None:
    with safe_open(path, framework="numpy") as file:
        told = json.loads((file.metadata() or {}).get("answered", "{}"))
    arrays: dict[str, Any] = load_file(path)
    changed(told, arrays)
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(whole, {"answered": json.dumps(told)}))


def paired(runs: list[Path]) -> dict[str, bool]:
    return {d.metric: d.paired for d in report_of(runs, compare=True).differences}


@pytest.mark.parametrize("what", TRIALS)
def test_trials_that_are_none_make_no_pair(runs: list[Path], what: str) -> None:
    assert paired(runs) == {"auroc": True, "gain": True, "test_accuracy": True}
    for run in runs if what != "of other figures" else runs[:1]:
        change(run / "attack" / answered_file(0, "alone"), TRIALS[what])
    assert paired(runs) == {"auroc": False, "gain": False, "test_accuracy": True}


@pytest.mark.parametrize("what", RECORDS)
def test_predictions_that_are_none_make_no_pair(runs: list[Path], what: str) -> None:
    for run in runs if what != "of other figures" else runs[:1]:
        change(run / "predicted.safetensors", RECORDS[what])
    assert paired(runs) == {"auroc": True, "gain": True, "test_accuracy": False}
