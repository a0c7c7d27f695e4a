"""The engine against plain autograd and Opacus: ratios, rate, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tests.benchmarks.measure import (
    MEMORY_NOTE,
    Cost,
    apart,
    cost,
    interleaved,
    matmul_rate,
    mib,
    operations,
    print_table,
    seconds,
    significant,
)
from tests.benchmarks.models import CASES, Case, sizes
from tests.benchmarks.paths import Means, build, naive

TOLERANCE = 1e-5
CLIP = 1.0


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Args:
        only: the names of the cases.
        quick: a tenth of each pool and of the releases, one repetition.
        repetitions: of which the median is taken.
        memory: whether peak memory is measured, each path in a process of its own.
        paths: those that are compared with naive.
    """

    only: Sequence[str]
    quick: bool
    repetitions: int
    memory: bool
    paths: Sequence[str]


def case_of(name: str, quick: bool) -> Case:
    return CASES[name].quick() if quick else CASES[name]


def peak(name: str, quick: bool, k: int, norm: float | None, path: str) -> Cost | str:
    """What a path costs, measured in the process that calls this, or why it has none."""
    case = case_of(name, quick)
    means = build(path, case.module(), case.records())
    if isinstance(means, str):
        return means
    table = case.table(k)
    means(table[:1], norm)
    return cost(lambda: means(table, norm))


class Contest:
    """One model: every path on the same tables."""

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.options = name, options
        self.case = case_of(name, options.quick)
        self.module, self.records = self.case.module(), self.case.records()
        self.naive = naive(self.module, self.records)
        self.paths = {path: build(path, self.module, self.records) for path in options.paths}
        self.worst = 0.0
        self.notes: dict[str, str] = {}

    def rows(self) -> Iterator[list[str]]:
        """A row of the table for each k, then those with clipping."""
        for k in self.case.ks:
            yield self.row(k, None)
        for k in self.case.clipped:
            yield self.row(k, CLIP)

    def row(self, k: int, norm: float | None) -> list[str]:
        case, table = self.case, self.case.table(k)
        few = self.few(table, norm)
        running = self.right(few, norm)
        calls = {path: partial(means, table, norm) for path, means in running.items()}
        calls["naive"] = partial(self.naive, few, norm)
        taken = interleaved(calls, self.options.repetitions)
        taken["naive"] *= len(table) / len(few)
        best = min(running, key=lambda path: taken[path], default="naive")
        label = f"{case.title}, p {sizes(self.module):,}, N {case.N:,}, n {case.n:,}"
        return [
            label + (f", clipped to {norm:g}" if norm is not None else ""),
            str(k),
            f"{taken['naive']:.2f}",
            *(
                significant(taken["naive"] / taken[path]) if path in running else "-"
                for path in self.paths
            ),
            *self.rates(table, taken["naive"], taken[best], norm),
            *self.peaks(k, norm),
        ]

    def few(self, table: Tensor, norm: float | None) -> Tensor:
        """As many releases as naive makes in about 2 s, .3 s if quick; the others cost the same."""
        self.naive(table[:1], norm)
        one = seconds(partial(self.naive, table[:1], norm))
        return table[: max(2, int((0.3 if self.options.quick else 2.0) / one))]

    def right(self, few: Tensor, norm: float | None) -> dict[str, Means]:
        """The paths that run and give what naive gives, to 1e-5 of each release's norm."""
        expected, running = self.naive(few, norm), {}
        for path, means in self.paths.items():
            if isinstance(means, str):
                self.notes[path] = means
                continue
            try:
                found = means(few, norm)
            except Exception as error:
                self.notes[path] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            off = float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())
            self.worst = max(self.worst, off)
            if off <= TOLERANCE:
                running[path] = means
            else:
                self.notes[path] = f"WRONG: {off:.1e} from naive at k = {few.shape[1]}"
        return running

    def rates(self, table: Tensor, whole: float, best: float, norm: float | None) -> list[str]:
        """Shares of the matrix rate: naive's, and the best path's for each used record once."""
        one = operations(partial(self.naive, table[:1], norm)) / table.shape[1]
        each, once = one * table.numel() / whole, one * len(table.unique()) / best
        return [f"{each * 1e-9 / self.rate:.0%}", f"{once * 1e-9 / self.rate:.0%}"]

    def peaks(self, k: int, norm: float | None) -> list[str]:
        if not self.options.memory:
            return []
        output = 4 * self.case.n * sizes(self.module)
        found = []
        for path in self.options.paths:
            spent = apart(peak, self.name, self.options.quick, k, norm, path)
            found.append("-" if isinstance(spent, str) else mib(spent.peak))
        return [mib(output), " / ".join(found)]

    @property
    def rate(self) -> float:
        """The machine's GFLOP/s at this moment: other people share it."""
        return matmul_rate()


def compare(options: Options) -> bool:
    """Prints the table; returns whether every path that ran agrees with naive."""
    columns = ["model", "k", "naive, s", *(f"{path}, ratio" for path in options.paths)]
    columns += ["naive, share of matrix rate", "best, share"]
    if options.memory:
        columns += ["output, MiB", f"peak, MiB: {' / '.join(options.paths)}"]
    contests = []
    notes = []

    def rows() -> Iterator[list[str]]:
        for name in options.only:
            if missing := CASES[name].missing:
                notes.append(f"{name}: left out, {missing} is not installed.")
                continue
            contests.append(Contest(name, options))
            yield from contests[-1].rows()

    print_table(columns, rows())
    print(
        "Ratio: seconds of naive (one backward pass a release, with clipping one a record) over"
        f" those of the path; medians of {options.repetitions} interleaved repetitions. Naive is"
        " timed on as many releases as it makes in about 2 s and scaled to n."
    )
    print(
        f"Matrix rate: {matmul_rate():.0f} GFLOP/s (float32, 1,024 x 1,024, measured beside each"
        " row). Shares: operations of naive's passes over its seconds, and operations of one"
        " forward and backward pass of each used record over the seconds of the best path."
    )
    if options.memory:
        print(MEMORY_NOTE)
    for contest in contests:
        notes.append(f"{contest.name}: greatest relative error {contest.worst:.1e}.")
        notes += [f"{contest.name}, {path}: {why}" for path, why in contest.notes.items()]
    print(*(f"- {note}" for note in notes), sep="\n", end="\n\n", flush=True)
    return not any("WRONG" in note for note in notes)
