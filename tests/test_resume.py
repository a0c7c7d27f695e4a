"""A run that is stopped and goes on ends as if it had never been stopped."""

from __future__ import annotations

import copy
import csv
import json
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from leakage.callbacks import Defend
from leakage.callbacks.checkpoints import LastTwo
from leakage.callbacks.resume import KEY, Resume
from leakage.cli import main
from leakage.cli.resuming import check_config, find_checkpoint
from leakage.defenses import DP, Defense, Sign
from leakage.errors import LeakageError

pytestmark = pytest.mark.usefixtures("process_state")

BATCHES = 4


class Noisy(Dataset[Tensor]):
    """Records that draw from all kinds of randomness each time they are loaded."""

    def __len__(self) -> int:
        return 4 * BATCHES - 1

    def __getitem__(self, index: int) -> Tensor:
        noise = torch.rand(3) + random.random() + np.random.rand()  # noqa: NPY002
        return torch.tensor([index, 1.0, -index]) + noise.float()


class Plain(Dataset[Tensor]):
    """Records that draw nothing."""

    def __len__(self) -> int:
        return 4 * BATCHES - 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([index, 1.0, -index])


class Dropped(LightningModule):
    """Draws with dropout, steps by Adam with a schedule, and validates with draws too."""

    def __init__(self, dropout: float, plateau: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        self._plateau = plateau

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.layers(batch) - 1).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        worse = torch.rand(()) + 10 * self.current_epoch
        self.log("val_loss", worse, batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        if self._plateau:
            scheduler: Any = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            return [optimizer], [{"scheduler": scheduler, "monitor": "val_loss"}]
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)]


@dataclass
class Diary(Checkpoint):
    """Notes what is called, and writes a checkpoint at one of these calls, after all others."""

    path: Path | None = None
    hook: str = ""
    number: int = 0
    noted: list[tuple[str, int, int]] = field(default_factory=list)
    before: int = 0
    left: bool = False

    def _note(self, trainer: Trainer, hook: str) -> None:
        if trainer.sanity_checking:
            return
        self.noted.append((hook, trainer.current_epoch, trainer.global_step))
        if hook == self.hook:
            self.number -= 1
            if self.number == 0:
                assert self.path is not None
                trainer.save_checkpoint(self.path)
                self.before = len(self.noted)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "epoch starts")

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._note(trainer, "batch ends")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "validation ends")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "epoch ends")


@dataclass(frozen=True)
class Job:
    """A training that can be done again and again."""

    workers: int = 0
    persistent: bool = False
    validated: bool = True
    records: type[Dataset[Tensor]] = Noisy
    plateau: bool = False
    own_generator: bool = False
    defense: Defense | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, seed: int, *callbacks: Callback, ckpt_path: Path | None = None) -> Any:
        """The weights, what is left of the optimizer, and the next random numbers."""
        seed_everything(seed, verbose=False)
        module = Dropped(0.5 if self.records is Noisy else 0.0, self.plateau)
        generator = torch.Generator().manual_seed(5) if self.own_generator else None
        workers = {"num_workers": self.workers, "persistent_workers": self.persistent}
        train = DataLoader(self.records(), 4, shuffle=True, generator=generator, **workers)
        val = DataLoader(Plain(), 8, **workers) if self.validated else None
        defended = [] if self.defense is None else [Defend(self.defense, seed=3)]
        trainer = Trainer(
            **{"max_epochs": 3} | self.settings,
            callbacks=[*callbacks, *defended],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, train, val, ckpt_path=ckpt_path)
        return (
            [weight.detach().clone() for weight in module.parameters()],
            trainer.optimizers[0].state_dict()["param_groups"][0]["lr"],
            (torch.rand(1).item(), random.random(), np.random.rand()),  # noqa: NPY002
        )


def same(one: Any, other: Any) -> bool:
    weights = zip(one[0], other[0], strict=True)
    return all(torch.equal(*pair) for pair in weights) and one[1:] == other[1:]


def check(job: Job, tmp_path: Path, hook: str, number: int) -> None:
    """A checkpoint there, and a run that goes on from it, which began with other numbers."""
    path = tmp_path / "there.ckpt"
    diary, rest = Diary(path, hook, number), Diary()
    whole = job.run(0, Resume(), diary)
    assert path.stat().st_mode & 0o777 == 0o600
    resumed = job.run(1, Resume(), rest, ckpt_path=path)
    assert rest.noted == diary.noted[diary.before :]
    assert same(resumed, whole)


SHUFFLED = Job()
STEPS = {"max_epochs": -1, "max_steps": 3 * BATCHES}
JOBS = {
    "workers": Job(workers=2),
    "persistent workers": Job(workers=2, persistent=True, records=Plain),
    "no validation": Job(validated=False),
    "a schedule that waits for a metric": Job(plateau=True),
    "a generator of its own": Job(own_generator=True),
    "validation within epochs": Job(settings={"val_check_interval": 2}),
    "steps in place of epochs": Job(settings=STEPS),
    "steps without validation": Job(validated=False, settings=STEPS),
    "accumulation": Job(settings={"accumulate_grad_batches": 2}),
    "validation every other epoch": Job(settings={"check_val_every_n_epoch": 2}),
    "sign with draws": Job(defense=Sign(zero="random")),
    "dp": Job(records=Plain, workers=2, defense=DP(batch=4, clip=1.0, sigma=0.5)),
}
PLACES = [("epoch ends", 1), ("validation ends", 1), ("batch ends", 4), ("batch ends", 6)]
FEW = {"workers": PLACES[3:], "persistent workers": PLACES[::3], "dp": PLACES[3:]}  # they take time


@pytest.mark.parametrize(
    ("hook", "number"),
    [*PLACES, ("epoch ends", 2), ("validation ends", 2), ("batch ends", 1), ("batch ends", 11)],
)
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_never_stopped(
    hook: str, number: int, tmp_path: Path
) -> None:
    """At the end of an epoch, of a validation, of a batch, and of a batch that ends an epoch."""
    check(SHUFFLED, tmp_path, hook, number)


@pytest.mark.parametrize(
    ("name", "hook", "number"),
    [
        (name, *place)
        for name, job in JOBS.items()
        for place in FEW.get(name, PLACES)
        if job.validated or place[0] != "validation ends"
    ],
)
def test_so_it_does_whatever_else_draws_numbers_or_shifts_an_epoch(
    name: str, hook: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakage.callbacks.defend.spent", lambda figures: ["spent"])
    monkeypatch.setattr("leakage.callbacks.private._ACCOUNTANTS", {})  # they take seconds
    check(JOBS[name], tmp_path, hook, number)


def test_a_run_that_is_stopped_twice_ends_the_same(tmp_path: Path) -> None:
    whole = SHUFFLED.run(0, Resume(), Diary())
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    SHUFFLED.run(0, Resume(), Diary(first, "batch ends", 2))
    SHUFFLED.run(1, Resume(), Diary(second, "batch ends", 1), ckpt_path=first)
    assert same(SHUFFLED.run(2, Resume(), Diary(), ckpt_path=second), whole)
    SHUFFLED.run(3, Resume(), Diary(second, "epoch ends", 2), ckpt_path=first)
    assert same(SHUFFLED.run(4, Resume(), Diary(), ckpt_path=second), whole)


@pytest.mark.parametrize("name", ["workers", "steps in place of epochs"])
def test_without_a_checkpoint_it_changes_nothing(name: str) -> None:
    assert same(JOBS[name].run(0, Resume(), Diary()), JOBS[name].run(0, Diary()))


def test_training_that_was_stopped_early_goes_on_only_without_what_stopped_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stops() -> EarlyStopping:
        return EarlyStopping("val_loss", patience=1)

    path, rest, further = tmp_path / "there.ckpt", Diary(), Diary()
    whole = SHUFFLED.run(0, Resume(), stops(), Diary(path, "epoch ends", 2))
    with caplog.at_level(logging.INFO, "leakage.resume"):
        resumed = SHUFFLED.run(1, Resume(), stops(), rest, ckpt_path=path)
    assert not rest.noted
    assert all(torch.equal(*pair) for pair in zip(resumed[0], whole[0], strict=True))
    assert told(caplog) == ["EarlyStopping has ended training before the checkpoint was written"]
    SHUFFLED.run(1, Resume(), further, ckpt_path=path)
    assert further.noted[-1] == ("epoch ends", 2, 3 * BATCHES)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "leakage.resume"]


def test_a_checkpoint_without_random_numbers_or_of_more_processes_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "one.ckpt"
    SHUFFLED.run(0, Diary(path, "epoch ends", 1))
    with caplog.at_level(logging.WARNING, "leakage.resume"):
        SHUFFLED.run(1, Resume(), Diary(), ckpt_path=path)
    assert told(caplog) == ["the checkpoint holds no random numbers: those that follow are others"]
    SHUFFLED.run(0, Resume(), Diary(path, "epoch ends", 1))
    content = torch.load(path, weights_only=True)
    content[KEY]["ranks"] *= 2
    torch.save(content, path)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "leakage.resume"):
        SHUFFLED.run(1, Resume(), Diary(), ckpt_path=path)
    assert told(caplog) == [
        "the checkpoint is of 2 processes and goes on in 1, with other random numbers"
    ]


# --ckpt_path


def trainer_of(logs: Path, **settings: Any) -> Trainer:
    logger = TensorBoardLogger(str(logs), name="adult", **settings)
    return Trainer(logger=logger, accelerator="cpu", enable_progress_bar=False)


def write(path: Path, age: int, config: dict[str, Any] | None = None) -> Path:
    """A checkpoint that was written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"state_dict": {"w": torch.ones(99)}, KEY: {"config": json.dumps(config or {})}}, path
    )
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_last_is_the_newest_checkpoint_of_the_newest_run_which_then_goes_on(tmp_path: Path) -> None:
    runs = tmp_path / "adult"
    trainer = trainer_of(tmp_path)
    assert find_checkpoint(trainer, "last", fits=True) is None  # the first start
    assert Path(trainer.log_dir or "").name == "version_0"
    write(runs / "version_9" / "checkpoints" / "a.ckpt", 0)
    write(runs / "version_10" / "checkpoints" / "b.ckpt", 9)
    last = write(runs / "version_10" / "checkpoints" / "a.ckpt", 5)
    evaluated = runs / "version_11"
    evaluated.mkdir()
    (evaluated / "config.yaml").write_text("trainer:\n  max_epochs: 1\nverbose: true\n")
    trainer = trainer_of(tmp_path)
    found = find_checkpoint(trainer, "last", fits=True)
    assert found is not None
    assert found.path == last
    assert trainer.log_dir == str(runs / "version_10")
    trainer = trainer_of(tmp_path)
    assert find_checkpoint(trainer, "last", fits=False) == found
    assert trainer.log_dir == str(runs / "version_12")  # that of an evaluation
    (runs / "version_12").mkdir()  # of a fit that was killed before its first checkpoint
    trainer = trainer_of(tmp_path)
    assert find_checkpoint(trainer, "last", fits=True) is None
    assert trainer.log_dir == str(runs / "version_12")


def test_a_file_goes_on_in_its_folder_and_a_version_of_the_config_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "adult" / "version_3" / "checkpoints" / "a.ckpt", 0)
    write(tmp_path / "adult" / "job_7" / "checkpoints" / "b.ckpt", 0)
    (tmp_path / "adult" / "version_5").mkdir()
    for version, asked, folder, name in [
        (None, str(path), "version_3", "a.ckpt"),
        (5, str(path), "version_5", "a.ckpt"),
        ("job_7", "last", "job_7", "b.ckpt"),
    ]:
        trainer = trainer_of(tmp_path, version=version)
        found = find_checkpoint(trainer, asked, fits=True)
        assert found is not None
        assert (Path(trainer.log_dir or "").name, found.path.name) == (folder, name)
    elsewhere = trainer_of(tmp_path / "other")
    find_checkpoint(elsewhere, str(path), fits=True)
    assert elsewhere.log_dir == str(tmp_path / "other" / "adult" / "version_0")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(torch.ones(99).numpy().tobytes())
    content[at + 5] ^= 1
    path.write_bytes(content)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "it was cut short, or is no checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "it was cut short, or is no checkpoint"),
    "flipped": (flip, "its part b/data/0 is damaged"),
    "other": (lambda path: torch.save({"a": 1}, path), "it holds no weights"),
    "a list": (lambda path: torch.save([1], path), "it holds no weights"),
    "code": (lambda path: torch.save({"a": Plain()}, path), "it holds more than plain values"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_makes_way_for_the_one_before_and_says_so(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "adult" / "version_0" / "checkpoints"
    before, newest = write(folder / "a.ckpt", 5), write(folder / "b.ckpt", 0)
    spoil, words = BROKEN[name]
    spoil(newest)
    with caplog.at_level(logging.WARNING, "leakage.resume"):
        found = find_checkpoint(trainer_of(tmp_path), "last", fits=True)
    assert found is not None
    assert found.path == before
    assert told(caplog) == [f"{newest} cannot be read: {words}; the run goes on from a.ckpt"]
    with pytest.raises(LeakageError) as error:
        find_checkpoint(trainer_of(tmp_path), str(newest), fits=True)
    assert str(error.value) == f"ckpt_path: {newest} cannot be read: {words}"
    cut(before)
    os.utime(newest)
    with pytest.raises(LeakageError) as error:
        find_checkpoint(trainer_of(tmp_path), "last", fits=True)
    assert str(error.value) == (
        f"ckpt_path: {newest} cannot be read: {words}; {before} cannot be read: it was cut short,"
        " or is no checkpoint; delete them to start anew"
    )


def test_keys_that_differ_are_named_and_those_that_change_no_figure_may(tmp_path: Path) -> None:
    before = {
        "seed_everything": 0,
        "attack": {"k": 16, "rounds": [0], "secret": {"class_path": "A", "init_args": {"of": 1}}},
        "data": {"class_path": "D", "init_args": {"num_workers": 0, "batch_size": 64}},
    }
    found = find_checkpoint(
        trainer_of(tmp_path), str(write(tmp_path / "a.ckpt", 0, before)), fits=1
    )
    assert found is not None

    def differing(now: dict[str, Any], fits: bool = True) -> str:
        try:
            check_config(found, now, fits=fits)
        except LeakageError as error:
            return str(error).removeprefix("ckpt_path: a.ckpt was written under another config: ")
        return ""

    now = copy.deepcopy(before)
    now["attack"] |= {"rounds": [0, 1], "new": 3}
    now["data"]["init_args"]["num_workers"] = 4
    assert differing(now) == ""
    now["attack"]["k"] = 32
    now["seed_everything"] = 1
    assert differing(now) == "attack.k was 16 and is 32; seed_everything was 0 and is 1"
    assert differing(now, fits=False) == ""
    now["attack"]["secret"] = {"class_path": "B", "init_args": {"of": 2}}
    assert 'attack.secret was "A" and is "B"; seed' in differing(now)
    now["data"]["class_path"] = "E"
    assert differing(now, fits=False) == 'data was "D" and is "E"'


# The command line


def fit(root: Path, logs: Path, *more: str) -> Path:
    """A short main job; the folder of its run."""
    settings = {
        "data.standin_size": 1000,
        "data.root": str(root),
        "trainer.logger.save_dir": str(logs),
        "attack.shadow_batches": 40,
        "attack.calibrate_batches": 40,
        "attack.trials": 40,
        "attack.rounds": [0, 1],
        "attack.layer_map": False,
        "attack.background": False,
        "trainer.enable_progress_bar": False,
        "trainer.enable_model_summary": False,
    }
    words = [word for key, v in settings.items() for word in (f"--{key}", str(v))]
    trees = [{"class_path": "RandomForest", "init_args": {"trees": 2, "features": 8}}]
    config = str(Path(__file__).resolve().parent.parent / "configs" / "adult.yaml")
    main(["fit", "--config", config, *words, f"--attack.adversaries={json.dumps(trees)}", *more])
    (folder,) = (logs / "adult").iterdir()
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return dict(torch.load(newest, weights_only=True)["state_dict"])


def refusal(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        fit(*words)
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1].removeprefix("error: ")


class StoppedError(BaseException):
    """As a signal ends a run: what is under way is left."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data, and the logs of a run of two epochs that was stopped after the first."""
    folder = tmp_path_factory.mktemp("stopped")
    keep = LastTwo.on_train_epoch_end

    def stop(self: LastTwo, trainer: Trainer, pl_module: LightningModule) -> None:
        keep(self, trainer, pl_module)
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastTwo, "on_train_epoch_end", stop)
        with pytest.raises(StoppedError):
            fit(folder / "data", folder / "logs", "--ckpt_path=last")
    return folder / "data", folder / "logs"


def test_the_command_line_goes_on_in_one_folder_and_ends_the_same(
    stopped: tuple[Path, Path], tmp_path: Path
) -> None:
    root, logs = stopped[0], tmp_path / "logs"
    shutil.copytree(stopped[1], logs)
    whole = fit(root, tmp_path / "whole")
    (logs / "adult" / "version_0" / ".config.yaml.0123abcd.part").write_text("of a killed writer")
    resumed = fit(root, logs, "--ckpt_path=last")
    assert resumed.name == "version_0"
    assert not list(logs.rglob(".*.part"))
    assert (resumed / "attack.csv").read_bytes() == (whole / "attack.csv").read_bytes()
    ours, theirs = weights(resumed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert len(list((resumed / "checkpoints").iterdir())) == 2
    assert yaml.safe_load((resumed / "config.yaml").read_text())["ckpt_path"] == "last"


def test_another_config_and_changed_data_are_refused_before_training(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, logs = stopped
    before = {path: path.stat().st_mtime_ns for path in logs.rglob("*")}
    last = "--ckpt_path=last"
    assert refusal(capsys, root, logs, last, "--attack.k=32", "--model.hidden=[3]") == (
        "ckpt_path: epoch=0-step=7.ckpt was written under another config: attack.k was 16 and is"
        " 32; model.hidden was [64, 32] and is [3]"
    )
    assert {path: path.stat().st_mtime_ns for path in logs.rglob("*")} == before
    files = tmp_path / "adult"
    shutil.copytree(root, files)
    (files / "standin.json").unlink()
    swapped = {"<=50K": ">50K", ">50K": "<=50K"}
    for path in (files / "adult.data", files / "adult.test"):
        text = re.sub(r"<=50K|>50K", lambda found: swapped[found[0]], path.read_text())
        path.write_text(text)
    assert refusal(capsys, files, logs, last) == (
        "ckpt_path: the data Adult have changed since the checkpoint was written: the records are"
        " in the same splits, with other labels, units or attributes; use the files that it was"
        " trained on, or train anew"
    )
    figures = [path for path in before if path.suffix in (".csv", ".ckpt", ".safetensors")]
    assert all(path.stat().st_mtime_ns == before[path] for path in figures)


def test_a_file_in_the_place_of_the_log_folder_is_refused(
    stopped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("")
    assert refusal(capsys, stopped[0], tmp_path / "logs") == (
        f"trainer.logger.save_dir: {tmp_path / 'logs'} is a file, and"
        f" {tmp_path / 'logs' / 'adult' / 'version_0'} would be a folder in it"
    )


def test_a_full_disk_ends_the_run_with_a_sentence_and_what_was_written_is_readable(
    stopped: tuple[Path, Path], small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full when the second epoch writes its checkpoint."""
    found = refusal(capsys, stopped[0], small_disk, "--trainer.max_epochs=9")
    assert re.fullmatch(
        rf"{small_disk}/adult/\S+: it cannot be written: No space left on device", found
    )
    folder = small_disk / "adult" / "version_0"
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_epochs"] == 9
    for path in folder.rglob("*"):
        assert not path.name.endswith(".part")
        if path.suffix == ".ckpt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".csv":
            assert len({len(row) for row in csv.reader(path.read_text().splitlines())}) == 1
