"""The audit from the command line and as a callback, with the YAML files that users get."""

from __future__ import annotations

import csv
import json
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from leakage.accounting.gaussian import gaussian_epsilon
from leakage.audit.canaries import GradientCanary, NaturalCanary
from leakage.audit.rules import AuditRules
from leakage.callbacks import Audit, Defend
from leakage.cli import main
from leakage.data.adult import Adult
from leakage.defenses import DP
from leakage.errors import LeakageError
from leakage.models.tabular import Tabular

pytestmark = pytest.mark.usefixtures("process_state")

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MAIN = CONFIGS / "audits" / "adult.yaml"
SHORT = {
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
    "trainer.log_every_n_steps": 1,
    "audit.trials": 1000,
}


def canary(name: str, **settings: Any) -> dict[str, Any]:
    return {"class_path": f"leakage.audit.canaries.{name}", "init_args": settings}


QUICK = [
    canary("NaturalCanary", search=200),
    canary("CraftedCanary", search=100, steps=2, restarts=2),
    canary("GradientCanary"),
]


def words(root: Path, logs: Path, *configs: str, **changed: Any) -> list[str]:
    settings = SHORT | {
        "data.root": str(root),
        "data.standin_size": 6000,
        "trainer.logger.init_args.save_dir": str(logs),
        "audit.canaries": QUICK,
    }
    files = [MAIN, *(CONFIGS / name for name in configs)]
    flags = [
        word
        for key, value in (settings | changed).items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    return ["audit", *(word for file in files for word in ("--config", str(file))), *flags]


def read(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "audit.csv").read_text().splitlines()))


def audit(root: Path, logs: Path, *configs: str, **changed: Any) -> list[dict[str, str]]:
    main(words(root, logs, *configs, **changed))
    return read(next(logs.rglob("audit.csv")).parent)


def of(rows: list[dict[str, str]], canary: str, estimator: str, sigma: str) -> dict[str, str]:
    found = [r for r in rows if (r["canary"], r["estimator"]) == (canary, estimator)]
    (row,) = [r for r in found if r["sigma"] == sigma]
    return row


@pytest.fixture(scope="module")
def folder(adult_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the config leaves, with other noises beside its own."""
    logs = tmp_path_factory.mktemp("audit")
    main(words(adult_root, logs))
    return logs / "audit_adult" / "version_0"


def test_the_audit_leaves_every_epsilon_beside_what_theory_says(folder: Path) -> None:
    rows = read(folder)
    assert {row["sigma"] for row in rows} == {"0.5", "1.0", "2.0", "4.0"}
    assert {row["canary"] for row in rows} == {"", "natural", "crafted", "gradient"}
    assert {(row["secret"], row["k"], row["rounds"]) for row in rows} == {
        ("attribute_sex", "64", "1")
    }
    for sigma, added, replaced in ((0.5, 9.997, 24.38), (1, 4.377, 9.997), (2, 1.993, 4.377)):
        at = f"{float(sigma)}"
        assert float(of(rows, "", "theory_add_or_remove", at)["value"]) == pytest.approx(
            added, abs=5e-3
        )
        assert float(of(rows, "", "theory_replace_one", at)["value"]) == pytest.approx(
            replaced, abs=5e-3
        )
        exact = float(of(rows, "gradient", "exact", at)["value"])
        assert exact == pytest.approx(gaussian_epsilon(2 / sigma, 1e-5), rel=1e-3)
    for row in rows:
        if row["valid"] == "True":
            exact = float(of(rows, row["canary"], "exact", row["sigma"])["value"])
            assert 0 <= float(row["low"]) <= exact
            assert int(row["n0"]) + int(row["n1"]) == 1000


def test_each_noise_has_one_figure_to_quote_a_valid_one_of_a_record(folder: Path) -> None:
    quoted = [row for row in read(folder) if row["headline"] == "True"]
    assert [row["sigma"] for row in quoted] == ["0.5", "1.0", "2.0", "4.0"]
    for row in quoted:
        assert row["valid"] == "True"
        assert row["canary"] == "crafted"  # which stands farther apart than a natural one


def test_a_crafted_canary_has_more_to_show_than_a_natural_one(folder: Path) -> None:
    rows = read(folder)
    for sigma in ("0.5", "1.0", "2.0", "4.0"):
        natural, crafted = (
            float(of(rows, name, "exact", sigma)["value"]) for name in ("natural", "crafted")
        )
        assert crafted >= natural


def test_canaries_are_readable_records_and_for_their_owner_alone(folder: Path) -> None:
    private = folder / "canaries"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    for file in private.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = json.loads((private / "canaries.json").read_text())
    assert [record["canary"] for record in told] == ["natural", "crafted"]
    x = load_file(private / "x.safetensors")
    for record in told:
        female, male = record["Female"], record["Male"]
        assert (female.pop("sex"), male.pop("sex")) == ("Female", "Male")
        assert female == male
        assert 17 <= float(male["age"]) <= 90
        assert 0 < record["rho"] <= 1
        assert record["distance"] == pytest.approx(2 * record["rho"])
        differ = x[f"{record['canary']}/Female"] != x[f"{record['canary']}/Male"]
        assert int(differ.sum()) == 2


def test_tensorboard_has_the_figure_and_a_tag_for_each_epsilon(folder: Path) -> None:
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    assert "audit/attribute_sex/epsilon" in events.Tags()["images"]
    tag = "audit/attribute_sex/sigma_1/crafted/one_run/epsilon"
    assert tag in events.Tags()["scalars"]
    row = of(read(folder), "crafted", "one_run", "1.0")
    assert events.Scalars(tag)[0].value == pytest.approx(float(row["low"]), rel=1e-6)


def test_audit_json_says_what_the_audit_was(folder: Path) -> None:
    told = json.loads((folder / "audit.json").read_text())
    assert told["standin"] is True
    assert told["game"]["trials"] == 1000
    assert told["defense"] == "DP(clip=1, batch=64, sigma=1, delta=1e-05)"
    assert told["seconds"]["round 0"] <= told["seconds"]["audit"]


def test_the_same_config_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    settings = (folder / "config.yaml").read_text()
    again = tmp_path / "config.yaml"
    again.write_text(settings)
    main(["audit", "--config", str(again), "--trainer.logger.init_args.save_dir", str(tmp_path)])
    found = tmp_path / "audit_adult" / "version_0" / "audit.csv"
    assert found.read_bytes() == (folder / "audit.csv").read_bytes()


ONE = {"audit.sigmas": [], "audit.canaries": [canary("NaturalCanary", search=100)]}


def test_estimators_and_their_thresholds_are_named_in_a_config(
    adult_root: Path, tmp_path: Path
) -> None:
    estimators = tmp_path / "estimators.yaml"
    estimators.write_text(
        "audit:\n  estimators:\n    - class_path: leakage.audit.estimators.ClopperPearson\n"
        "      init_args:\n        threshold:\n"
        "          class_path: leakage.audit.estimators.Bonferroni\n"
        "          init_args: {ranks: 16}\n    - class_path: leakage.audit.estimators.OneRun\n"
        "      init_args: {guesses: 40}\n"
    )
    argv = words(adult_root, tmp_path, **ONE)
    main([*argv[:3], "--config", str(estimators), *argv[3:]])
    rows = read(next(tmp_path.rglob("audit.csv")).parent)
    notes = {row["estimator"]: row["note"] for row in rows if row["valid"] == "True"}
    assert notes.keys() == {"clopper_pearson", "one_run"}
    assert "each judged at confidence 0.99" in notes["clopper_pearson"]
    assert " of 40 guesses right, of 1000 trials" in notes["one_run"]


@pytest.mark.parametrize(
    ("config", "changed", "secret", "releases"),
    [
        ("audits/adult_membership.yaml", {}, "membership", "1"),
        ("audits/adult_unknown.yaml", {"trainer.max_epochs": 2}, "attribute_sex", "3"),
        ("audits/adult_sampled.yaml", {"audit.rounds": [0, 1]}, "attribute_sex", "2"),
    ],
)
def test_further_configs_run(
    config: str,
    changed: dict[str, Any],
    secret: str,
    releases: str,
    adult_root: Path,
    tmp_path: Path,
) -> None:
    limits = {"trainer.limit_val_batches": 1, "audit.trials": 400}
    rows = audit(adult_root, tmp_path, config, **ONE | limits | changed)
    assert {(row["secret"], row["rounds"]) for row in rows} == {(secret, releases)}
    (quoted,) = [row for row in rows if row["headline"] == "True"]
    claim = "theory_add_or_remove" if secret == "membership" else "theory_replace_one"
    assert float(quoted["low"]) <= float(of(rows, "", claim, "1.0")["value"])


def test_every_audit_config_is_run_by_a_test() -> None:
    names = {path.name for path in (CONFIGS / "audits").iterdir()}
    tested = {"adult", "adult_membership", "adult_unknown", "adult_sampled", "utkface"}
    assert names == {f"{name}.yaml" for name in tested}


@pytest.mark.parametrize(
    ("defense", "words_"),
    [
        ("pruning", "Pruning(keep=0.01, scope='global') draws no noise: entry"),
        ("sign", "Sign(zero='keep') draws no noise: entry"),
        ("record_pruning", "RecordPruning(keep=0.01, scope='global') draws no noise: entry"),
    ],
)
def test_a_defense_without_noise_has_an_infinite_epsilon_and_the_pair_that_shows_it(
    defense: str, words_: str, adult_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = audit(adult_root, tmp_path, f"defenses/{defense}.yaml", **ONE)
    (row,) = rows
    assert (row["estimator"], row["low"], row["headline"]) == ("pair", "inf", "True")
    assert row["note"].startswith(words_)
    out = capsys.readouterr().out
    assert f"epsilon is infinite (natural): {words_}" in out


def test_a_sign_after_the_noise_is_audited_beside_what_the_noise_proves(
    adult_root: Path, tmp_path: Path
) -> None:
    changed = ONE | {"audit.canaries": [canary("GradientCanary")], "audit.trials": 2000}
    changed |= {"defense.stages": _SIGNED}
    rows = audit(adult_root, tmp_path, "defenses/dp_sign.yaml", **changed)
    exact = of(rows, "gradient", "exact", "1.0")
    assert exact["note"].endswith("before what follows it, which can only lose of it")
    lows = [float(row["low"]) for row in rows if row["valid"] == "True"]
    assert max(lows) <= float(exact["value"])


_SIGNED = [
    {"class_path": "leakage.defenses.DP", "init_args": {"sigma": 1.0, "epsilon": None}},
    {"class_path": "leakage.defenses.Sign"},
]


def sentence(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"audit.attribute": "sexx"},
            "error: audit.attribute: the data set Adult knows no attribute 'sexx'; did you mean",
        ),
        (
            {"audit.attribute": "age-band"},
            "error: audit.attribute: 'age-band' does not fix its columns of x (age): records of"
            " one value differ there; use one that does",
        ),
        (
            {"audit.attribute": "sex", "data.exclude": ["sex"]},
            "error: audit.attribute: 'sex' is no part of x",
        ),
        (
            {"audit.values": ["Male", "Femal"]},
            "error: audit.values: 'sex' has no value 'Femal'; did you mean 'Female'?",
        ),
        (
            {"audit.values": ["Male", "Male"]},
            "error: audit.values: two different values of sex are needed, got ['Male', 'Male']",
        ),
        ({"audit.delta": 1.0}, "error: audit.delta: a number in [0, 1) is needed, got 1.0"),
        ({"audit.delta": -0.1}, "error: audit.delta: a number in [0, 1) is needed, got -0.1"),
        (
            {"audit.confidence": 1.0},
            "error: audit.confidence: a number in (0, 1) is needed, got 1",
        ),
        (
            {"audit.trials": 8},
            "error: audit.trials: at delta = 1e-05 and a confidence of 0.95 the bound one_run"
            " cannot exceed 0 with fewer than 52 trials, got 8; play more, or leave one_run out of"
            " audit.estimators",
        ),
        (
            {"audit.k": 1000},
            "error: audit.k: k = 1000 records of a batch and the canaries come from the challenge"
            " split, which holds",
        ),
        (
            {"audit.rounds": [3]},
            "error: audit.rounds: round 3 is played after 3 epochs, but trainer.max_epochs is 1",
        ),
        ({"audit.q": 0.0}, "error: audit.q: a chance in (0, 1] is needed, got 0.0"),
        (
            {"audit.sigmas": [1.0], "defense": "NoDefense"},
            "error: audit.sigmas: [1.0] are noise multipliers of DP, but the defense is none;"
            " leave them out, or use the defense DP",
        ),
        ({"audit.trails": 10}, "error: audit.trails: there is no such key; did you mean"),
        (
            {
                "audit.canaries": [
                    canary("GivenCanary", values={"age": 170.0, "workclass": "Private"}, label=0)
                ]
            },
            "error: audit.canaries:",
        ),
    ],
    ids=lambda value: (
        next(iter(value)) + str(next(iter(value.values())))[:8] if isinstance(value, dict) else ""
    ),
)
def test_a_mistake_is_one_sentence_before_anything_is_computed(
    changed: dict[str, Any],
    said: str,
    adult_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = sentence(capsys, words(adult_root, tmp_path, **changed))
    assert found.startswith(said), found
    assert not list(tmp_path.rglob("*.csv"))


def test_the_callback_audits_beside_training_and_changes_no_weight(
    adult_root: Path, tmp_path: Path
) -> None:
    """In a fit, from Python: after an epoch, on the noise that the target of training asks for."""

    def train(*callbacks: Any) -> torch.Tensor:
        seed_everything(0, verbose=False)
        data = Adult(str(adult_root), batch_size=64)
        data.prepare_data()
        data.setup()
        model = Tabular(data.in_features, hidden=[8])
        trainer = Trainer(
            max_epochs=1,
            limit_val_batches=1,
            accelerator="cpu",
            logger=False,
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Defend(DP(sigma=2.0)), *callbacks],
        )
        trainer.fit(model, data)
        return torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    rules = AuditRules(
        "race",
        ["White", "Black"],
        [NaturalCanary(search=50), GradientCanary()],
        k=8,
        rounds=[0, 1],
        trials=1000,
    )
    observed = train(Audit(rules))
    assert torch.equal(observed, train())
    rows = read(tmp_path)
    exact = float(of(rows, "gradient", "exact", "2.0")["value"])
    assert exact == pytest.approx(gaussian_epsilon(2 * math.sqrt(2) / 2.0, 1e-5), rel=1e-3)
    assert {row["round"] for row in rows} == {"1"}
    assert np.isfinite([float(row["low"]) for row in rows if row["low"]]).all()


def trained(tmp_path: Path, module: LightningModule, *callbacks: Any, **settings: Any) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=generator)
    records = TensorDataset(x, (x[:, 0] > 0).long())
    trainer = Trainer(
        **{"max_epochs": 1} | settings,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, DataLoader(records, batch_size=20))
    return trainer


class _Own(LightningModule):
    """A module of anyone's own, with a loader and neither data module nor table."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.cross_entropy(self.layer(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_two_audits_of_the_membership_of_ones_own_records_stand_side_by_side(
    tmp_path: Path,
) -> None:
    few = {"canaries": [NaturalCanary(search=20)], "k": 8, "trials": 200}
    known = AuditRules(**few)
    unknown = AuditRules(**few, background="unknown")
    trained(tmp_path, _Own(), Defend(DP(sigma=1.0, batch=20)), Audit(known), Audit(unknown))
    assert {row["background"] for row in read(tmp_path)} == {"known"}
    beside = list(csv.DictReader((tmp_path / "audit_2.csv").read_text().splitlines()))
    assert {row["background"] for row in beside} == {"unknown"}


def test_an_audit_that_training_does_not_reach_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = AuditRules(canaries=[NaturalCanary(search=20)], k=8, trials=200, rounds=[0, 1])
    said = (
        "audit.rounds: round 1 was never reached, since training ended after 3 steps;"
        " let it train on, or name earlier rounds"
    )
    trained(tmp_path, _Own(), Audit(rules), max_steps=3)
    assert said in caplog.text
    with pytest.raises(LeakageError) as caught:
        trained(tmp_path, _Own(), Audit(rules, stops=True), max_steps=3)
    assert str(caught.value) == said


def test_a_canary_that_nobody_named_is_left_out_where_it_cannot_be_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = _Own()
    module.layer = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))  # type: ignore[assignment]
    trained(tmp_path, module, Audit(AuditRules(k=8, trials=100)))
    assert {row["canary"] for row in read(tmp_path)} == {"random"}
    assert "the canary natural is left out: " in caplog.text
    with pytest.raises(LeakageError, match=r"^audit\.canaries: natural cannot be found: "):
        trained(tmp_path, module, Audit(AuditRules(canaries=[NaturalCanary()], k=8, trials=100)))
