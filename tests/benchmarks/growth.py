"""How seconds and peak memory grow with n, k, N and p, on the path that the engine chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from torch import nn

from tests.benchmarks.measure import Cost, apart, cost, heading, mib, print_table
from tests.benchmarks.models import Case, mlp, numbers, sizes
from tests.benchmarks.paths import build


@dataclass(frozen=True)
class Size:
    """One measurement: n releases of k records out of N, an MLP of one width in its two layers."""

    n: int = 1000
    k: int = 16
    N: int = 4000
    width: int = 64

    @property
    def case(self) -> Case:
        return Case("growth", "MLP", self.network, numbers(104), self.N, self.n, ks=(self.k,))

    def network(self) -> nn.Module:
        return mlp(104, (self.width, self.width))

    @property
    def p(self) -> int:
        return sizes(self.network())


GRIDS: dict[str, list[Size]] = {
    "n": [Size(n=n) for n in (250, 500, 1000, 2000, 4000)],
    "k": [Size(k=k) for k in (1, 4, 16, 64, 256)],
    "N": [Size(N=N) for N in (500, 1000, 2000, 4000, 8000, 16000)],
    "p": [Size(width=width) for width in (32, 64, 128, 256, 512)],
}
TITLES = {"n": "n releases", "k": "k records a release", "N": "N records", "p": "p parameters"}


def spent(size: Size) -> Cost:
    """What one computation takes in the process that calls this; a first one warms it up."""
    case = size.case
    means = build("chosen", case.module(), case.records())
    if isinstance(means, str):
        raise RuntimeError(means)
    table = case.table(size.k)
    means(table[:2], None)
    return cost(lambda: means(table, None))


def smallest(costs: Sequence[Cost]) -> Cost:
    """The least of several processes: what others do to the machine only adds."""
    return Cost(min(c.seconds for c in costs), min(c.peak for c in costs))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent of y ~ x^slope by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(np.maximum(y, 1e-9)), 1)[0])


def grow(path: Path, *, quick: bool, repetitions: int) -> None:
    """Measures the grids, prints them and draws one panel for each variable."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    rows = []
    for axis, (variable, sizes_) in zip(panels.flat, GRIDS.items(), strict=True):
        grid = [replace(size, n=-(-size.n // 4)) for size in sizes_] if quick else sizes_
        x = [float(getattr(size, variable)) for size in grid]
        costs = [smallest([apart(spent, size) for _ in range(repetitions)]) for size in grid]
        seconds, peaks = [c.seconds for c in costs], [c.peak / 2**20 for c in costs]
        axis.loglog(x, seconds, "o-", label=f"seconds, slope {slope(x, seconds):.2f}")
        axis.set(xlabel=TITLES[variable], ylabel="seconds")
        right = axis.twinx()
        right.loglog(x, peaks, "s--", color="C1", label=f"peak MiB, slope {slope(x, peaks):.2f}")
        right.set_ylabel("peak memory, MiB")
        lines = [*axis.get_lines(), *right.get_lines()]
        axis.legend(lines, [str(line.get_label()) for line in lines], loc="upper left")
        for size, c in zip(grid, costs, strict=True):
            shown = {**asdict(size), "p": size.p}
            kept = [f"{shown[key]:,}" for key in ("n", "k", "N", "p")]
            rows.append(
                [variable, *kept, f"{c.seconds:.3f}", mib(c.peak), mib(4 * size.n * size.p)]
            )
    figure.suptitle(heading(), fontsize=8)
    figure.savefig(path, dpi=150)
    columns = ["grows", "n", "k", "N", "p", "seconds", "peak, MiB", "output (n, p), MiB"]
    print_table(columns, rows)
    print(f"{path}: written.", flush=True)
