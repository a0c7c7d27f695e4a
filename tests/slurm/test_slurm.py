"""A run under a real SLURM: submit, signal, requeue, resume, finish, one table.

Asked for by LEAKAGE_SLURM, the root of SLURM's programs: `/` where they are installed, else a
folder that `tests/slurm/unpack FOLDER` filled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from cluster import Cluster, one_node, wait_until
from stub_cells import alive, end, no_orphans, start, starts, wait_for

from leakage.data.standins.adult import ADULT

ROOT = Path(__file__).resolve().parents[2]
ROWS = 3000
SETTINGS = {
    "attack.shadow_batches": "40",
    "attack.calibrate_batches": "40",
    "attack.trials": "40",
    "attack.adversaries": "[{class_path: leakage.adversaries.RandomForest, init_args: {trees: 5}}]",
    "data.standin_size": str(ROWS),
    "data.batch_size": "4",
    "trainer.max_epochs": "3",
    "trainer.enable_progress_bar": "false",
    "trainer.enable_model_summary": "false",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = os.environ.get("LEAKAGE_SLURM")
    if root is None:
        pytest.skip(
            "NOT TESTED UNDER SLURM: run `tests/slurm/unpack FOLDER` and set LEAKAGE_SLURM to the"
            " folder, or to / where slurm-wlm and munge are installed"
        )
    with one_node(Path(root), tmp_path_factory.mktemp("cluster"), cpus=4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adult")
    ADULT.write(folder, size=ROWS, seed=0)
    return folder


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_requeued_job_ends_as_one_that_was_let_alone(
    cluster: Cluster, data: Path, tmp_path: Path, tasks: int
) -> None:
    ended, alone = (submit(cluster, tmp_path, data, tasks) for _ in range(2))
    folder = tmp_path / "logs" / "adult" / f"job_{ended}"
    wait_until(lambda: any(folder.glob("checkpoints/*.ckpt")), f"a checkpoint in {folder}")
    cluster.signal(ended, "USR1")
    wait_until(lambda: cluster.job(ended)["Restarts"] == "1", f"a requeue of job {ended}")
    for job in (ended, alone):
        log = tmp_path / f"leakage-{job}.out"
        state = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
        assert (state["JobState"], state["ExitCode"]) == ("COMPLETED", "0:0"), log.read_text()
    log = (tmp_path / f"leakage-{ended}.out").read_text()
    assert "SLURM is about to end the job: wrote" in log
    assert "Traceback" not in log
    folders = sorted(path.name for path in folder.parent.iterdir())
    assert folders == sorted(f"job_{job}" for job in (ended, alone))
    tables = [folder.parent / f"job_{job}" / "attack.csv" for job in (ended, alone)]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    weights = [final_weights(folder.parent / f"job_{job}") for job in (ended, alone)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_sweep_is_an_array_of_jobs_with_the_figures_of_processes(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    settings = SETTINGS | {"data.root": str(data), "trainer.max_epochs": "1"}
    sweep = {
        "base": [str(ROOT / "configs/adult.yaml")],
        "grid": {"attack.k": [1, 2]},
        "overrides": {key: yaml.safe_load(value) for key, value in settings.items()}
        | {"attack.rounds": [0]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    tables = []
    for where, more in (("slurm", ["--slurm", '{"timeout_min": 10}']), ("local", [])):
        words = ["sweep", "--config", "sweep.yaml", "--out", where, "--cluster", where, *more]
        done = subprocess.run(
            [sys.executable, "-m", "leakage", *words],
            env=cluster.environment | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr
        assert "2 of 2 cells are finished" in done.stdout
        tables.append((tmp_path / where / "sweep.parquet").read_bytes())
    assert tables[0] == tables[1]


def test_what_slurm_does_to_a_job_of_a_sweep_is_told_or_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    """One is cancelled, one is asked to leave by SIGUSR2, one is requeued; each by its own."""
    names = ["cancelled", "asked", "requeued"]
    with no_orphans(tmp_path):
        sweep = start_stubs(cluster, tmp_path, *names, jobs=3)
        wait_for(lambda: len(starts(tmp_path)) == 3, 60)
        (array,) = (
            path.name.partition("_")[0] for path in (tmp_path / "jobs").glob("[0-9]*_submission.sh")
        )
        cluster.command("scancel", f"{array}_0")
        cluster.signal(f"{array}_1", "USR2")
        cluster.command("scontrol", "requeue", f"{array}_2")
        wait_for(lambda: len(starts(tmp_path)) == 5, 120)  # after a while in the queue
        (tmp_path / "go").touch()
        told, err = end(sweep)
    standings = eval(told)
    assert [standings[name][0] for name in names] == ["failed", "finished", "finished"]
    assert f"job {array}_0 ended before the cell was finished" in standings["cancelled"][2]
    counts = Counter(line.split()[0] for line in starts(tmp_path))
    assert counts == {"cancelled": 1, "asked": 2, "requeued": 2}
    assert "sacct" not in err


def test_a_sweep_that_was_killed_takes_up_its_jobs_when_it_is_started_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    with no_orphans(tmp_path):
        first = start_stubs(cluster, tmp_path, "one", "two", jobs=1)
        wait_for(lambda: starts(tmp_path), 60)
        first.kill()
        first.wait()
        second = start_stubs(cluster, tmp_path, "one", "two", jobs=1)
        assert second.stderr is not None
        lines = [second.stderr.readline() for _ in range(2)]  # of one and of two
        (tmp_path / "go").touch()
        told, _ = end(second)
    (array,) = (
        path.name.partition("_")[0] for path in (tmp_path / "jobs").glob("[0-9]*_submission.sh")
    )
    assert [line.split()[-2:] for line in lines] == [["job", f"{array}_{i}"] for i in range(2)]
    assert {word for word, _, _ in eval(told).values()} == {"finished"}
    assert [line.split()[0] for line in starts(tmp_path)] == ["one", "two"]


def test_a_sweep_that_is_interrupted_leaves_no_job_and_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    with no_orphans(tmp_path):
        first = start_stubs(cluster, tmp_path, "one", "two", jobs=1)
        wait_for(lambda: starts(tmp_path), 60)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
        (cell,) = (int(line.split()[1]) for line in starts(tmp_path))
        second = start_stubs(cluster, tmp_path, "one", "two", jobs=1)  # while SLURM ends the job
        wait_for(lambda: len(starts(tmp_path)) == 2, 120)
        assert not alive(cell)
        (tmp_path / "go").touch()
        told, _ = end(second)
    assert {word for word, _, _ in eval(told).values()} == {"finished"}
    assert [line.split()[0] for line in starts(tmp_path)] == ["one", "one", "two"]


def start_stubs(cluster: Cluster, out: Path, *names: str, jobs: int) -> subprocess.Popen[str]:
    """A sweep of small programs under SLURM, each of which waits for the file `go`."""
    environment = cluster.environment | {"PYTHONPATH": str(ROOT)}
    environment |= {"CLUSTER": "slurm", "PARTITION": "all"}
    return start(out, " ".join(names), seconds=300, jobs=jobs, environment=environment)


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    (last,) = run.glob("checkpoints/epoch=2-*.ckpt")
    found: dict[str, torch.Tensor] = torch.load(last, weights_only=True)["state_dict"]
    return found


def submit(cluster: Cluster, folder: Path, data: Path, tasks: int) -> str:
    """The template as users get it, with this Python and this copy of the project."""
    settings = SETTINGS | {"data.root": str(data), "trainer.logger.save_dir": str(folder / "logs")}
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]
    return cluster.submit(
        f"--ntasks-per-node={tasks}",
        f"--chdir={ROOT}",
        f"--output={folder}/%x-%j.out",
        f"--export=ALL,PATH={Path(sys.executable).parent}:{cluster.environment['PATH']}",
        str(ROOT / "slurm/fit.sbatch"),
        *("--config", str(ROOT / "configs/adult.yaml")),
        *words,
    )
