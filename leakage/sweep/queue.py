"""Which jobs SLURM still has: asked of its queue, as `sacct` needs a database that few keep."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter

_EVERY = 5.0  # seconds between two questions
_ENDING = "COMPLETING"  # as a cancelled one is, and one that is requeued
_MISSED = 3  # looks in a row, so that files of a job have time to be seen from here


class Queue:
    """The jobs of this user that wait, run or are about to end."""

    def __init__(self) -> None:
        self._asked = float("-inf")
        self._jobs: dict[str, str] = {}
        self._missed: Counter[str] = Counter()

    def holds(self, job: str) -> bool:
        """Whether a job, such as `7_0`, waits or runs now, as far as SLURM can be asked."""
        self._look()
        return self._jobs.get(job, _ENDING) != _ENDING

    def has_lost(self, job: str) -> bool:
        """Whether a job has been missing for a while; a requeued one is not."""
        if job not in self._missed:
            self._missed[job] = 0
        self._look()
        return self._missed[job] >= _MISSED

    def _look(self) -> None:
        if time.monotonic() < self._asked + _EVERY:
            return
        self._asked = time.monotonic()
        words = ["squeue", "--noheader", "--all", "--array", "--format=%i %T"]
        try:
            said = subprocess.run(
                [*words, f"--user={os.getuid()}"],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
        except (OSError, subprocess.SubprocessError):  # SLURM is busy, or being restarted
            return
        self._jobs = dict(line.split(maxsplit=1) for line in said.splitlines() if line.strip())
        for job in self._missed:
            self._missed[job] = 0 if job in self._jobs else self._missed[job] + 1
