"""A text classifier with attention: what its gradients tell of dialect, which is no label."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from leakage.adversaries import RandomForest
from leakage.callbacks import Attack
from leakage.rules import Game
from leakage.secrets import Property

BRITISH, AMERICAN = ["flat", "lift", "queue"], ["apartment", "elevator", "line"]
GOOD, BAD = ["great", "lovely", "quiet"], ["awful", "noisy", "dirty"]
WORDS = ["", *BRITISH, *AMERICAN, *GOOD, *BAD, "the", "was", "and", "very"]


class Reviews(LightningModule):
    """Tells good reviews from bad ones, by their token ids and the mask of those."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), width, padding_idx=0)
        self.attention = nn.MultiheadAttention(width, num_heads=2, batch_first=True)
        self.head = nn.Linear(width, 2)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Gives the loss of a batch."""
        x, mask = self.embedding(batch["ids"]), batch["mask"]
        x = x + self.attention(x, x, x, key_padding_mask=~mask)[0]
        x = (x * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        loss = F.cross_entropy(self.head(x), batch["label"])
        self.log("loss", loss, batch_size=len(mask))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Trains as anyone would."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


def draw(n: int) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Makes n reviews of 3 to 8 words, and a table with a row for each."""
    good, american = torch.randint(2, (2, n)).tolist()
    reviews = []
    for i in range(n):
        known = [BRITISH, AMERICAN][american[i]] + [BAD, GOOD][good[i]] + WORDS[-4:]
        text = [known[pick] for pick in torch.randint(10, (int(torch.randint(3, 9, ())),))]
        ids = torch.tensor([WORDS.index(word) for word in text] + [0] * (8 - len(text)))
        reviews.append({"ids": ids, "mask": ids > 0, "text": " ".join(text), "label": good[i]})
    return reviews, pd.DataFrame({"dialect": [["British", "American"][i] for i in american]})


def main(folder: Path = Path("logs/examples"), n: int = 2000, batches: int = 300) -> None:
    """Trains for an epoch, and attacks before and after it."""
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(0)
    reviews, table = draw(n)
    logger = TensorBoardLogger(folder, "text_attention")
    sizes = {"shadow_batches": batches, "calibrate_batches": batches, "trials": batches}
    adversaries = [RandomForest(features=256, trees=50)]

    # The attack, on any Trainer:
    game = Game(Property("dialect"), k=8, rounds=[0, 1], adversaries=adversaries, **sizes)
    attack = Attack(game, attributes=table)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=logger, callbacks=[attack])

    trainer.fit(Reviews(), DataLoader(reviews, batch_size=32, shuffle=True))


if __name__ == "__main__":
    torch.set_num_threads(1)  # idle threads of torch would keep the adversaries' cores busy
    main()
