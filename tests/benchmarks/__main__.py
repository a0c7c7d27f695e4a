"""`python -m tests.benchmarks`: the engine's and the adversaries' tables as Markdown."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import torch

from tests.benchmarks.models import CASES
from tests.benchmarks.paths import TABLE


def names(text: str) -> list[str]:
    """The cases that `--only` names."""
    known = [*CASES, "adversaries"]
    asked = text.split(",")
    if unknown := [name for name in asked if name not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
    return asked


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    add = made.add_argument
    add("--only", type=names, default=[*CASES, "adversaries"], metavar="mlp,face,...")
    add("--quick", action="store_true", help="small pools, one repetition, no memory: a look")
    add("--repetitions", type=int, default=3)
    add("--threads", type=int, default=1)
    add("--clock", choices=["wall", "cpu"], default="wall", help="cpu where others compute too")
    add("--no-memory", action="store_true", help="without a process for each path")
    add("--paths", default=",".join(TABLE), help="those compared with naive")
    add("--adult", metavar="FOLDER", help="of the official files, instead of the stand-in")
    add("--growth", type=Path, metavar="PNG", help="draw seconds and memory against n, k, N, p")
    return made


def main() -> int:
    given = parser().parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    os.environ["BENCHMARK_CLOCK"] = given.clock
    from tests.benchmarks.adversaries import play
    from tests.benchmarks.engine import Options, compare
    from tests.benchmarks.growth import grow
    from tests.benchmarks.measure import heading

    print(heading() + "\n", flush=True)
    repetitions = 1 if given.quick else given.repetitions
    if given.growth is not None:
        grow(given.growth, quick=given.quick, repetitions=repetitions)
        return 0
    right = True
    if cases := [name for name in given.only if name in CASES]:
        memory = not (given.quick or given.no_memory)
        right = compare(Options(cases, given.quick, repetitions, memory, given.paths.split(",")))
    if "adversaries" in given.only:
        play(quick=given.quick, root=given.adult)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
