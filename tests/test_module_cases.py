"""What users' modules and batches do: each is plain autograd, or one sentence says why not."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset, TensorDataset, default_collate

from leakage.errors import LeakageError
from leakage.gradients.clip import Clip
from leakage.gradients.engine import GradientEngine
from leakage.gradients.shared import read_shared_gradient

N, D, CLASSES, WORDS = 12, 4, 3, 7
PROBE = torch.arange(4)
TABLE = torch.tensor([[4, 5, 6, 7, 8], [0, 9, 9, 10, 11], [1, 2, 3, 0, 8]])


class Net(LightningModule):
    """A network under a loss, cross-entropy where left out."""

    def __init__(
        self, network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return self.loss(self.network(x), y)


def mlp(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, D), *(middle or [nn.Tanh()]), nn.Linear(D, CLASSES))


def numbers() -> Dataset[Any]:
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, torch.arange(N) % CLASSES)


def words() -> Dataset[Any]:
    x = torch.randint(WORDS, (N, 5), generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, torch.arange(N) % CLASSES)


@dataclass(frozen=True)
class Case:
    """A module, its records, and the path that the engine takes at last."""

    make: Callable[[], nn.Module]
    path: str
    records: Callable[[], Dataset[Any]] = numbers
    collate: Callable[[list[Any]], Any] = default_collate
    reason: str = ""


def build(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def plain(case: Case, table: Tensor = TABLE) -> Tensor:
    """The twin: a module of its own for each row, one backward pass."""
    records: Any = case.records()
    rows = []
    for row in table.tolist():
        module = build(case.make)
        loss = module.training_step(case.collate([records[i] for i in row]), 0)
        loss.backward()
        rows.append(read_shared_gradient(module))
    return torch.stack(rows)


def engine_of(case: Case, path: str | None = None) -> GradientEngine:
    module = build(case.make)
    return GradientEngine(module, case.records(), PROBE, collate=case.collate, path=path)


def means(engine: GradientEngine, table: Tensor = TABLE, *args: Any) -> Tensor:
    return engine.means(table, torch.Generator().manual_seed(0), *args)


def refusal(case: Case) -> str:
    with pytest.raises(LeakageError) as error:
        engine_of(case)
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------ losses in which records meet


def contrast(out: Tensor, y: Tensor) -> Tensor:
    """InfoNCE with the other records of the batch as the negatives."""
    out = F.normalize(out, dim=1)
    return F.cross_entropy(out @ out.T / 0.5, torch.arange(len(out)))


def alike(out: Tensor, y: Tensor) -> Tensor:
    """Draws records of the same label together."""
    same = (y[:, None] == y).float() - torch.eye(len(y))
    return F.cross_entropy(out, y) + (torch.cdist(out, out + 1e-3) * same).sum() / len(y)


def more_of_large_batches(out: Tensor, y: Tensor, most: int = 4) -> Tensor:
    return F.cross_entropy(out, y) * (2 if len(y) > most else 1)


class Decorrelated(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        h = self.network[0](x)
        spread = h.std(0).mean() if len(x) > 1 else 0.0
        return F.cross_entropy(self.network[1:](h), y) + spread


# --------------------------------------------------------------- records of different lengths


class Sentences(Dataset[Any]):
    """Records as dicts with lists; the first four, a probe, are of one length."""

    def __init__(self, first: int = 3) -> None:
        self.lengths = [first, 3, 3, 3, 1, 2, 5, 4, 3, 2, 1, 6]

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = [(3 * index + 2 * j) % (WORDS - 1) + 1 for j in range(self.lengths[index])]
        return {"tokens": tokens, "label": index % CLASSES, "name": f"{index}.txt"}


def padded(items: list[dict[str, Any]]) -> dict[str, Any]:
    longest = max(len(item["tokens"]) for item in items)
    rows = [item["tokens"] + [0] * (longest - len(item["tokens"])) for item in items]
    labels = torch.tensor([item["label"] for item in items])
    return {"tokens": torch.tensor(rows), "label": labels, "name": [i["name"] for i in items]}


class Reader(LightningModule):
    """A loss by token or by record, over what is not padding."""

    def __init__(self, over: str, first: str = "batch") -> None:
        super().__init__()
        self.over, self.first = over, first
        self.embedding = nn.Embedding(WORDS, D, padding_idx=0)
        self.mix, self.head = nn.Linear(D, D), nn.Linear(D, CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        tokens, y = batch["tokens"], batch["label"]
        mask = (tokens != 0).float()
        h = self.embedding(tokens)
        if self.first == "time":
            h = self.mix(h.transpose(0, 1)).transpose(0, 1).tanh()
        else:
            h = self.mix(h).tanh()
        if self.over == "padding too":
            return F.cross_entropy(self.head(h.mean(1)), y)
        if self.over == "record":
            h = (h * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
            return F.cross_entropy(self.head(h), y)
        losses = F.cross_entropy(self.head(h).flatten(0, 1), y.repeat_interleave(h.shape[1]),
                                 reduction="none")  # fmt: skip
        return (losses * mask.flatten()).sum() / mask.sum()


# ----------------------------------------------------------------- ways to write a layer


class Functional(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        first, last = self.network[0], self.network[2]
        return F.cross_entropy(last(F.linear(x, first.weight, first.bias).tanh()), y)


class Tying(LightningModule):
    """A language model whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(WORDS, D), nn.Linear(D, D)
        self.out = nn.Linear(D, WORDS)
        self.out.weight = self.embedding.weight

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        tokens, _ = batch
        out = self.out(self.mix(self.embedding(tokens[:, :-1])).tanh())
        losses = F.cross_entropy(out.transpose(1, 2), tokens[:, 1:], reduction="none")
        return losses.mean()


class Checkpointed(Net):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__(mlp(nn.Tanh(), nn.Linear(D, D), nn.Tanh()))
        self.reentrant = reentrant

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        h = self.network[0](x)
        h = checkpoint(self.network[1:4], h, use_reentrant=self.reentrant)
        return F.cross_entropy(self.network[4](h), y)


class Cubed(torch.autograd.Function):
    """Has no rule for vmap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cubed.apply(x)  # type: ignore[no-any-return]


class NoGrad(Net):
    """Its first layer runs without autograd, and once with it where `once`."""

    def __init__(self, *, once: bool) -> None:
        super().__init__(mlp())
        self.once = once

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        with torch.no_grad():
            h = self.network[0](x)
        if self.once:
            h = h + self.network[0](x)
        return F.cross_entropy(self.network[2](h), y)


class Detached(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        h = self.network[0](x)
        out = self.network[1:](h.detach() + h.tanh())
        return F.cross_entropy(out, y) + (out.detach() * out).mean()


class TwoInputs(Net):
    def __init__(self) -> None:
        super().__init__(nn.ModuleList([nn.Linear(D, D), nn.Bilinear(D, D, CLASSES)]))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return F.cross_entropy(self.network[1](self.network[0](x), x), y)


class Bag(Net):
    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.EmbeddingBag(WORDS, D), nn.Linear(D, CLASSES)))


class ByLabel(Net):
    """Two heads, of which the label says which one counts."""

    def __init__(self, how: str) -> None:
        super().__init__(nn.ModuleList([nn.Linear(D, D), nn.Linear(D, 1), nn.Linear(D, 1)]))
        self.how = how

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        h, first = self.network[0](x).tanh(), y == 0
        if self.how == "where":
            out = torch.where(first, self.network[1](h)[:, 0], self.network[2](h)[:, 0])
            return (out - 1).square().mean()
        if self.how == "if any":
            out = h.sum(1)
            if first.any():  # for most pieces of the records
                out = out + self.network[1](h)[:, 0] * first
            return (out + self.network[2](h)[:, 0] - 1).square().mean()
        losses = [(self.network[1](h[first]) - 1).square(), self.network[2](h[~first]).square()]
        return torch.cat(losses).mean()


class Hooked(Net):
    """Hooks of the user's own change what layers take and give, or only look."""

    def __init__(self, how: str) -> None:
        super().__init__(mlp())
        self.seen: Tensor | None = None
        if how == "output":
            self.network[0].register_forward_hook(self.doubled)
        elif how == "input":
            self.network[2].register_forward_pre_hook(lambda _, inputs: (inputs[0] * 3,))
        elif how == "look":
            self.network[0].register_forward_hook(self.look)
        elif how == "backward":
            self.network[2].register_full_backward_hook(lambda _, into, out: (into[0] * 2,))
        else:
            self.network[0].weight.register_hook(lambda gradient: gradient.clamp(max=0.01))

    def doubled(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * 2

    def look(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        self.seen = output

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss if self.seen is None else loss + self.seen.square().mean()


# ------------------------------------------------------------------ what a module keeps


class KeepsGraphs(Net):
    """As it is after a step of training: with the tensors of that step."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.losses: list[Tensor] = []
        self.last: dict[str, Tensor] = {}
        self.training_step(default_collate([numbers()[i] for i in range(3)]), 0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss)
        self.last = {"out": loss * 2}
        return loss


class Teacher(Net):
    """A teacher that follows the student within training_step, unseen by autograd."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.teacher = mlp().requires_grad_(False)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, _ = batch
        pairs = zip(self.teacher.parameters(), self.network.parameters(), strict=True)
        for slow, fast in pairs:
            slow.data = 0.5 * slow.data + 0.5 * fast.data
        return (self.network(x) - self.teacher(x)).square().mean()


class Clipping(Net):
    """Clips its own weights before it uses them."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for parameter in self.network.parameters():
            parameter.data.clamp_(-0.2, 0.2)
        return super().training_step(batch, batch_idx)


# ------------------------------------------------------------------ batches of other kinds


@dataclass
class Batch:
    x: Tensor
    y: Tensor

    def to(self, device: Any) -> Batch:
        return Batch(self.x.to(device), self.y.to(device))


@dataclass
class BatchWithoutTo:
    x: Tensor
    y: Tensor


class OfBatches(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step((batch.x, batch.y), batch_idx)


class InOnePiece(Dataset[Any]):
    """Gives many records with one call, as a database does, and one by one in another form."""

    def __getitem__(self, index: int) -> Any:
        return numbers()[index]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [numbers()[i] for i in indices]


class TwoAsOne(LightningModule):
    """forward(a, b) on a dict with strings."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(D, CLASSES), nn.Linear(D, CLASSES, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert all(isinstance(name, str) for name in batch["name"])
        return F.cross_entropy(self(batch["x"], b=batch["x"].abs()), batch["y"])


class Named(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        x, y = numbers()[index]
        return {"name": f"{index}.png", "x": x, "y": y}


def bias_only() -> Net:
    module = Net(nn.Sequential(nn.Embedding(WORDS, D), nn.Flatten(), nn.Linear(5 * D, CLASSES)))
    module.network[0].requires_grad_(False)
    module.network[2].weight.requires_grad_(False)
    return module


def compiled(how: str) -> Net:
    module = Net(mlp())
    if how == "whole":
        module.compile()
    else:
        module.network = torch.compile(module.network, backend="eager")  # type: ignore[assignment]
    return module


def normed(layer: nn.Module, how: Callable[..., nn.Module]) -> nn.Module:
    return Net(nn.Sequential(how(layer), nn.Tanh(), nn.Linear(D, CLASSES)))


OLD_WEIGHT_NORM, OLD_SPECTRAL_NORM = nn.utils.weight_norm, nn.utils.spectral_norm

CASES: dict[str, Case] = {
    "label smoothing": Case(
        lambda: Net(mlp(), lambda o, y: F.cross_entropy(o, y, label_smoothing=0.2)), "factored"
    ),
    "contrast with the rest of the batch": Case(lambda: Net(mlp(), contrast), "batch-wise"),
    "a statistic of the batch": Case(lambda: Decorrelated(mlp()), "batch-wise"),
    "pairs alike, which no probe of different labels shows": Case(
        lambda: Net(mlp(), alike), "batch-wise"
    ),
    "a branch on the size of the probe": Case(
        lambda: Net(mlp(), lambda o, y: more_of_large_batches(o, y, 3)),
        "batch-wise",
        reason="differs from the mean over records",
    ),
    "a branch on the size of the batch": Case(
        lambda: Net(mlp(), more_of_large_batches),
        "batch-wise",
        reason="records mix: network.0.weight differs from the mean over 5 records",
    ),
    "the mean of a record's tokens": Case(lambda: Reader("record"), "factored", Sentences, padded),
    "the mean of all tokens": Case(
        lambda: Reader("token"), "batch-wise", lambda: Sentences(first=6), padded
    ),
    "the mean of all tokens, which a probe of one length hides": Case(
        lambda: Reader("token"), "batch-wise", Sentences, padded
    ),
    "padding that counts": Case(lambda: Reader("padding too"), "batch-wise", Sentences, padded),
    "records of different lengths, time first": Case(
        lambda: Reader("record", "time"), "record-wise", Sentences, padded
    ),
    "weights without their layer": Case(lambda: Functional(mlp()), "record-wise"),
    "an output layer tied to the embedding": Case(Tying, "record-wise", words),
    "a checkpoint": Case(lambda: Checkpointed(reentrant=False), "factored"),
    "a reentrant checkpoint": Case(lambda: Checkpointed(reentrant=True), "batch-wise"),
    "a function without a rule for vmap": Case(lambda: Net(mlp(Cube())), "factored"),
    "a layer without autograd": Case(lambda: NoGrad(once=False), "record-wise"),
    "a layer with and without autograd": Case(lambda: NoGrad(once=True), "record-wise"),
    "parts that are detached": Case(lambda: Detached(mlp()), "factored"),
    "RMSNorm": Case(lambda: Net(mlp(nn.RMSNorm(D), nn.Tanh())), "factored"),
    "a transposed convolution": Case(
        lambda: Net(mlp(nn.Unflatten(1, (1, D)), nn.ConvTranspose1d(1, 1, 1), nn.Flatten())),
        "factored",
    ),
    "Bilinear": Case(TwoInputs, "factored"),
    "EmbeddingBag": Case(Bag, "factored", words),
    "a sparse embedding": Case(
        lambda: Net(
            nn.Sequential(
                nn.Embedding(WORDS, D, sparse=True), nn.Flatten(), nn.Linear(5 * D, CLASSES)
            )
        ),
        "factored",
        words,
    ),
    "an embedding with padding": Case(
        lambda: Net(
            nn.Sequential(
                nn.Embedding(WORDS, D, padding_idx=2), nn.Flatten(), nn.Linear(5 * D, CLASSES)
            )
        ),
        "factored",
        words,
    ),
    "an embedding that keeps its norms": Case(
        lambda: Net(
            nn.Sequential(
                nn.Embedding(WORDS, D, max_norm=0.5), nn.Flatten(), nn.Linear(5 * D, CLASSES)
            )
        ),
        "batch-wise",
        words,
    ),
    "an embedding scaled by frequency": Case(
        lambda: Net(
            nn.Sequential(
                nn.Embedding(WORDS, D, scale_grad_by_freq=True),
                nn.Flatten(),
                nn.Linear(5 * D, CLASSES),
            )
        ),
        "batch-wise",
        words,
    ),
    "weight norm": Case(
        lambda: normed(nn.Linear(D, D), parametrizations.weight_norm), "record-wise"
    ),
    "spectral norm": Case(
        lambda: normed(nn.Linear(D, D), parametrizations.spectral_norm), "record-wise"
    ),
    "weight norm by hooks": Case(lambda: normed(nn.Linear(D, D), OLD_WEIGHT_NORM), "factored"),
    "spectral norm by hooks": Case(lambda: normed(nn.Linear(D, D), OLD_SPECTRAL_NORM), "factored"),
    "heads by label": Case(lambda: ByLabel("where"), "factored"),
    "heads by label, on some records each": Case(lambda: ByLabel("some"), "batch-wise"),
    "a head that few pieces use": Case(lambda: ByLabel("if any"), "factored"),
    "a hook that changes the output": Case(lambda: Hooked("output"), "factored"),
    "a hook that changes the input": Case(lambda: Hooked("input"), "factored"),
    "a hook that only looks": Case(lambda: Hooked("look"), "factored"),
    "a hook on the gradient of a layer": Case(lambda: Hooked("backward"), "factored"),
    "a hook on the gradient of a parameter": Case(
        lambda: Hooked("gradient"),
        "batch-wise",
        reason="network.0.weight has a hook on the gradient of a batch",
    ),
    "a compiled part": Case(lambda: compiled("part"), "factored"),
    "a compiled module": Case(lambda: compiled("whole"), "factored"),
    "tensors of an earlier step": Case(KeepsGraphs, "factored"),
    "a teacher that follows": Case(Teacher, "factored"),
    "weights that training_step clips": Case(lambda: Clipping(mlp()), "factored"),
    "records in one call": Case(lambda: Net(mlp()), "factored", InOnePiece),
    "batches that are objects": Case(
        lambda: OfBatches(mlp()), "factored", collate=lambda items: Batch(*default_collate(items))
    ),
    "batches that are objects without `to`": Case(
        lambda: OfBatches(mlp()),
        "factored",
        collate=lambda items: BatchWithoutTo(*default_collate(items)),
    ),
    "two inputs from a dict with strings": Case(TwoAsOne, "factored", Named),
    "a frozen embedding, and a frozen weight under a bias": Case(bias_only, "factored", words),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_whatever_a_module_does_its_gradients_are_those_of_plain_autograd(name: str) -> None:
    case = CASES[name]
    expected = plain(case)
    engine = engine_of(case)
    if engine.plan.path != "batch-wise":
        engine.plan = replace(engine.plan, chunk=2)
    torch.testing.assert_close(means(engine), expected, rtol=1e-4, atol=1e-6)
    assert engine.plan.path == case.path, engine.plan.reason
    assert case.reason in engine.plan.reason
    for path in ("factored", "record-wise"):
        try:
            forced = engine_of(case, path)
        except LeakageError:  # or it is refused
            continue
        torch.testing.assert_close(means(forced), expected, rtol=1e-4, atol=1e-6)


def test_the_norm_of_a_tied_weight_is_that_of_autograd() -> None:
    """Counted once, its gradient the sum of both uses: clipping sees that norm."""
    case = Case(Tying, "record-wise", words)
    engine = engine_of(case)
    assert engine.layout.names == ("embedding.weight", "mix.weight", "mix.bias", "out.bias")
    each = plain(case, torch.arange(N).unsqueeze(1))
    for clip in (Clip(0.5), lambda g: g * (0.5 / g.norm(dim=1, keepdim=True)).clamp(max=1)):
        expected = (each * (0.5 / each.norm(dim=1, keepdim=True)).clamp(max=1))[TABLE].mean(1)
        torch.testing.assert_close(means(engine, TABLE, clip), expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_part_is_no_part_of_the_vector() -> None:
    engine = engine_of(CASES["a frozen embedding, and a frozen weight under a bias"])
    assert engine.layout.names == ("network.2.bias",)
    assert means(engine).shape == (3, CLASSES)


class Idle(Net):
    def __init__(self) -> None:
        super().__init__(mlp())
        self.spare = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))


@pytest.mark.parametrize("path", ["factored", "record-wise", "batch-wise"])
def test_parameters_that_no_loss_uses_are_named_and_zero(path: str) -> None:
    engine = engine_of(Case(Idle, path), path)
    names = ("spare.0.weight", "spare.0.bias", "spare.1.weight", "spare.1.bias")
    assert engine.unused == names
    # Not what is left in the memory: a function is given each record's gradient whole.
    waste = [torch.full((N, engine.layout.p), torch.nan) for _ in range(20)]
    del waste
    tables = [means(engine)]
    if path != "batch-wise":
        tables += [means(engine, TABLE, lambda g: g), means(engine, TABLE, Clip(1e9))]
    for found in tables:
        for name in names:
            assert (found[:, engine.layout.span(name)] == 0).all()
        torch.testing.assert_close(found, plain(Case(Idle, path)), rtol=1e-4, atol=1e-6)


def test_a_layer_that_some_pieces_of_the_records_leave_out_keeps_its_place() -> None:
    """Its factors are kept piece by piece: of a piece without it, they are zero."""
    case = CASES["a head that few pieces use"]
    engine = engine_of(case)
    order = torch.tensor([[1, 2], [3, 4], [5, 7], [8, 10], [6, 9], [2, 9]])
    for chunk in (2, 3, 4, 1024):
        engine.plan = replace(engine.plan, chunk=chunk)
        torch.testing.assert_close(means(engine, order), plain(case, order), rtol=1e-4, atol=1e-6)


def test_records_that_mix_on_few_batches_only_are_named_once_others_were_observed() -> None:
    case = Case(lambda: Net(mlp(), more_of_large_batches), "factored")
    engine = engine_of(case)
    means(engine, torch.tensor([[0, 1, 5], [4, 5, 6]]))
    with pytest.raises(LeakageError) as error:
        means(engine)
    assert str(error.value) == (
        "model Net: records mix: network.0.weight differs from the mean over 5 records, after 1"
        " batches where it was the mean; let the loss of each batch be the mean of its records'"
        " losses, or of none"
    )


def test_a_path_that_is_left_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(Case(lambda: Net(mlp(), more_of_large_batches), "factored"))
    with caplog.at_level("WARNING", logger="leakage.gradients"):
        means(engine)
    assert [record.getMessage() for record in caplog.records] == [
        f"model Net: gradients are now {engine.plan}"
    ]
    assert str(engine.plan).startswith("batch-wise (records mix: network.0.weight differs")


def test_a_record_wise_defense_is_refused_where_a_batch_shows_that_records_mix() -> None:
    engine = engine_of(Case(lambda: Net(mlp(), more_of_large_batches), "factored"))
    with pytest.raises(LeakageError) as error:
        means(engine, TABLE, Clip(1.0))
    assert str(error.value) == (
        "defense: it maps the gradient of each record before the mean, but the model Net gives no"
        " record a gradient of its own (records mix: network.0.weight differs from the mean over 5"
        " records)"
    )


def test_gradients_that_cancel_in_the_probe_are_no_sign_of_mixing() -> None:
    """Records that are nearly equal, whose labels pull in opposite directions."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, D, generator=source).repeat_interleave(2, 0).repeat(3, 1)
    x += 1e-6 * torch.randn(x.shape, generator=source)
    data = TensorDataset(x, torch.arange(N) % 2)

    def opposed(out: Tensor, y: Tensor) -> Tensor:
        return ((2 * y - 1).unsqueeze(1) * out / torch.tensor([3.0, 7.0, 9.0])).mean()

    case = Case(lambda: Net(mlp(), opposed), "factored", lambda: data)
    plan = engine_of(case).plan
    assert plan.path == "factored", plan.reason


# ----------------------------------------------------------------------- randomness


class Augmented(Dataset[Any]):
    """Adds noise from one of the three global streams, or from one of its own."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.draw = draw

    def __getitem__(self, index: int) -> Any:
        x, y = numbers()[index]
        return x + self.draw(), y


STREAMS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002
    "random": random.random,
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_data_set_may_draw_from_any_global_stream(stream: str) -> None:
    engine = engine_of(Case(lambda: Net(mlp()), "", lambda: Augmented(STREAMS[stream])))
    assert engine.plan.path == "batch-wise"
    assert engine.plan.reason == (
        "records are drawn anew: the data set gives another one each time"
    )
    assert torch.equal(means(engine), means(engine))
    other = engine.means(TABLE, torch.Generator().manual_seed(1))
    assert not torch.allclose(means(engine), other)
    again = means(engine, TABLE[:1].repeat(3, 1))
    assert len({tuple(row) for row in again.tolist()}) == 3  # anew for each batch


@pytest.mark.parametrize("make", [lambda: torch.Generator(), lambda: random.Random(0)])
def test_a_data_set_with_a_stream_of_its_own_is_refused(make: Callable[[], Any]) -> None:
    own = make()

    def draw() -> float:
        return (
            own.random() if isinstance(own, random.Random) else float(torch.rand((), generator=own))
        )

    assert refusal(Case(lambda: Net(mlp()), "", lambda: Augmented(draw))) == (
        "data: the same record and random state give another record the second time; let the data"
        " set draw from the global torch, numpy or random, which are seeded"
    )


class Drawing(Net):
    """Adds noise to what it is given, in training_step."""

    def __init__(self, draw: Callable[[], float], rare: bool = False) -> None:
        super().__init__(mlp())
        self.draw, self.rare = draw, rare

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        noise = self.draw()
        if not self.rare or noise > 0.999:
            x = x + noise
        return super().training_step((x, y), batch_idx)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_loss_that_draws_is_stochastic_however_seldom_it_shows(stream: str) -> None:
    often = engine_of(Case(lambda: Drawing(STREAMS[stream]), ""))
    assert often.plan.path == "batch-wise"
    assert re.fullmatch(
        r"stochastic layers: network\.\d\.\w+ changes from call to call", often.plan.reason
    )
    assert torch.equal(means(often), means(often))
    seldom = engine_of(Case(lambda: Drawing(STREAMS[stream], rare=True), ""))
    assert seldom.plan.path == "batch-wise"
    assert seldom.plan.reason == "stochastic layers: training_step draws random numbers"


def test_dropout_of_little_is_still_stochastic() -> None:
    engine = engine_of(Case(lambda: Net(mlp(nn.Tanh(), nn.Dropout(0.01))), ""))
    assert engine.plan.path == "batch-wise"
    found = means(engine, TABLE[:1].repeat(200, 1))
    assert len({tuple(row) for row in found.tolist()}) > 1


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.0), nn.Dropout(0.5).eval(), nn.RReLU(0.1, 0.1).eval()], ids=str
)
def test_a_stochastic_layer_that_draws_nothing_is_none(layer: nn.Module) -> None:
    engine = engine_of(Case(lambda: Net(mlp(nn.Tanh(), layer)), ""))
    assert engine.plan.path == "factored"


# ----------------------------------------------------------------------- batch norm


def normalised() -> Net:
    return Net(nn.Sequential(nn.Linear(D, D), nn.BatchNorm1d(D), nn.Linear(D, CLASSES)))


def test_batch_norm_does_not_see_the_batches_before() -> None:
    case = Case(normalised, "batch-wise")
    engine = engine_of(case)
    found = means(engine)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(means(engine, TABLE[order]), found[order])
    torch.testing.assert_close(found, plain(case), rtol=1e-4, atol=1e-6)


def test_batch_norm_and_batches_of_one_are_refused_with_the_layer() -> None:
    engine = engine_of(Case(normalised, "batch-wise"))
    with pytest.raises(LeakageError) as error:
        means(engine, torch.tensor([[0], [1]]))
    assert str(error.value) == (
        "model Net: training_step fails in network.1 (BatchNorm1d) on a batch of 1 outside the"
        " Trainer with ValueError: Expected more than 1 value per channel when training, got input"
        " size torch.Size([1, 4]); it may use current_epoch, global_step, log and log_dict, but no"
        " logger, optimizer or other part of it"
    )


def test_batch_norm_with_a_broken_record_is_said_to_be_not_finite() -> None:
    x, y = numbers().tensors  # type: ignore[attr-defined]
    x = x.clone()
    x[1] = torch.inf
    assert refusal(Case(normalised, "", lambda: TensorDataset(x, y))) == (
        "model Net: 1 of 1 batch gradients hold NaN or inf, most of them in network.0.weight;"
        " training has diverged or a record is not finite"
    )


# ----------------------------------------------------------------------- state


class Carried(Net):
    """Keeps its hidden state from batch to batch, in an attribute."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.hidden = torch.zeros(())

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        self.hidden = self.hidden.detach() / 2 + x.mean()
        return super().training_step((x + self.hidden, y), batch_idx)


class OwnStream(Net):
    """Draws from a generator of its own."""

    def __init__(self, made: Any) -> None:
        super().__init__(mlp())
        self.made = made

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return super().training_step((x + float(self.made.random()), y), batch_idx)


@pytest.mark.parametrize(
    "make",
    [Carried, lambda: OwnStream(random.Random(0)), lambda: OwnStream(np.random.default_rng(0))],
    ids=["a hidden state", "random.Random", "numpy's Generator"],
)
def test_a_module_that_keeps_state_between_batches_is_refused(make: Callable[[], Net]) -> None:
    found = refusal(Case(make, ""))
    assert re.sub(r"network\.\d\.\w+", "LAYER", found) == (
        f"model {type(build(make)).__name__}: the same batch and random state give another"
        " gradient the second time, first of all in LAYER, so the module keeps state between"
        " batches, or draws from a generator of its own; reset it at the start of training_step,"
        " or keep it in a buffer"
    )


class Buffered(Carried):
    """The same in a buffer, which no batch sees changed."""

    def __init__(self) -> None:
        super().__init__()
        del self.hidden
        self.register_buffer("hidden", torch.zeros(()))


def test_state_in_a_buffer_is_the_same_for_each_batch() -> None:
    engine = engine_of(Case(Buffered, ""))
    torch.testing.assert_close(means(engine), plain(Case(Buffered, "")), rtol=1e-4, atol=1e-6)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(means(engine, TABLE[order]), means(engine)[order])


@pytest.mark.parametrize("name", ["a teacher that follows", "weights that training_step clips"])
def test_what_training_step_does_to_parameters_no_other_batch_sees(name: str) -> None:
    engine = engine_of(CASES[name], "batch-wise")
    torch.testing.assert_close(means(engine), plain(CASES[name]), rtol=1e-4, atol=1e-6)
    assert torch.equal(means(engine), means(engine))


# ----------------------------------------------------------------------- refusals


class Locked(Net):
    def __init__(self) -> None:
        super().__init__(mlp())
        self.lock = threading.Lock()


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    assert refusal(Case(Locked, "")) == (
        "model Locked: it cannot be copied, to observe it without training it: cannot pickle"
        " '_thread.lock' object; let it hold nothing that copy.deepcopy refuses"
    )


class Overwrites(Net):
    """Changes in place what autograd has kept."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        h = self.network[0](x).exp()
        h += 1
        return F.cross_entropy(self.network[2](h), y)


def test_what_autograd_itself_refuses_is_one_sentence() -> None:
    found = refusal(Case(lambda: Overwrites(mlp()), ""))
    assert found.startswith(
        "model Overwrites: training_step fails on a batch of 4 outside the Trainer with"
        " RuntimeError: one of the variables needed for gradient computation has been modified by"
        " an inplace operation"
    )


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("make", [lambda: Net(mlp()), normalised, lambda: Tying()])
def test_gradients_are_the_same_where_autograd_is_off(mode: Any, make: Any) -> None:
    """As in Lightning's test and validate."""
    case = Case(make, "", words if isinstance(build(make), Tying) else numbers)
    expected = plain(case)
    with mode():
        found = means(engine_of(case))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_few_broken_records_stay_few_however_few_records_are_asked_for_next() -> None:
    x, y = numbers().tensors  # type: ignore[attr-defined]
    x = x.clone()
    x[9:] = torch.nan
    engine = engine_of(Case(lambda: Net(mlp()), "", lambda: TensorDataset(x, y)))
    means(engine, torch.arange(N).reshape(2, 6))
    assert engine.broken == [9, 10, 11]
    means(engine, torch.tensor([[0, 1], [2, 3]]))  # none of which is broken
    with pytest.raises(LeakageError, match="2 of 3 records have a gradient with NaN or inf"):
        means(engine, torch.tensor([[0, 9, 10]]))


class Penalised(LightningModule):
    """A penalty on the weights, which is a part of the loss that no layer's output shows."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.aux, self.strength = nn.Linear(D, 1), nn.Linear(D, 1), strength

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        functional = torch.nn.functional.linear(x, self.aux.weight).square().mean()
        penalty = self.layer.weight.square().sum() + functional
        return self.layer(x).sigmoid().mean() + self.strength * penalty


@pytest.mark.parametrize("strength", [1e-1, 1e-3, 1e-6])
def test_what_a_loss_takes_of_the_weights_themselves_is_never_dropped(strength: float) -> None:
    """However small: under a sign it is as large as any other entry."""
    x = torch.zeros(12, D)
    x[torch.arange(12), torch.arange(12) % 2] = 1.0  # entries that no record uses
    module = Penalised(strength)
    engine = GradientEngine(module, TensorDataset(x, torch.zeros(12)), torch.arange(4))
    assert engine.plan.path == "record-wise"
    assert "is used outside its layer" in engine.plan.reason
    found = engine.means(torch.tensor([[0, 1], [2, 3]]), torch.Generator())
    batch = (x[[0, 1]], torch.zeros(2))
    gradients = torch.autograd.grad(
        module.training_step(batch, 0), list(module.parameters()), allow_unused=True
    )
    flat = [
        torch.zeros(p.numel()) if g is None else g.flatten()
        for p, g in zip(module.parameters(), gradients, strict=True)
    ]
    expected = torch.cat(flat)
    assert torch.equal(found[0].sign(), expected.sign())
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-9)


def test_a_map_of_records_forms_no_more_of_them_than_the_memory_holds() -> None:
    layers = [layer for _ in range(40) for layer in (nn.Linear(64, 64), nn.Tanh())]

    class Deep(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(D, 64), *layers, nn.Linear(64, 1))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.net(batch[0]).square().mean()

    data = TensorDataset(torch.randn(600, D), torch.zeros(600))
    memory = 3 * 2**24
    engine = GradientEngine(Deep(), data, torch.arange(4), memory=memory)
    assert engine.plan.path == "factored"
    seen: list[int] = []

    def watched(gradients: Tensor) -> Tensor:
        seen.append(len(gradients))
        return gradients[:, :5]

    list(engine.blocks(torch.arange(600).reshape(300, 2), torch.Generator(), watched, 5))
    assert max(seen) * 4 * engine.layout.p <= memory
    assert sum(seen) >= 600
