"""Seconds, floating point operations and peak memory, and the tables that show them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMORY_NOTE = (
    "Peak memory: VmHWM of /proc/self/status of a forked process that computes once, above its"
    " VmRSS just before (the path built and tried on one release); it includes the (n, p) output."
)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = os.environ.get("BENCHMARK_CLOCK", "wall")  # the environment reaches the forks as well


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = CLOCKS[clock]()
    call()
    return CLOCKS[clock]() - start


def interleaved(
    calls: dict[str, Callable[[], Any]], repetitions: int, limit: float = 60.0
) -> dict[str, float]:
    """Medians of repetitions that take turns; a call of more than `limit` seconds has fewer."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            if not taken[name] or sum(taken[name]) < limit:
                taken[name].append(seconds(call))
    return {name: median(times) for name, times in taken.items()}


def matmul_rate(side: int = 1024, repetitions: int = 7) -> float:
    """What the machine makes of a float32 matrix product, in GFLOP/s; the best of a few."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    return 2e-9 * side**3 / min(seconds(lambda: a @ b) for _ in range(repetitions))


def operations(call: Callable[[], Any]) -> int:
    """Floating point operations of products and convolutions in one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _status(field: str) -> int:
    """A size in /proc/self/status, in bytes."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


@dataclass(frozen=True)
class Cost:
    """What one call takes.

    Args:
        seconds: by the clock.
        peak: bytes above what the process held before.
    """

    seconds: float
    peak: int


def cost(call: Callable[[], Any]) -> Cost:
    """Seconds and peak memory of one call in this process, which should be a fresh one."""
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be used again, unseen
    CLEAR.write_text("5")  # VmHWM starts again at VmRSS
    before = _status("VmRSS")
    taken = seconds(call)
    return Cost(taken, _status("VmHWM") - before)


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function in a process of its own, forked where autograd never ran.

    torch refuses a backward pass in a fork of a process that has made one; the fork server has
    imported everything and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    receive, send = context.Pipe(duplex=False)
    worker = context.Process(target=_answer, args=(send, torch.get_num_threads(), function, *args))
    worker.start()
    send.close()
    try:
        result = receive.recv()
    except EOFError:
        result = RuntimeError(f"the process ended by itself: {function.__name__}{args}")
    worker.join()
    if isinstance(result, Exception):
        raise result
    return result


def _answer(send: Any, threads: int, function: Callable[..., Any], *args: Any) -> None:
    torch.set_num_threads(threads)
    try:
        send.send(function(*args))
    except Exception as error:
        send.send(RuntimeError(f"{type(error).__name__}: {error}"))


def heading() -> str:
    """Date, CPU, cores, threads and versions: what a figure is worth nothing without."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu()}, {os.cpu_count()} cores,"
        f" {torch.get_num_threads()} thread(s) used, {clock} time, torch {torch.__version__},"
        f" Python {platform.python_version()}, {platform.system()}"
    )


def cpu() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table, each row as soon as it is known."""
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print(flush=True)


def mib(size: float) -> str:
    """Bytes in MiB."""
    return f"{size / 2**20:,.0f}"


def significant(value: float) -> str:
    """Two digits, as the table's ratios have them."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value >= 1 else f"{value:.2f}"
