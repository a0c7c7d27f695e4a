"""Modules drawn at random: every path that the engine takes is plain autograd, or it is refused."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset, default_collate

from leakage.errors import LeakageError
from leakage.gradients.clip import Clip
from leakage.gradients.engine import PATHS, GradientEngine

N, CLASSES, TOKENS = 9, 3, 7
PROBE = torch.arange(4)
EXAMPLES = 45  # 1,200 others were drawn once, without a derandomized profile


class Residual(nn.Module):
    """x + f(x), or the same in place."""

    def __init__(self, inner: nn.Module, *, inplace: bool) -> None:
        super().__init__()
        self.inner, self.inplace = inner, inplace

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        if not self.inplace:
            return x + out
        out += x
        return out


class Twice(nn.Module):
    """A layer that is called twice, the second time on what it gave."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x).tanh())


class Tied(nn.Module):
    """Two linear layers with one weight, once as it is and once transposed or not."""

    def __init__(self, width: int, *, functional: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.functional = functional
        if not functional:
            self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        if self.functional:
            return F.linear(self.first(x).tanh(), self.first.weight.t(), self.second.bias)
        return self.second(self.first(x).tanh())


class Positions(nn.Module):
    """Adds a parameter of its own, (L, C)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(length, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.positions[: x.shape[1]]


class Looked(nn.Module):
    """Adds the embedding of each position, which is looked up once for the whole batch."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(length, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(torch.arange(x.shape[1]))


class TimeFirst(nn.Module):
    """Runs what takes (L, k, C) on (k, L, C)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(0, 1)).transpose(0, 1)


class Flat(nn.Module):
    """Runs a layer on (k L, C), the tokens of a record or those of a position together."""

    def __init__(self, inner: nn.Module, *, token_major: bool) -> None:
        super().__init__()
        self.inner, self.token_major = inner, token_major

    def forward(self, x: Tensor) -> Tensor:
        if self.token_major:
            x = x.transpose(0, 1)
        out = self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return out.transpose(0, 1) if self.token_major else out


class Attention(nn.Module):
    def __init__(self, width: int, *, batch_first: bool) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class Mean(nn.Module):
    """The mean over every axis between the first and the last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1, -2).mean(1)


class Network(nn.Module):
    """A body, a head of its own and a part that is never run."""

    def __init__(self, body: nn.Module, width: int, *, idle: bool) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, CLASSES)
        self.idle = nn.Linear(2, 2) if idle else None

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Net(LightningModule):
    """Cross-entropy, or a loss in which records meet."""

    def __init__(self, network: nn.Module, loss: str) -> None:
        super().__init__()
        self.network, self.kind = network, loss

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        out = self.network(x)
        if self.kind == "weighted":
            return F.cross_entropy(out, y, weight=torch.tensor([1.0, 2.0, 5.0]))
        if self.kind == "sum":
            return F.cross_entropy(out, y, reduction="sum")
        if self.kind == "smooth":
            return F.cross_entropy(out, y, label_smoothing=0.1)
        if self.kind == "squares":
            return {"loss": (out - F.one_hot(y, CLASSES)).square().mean()}
        if self.kind == "centred":
            return F.cross_entropy(out - out.mean(0), y)
        return F.cross_entropy(out, y)


@dataclass
class Case:
    """A module, its records, and whether two runs of it may differ."""

    module: Net
    records: TensorDataset
    stochastic: bool


ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": lambda: nn.ReLU(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "elu": nn.ELU,
    "prelu": nn.PReLU,
}


def wrapped(draw: st.DrawFn, layer: nn.Module, keeps_shape: bool) -> nn.Module:
    how = draw(st.sampled_from(["as it is"] * 3 + ["residual", "in place", "twice"]))
    if how == "as it is" or not keeps_shape:
        return layer
    return Twice(layer) if how == "twice" else Residual(layer, inplace=how == "in place")


def vectors(draw: st.DrawFn) -> tuple[list[nn.Module], int, Tensor]:
    """Layers on records of numbers (k, C)."""
    first = width = draw(st.sampled_from([2, 4]))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["linear", "tied", "layer norm", "batch norm", "group norm"]))
        if kind == "linear":
            out = draw(st.sampled_from([2, 4]))
            layer = nn.Linear(width, out, bias=draw(st.booleans()))
            layers.append(wrapped(draw, layer, out == width))
            width = out
        elif kind == "tied":
            layers.append(Tied(width, functional=draw(st.booleans())))
        elif kind == "layer norm":
            # After one of width 2 nothing but signs is left.
            layers.append(nn.LayerNorm(width) if width > 2 else nn.Linear(2, 2))
        elif kind == "group norm":
            layers.append(nn.GroupNorm(1, width) if width > 2 else nn.Linear(2, 2))
        else:
            layers.append(nn.BatchNorm1d(width, affine=draw(st.booleans())))
        layers.append(ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]())
    return layers, width, torch.randn(N, first)


def images(draw: st.DrawFn) -> tuple[list[nn.Module], int, Tensor]:
    """Layers on signals (k, C, L) or images (k, C, H, W)."""
    two = draw(st.booleans())
    size = draw(st.sampled_from([5, 7]))
    convolution = nn.Conv2d if two else nn.Conv1d
    width = 2
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 2))):
        padding = draw(st.sampled_from([0, 1, "same"]))
        mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect"]))
        layer = convolution(
            width,
            4,
            draw(st.sampled_from([1, 2, 3])),
            stride=1 if padding == "same" else draw(st.sampled_from([1, 2])),
            padding=padding,
            dilation=draw(st.sampled_from([1, 1, 2])) if padding == "same" else 1,
            groups=draw(st.sampled_from([1, 1, 2])),
            bias=draw(st.booleans()),
            padding_mode=mode if padding != 0 else "zeros",
        )
        layers.append(wrapped(draw, layer, width == 4 and padding == "same"))
        width = 4
        norm = draw(st.sampled_from(["none", "group", "batch"]))
        if norm == "group":
            layers.append(nn.GroupNorm(2, 4))
        elif norm == "batch":
            layers.append((nn.BatchNorm2d if two else nn.BatchNorm1d)(4))
        layers.append(ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]())
    pool = nn.AdaptiveAvgPool2d(2) if two else nn.AdaptiveAvgPool1d(2)
    layers += [pool, nn.Flatten()]
    x = torch.randn(N, 2, size, *([size] if two else []))
    return layers, width * (4 if two else 2), x


def texts(draw: st.DrawFn) -> tuple[list[nn.Module], int, Tensor]:
    """Layers on tokens (k, L)."""
    width = 4
    # As many tokens as the engine takes records at once, among others.
    length = draw(st.sampled_from([1, 2, 3, 4, 6]))
    padding = draw(st.sampled_from([None, 0]))
    layers: list[nn.Module] = [nn.Embedding(TOKENS, width, padding_idx=padding)]
    for _ in range(draw(st.integers(1, 2))):
        layer: nn.Module
        kind = draw(
            st.sampled_from(
                ["attention", "encoder", "gru", "lstm", "linear", "flat", "own", "looked", "norm"]
            )
        )
        first = draw(st.booleans())
        if kind == "attention":
            layer = Attention(width, batch_first=first)
        elif kind == "encoder":
            layer = nn.TransformerEncoderLayer(
                width, 2, 6, dropout=0.0, batch_first=first, norm_first=draw(st.booleans())
            )
        elif kind in ("gru", "lstm"):
            made = nn.GRU if kind == "gru" else nn.LSTM
            layer = Recurrent(made(width, width, batch_first=first))
        elif kind == "linear":
            layer = nn.Linear(width, width)
        elif kind == "flat":
            layer = Flat(nn.Linear(width, width), token_major=not first)
            first = True
        elif kind == "own":
            layer, first = Positions(length, width), True
        elif kind == "looked":
            layer, first = Looked(length, width), True
        else:
            layer = nn.LayerNorm(width)
        layer = wrapped(draw, layer, kind not in ("own", "looked"))
        layers.append(layer if first else TimeFirst(layer))
    return [*layers, Mean()], width, torch.randint(TOKENS, (N, length))


def freeze(draw: st.DrawFn, module: nn.Module) -> None:
    parts = [part for part in module.modules() if [*part.parameters(recurse=False)]]
    for part in parts:
        how = draw(st.sampled_from(["trained"] * 6 + ["frozen", "bias only", "weight only"]))
        for name, parameter in part.named_parameters(recurse=False):
            bias = "bias" in name
            kept = {"trained": True, "frozen": False, "bias only": bias, "weight only": not bias}
            parameter.requires_grad_(kept[how])
    module.head.weight.requires_grad_(True)  # type: ignore[union-attr]


@st.composite
def cases(draw: st.DrawFn, drops: bool = False) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 99)))
        make = draw(st.sampled_from([vectors, images, texts]))
        layers, width, x = make(draw)
        if drops or draw(st.sampled_from([True] + [False] * 7)):
            place = draw(st.integers(1, len(layers)))
            layers.insert(place, nn.Dropout(0.4))
        network = Network(nn.Sequential(*layers), width, idle=draw(st.booleans()))
        loss = draw(
            st.sampled_from(["entropy"] * 4 + ["weighted", "sum", "smooth", "squares", "centred"])
        )
        module = Net(network, loss)
        if draw(st.sampled_from([False, True])):
            freeze(draw, network)
        y = torch.arange(N) % CLASSES
        if draw(st.sampled_from([False, False, True])):
            module.eval()
        for part in network.modules():  # some are evaluated while others train
            if isinstance(part, nn.Dropout | nn.BatchNorm1d | nn.BatchNorm2d):
                part.train(drops or draw(st.booleans()))
        kinds = [torch.float32, torch.float32, torch.float32, torch.bfloat16, torch.float64]
        module = module.to(draw(st.sampled_from(kinds)))
        dropping = any(isinstance(m, nn.Dropout) and m.training for m in module.modules())
    return Case(module, TensorDataset(x, y), dropping)


def gradient(module: nn.Module, batch: Any) -> Tensor:
    """The twin: the gradient of one batch by plain autograd, at the module's own weights."""
    twin: Any = copy.deepcopy(module).float()
    output = twin.training_step(batch, 0)
    (output["loss"] if isinstance(output, dict) else output).backward()
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in twin.parameters()
            if p.requires_grad
        ]
    )


def plain(case: Case, table: Tensor) -> Tensor:
    batches = [default_collate([case.records[i] for i in row]) for row in table.tolist()]
    return torch.stack([gradient(case.module, batch) for batch in batches])


def fingerprint(module: nn.Module) -> list[Any]:
    """All that observing is to leave as it was."""
    tensors = [*module.parameters(), *module.buffers()]
    values = [tensor.detach().clone() for tensor in tensors]
    grads = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    modes = [part.training for part in module.modules()]
    trained = [p.requires_grad for p in module.parameters()]
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    randomness = [torch.get_rng_state(), random.getstate(), numpy_state[1].tolist()]
    return [values, grads, modes, trained, [p.dtype for p in tensors], randomness]


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def assert_equal(found: Tensor, expected: Tensor, each: float, what: str) -> None:
    """Relative to the gradient, or where that cancels to the norm of a record's."""
    distance = (found - expected).norm(dim=1)
    allowed = 1e-5 * expected.norm(dim=1) + 2e-6 * each + 1e-8
    assert found.dtype == torch.float32
    assert (distance <= allowed).all(), f"{what}: {distance / allowed}"


def engine_of(case: Case, path: str | None = None) -> GradientEngine | LeakageError:
    try:
        return GradientEngine(case.module, case.records, PROBE, path=path)
    except LeakageError as error:
        return error


def clip(gradients: Tensor) -> Tensor:
    return gradients * (0.3 / gradients.norm(dim=1, keepdim=True).clamp(min=1e-30)).clamp(max=1)


@st.composite
def tables(draw: st.DrawFn) -> Tensor:
    k = draw(st.integers(1, 6))
    rows = st.lists(st.integers(0, N - 1), min_size=k, max_size=k)
    return torch.tensor(draw(st.lists(rows, min_size=1, max_size=5)))


def records_have_gradients(case: Case) -> bool:
    """Whether a batch's gradient is the mean of its records' by what the module is made of."""
    training = [m for m in case.module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    mixes = case.module.kind in ("weighted", "sum", "centred")
    return not (mixes or case.stochastic or any(m.training for m in training))


def assert_refuses_maps(engine: GradientEngine, table: Tensor) -> None:
    for per_record in (Clip(0.3), clip):
        with pytest.raises(LeakageError, match="gives no record a gradient of its own"):
            engine.means(table, torch.Generator(), per_record)


def assert_right(engine: GradientEngine, case: Case, table: Tensor, expected: Tensor) -> None:
    """On many records and rows at once, as much as the memory allows, and on few."""
    whole = engine.plan
    alone = records_have_gradients(case)
    each = plain(case, torch.arange(N).unsqueeze(1)) if alone else expected
    scale = float(each.norm(dim=1).mean())
    for at_once in (1024, 2):
        engine.plan = replace(whole, chunk=at_once, rows=at_once)
        what = f"{whole.path}, {at_once} at once"
        assert_equal(engine.means(table, torch.Generator()), expected, scale, what)
        if engine.plan.path == "batch-wise":
            assert_refuses_maps(engine, table)
            continue
        assert alone, what
        clipped = clip(each)[table].mean(1)
        for per_record in (Clip(0.3), clip):
            found = engine.means(table, torch.Generator(), per_record)
            assert_equal(found, clipped, 0.3, f"{what}, clipped")


@settings(max_examples=EXAMPLES)
@given(case=cases(), table=tables())
def test_every_path_that_is_taken_is_plain_autograd(case: Case, table: Tensor) -> None:
    note(f"{case.module}\n{case.module.kind}, {case.records.tensors[0].shape}")
    assume(not case.stochastic)
    if table.shape[1] == 1 and not records_have_gradients(case):
        table = table.repeat(1, 2)  # batch norm takes no batch of one
    head = case.module.network.head
    head.weight.grad = torch.ones_like(head.weight)
    before = fingerprint(case.module)
    try:
        expected = plain(case, table)
    except RuntimeError:  # a change in place that autograd itself refuses
        assert isinstance(engine_of(case), LeakageError)
        return
    for path in (None, *PATHS):
        engine = engine_of(case, path)
        if isinstance(engine, LeakageError):
            assert path in ("factored", "record-wise")
            assert f"no {path} path" in str(engine)
            assert "\n" not in str(engine)
        else:
            assert_right(engine, case, table, expected)
    assert alike(fingerprint(case.module), before)


@settings(max_examples=EXAMPLES // 3)
@given(case=cases(drops=True), table=tables())
def test_what_is_drawn_at_random_comes_from_the_generator_alone(case: Case, table: Tensor) -> None:
    assume(table.shape[1] > 1)
    before = fingerprint(case.module)
    engine = engine_of(case)
    assume(not isinstance(engine, LeakageError))
    assert isinstance(engine, GradientEngine)
    assert engine.plan.path == "batch-wise"

    def means(seed: int) -> Tensor:
        torch.rand(seed + 1)  # whatever else is drawn meanwhile
        return engine.means(table, torch.Generator().manual_seed(seed))

    with torch.random.fork_rng():
        found = means(0)
        assert torch.equal(found, means(0))
    # Whether two draws differ, the chance of a few masks says; of ten, one does.
    others = [engine.means(table, torch.Generator().manual_seed(seed)) for seed in range(1, 11)]
    assert any(not torch.equal(found, other) for other in others)
    assert_refuses_maps(engine, table)
    assert alike(fingerprint(case.module), before)


def test_the_mean_over_many_draws_is_the_expectation() -> None:
    """Dropout before a linear loss: each entry of x is 0 or x / (1 - q), x in expectation."""
    x = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Dropout(0.25), nn.Linear(6, 1, bias=False))

    class Linear(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.network(batch[0]).mean()

    engine = GradientEngine(Linear(), TensorDataset(x), PROBE)
    draws = 4000
    row = torch.tensor([0, 3, 8])
    found = engine.means(row.repeat(draws, 1), torch.Generator().manual_seed(0))
    expected = x[row].mean(0)
    deviation = (x[row].square().sum(0) * 0.25 / 0.75).sqrt() / 3
    assert ((found.mean(0) - expected).abs() <= 5 * deviation / draws**0.5).all()
    assert ((found.std(0) / deviation - 1).abs() < 0.1).all()
