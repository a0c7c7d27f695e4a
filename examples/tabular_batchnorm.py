"""An MLP with BatchNorm on a table: what its gradients tell of the people behind the records.

Each person has several records, and whether someone smokes is in none of their features. The
attributes come from a CSV file, as they would from whoever audits the data.
"""

import logging
from pathlib import Path

import pandas as pd
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from leakage.adversaries import RandomForest
from leakage.callbacks import Attack
from leakage.rules import Game
from leakage.secrets import Property


class Visits(LightningModule):
    """Predicts from the measurements of a visit whether another one follows."""

    def __init__(self, features: int, width: int = 16) -> None:
        super().__init__()
        first = nn.Linear(features, width), nn.BatchNorm1d(width)
        self.network = nn.Sequential(*first, nn.ReLU(), nn.Linear(width, 2))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Gives the loss of a batch."""
        x, label = batch
        loss = F.cross_entropy(self.network(x), label)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Trains as anyone would."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


def draw(people: int, file: Path) -> TensorDataset:
    """Makes 4 visits of each person, and writes a file with a row for each visit."""
    person = torch.arange(people).repeat_interleave(4)
    smokes = torch.randint(2, (people,))[person]
    x = torch.randn(len(person), 6)
    label = (x[:, 0] + torch.randn(len(person)) > 0).long()
    # Blood values that vary more: BatchNorm hides from gradients what a batch has in common as a
    # shift of its mean, but not how much its records vary.
    x[:, 1:3] *= 1 + 2 * smokes.unsqueeze(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {"person": person, "smokes": ["yes" if value else "no" for value in smokes]}
    pd.DataFrame(columns).to_csv(file, index=False)
    return TensorDataset(x, label)


def main(folder: Path = Path("logs/examples"), people: int = 700, batches: int = 500) -> None:
    """Trains for an epoch, and attacks before and after it."""
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(0)
    file = folder / "visits.csv"
    visits = draw(people, file)
    logger = TensorBoardLogger(folder, "tabular_batchnorm")
    sizes = {"shadow_batches": batches, "calibrate_batches": batches, "trials": batches}
    table = {"attributes": str(file), "units": "person"}  # no person is in two parts of the game
    adversaries = [RandomForest(trees=50)]

    # The attack, on any Trainer:
    game = Game(Property("smokes"), k=8, rounds=[0, 1], adversaries=adversaries, **table, **sizes)
    attack = Attack(game)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=logger, callbacks=[attack])

    trainer.fit(Visits(6), DataLoader(visits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    torch.set_num_threads(1)  # idle threads of torch would keep the adversaries' cores busy
    main()
