"""A stock torchvision model on image tensors: what its gradients tell of a trait of the pictures.

The label is the shape in a picture. Who took it, and so its tone, is none of the label's business.
"""

import logging
from pathlib import Path

import pandas as pd
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import squeezenet1_1

from leakage.adversaries import RandomForest
from leakage.callbacks import Attack
from leakage.rules import Game
from leakage.secrets import Property


class Shapes(LightningModule):
    """Tells squares from crosses."""

    def __init__(self) -> None:
        super().__init__()
        # Each record has a gradient of its own without dropout, which is many times faster to
        # attack. So it has in resnet18(norm_layer=lambda width: nn.GroupNorm(8, width)).
        self.network = squeezenet1_1(num_classes=2, dropout=0.0)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Gives the loss of a batch."""
        image, label = batch
        loss = F.cross_entropy(self.network(image), label)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Trains as anyone would."""
        return torch.optim.SGD(self.parameters(), lr=0.001)


def draw(n: int) -> tuple[TensorDataset, pd.DataFrame]:
    """Makes n pictures (3, 32, 32), and a table with a row for each."""
    generator = torch.Generator().manual_seed(0)
    label, warm = torch.randint(2, (2, n), generator=generator)
    shapes = torch.zeros(2, 1, 32, 32)
    shapes[0, :, 8:24, 8:24] = 1  # a square
    shapes[1, :, 14:18] = shapes[1, :, :, 14:18] = 1  # a cross
    tones = torch.tensor([[0.0, 0.0, 0.4], [0.4, 0.0, 0.0]]).view(2, 3, 1, 1)
    noise = 0.3 * torch.randn(n, 3, 32, 32, generator=generator)
    table = pd.DataFrame({"tone": ["warm" if value else "cool" for value in warm]})
    return TensorDataset(shapes[label] + tones[warm] + noise, label), table


def main(folder: Path = Path("logs/examples"), n: int = 800, batches: int = 160) -> None:
    """Trains for an epoch, and attacks before and after it."""
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(0)
    pictures, table = draw(n)
    logger = TensorBoardLogger(folder, "image_torchvision")
    sizes = {"shadow_batches": batches, "calibrate_batches": batches, "trials": batches}
    adversaries = [RandomForest(features=256, trees=50)]

    # The attack, on any Trainer:
    game = Game(Property("tone"), k=8, rounds=[0, 1], adversaries=adversaries, **sizes)
    attack = Attack(game, attributes=table)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=logger, callbacks=[attack])

    trainer.fit(Shapes(), DataLoader(pictures, batch_size=32, shuffle=True))


if __name__ == "__main__":
    torch.set_num_threads(1)  # idle threads of torch would keep the adversaries' cores busy
    main()
