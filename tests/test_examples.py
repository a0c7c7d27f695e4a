"""The scripts that a reader copies from: they run, they find the leak, and they change nothing."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import random
import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# The sizes of a short run, the path that the engine takes, its reason, and the secret. A new
# script fails until it stands here.
EXPECTED: dict[str, tuple[dict[str, int], str, str, str]] = {
    "image_torchvision": (
        {"n": 600, "batches": 120},
        "factored",
        "equal to plain autograd on",
        "property_tone",
    ),
    "tabular_batchnorm": (
        {"people": 500, "batches": 240},
        "batch-wise",
        "network.1 (BatchNorm1d)",
        "property_smokes",
    ),
    "text_attention": (
        {"n": 800, "batches": 100},
        "record-wise",
        "not factored: attention (MultiheadAttention)",
        "property_dialect",
    ),
}
NAMES = list(EXPECTED)


@dataclass(frozen=True)
class Run:
    """What a script left."""

    name: str
    folder: Path
    out: str
    log: str
    weights: dict[str, Tensor]
    randomness: tuple[Any, ...]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def play(module: ModuleType, folder: Path, sizes: dict[str, int]) -> tuple[dict[str, Tensor], Any]:
    """Runs a script; the weights that it trained, and how far the global randomness came."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state is what is looked at
    module.main(folder, **sizes)
    state: Any = np.random.get_state()  # noqa: NPY002
    after = (torch.get_rng_state().tolist(), random.getstate(), state[1].tolist(), state[2:])
    (checkpoint,) = folder.rglob("*.ckpt")
    return torch.load(checkpoint, weights_only=False)["state_dict"], after


@pytest.fixture(scope="module", params=NAMES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, out, log = tmp_path_factory.mktemp(request.param), io.StringIO(), io.StringIO()
    handler, logger = logging.StreamHandler(log), logging.getLogger("leakage")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with redirect_stdout(out):
            weights, after = play(load(request.param), folder, EXPECTED[request.param][0])
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    left = folder / request.param / "version_0"
    return Run(request.param, left, out.getvalue(), log.getvalue(), weights, after)


def test_every_example_is_run_below() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_says_where_the_attack_is(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    block = text.split("# The attack, on any Trainer:\n")[1].split("\n\n")[0]
    first = [line.split("=")[0].strip() for line in block.splitlines()]
    assert first == ["game", "attack", "trainer"]
    assert set(re.findall(r"from (leakage\S*)", text)) == {
        *("leakage.adversaries", "leakage.callbacks", "leakage.rules", "leakage.secrets"),
    }  # fmt: skip


def test_the_leak_is_found(run: Run) -> None:
    rows = pd.read_csv(run.folder / "attack.csv")
    areas = rows[rows["metric"] == "auroc"].set_index(["round", "rounds", "adversary"])
    attacks, baselines = (areas[areas["knowledge"].isna() == is_one] for is_one in (False, True))
    assert {index[:2] for index in attacks.index} == {(0, "alone"), (1, "alone"), (1, "sum")}
    for (round_, rounds, _), attack in attacks.iterrows():
        rivals = baselines.loc[round_, rounds].drop("imputation")  # knows what no adversary does
        assert sorted(rivals.index) == ["labels", "prior"]
        assert attack["low"] > max(0.5, rivals["value"].max())
    assert set(rows["secret"]) == {EXPECTED[run.name][3]}


def test_the_log_says_how_gradients_are_computed(run: Run) -> None:
    _, path, reason, _ = EXPECTED[run.name]
    (line,) = [line for line in run.log.splitlines() if line.startswith("gradients: ")]
    assert line.startswith(f"gradients: {path} (")
    assert reason in line
    assert json.loads((run.folder / "run.json").read_text())["gradients"] in line


def test_an_example_ends_with_the_table(run: Run) -> None:
    secret = EXPECTED[run.name][3]
    assert f"secret {secret}, k = 8, defense none, data " in run.out
    assert "(records as given, which the model trains on)" in run.out
    assert "strongest: RandomForest, all rounds together: AUROC " in run.out
    assert run.out.rstrip().endswith(f"written to {run.folder}")


def test_an_example_leaves_what_the_readme_promises(run: Run) -> None:
    names = {path.name.split(".")[0] for path in run.folder.iterdir()}
    assert {"attack", "run", "hparams", "checkpoints", "events"} <= names
    saved = json.loads((run.folder / "run.json").read_text())
    assert {"data", "splits", "seconds", "versions", "trained_on"} <= set(saved)
    assert saved["trained_on"] is True
    events = EventAccumulator(str(run.folder), {"images": 0})
    events.Reload()
    tag = f"attack/{EXPECTED[run.name][3]}/RandomForest/adaptive"
    assert {f"{tag}/auroc", f"{tag}/bits"} <= set(events.Tags()["scalars"])
    tag = tag.replace("adaptive", "static")  # of one answer the curves are drawn once
    assert {f"{tag}/roc", f"{tag}/calibration", f"{tag}/posterior"} <= set(events.Tags()["images"])


def test_observing_changes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and the randomness of torch, numpy and Python end as without the attack."""
    module = load(run.name)
    monkeypatch.setattr(module, "Attack", lambda *args, **named: Callback())
    weights, after = play(module, tmp_path, EXPECTED[run.name][0])
    assert not list(tmp_path.rglob("attack.csv"))
    assert weights.keys() == run.weights.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, run.weights[name]), name
    assert after == run.randomness
