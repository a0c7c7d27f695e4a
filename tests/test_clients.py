"""Rank = client: two ranks on gloo against one process and against sums by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from populations import linear_game
from ranks import CLASSES, NAN, SEED, SILENT, B, N, Net, fit, flat, held_out, table
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate
from typing_extensions import override

from leakage.accounting.training import training_epsilon
from leakage.callbacks import Attack, Capture, Defend
from leakage.callbacks.checks import check_training
from leakage.callbacks.poisson import PoissonBatches
from leakage.cli import main
from leakage.data.adult import Adult
from leakage.data.standins.adult import ADULT
from leakage.defenses import NoDefense, Sign
from leakage.distributed import Average, Clients, check_strategy, gathered, rank, world
from leakage.errors import LeakageError
from leakage.gradients.shared import read_shared_gradient
from leakage.metrics.utility import accuracy
from leakage.models.tabular import Tabular
from leakage.randomness import torch_generator

HERE = Path(__file__).resolve().parent
CONFIG = str(HERE.parent / "configs" / "adult.yaml")
STEPS = 5  # of an epoch: 250 records each, a few twice, in batches of 50


def start(*words: str, folder: Path) -> subprocess.Popen[str]:
    # An environment in which no rank has been started, and a session of its own.
    ours = {"LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=clean | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)},
        start_new_session=True,
    )


def members(process: subprocess.Popen[str]) -> list[int]:
    """The processes of its session that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == process.pid and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.fixture(scope="module")
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended with all that they started, whatever a test finds."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        for pid in members(process):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def scenarios(
    tmp_path_factory: pytest.TempPathFactory, started: list[subprocess.Popen[str]]
) -> tuple[Path, subprocess.Popen[str]]:
    """What two ranks left of the scenarios, which they played in one start, and still train."""
    folder = tmp_path_factory.mktemp("ranks")
    started.append(process := start(str(HERE / "ranks.py"), str(folder), folder=folder))
    left = [folder / f"rank{r}.pt" for r in (0, 1)]
    wait_until(lambda: all(path.exists() for path in left) or process.poll() is not None, 300)
    assert all(path.exists() for path in left), process.communicate(timeout=1)[1]
    return folder, process


@pytest.fixture(scope="module")
def folder(scenarios: tuple[Path, subprocess.Popen[str]]) -> Path:
    return scenarios[0]


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"rank{r}.pt", weights_only=True) for r in (0, 1)]


def captured(folder: Path, step: int) -> list[Tensor]:
    """What each rank released in a step."""
    name = str(folder / "captures" / f"step_{step:07d}_rank")
    return [load_file(f"{name}{r}.safetensors")["gradient"] for r in (0, 1)]


def own_gradient(module: Net, records: list[int]) -> Tensor:
    module.zero_grad()
    x, index = table()[records]
    F.cross_entropy(module([x, index]), index % CLASSES).backward()
    return read_shared_gradient(module)


# The mean over the ranks


def test_two_ranks_train_as_one_process_on_their_batches_together(
    both: list[dict[str, Any]], tmp_path: Path
) -> None:
    one, two = (seen["plain"] for seen in both)
    together = [[*ours, *theirs] for ours, theirs in zip(one["drawn"], two["drawn"], strict=True)]
    assert [len(batch) for batch in together] == [2 * B] * STEPS
    assert sorted({*chain(*together)}) == list(range(N))
    assert {record % 2 for record in chain(*one["drawn"])} == {0}  # who never use the branch
    module, dead = Net(), Net(dead=True)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "logger": False}
    for net in (module, dead):
        loader = DataLoader(table(), batch_sampler=together)  # type: ignore[arg-type]
        trainer = Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet)  # type: ignore[arg-type]
        trainer.fit(net, loader)
    for rank_ in (one, two):
        assert torch.allclose(rank_["weights"], flat(module), rtol=0, atol=1e-6)
        assert torch.allclose(rank_["accumulated"], flat(module), rtol=0, atol=1e-6)
        assert torch.allclose(rank_["dead"], flat(dead), rtol=0, atol=1e-6)  # zero, and decays
    assert torch.equal(one["weights"], two["weights"])
    assert torch.equal(one["dead"], two["dead"])
    unused = flat(Net().idle)  # type: ignore[arg-type]
    assert torch.equal(one["weights"][-len(unused) :], unused)  # by any rank: no decay


# M before the mean


def test_sign_acts_on_the_gradient_of_each_rank_before_the_mean(
    folder: Path, both: list[dict[str, Any]]
) -> None:
    ours = captured(folder / "signed", 0)
    gradients = [own_gradient(Net(), seen["signed"]["drawn"][0]) for seen in both]
    for release, gradient in zip(ours, gradients, strict=True):
        assert torch.equal(release, gradient.sign())
    mean_of_signs, sign_of_mean = sum(ours) / 2, sum(gradients).sign()  # type: ignore[union-attr]
    assert not torch.equal(mean_of_signs, sign_of_mean)
    for seen in both:
        assert torch.equal(seen["signed"]["stepped"][0], mean_of_signs)
    for step in range(STEPS):
        released = sum(captured(folder / "signed", step)) / 2
        assert all(torch.equal(seen["signed"]["stepped"][step], released) for seen in both)


def test_each_rank_keeps_its_own_releases_for_its_owner_alone(folder: Path) -> None:
    files = sorted((folder / "signed" / "captures").iterdir())
    names = [f"step_{step:07d}_rank{r}.safetensors" for step in range(STEPS) for r in (0, 1)]
    assert [file.name for file in files] == names
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_each_rank_adds_noise_of_its_own(folder: Path, both: list[dict[str, Any]]) -> None:
    noise = []  # by step, rank and entry
    module = Net()
    optimizer = module.configure_optimizers()
    streams = [torch_generator(SEED, "defend", r) for r in (0, 1)]
    for step in range(STEPS):
        gradients = [own_gradient(module, seen["noised"]["drawn"][step]) for seen in both]
        releases = captured(folder / "noised", step)
        added = [release - own for release, own in zip(releases, gradients, strict=True)]
        for found, stream in zip(added, streams, strict=True):
            assert torch.allclose(found, torch.randn(len(found), generator=stream), atol=1e-5)
        noise.append(torch.stack(added))
        module.zero_grad()
        at = 0
        for parameter in module.parameters():
            part = sum(releases)[at : at + parameter.numel()] / 2  # type: ignore[index]
            parameter.grad, at = part.view_as(parameter), at + parameter.numel()
        optimizer.step()
    drawn = torch.stack(noise)
    correlation = torch.corrcoef(torch.stack([drawn[:, 0].flatten(), drawn[:, 1].flatten()]))[0, 1]
    assert abs(correlation) < 0.2  # 485 entries: 4.4 standard errors
    assert drawn.std() == pytest.approx(1.0, abs=0.1)
    assert drawn.sum(1).std() == pytest.approx(2**0.5, abs=0.2)
    for seen in both:
        assert torch.allclose(seen["noised"]["weights"], flat(module), atol=1e-5)


def test_a_rank_with_nan_or_without_a_loss_shares_nothing_and_stops_nobody(
    folder: Path, both: list[dict[str, Any]]
) -> None:
    one, two = (seen["broken"] for seen in both)
    assert NAN in two["drawn"][0]
    assert SILENT in two["drawn"][1]
    for step in range(STEPS):
        ours, theirs = captured(folder / "broken", step)
        assert ours.abs().max() == 1
        assert theirs.any() == (step > 1)
        for rank_ in (one, two):
            assert torch.equal(rank_["stepped"][step], (ours + theirs) / 2)
    assert torch.equal(one["weights"], two["weights"])
    assert one["weights"].isfinite().all()


# DP


def test_under_dp_each_rank_draws_from_a_fixed_share_of_its_own(
    both: list[dict[str, Any]],
) -> None:
    steps, batch = -(-250 // 20), 20
    for r, seen in enumerate(both):
        drawn = seen["private"]["drawn"]
        assert len(drawn) == 2 * steps
        expected = [
            list(part)
            for epoch in range(2)
            for part in PoissonBatches(N, batch, SEED, lambda first=epoch * steps: first, r, 2)
        ]
        assert drawn == expected
        assert {record % 2 for record in chain(*drawn)} == {r}
        assert seen["private"]["privacy"]["q"] == batch / 249
        assert seen["private"]["privacy"]["steps"] == 2 * steps
        epsilon = training_epsilon(1.0, batch / 249, 2 * steps, 1e-5)
        assert seen["private"]["privacy"]["epsilon_training"] == epsilon
    one, two = (seen["private"]["weights"] for seen in both)
    assert torch.equal(one, two)


@pytest.mark.parametrize(("n", "ranks"), [(499, 2), (10, 3), (7, 7), (100, 4)])
def test_the_shares_of_ranks_cover_all_records_once_at_one_chance(n: int, ranks: int) -> None:
    batches = [PoissonBatches(n, 1, SEED, lambda: 0, r, ranks) for r in range(ranks)]
    assert {each.q for each in batches} == {1 / (n // ranks)}
    assert len({len(each) for each in batches}) == 1
    certain = [PoissonBatches(n, n // ranks, SEED, lambda: 0, r, ranks) for r in range(ranks)]
    shares = [next(iter(each)) for each in certain]
    assert sorted(chain(*shares)) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_draws_of_ranks_are_independent() -> None:
    sizes = []
    for r in (0, 1):
        batches = PoissonBatches(20_000, 10, SEED, lambda: 0, r, 2)
        assert len(list(batches)) == 1000
        sizes.append([float(batches.sizes[step]) for step in range(1000)])
    both = torch.tensor(sizes)
    assert both.mean() == pytest.approx(10, abs=0.3)  # 4 standard errors
    assert both.var() == pytest.approx(10, abs=1.5)
    assert abs(torch.corrcoef(both)[0, 1]) < 0.13


# Resume, state, evaluation


@pytest.mark.parametrize("defense", ["noise", "dp"])
def test_a_resumed_run_of_two_ranks_ends_as_an_uninterrupted_one(
    defense: str, both: list[dict[str, Any]]
) -> None:
    for seen in both:
        part, whole, rest = seen["resumed"][defense]
        assert torch.equal(rest, whole)
        assert not torch.allclose(part, whole, atol=1e-3)
    assert torch.equal(both[0]["resumed"][defense][2], both[1]["resumed"][defense][2])


def test_a_checkpoint_of_another_number_of_ranks_is_refused() -> None:
    state = Defend(Sign()).state_dict()
    two = {"ranks": state["ranks"] * 2}
    with pytest.raises(LeakageError) as error:
        Defend(Sign()).load_state_dict(two)
    assert str(error.value) == (
        "ckpt_path: training so far was on 2 ranks, each with noise of its own, and would go on on"
        " 1; set trainer.devices and trainer.num_nodes to what they were"
    )


def test_ranks_hold_the_same_weights_and_statistics_whenever_an_attack_looks(
    both: list[dict[str, Any]],
) -> None:
    one, two = (seen["normed"]["states"] for seen in both)
    assert len(one) == 3  # the start, and the end of each of two epochs
    assert torch.equal(one[0], flat(Net(normed=True)))  # not what rank 1 began with
    for ours, theirs in zip(one, two, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.allclose(one[1], one[2])


def test_each_test_record_is_judged_once_and_figures_are_those_of_one_process(
    both: list[dict[str, Any]],
) -> None:
    module, records = Net(), held_out()
    module.load_state_dict(both[0]["priced"]["state"])
    held = records.splits["test"]
    with torch.no_grad():
        batches = [list(records.records[indices]) for indices in held.split(64)]
        hits = torch.cat([module.eval().hits(batch) for batch in batches])
    figure = accuracy(hits.numpy(), records.units[held].numpy())
    validated = len(records.splits["validation"])
    tried = 2 * 2  # records of each split, before training, by each rank
    for seen in both:
        assert torch.equal(seen["priced"]["hits"], hits)
        found = seen["priced"]["figures"]["test_accuracy"]
        assert found == [figure.value, figure.low, figure.high]
        assert seen["priced"]["figures"] == both[0]["priced"]["figures"]
        assert "loss_vs_none" in seen["priced"]["figures"]  # of a twin of two ranks
    assert sum(seen["priced"]["judged"] for seen in both) == N + validated + 2 * tried


def test_what_each_rank_has_is_gathered_in_order(both: list[dict[str, Any]]) -> None:
    for r, seen in enumerate(both):
        assert seen["told"] == {"gathered": [[0], [0, 1]], "world": 2, "rank": r}
    assert (gathered("alone"), world(), rank()) == (["alone"], 1, 0)


# Refusals


def ranks_of(strategy: Any) -> Trainer:
    """A Trainer of two ranks that were never started."""
    return Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)


@pytest.mark.parametrize("who", ["Defend", "Capture", "the attack"])
def test_a_strategy_that_averages_before_m_can_act_is_refused(who: str) -> None:
    module, trainer = Net(), ranks_of("ddp")
    callback = {"Defend": Defend(Sign()), "Capture": Capture(), "the attack": attack()}[who]
    trainer.callbacks.append(callback)  # type: ignore[attr-defined]
    with pytest.raises(LeakageError) as error:
        callback.setup(trainer, module, "fit")
    assert str(error.value) == (
        f"trainer.strategy: under DDPStrategy no rank has a gradient of its own, which {who} needs;"
        " use 'auto' on the command line, and Trainer(strategy=leakage.distributed.Clients()) in"
        " Python"
    )
    for allowed in (ranks_of(Clients()), Trainer(accelerator="cpu", devices=1, strategy="ddp")):
        check_strategy(allowed, who)


def attack() -> Attack:
    return Attack(linear_game(), population=held_out())


def test_an_audit_runs_in_one_process() -> None:
    with pytest.raises(LeakageError) as error:
        check_training(ranks_of(Clients()), Net(), NoDefense(), key="audit", named_loss=False)
    assert str(error.value) == (
        "trainer.devices: the audit runs in one process, got 2; set trainer.devices to 1"
    )
    check_training(ranks_of(Clients()), Net(), NoDefense(), key="attack", named_loss=False)


class Lbfgs(Net):
    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.parameters())


class Synchronized(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.SyncBatchNorm(8)


@pytest.mark.parametrize(
    ("module", "n", "settings", "sentence"),
    [
        (
            Net,
            1,
            {},
            "trainer.devices: 2 ranks cannot share the 1 records of the training set; at least one"
            " for each is needed",
        ),
        (
            Lbfgs,
            N,
            {},
            "model Lbfgs: LBFGS asks for a gradient as often as the loss of its own rank wants; use"
            " an optimizer that asks once a step, such as SGD",
        ),
        (
            Synchronized,
            N,
            {},
            "trainer.sync_batchnorm: it shares what is within the networks of clients, who share"
            " gradients alone; leave it out",
        ),
        (
            Net,
            N,
            {"precision": "16-true"},
            "trainer.precision: under 16-true each rank would scale its loss, and leave out steps,"
            " by itself; use bf16-mixed or 32-true with several ranks",
        ),
    ],
)
def test_what_ranks_cannot_do_is_refused_before_the_first_step(
    module: Callable[[], Net],
    n: int,
    settings: dict[str, Any],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Trainer, "world_size", property(lambda _: 2))
    net = module()
    with pytest.raises(LeakageError) as error:
        fit(Path(), net, Average(), data=TensorDataset(*table()[:n]), logger=False, **settings)
    assert str(error.value) == sentence
    assert not net.drawn


# The command line


SHORT = {
    "data.standin_size": 1500,
    "attack.rounds": [0],
    "attack.shadow_batches": 40,
    "attack.calibrate_batches": 40,
    "attack.trials": 40,
    "attack.layer_map": False,
    "attack.cores": 1,
    "attack.background": False,
    "attack.adversaries": [
        {"class_path": "leakage.adversaries.RandomForest", "init_args": {"trees": 2}}
    ],
    "trainer.max_epochs": 1,
    "trainer.devices": 2,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}


def command(root: Path, logs: Path, *flags: str) -> list[str]:
    settings = SHORT | {"data.root": str(root), "trainer.logger.save_dir": str(logs)}
    words = [
        word
        for key, value in settings.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    return ["-m", "leakage", "fit", "--config", CONFIG, *words, *flags]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("adult")
    ADULT.write(found, size=1500, seed=0)
    return found


def test_the_command_line_trains_clients_where_there_are_devices(
    root: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    flags = "--defense=Sign", "--trainer.callbacks+=leakage.callbacks.Capture"
    started.append(process := start(*command(root, tmp_path, *flags), folder=tmp_path))
    told, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert errors.count("each of 2 ranks is a client that shares a gradient of its own") == 1
    assert errors.count("training the undefended twin") == 1
    run = tmp_path / "adult" / "version_0"
    assert [folder.name for folder in run.parent.iterdir()] == ["version_0"]
    assert len(list((run / "captures").iterdir())) == 2 * 5  # 600 records in batches of 2 * 64
    for release in captured(run, 0):
        assert set(release.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert not torch.equal(*captured(run, 0))
    (checkpoint,) = (run / "checkpoints").iterdir()
    data = Adult(str(root), exclude=["sex", "relationship"])
    data.setup()
    module = Tabular(data.in_features, hidden=[64, 32])
    module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    held = data.population.splits["test"]
    with torch.no_grad():
        hits = module.eval().hits(default_collate([data.population.records[i] for i in held]))
    found = re.search(r"test accuracy ([\d.]+) .* on (\d+) records, undefended run", told)
    assert found is not None, told
    assert int(found[2]) == len(held)
    assert float(found[1]) == pytest.approx(hits.double().mean().item(), abs=5e-4)


def test_a_refusal_of_all_ranks_is_said_once_and_leaves_no_process(
    root: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    flags = "--defense=DP", "--defense.batch=301", "--defense.sigma=1"
    started.append(process := start(*command(root, tmp_path, *flags), folder=tmp_path))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert said == [
        "error: defense.batch: 301 records are more than the 300 that the smallest share of 2 ranks"
        " has of the 600 of the training set"
    ]
    assert "Traceback" not in errors
    assert wait_until(lambda: not members(process), 10)


LEAVING = """
import atexit, torch.distributed as dist
from leakage.distributed import Clients
from lightning import Trainer

atexit.register(lambda: print("left" if not dist.is_initialized() else "still there"))
trainer = Trainer(
    strategy=Clients("gloo"), devices=1, accelerator="cpu", logger=False, barebones=True
)
trainer.strategy.setup_environment()
assert dist.is_initialized()
"""


def test_a_rank_leaves_the_group_before_python_ends(tmp_path: Path) -> None:
    """Threads of gloo that find Python gone abort the process, now and then."""
    run = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "left"


def test_the_first_rank_ends_with_a_sentence_when_another_is_killed(
    root: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    flags = "--trainer.max_epochs=-1", "--attack.rounds=[0]"
    started.append(process := start(*command(root, tmp_path, *flags), folder=tmp_path))
    assert wait_until(lambda: bool(list(tmp_path.glob("adult/*/attack.csv"))), 200)
    (other,) = set(members(process)) - {process.pid}
    os.kill(other, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    # Lightning looks every five seconds for a rank that has ended, and may be faster.
    assert process.returncode in (2, -signal.SIGKILL)
    lost = "error: trainer.devices: rank 0 has lost another one, which says why" in errors
    assert lost or "terminated with code -9. Forcefully terminating" in errors
    assert "Traceback" not in errors
    assert not members(process)


WAITS = """
import os, sys
import torch, torch.distributed as dist
from torchmetrics import MeanMetric
from leakage.distributed import ends_of_others
from leakage.errors import LeakageError

def ends(wait):
    try:
        with ends_of_others():
            wait()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def mistake():
    raise RuntimeError("a mistake of the user")

rank, meeting = int(sys.argv[1]), f"file://{sys.argv[2]}"
print(ends(lambda: dist.init_process_group("none", init_method=meeting, rank=rank, world_size=2)))
dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
metric = MeanMetric()
metric.update(torch.tensor(float(rank)))
print(ends(lambda: print(metric.compute().item())))
if rank == 1:
    os._exit(0)
metric.update(torch.tensor(0.0))
print(ends(metric.compute))
print(ends(lambda: dist.all_reduce(torch.zeros(1))))
print(ends(mistake), flush=True)
os._exit(0)  # the threads of a group that has lost a rank may abort at the end
"""


def test_where_metrics_wait_for_a_rank_that_has_ended_a_sentence_says_so(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    ranks = [start("-c", WAITS, str(r), str(tmp_path / "meet"), folder=tmp_path) for r in (0, 1)]
    started.extend(ranks)
    said, errors = ranks[0].communicate(timeout=120)
    assert ranks[0].returncode == 0, errors
    unknown, mean, whole, metrics, plainly, mistake = said.splitlines()
    lost = "LeakageError: trainer.devices: rank 0 has lost another one, which says why if it could"
    assert not unknown.startswith(lost)
    assert (mean, whole) == ("0.5", "None")
    assert metrics.startswith(lost)
    assert plainly.startswith(lost)
    assert mistake == "RuntimeError: a mistake of the user"


def test_another_strategy_is_refused_before_a_rank_is_started(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(command(root, tmp_path, "--trainer.strategy=ddp_spawn")[2:])
    assert end.value.code == 2
    assert "error: trainer.strategy: under DDPStrategy no rank has" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_others_end_when_the_first_rank_is_killed(
    scenarios: tuple[Path, subprocess.Popen[str]], both: list[dict[str, Any]]
) -> None:
    _, process = scenarios
    assert [both[0]["pid"]] == [process.pid]
    assert {process.pid, both[1]["pid"]} <= set(members(process))
    os.kill(process.pid, signal.SIGKILL)
    assert wait_until(lambda: not members(process), 30)
