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
TABLE = {"fit": "attack.csv", "audit": "audit.csv"}
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
    def sentence(self) -> str:
        """What it said last, of one that failed."""
        try:
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line for line in lines if line.strip()] or ["it ended before it said anything"]
        errors = [line for line in said if line.startswith("error: ")]
        return (errors or said)[-1].strip().removeprefix("error: ")

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


class Attempt:
    """Plays a cell to its end, unless another process has; what submitit starts, wherever that is.

    The cell is a process of its own, which holds a lock as long as it runs. So a cell whose sweep
    was killed goes on, and the attempt of the next sweep waits for it, then finds it finished.

    Args:
        cell: whose folder is there.
        environment: variables that the cell gets, or loses where they are None.
    """

    def __init__(self, cell: Cell, environment: Mapping[str, str | None]) -> None:
        self._cell = cell
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Plays it; what went wrong stands in its log."""
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # else submitit heeds what SLURM sends
            signal.signal(signal.SIGTERM, self._stop)
        with locked(self._cell.folder / LOCK) as lock:
            if not self._cell.finished:
                self._play(lock)

    def checkpoint(self) -> DelayedSubmission:
        """Ends the cell before a time limit of SLURM, and has it go on in the requeued job."""
        self._end()
        return DelayedSubmission(Attempt(self._cell, self._environment))

    def _play(self, lock: int) -> None:
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
            elif code <= 0:  # else it has said why
                log.write(f"\nerror: its process ended with code {code} and no figures\n".encode())

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


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Where this process, and those that inherit the descriptor, are the only ones to hold a lock.

    Args:
        path: of a file, which is made and left there.
        wait: whether to wait for others.

    Raises:
        LeakageError: the file cannot be made.
        BlockingIOError: another process holds it, and this one does not wait.
    """
    try:
        file: IO[bytes] = path.open("ab")
    except OSError as error:
        raise LeakageError(f"{path}: it cannot be written: {error.strerror}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.fileno()
