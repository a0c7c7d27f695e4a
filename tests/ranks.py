"""What two ranks do in test_clients: a script that a rank 0 is given, and that it gives to rank 1.

`python tests/ranks.py FOLDER` plays every scenario, leaves what each rank saw in `FOLDER/rank0.pt`
and `rank1.pt`, and trains on until it is killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from populations import population
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from typing_extensions import override

from leakage.callbacks import Capture, Defend, Utility
from leakage.defenses import DP, Defense, Sign
from leakage.distributed import Clients, gathered, rank, world
from leakage.gradients.layout import Layout
from leakage.gradients.shared import read_shared_gradient
from leakage.population import SPLITS, Population

D, N, CLASSES, B = 5, 499, 3, 50
LR, MOMENTUM, DECAY, SEED = 0.1, 0.9, 0.01, 3
NAN, SILENT = 1, 101  # records of rank 1: in its first batch, in its second


@dataclass(frozen=True)
class Noise(Defense):
    """Releases g + N(0, I)."""

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        return means + torch.randn(means.shape, generator=generator)


class Net(LightningModule):
    """A loss to which records of odd number alone add a branch; `idle` is never used."""

    def __init__(
        self,
        *,
        branch: bool = True,
        dead: bool = False,
        silent: bool = False,
        normed: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            middle = nn.BatchNorm1d(8) if normed else nn.Tanh()
            self.network = nn.Sequential(nn.Linear(D, 8), middle, nn.Linear(8, CLASSES))
            self.branch = nn.Linear(D, CLASSES) if branch else None
            self.idle = nn.Linear(2, 2) if branch else None
        self._silent, self._weight = silent, float(not dead)
        self.drawn: list[list[int]] = []
        self.stepped: list[Tensor] = []
        self.judged = 0

    @override
    def forward(self, batch: list[Tensor]) -> Tensor:
        x, index = batch
        logits: Tensor = self.network(x)
        odd = index % 2 == 1
        if self.branch is not None and odd.any():
            logits = logits + self.branch(x) * odd.unsqueeze(1) * self._weight
        return logits

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        _, index = batch
        if self._silent and SILENT in index:
            return None
        return F.cross_entropy(self(batch), index % CLASSES)

    def hits(self, batch: list[Tensor]) -> Tensor:
        self.judged += len(batch[1])
        right: Tensor = self(batch).argmax(1) == batch[1] % CLASSES
        return right

    @override
    def on_train_batch_start(self, batch: list[Tensor], batch_idx: int) -> None:
        self.drawn.append(batch[1].tolist())

    @override
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.stepped.append(read_shared_gradient(self))  # what the optimizer is about to see

    @override
    def configure_optimizers(self) -> Optimizer:
        return torch.optim.SGD(self.parameters(), LR, MOMENTUM, weight_decay=DECAY)


class Snapshots(Callback):
    """The whole state at the moments at which an attack takes it; stands first, as any may."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append(flat(pl_module))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append(flat(pl_module))


def flat(module: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in module.state_dict().values()])


def table(nan: bool = False) -> TensorDataset:
    x = torch.randn(N, D, generator=Generator().manual_seed(1))
    if nan:
        x[NAN] = torch.nan
    return TensorDataset(x, torch.arange(N))


def held_out() -> Population:
    """A population with 499 records to test on; the label of a record is its number."""
    n = 2 * N
    x = torch.randn(n, D, generator=Generator().manual_seed(2))
    shares = dict.fromkeys(SPLITS, 0.1) | {"test": 0.5}
    found = population(x, torch.arange(n) % 2, labels=torch.arange(n), shares=shares)
    assert len(found.splits["test"]) == N
    return found


def fit(
    folder: Path,
    module: LightningModule,
    *callbacks: Callback,
    batch: int = B,
    data: TensorDataset | None = None,
    ckpt_path: Path | None = None,
    **settings: Any,
) -> Trainer:
    quiet = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    defaults: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 1} | dict.fromkeys(quiet, False)
    trainer = Trainer(
        callbacks=list(callbacks),
        **({"logger": CSVLogger(folder, name="", version="")} | defaults | settings),
    )
    data = data or table()
    # Rank 1 has the records of odd number; under DP the sampler is that of `Defend`.
    private = any(isinstance(c, Defend) and isinstance(c.defense, DP) for c in callbacks)
    shared = "strategy" in settings and not private
    place = int(os.environ.get("LOCAL_RANK", "0"))
    sampler = DistributedSampler(data, 2, place, shuffle=False) if shared else None
    loader = DataLoader(data, batch_size=batch, sampler=sampler)
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def seen(module: Net) -> dict[str, Any]:
    return {"weights": flat(module), "drawn": module.drawn, "stepped": module.stepped}


def clients(folder: Path, module: Net, *callbacks: Callback, **settings: Any) -> Trainer:
    return fit(folder, module, *callbacks, strategy=Clients(), devices=2, **settings)


def plain(folder: Path) -> Any:
    module, accumulated, dead = Net(), Net(), Net(dead=True)
    clients(folder, module)
    clients(folder, dead)
    clients(folder, accumulated, batch=B // 2, accumulate_grad_batches=2)
    return seen(module) | {"accumulated": flat(accumulated), "dead": flat(dead)}


def signed(folder: Path) -> Any:
    clients(folder, module := Net(), Defend(Sign()), Capture())
    return seen(module)


def noised(folder: Path) -> Any:
    clients(folder, module := Net(), Defend(Noise(), SEED), Capture())
    return seen(module)


def private(folder: Path) -> Any:
    defend = Defend(DP(clip=0.5, batch=20, sigma=1.0), SEED)
    clients(folder, module := Net(branch=False), defend, max_epochs=2)
    return seen(module) | {"privacy": defend.privacy()}


def resumed(folder: Path) -> Any:
    found = {}
    for name, defense in {"noise": Noise(), "dp": DP(clip=0.5, batch=20, sigma=1.0)}.items():
        whole, part, rest = (Net(branch=False) for _ in range(3))
        clients(folder, whole, Defend(defense, SEED), max_epochs=2)
        checkpoint = folder / f"{name}.ckpt"
        clients(folder, part, Defend(defense, SEED)).save_checkpoint(checkpoint)
        clients(folder, rest, Defend(defense, SEED), max_epochs=2, ckpt_path=checkpoint)
        found[name] = [flat(module) for module in (part, whole, rest)]
    return found


def broken(folder: Path) -> Any:
    """Rank 1 has NaN in its first step, and gives no loss in its second."""
    clients(folder, module := Net(silent=True), Defend(Sign()), Capture(), data=table(nan=True))
    return seen(module)


def normed(folder: Path) -> Any:
    module, snapshots = Net(normed=True), Snapshots()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.add_(rank())  # the ranks start apart
    clients(folder, module, snapshots, max_epochs=2)
    return {"states": snapshots.states}


def priced(folder: Path) -> Any:
    def twin() -> Utility:
        undefended = Utility(population=held_out())
        clients(folder / "twin", Net(), undefended)
        return undefended

    utility, module = Utility(twin, held_out()), Net()
    clients(folder, module, Defend(Sign()), utility)
    figures = {
        name: [found.value, found.low, found.high] for name, found in utility.figures.items()
    }
    return {"state": module.state_dict(), "hits": utility.hits["test"], "judged": module.judged} | {
        "figures": figures
    }


def told(folder: Path) -> Any:
    return {"gathered": gathered(list(range(rank() + 1))), "world": world(), "rank": rank()}


SCENARIOS: list[Callable[[Path], Any]] = [
    *(plain, signed, noised, private, resumed, broken, normed, priced, told),
]


def endless(folder: Path) -> None:
    clients(folder, Net(), max_epochs=-1)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    found = {scenario.__name__: scenario(folder / scenario.__name__) for scenario in SCENARIOS}
    found["pid"] = os.getpid()
    part = folder / f"rank{rank()}.part"
    torch.save(found, part)
    part.rename(folder / f"rank{rank()}.pt")
    endless(folder / "endless")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
