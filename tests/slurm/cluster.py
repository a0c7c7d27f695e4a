"""A real SLURM of this machine alone, in a folder of its own, without installing anything."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

CONFIG = """\
ClusterName=leakage
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
PluginDir={plugins}
PlugStackConfig={folder}/plugstack.conf
AuthType=auth/munge
CredType=cred/munge
# How long a requeued job waits before it starts again: 120 seconds where nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
# The node offers the cores named below, whether or not it has them.
SlurmdParameters=config_overrides
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster of one node.

    Attributes:
        programs: the folders of SLURM's programs.
        environment: of commands to it, and of jobs.
    """

    programs: str
    environment: Mapping[str, str]

    def command(self, *words: str) -> str:
        """What one of SLURM's commands prints; a refusal is an error with its words."""
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=dict(self.environment)
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def submit(self, *words: str) -> str:
        """The number of a new job."""
        return self.command("sbatch", "--parsable", *words)

    def signal(self, job: str, name: str) -> None:
        """Sends a signal as SLURM does before the time limit: to the steps, not to the script."""
        self.command("scancel", f"--signal={name}", job)

    def job(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job, such as JobState, Restarts and ExitCode."""
        shown = self.command("scontrol", "--oneliner", "show", "job", job)
        pairs = (word.partition("=") for word in shown.split())
        return {key: value for key, _, value in pairs}

    def wait(self, job: str, *states: str, seconds: float = 300) -> dict[str, str]:
        """Waits until a job is in one of these states."""
        wait_until(lambda: self.job(job)["JobState"] in states, f"job {job} {states}", seconds)
        return self.job(job)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Looks a few times a second, and gives up aloud."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} seconds in vain: {what}")
        time.sleep(0.2)


@contextmanager
def one_node(root: Path, folder: Path, cpus: int = 2) -> Iterator[Cluster]:
    """A cluster as long as the context lasts.

    Args:
        root: `/` where SLURM is installed, else the folder that `tests/slurm/unpack` filled.
        folder: new; has configuration, state and logs.
        cpus: that the node offers, whether or not it has them.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "plugstack.conf").touch()
    libraries = next(root.glob("usr/lib/*/slurm-wlm")).resolve()
    programs = f"{root / 'usr/bin'}:{root / 'usr/sbin'}"
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{libraries.parent}:{libraries}",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    config = CONFIG.format(
        host=socket.gethostname().split(".")[0],
        ports=_free_ports(2),
        user=_user(),
        folder=folder,
        plugins=libraries,
        cpus=cpus,
    )
    (folder / "slurm.conf").write_text(config)
    cluster = Cluster(programs, environment)
    with ExitStack() as daemons:
        for command in _commands(root, folder):
            daemons.enter_context(_daemon(command, folder, environment))
        daemons.callback(_empty, cluster)
        wait_until(lambda: _answers(cluster), f"an idle node; see the logs in {folder}", 60)
        yield cluster


def _commands(root: Path, folder: Path) -> Iterator[list[str]]:
    """munged, slurmctld and slurmd, in the foreground."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    files = {"key": key, "socket": folder / "munge.socket", "pid": folder / "munge.pid"}
    files |= {"log": folder / "munge.log", "seed": folder / "munge.seed"}
    flags = [
        f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in files.items()
    ]
    yield [str(root / "usr/sbin/munged"), "--foreground", "--force", *flags]
    config = str(folder / "slurm.conf")
    yield [_program(root, "slurmctld"), "-D", "-i", "-f", config]
    yield [_program(root, "slurmd"), "-D", "-f", config, "-d", _program(root, "slurmstepd")]


def _program(root: Path, name: str) -> str:
    """Debian calls it slurmd-wlm; an installation has a link of the usual name."""
    found = [root / "usr/sbin" / each for each in (name, f"{name}-wlm")]
    return str(next(path for path in found if path.exists()))


@contextmanager
def _daemon(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    name = Path(command[0]).name
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=log, stderr=log, start_new_session=True
        )
    try:
        time.sleep(0.5)
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended: {(folder / f'{name}.log').read_text()}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(cluster: Cluster) -> bool:
    try:
        return cluster.command("sinfo", "--noheader", "--format=%T") == "idle"
    except RuntimeError:
        return False


def _empty(cluster: Cluster) -> None:
    """Ends all jobs, so that no process of theirs outlives the daemons."""
    cluster.command("scancel", "--full", f"--user={_user()}")
    wait_until(lambda: not cluster.command("squeue", "--noheader"), "an empty queue", 60)


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
