"""A cell of a sweep: its folder, when it is finished, and the process that plays it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from submitit.helpers import DelayedSubmission

from leakage.errors import LeakageError
from leakage.sweep.grid import Plan
from leakage.writing import write_whole

CONFIG, FINISHED, LOCK, LOG = "cell.yaml", "finished.json", ".lock", "log.txt"
_JOB, _ERROR = ".job", "error: "
TABLE = {"fit": "attack.csv", "audit": "audit.csv"}
_FRUITLESS = 3  # jobs in a row that were ended before the cell had kept anything new
_GRACE = 5.0  # seconds in which SLURM may say more than SIGTERM
_LOGGER = "lightning.pytorch.loggers.TensorBoardLogger"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Args:
        plan: where it is in the grid.
        key: changes with its config and its data.
        folder: of the run, named by the key.
        config: all of its settings, as YAML.
    """

    plan: Plan
    key: str
    folder: Path
    config: str

    @property
    def command(self) -> str:
        """What it is, `fit` or `audit`."""
        return self.plan.words[0]

    @property
    def finished(self) -> bool:
        """Whether it has been played to its end."""
        return (self.folder / FINISHED).is_file()

    @property
    def seconds(self) -> float:
        """Those that its last start took, of a finished one."""
        return float(json.loads((self.folder / FINISHED).read_bytes())["seconds"])

    @property
    def logged(self) -> int | None:
        """When something was last written to its log, in nanoseconds."""
        try:
            return (self.folder / LOG).stat().st_mtime_ns
        except OSError:
            return None

    @property
    def error(self) -> str:
        """The sentence that its log ends with, of a run that has told what is wrong."""
        errors = [line for line in self._said if line.startswith(_ERROR)]
        return errors[-1].removeprefix(_ERROR) if errors else ""

    @property
    def sentence(self) -> str:
        """What it said last, of one that failed: of an exception what kind it is of."""
        said = self._said
        frames = [n for n, line in enumerate(said) if line.startswith("Traceback (most recent")]
        below = [line for line in said[frames[-1] + 1 :] if line[0] != " "] if frames else []
        return self.error or (below[:1] or said[-1:] or ["it ended before it said anything"])[0]

    @property
    def _said(self) -> list[str]:
        try:
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return [line.rstrip() for line in lines if line.strip()]

    @property
    def job(self) -> str | None:
        """The job of SLURM that it was last given to."""
        try:
            return (self.folder / _JOB).read_text().strip() or None
        except OSError:
            return None

    @property
    def program(self) -> list[str]:
        """What plays it; started again, it goes on in its folder."""
        place = {"save_dir": str(self.folder.parent), "name": "", "version": self.folder.name}
        logger = {"class_path": _LOGGER, "init_args": place | {"default_hp_metric": False}}
        config = str(self.folder / CONFIG)
        quiet = "--trainer.enable_progress_bar=false"
        where = f"--trainer.logger={json.dumps(logger)}"
        words = [self.command, "--config", config, where, quiet, "--ckpt_path=last"]
        return [sys.executable, "-m", "leakage", *words]

    def prepare(self) -> None:
        """Makes its folder, with its config."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / CONFIG, self.config)

    def note(self, job: str) -> None:
        """Takes down which job of SLURM it was given to, for a sweep that is started again."""
        write_whole(self.folder / _JOB, job)

    def kept(self) -> dict[Path, int]:
        """Checkpoints and rounds that were played, and when each file was written."""
        played = self.folder.glob("attack*/round_?????.safetensors")  # others come at each start
        files = [*self.folder.glob("checkpoints/*"), *played]
        found = {}
        for path in files:
            with suppress(OSError):  # a checkpoint may take the place of an older one now
                found[path] = path.stat().st_mtime_ns
        return found


class Attempt:
    """Plays a cell to its end, unless another process has; what submitit starts, wherever that is.

    The cell is a process of its own, which holds a lock as long as it runs. So a cell whose sweep
    was killed goes on, and the attempt of the next sweep waits for it, then finds it finished.

    Args:
        cell: whose folder is there.
        environment: variables that the cell gets, or loses where they are None.
        fruitless: how many jobs in a row have come to nothing that it could go on from.
    """

    def __init__(
        self, cell: Cell, environment: Mapping[str, str | None], fruitless: int = 0
    ) -> None:
        self._cell = cell
        self._environment = dict(environment)
        self._fruitless = fruitless
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: dict[Path, int] = {}

    def __call__(self) -> None:
        """Plays it; what went wrong stands in its log."""
        local = os.environ.get("SUBMITIT_EXECUTOR") == "local"
        if local:  # else submitit heeds what SLURM sends
            signal.signal(signal.SIGTERM, self._stop)
        with locked(self._cell.folder / LOCK) as lock:
            if not self._cell.finished:
                self._kept = self._cell.kept()
                self._play(lock, local)

    def checkpoint(self) -> DelayedSubmission | None:
        """Ends the cell before a time limit of SLURM, and has it go on in the requeued job.

        But not for ever: None where a few jobs in a row have come to nothing.
        """
        self._end()
        waited = self._process is None  # for another process that plays it
        idle = not waited and self._cell.kept() == self._kept
        fruitless = self._fruitless + 1 if idle else self._fruitless if waited else 0
        if fruitless < _FRUITLESS:
            return DelayedSubmission(Attempt(self._cell, self._environment, fruitless))
        with (self._cell.folder / LOG).open("ab") as log:
            said = f"{fruitless} jobs were ended before the cell had come to a checkpoint"
            log.write(f"\nerror: {said}; slurm.timeout_min: allow more\n".encode())
        return None

    def _play(self, lock: int, local: bool) -> None:
        cell, started = self._cell, time.monotonic()
        with (cell.folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                cell.program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._variables(),
                pass_fds=[lock],
                start_new_session=True,  # so that all of it can be ended, and Ctrl-C is not its own
            )
            code = self._process.wait()
            if code == 0 and (cell.folder / TABLE[cell.command]).is_file():
                seconds = round(time.monotonic() - started, 1)
                write_whole(cell.folder / FINISHED, json.dumps({"seconds": seconds}))
            elif not local and code in (-signal.SIGTERM, 128 + signal.SIGTERM):
                # SLURM ends the job, and all in it has heard so. Left without a result, the job is
                # over when SLURM says so, and not where it is requeued.
                time.sleep(_GRACE)
                os._exit(128 + signal.SIGTERM)
            elif code <= 0 or code > 128:  # else it has said why
                log.write(f"\nerror: its process {_ended(code)}\n".encode())

    def _variables(self) -> dict[str, str]:
        """Those of this process, but for what makes a program take part in a job by itself."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SUBMITIT_"))}
        changed = {**own, **self._environment}
        return {name: value for name, value in changed.items() if value is not None}

    def _end(self) -> None:
        """Ends the cell at once: it can go on from wherever it is."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._end()
        os._exit(128 + number)


def _ended(code: int) -> str:
    """How a process came to an end that has not said why.

    >>> _ended(-9)
    'was ended by SIGKILL, as a lack of memory does; the same sweep goes on from there'
    >>> _ended(0)
    'ended with code 0 and no figures'
    """
    number = -code if code < 0 else code - 128
    if number not in set(signal.Signals):
        return f"ended with code {code} and no figures"
    why = ", as a lack of memory does" if number == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(number).name}{why}; the same sweep goes on from there"


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Where this process, and those that inherit the descriptor, are the only ones to hold a lock.

    Args:
        path: of a file, which is made and left there.
        wait: whether to wait for others.

    Raises:
        LeakageError: the file cannot be made, or its file system has no locks.
        BlockingIOError: another process holds it, and this one does not wait.
    """
    try:
        file: IO[bytes] = path.open("ab")
    except OSError as error:
        raise LeakageError(f"{path}: it cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # such as that of a cluster, mounted without
            raise LeakageError(f"{path}: it cannot be locked: {error.strerror}") from None
        yield file.fileno()
