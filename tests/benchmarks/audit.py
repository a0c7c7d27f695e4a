"""Trials of an audit in a second beside a naive loop, and the seconds of a whole audit of Adult.

Run as `python -m tests.benchmarks.audit`; `--quick` measures on fewer trials.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from lightning import Trainer
from torch import Generator, Tensor, nn
from torch.utils.data import default_collate

from leakage.audit.auditor import Auditor
from leakage.audit.canaries import RandomCanary
from leakage.audit.canaries.form import Swap
from leakage.audit.canaries.record_loss import RecordLoss
from leakage.audit.rules import AuditRules
from leakage.callbacks import Audit, Defend
from leakage.data.adult import Adult
from leakage.defenses import DP
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.loss import Loss
from leakage.gradients.source import Source
from leakage.models.tabular import Tabular
from leakage.population import CHALLENGE
from tests.benchmarks.measure import heading, interleaved, print_table, seconds, significant

K, ATTRIBUTE = 64, "sex"
M = DP(clip=1.0, batch=K, sigma=1.0)
Background = Literal["known", "unknown"]


def adult(folder: str) -> Adult:
    """The stand-in with its attributes in x."""
    data = Adult(folder, standin=True, batch_size=K)
    data.prepare_data()
    data.setup()
    return data


def rules(trials: int, background: Background) -> AuditRules:
    """One canary, so that hardly anything is done beside the trials."""
    return AuditRules(
        attribute=ATTRIBUTE, k=K, trials=trials, canaries=[RandomCanary()], background=background
    )


def ours(data: Adult, module: Tabular, trials: int, background: Background) -> None:
    """The auditor's trials of one round, with all that precedes them."""
    auditor = Auditor(rules(trials, background), data.population, M, Layout.of(module))
    records = auditor.population.records
    engine = GradientEngine(module, records, data.population.splits[CHALLENGE][:8])
    auditor.observe(0, engine, RecordLoss(Loss(module), Source(records)), lambda step: None)


def naive(data: Adult, module: Tabular, trials: int, background: Background) -> list[float]:
    """The same trials one after the other, each record of each batch by a backward pass."""
    population, generator = data.population, torch.Generator().manual_seed(0)
    trait = population.traits[ATTRIBUTE]
    swap, pool = Swap.of(population, trait), population.splits[CHALLENGE]
    x, y = population.records[int(pool[0])]
    pair = [clipped_gradient(module, (swap(x, value), y)) for value in (0, 1)]
    direction = (pair[1] - pair[0]) / (pair[1] - pair[0]).norm()
    others, scores = pool[1:K], []
    for _ in range(trials):
        coin = int(torch.randint(2, (1,), generator=generator))
        if background == "unknown":
            others = pool[1:][torch.randperm(len(pool) - 1, generator=generator)[: K - 1]]
        batch = [(swap(x, coin), y), *(population.records[i] for i in others.tolist())]
        total = torch.stack([clipped_gradient(module, record) for record in batch]).sum(0)
        scores.append(float(noisy(total, generator) @ direction))
    return scores


def clipped_gradient(module: nn.Module, record: tuple[Tensor, Tensor]) -> Tensor:
    """The gradient of one record by a backward pass of its own, (p,)."""
    loss = module.training_step(default_collate([record]), 0)  # type: ignore[operator]
    parts = torch.autograd.grad(loss, list(module.parameters()))
    gradient = torch.cat([part.flatten() for part in parts])
    norm = torch.linalg.vector_norm(gradient)
    return gradient * torch.clamp(M.clip / norm, max=1)


def noisy(total: Tensor, generator: Generator) -> Tensor:
    """What DP releases of a sum, (p,)."""
    assert M.sigma is not None
    return (total + M.sigma * M.clip * torch.randn(total.shape, generator=generator)) / M.batch


def compare(data: Adult, *, quick: bool) -> None:
    """Both ways side by side: trials in a second beyond those of a short run of each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Tabular(data.in_features)
    module.log = lambda *args, **settings: None  # type: ignore[method-assign]
    rows = []
    backgrounds: tuple[Background, Background] = ("known", "unknown")
    for background in backgrounds:
        rates = {}
        for name, run, few, many in (
            ("auditor", ours, 200, 2_000 if quick else 10_000),
            ("naive", naive, 2, 12 if quick else 60),
        ):
            calls: dict[str, Callable[[], object]] = {
                str(n): partial(run, data, module, n, background) for n in (few, many)
            }
            taken = interleaved(calls, 1 if quick else 3)
            rates[name] = (many - few) / (taken[str(many)] - taken[str(few)])
        ratio = rates["auditor"] / rates["naive"]
        rows.append([background, *(f"{rate:,.0f}" for rate in rates.values()), significant(ratio)])
    print_table(["background", "auditor, trials/s", "naive, trials/s", "ratio"], rows)


def whole(data: Adult, folder: Path, trials: int) -> float:
    """The seconds of an audit of Adult through the callback, with all canaries and estimators."""
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Defend(M), Audit(AuditRules(attribute=ATTRIBUTE, k=K, trials=trials))],
        max_steps=1,
    )
    return seconds(lambda: trainer.fit(Tabular(data.in_features), datamodule=data))


def main() -> int:
    made = argparse.ArgumentParser("python -m tests.benchmarks.audit", description=__doc__)
    made.add_argument("--quick", action="store_true", help="fewer trials, one repetition: a look")
    made.add_argument("--threads", type=int, default=1)
    given = made.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    print(heading() + "\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = adult(folder)
        print(f"Adult (stand-in), k = {K}, {M.label}, attribute {ATTRIBUTE}, one canary\n")
        compare(data, quick=given.quick)
        trials = 1_000 if given.quick else 10_000
        taken = whole(data, Path(folder), trials)
        print(f"{trials:,} trials of each of 5 canaries through the callback: {taken:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
