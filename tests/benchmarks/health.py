"""`python -m tests.benchmarks.health`: seconds and memory of the claims of Health at full size."""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from leakage.data.health import Health
from leakage.data.standins.health import HEALTH
from tests.benchmarks.measure import apart, heading, mib, print_table

MEMBERS = 113_000
"""As many as the official Members.csv has, which makes about 2.6 million claims."""


def _peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(root: Path, members: int) -> tuple[float, int]:
    """Writes the stand-in; seconds, and the peak memory of this process."""
    start = time.perf_counter()
    HEALTH.write(root, size=members, seed=0)
    return time.perf_counter() - start, _peak()


def read(root: Path) -> tuple[float, int, int, int]:
    """Reads it; seconds, peak memory of this process, records and columns of x."""
    data = Health(str(root))
    start = time.perf_counter()
    data.setup("fit")
    taken = time.perf_counter() - start
    return taken, _peak(), *data.population.features.shape


def idle() -> int:
    """The memory of a process that has only imported what the others need."""
    return _peak()


def main() -> None:
    """Writes the files to a temporary folder and prints what it and reading them takes."""
    parser = argparse.ArgumentParser("python -m tests.benchmarks.health", description=__doc__)
    parser.add_argument("--members", type=int, default=MEMBERS)
    members = parser.parse_args().members
    print(f"Health, stand-in of {members:,} members; {heading()}.")
    print("Peak memory: ru_maxrss of a process of its own.\n")
    with TemporaryDirectory() as folder:
        root = Path(folder)
        wrote, written = apart(write, root, members)
        taken, peak, records, columns = apart(read, root)
        with (root / "Claims.csv").open("rb") as file:
            claims = sum(1 for _ in file) - 1
    print(f"{claims:,} claims, {records:,} records of {columns} columns.\n")
    rows = [
        ("imports alone", "", mib(apart(idle))),
        ("write", f"{wrote:.1f}", mib(written)),
        ("read", f"{taken:.1f}", mib(peak)),
    ]
    print_table(["", "seconds", "peak memory, MiB"], rows)


if __name__ == "__main__":
    main()
