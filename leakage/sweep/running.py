"""Plays cells through submitit, in local processes or as jobs of SLURM, and says how they stand."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from submitit import AutoExecutor, Job, LocalJob, SlurmJob

from leakage.errors import LeakageError
from leakage.sweep.board import Board, Standing
from leakage.sweep.cells import Attempt, Cell
from leakage.sweep.joined import strongest
from leakage.sweep.queue import Queue
from leakage.sweep.settings import Sweep

JOBS = "jobs"
"""The folder of what submitit writes."""
_PAUSE = 0.3  # seconds between two looks
_PATIENCE = 20.0  # seconds that cells may take to end
_FOREVER = 60 * 24 * 365  # minutes; the default of submitit is two
_REQUEUES = 10**6  # at time limits; the default of submitit is three, and an attempt counts itself


@dataclass(frozen=True)
class _Played:
    """A cell under way."""

    cell: Cell
    job: Job[None]
    since: float
    logged: int | None

    def ended(self, queue: Queue) -> bool:
        """Whether it is under way no more."""
        if isinstance(self.job, LocalJob):
            return self.job.done()
        return self.job.paths.result_pickle.exists() or queue.has_lost(self.job.job_id)


def play(cells: Iterable[Cell], sweep: Sweep, board: Board) -> None:
    """Plays all cells that are not finished; one that fails ends no other.

    Args:
        cells: of the sweep.
        sweep: says where, and how many side by side.
        board: is told how each cell stands.

    Raises:
        LeakageError: nothing can be submitted.
    """
    local, folder, queue = sweep.cluster == "local", Path(sweep.out, JOBS), Queue()
    waiting: list[Cell] = []
    under_way: list[_Played] = []
    for cell in cells:
        board.tell(cell, _standing(cell) if cell.finished else Standing("waiting"))
        job = None if local or cell.finished else cell.job
        if job is not None and queue.holds(job):  # a sweep that was killed has left it
            under_way.append(_Played(cell, SlurmJob(folder, job), time.monotonic(), cell.logged))
            board.tell(cell, Standing(f"job {job}"))
        elif not cell.finished:
            waiting.append(cell)
    if not waiting and not under_way:
        return
    executor = _executor(sweep, folder)
    at_once = sweep.jobs if local else len(waiting) + len(under_way)
    environment = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")} if local else {}
    with _ending(under_way):
        while waiting or under_way:
            free = at_once - len(under_way)
            starting, waiting = waiting[:free], waiting[free:]
            for cell in starting:
                cell.prepare()
            if starting:
                before = {cell.key: cell.logged for cell in starting}
                jobs = _submit(executor, [Attempt(cell, environment) for cell in starting])
                for cell, submitted in zip(starting, jobs, strict=True):
                    under_way.append(_Played(cell, submitted, time.monotonic(), before[cell.key]))
                    if not local:
                        cell.note(submitted.job_id)
                    board.tell(cell, Standing("running" if local else f"job {submitted.job_id}"))
            for played in list(under_way):
                if played.ended(queue):
                    under_way.remove(played)
                    board.tell(played.cell, _standing(played.cell, played))
                else:
                    taken = time.monotonic() - played.since
                    board.tell(
                        played.cell, replace(board.standings[played.cell.key], seconds=taken)
                    )
            board.show()
            time.sleep(_PAUSE)


def _standing(cell: Cell, played: _Played | None = None) -> Standing:
    """How a cell stands that is not under way any more."""
    if cell.finished:
        return Standing("finished", cell.seconds, strongest(cell))
    if played is None or played.job.paths.result_pickle.exists():
        return Standing("failed", sentence=cell.sentence)
    # Whatever has ended the job, the cell may have told of it before; or its log is of another job.
    said = cell.error if cell.logged != played.logged else ""
    return Standing(
        "failed",
        sentence=said
        or f"job {played.job.job_id} ended before the cell was finished: it was cancelled, killed"
        " or at a limit; the same sweep goes on from there",
    )


def _executor(sweep: Sweep, folder: Path) -> AutoExecutor:
    parameters: dict[str, Any] = {"name": "leakage-sweep", "timeout_min": _FOREVER}
    if sweep.cluster == "slurm":
        parameters |= {"slurm_array_parallelism": sweep.jobs, **sweep.slurm}
    try:
        executor = AutoExecutor(folder, cluster=sweep.cluster, slurm_max_num_timeout=_REQUEUES)
        executor.update_parameters(**parameters)
    # Its words for no SLURM here, an unknown name and a value of another type.
    except (RuntimeError, NameError, ValueError, AssertionError) as error:
        raise LeakageError(f"cluster {sweep.cluster}: {str(error).splitlines()[0]}") from None
    return executor


def _submit(executor: AutoExecutor, attempts: list[Attempt]) -> list[Job[None]]:
    # What is started now never hears Ctrl-C, which comes to all that a terminal has started: the
    # sweep, which hears it right afterwards, ends the others.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit_array(attempts)
    except RuntimeError as error:  # what sbatch says
        said = " ".join(str(error).split())
        raise LeakageError(f"cluster {executor.cluster}: it takes no job: {said}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _ending(under_way: list[_Played]) -> Iterator[None]:
    """Ends what is under way when the sweep ends, whatever ends it."""
    try:
        yield
    finally:
        until = time.monotonic() + _PATIENCE
        while under_way and time.monotonic() < until:
            for played in under_way:
                _end(played.job)
            time.sleep(_PAUSE)
            local = [played for played in under_way if isinstance(played.job, LocalJob)]
            under_way[:] = [played for played in local if not played.job.done()]


def _end(job: Job[None]) -> None:
    """Ends a job; a local one hands SIGTERM on to its cell, once it has begun, so it wants time."""
    if isinstance(job, LocalJob):
        with suppress(ProcessLookupError):
            os.kill(int(job.job_id), signal.SIGTERM)
    else:
        job.cancel(check=False)
