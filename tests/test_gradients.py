"""Gradients equal plain autograd on every path, and computing them leaves no trace."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset, default_collate
from torchmetrics.classification import MulticlassAccuracy

from leakage.errors import LeakageError
from leakage.gradients.clip import Clip
from leakage.gradients.engine import PATHS, GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.precision import full_precision
from leakage.gradients.shared import read_shared_gradient, write_shared_gradient

N, D, CLASSES = 12, 5, 3
PROBE = torch.arange(4)


class Net(LightningModule):
    """A network and its loss on a batch (x, y)."""

    def __init__(self, network: nn.Module, loss: Callable[..., Any] = F.cross_entropy) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return self.loss(self.network(x), y)


class Unused(Net):
    def __init__(self) -> None:
        super().__init__(mlp())
        self.idle = nn.Parameter(torch.ones(2, 3))


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(D, D), nn.Linear(D, D)
        self.second.weight = self.first.weight
        self.head = nn.Linear(D, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).tanh()).tanh())


class DictRecords(Dataset[Any]):
    """Records as many loaders give them: a dict with numbers and a string."""

    def __getitem__(self, index: int) -> Any:
        x, y = records()[index]
        return {"file": f"{index}.wav", "x": x, "label": int(y)}


class DictNet(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(self.network(batch["x"]), batch["label"])


class WithoutNumber(Net):
    def training_step(self, batch: Any) -> Any:
        return super().training_step(batch, 0)


class NumberByAnotherName(Net):
    def training_step(self, batch: Any, _: int) -> Any:
        return super().training_step(batch, 0)


class AnyArguments(Net):
    def training_step(self, *args: Any) -> Any:
        batch, batch_idx = args
        return super().training_step(batch, batch_idx)


def decorated(step: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(step)
    def around_it(*args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    return around_it


class DecoratedWithoutNumber(WithoutNumber):
    training_step = decorated(WithoutNumber.training_step)


class Measured(Net):
    """Updates a metric in its training_step, as many modules do; it takes no vmap."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.accuracy = MulticlassAccuracy(CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        logits = self.network(x)
        self.accuracy(logits, y)
        return self.loss(logits, y)


class DictOfLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "extra": 1}


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, CLASSES))


def around(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 4), layer, nn.Linear(4, CLASSES))


def frozen() -> Net:
    module = Net(mlp())
    module.network[0].requires_grad_(False)
    return module


def convolution() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, D)), nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(),
        nn.Linear(4 * (D - 2), CLASSES),
    )  # fmt: skip


def records() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, D, generator=generator)
    return TensorDataset(x, torch.arange(N) % CLASSES)


RECORD_WISE: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: Net(nn.Linear(D, CLASSES)),
    "mlp": lambda: Net(mlp()),
    "frozen weights": frozen,
    "tied weights": lambda: Net(Tied()),
    "an unused parameter": Unused,
    "layer norm": lambda: Net(around(nn.LayerNorm(4))),
    "convolution and group norm": lambda: Net(convolution()),
    "batch norm in evaluation mode": lambda: Net(around(nn.BatchNorm1d(4)).eval()),
    "dropout in evaluation mode": lambda: Net(around(nn.Dropout(0.5)).eval()),
    "a dict batch with strings": lambda: DictNet(mlp()),
    "training_step without a number": lambda: WithoutNumber(mlp()),
    "training_step that does not call it batch_idx": lambda: NumberByAnotherName(mlp()),
    "training_step of any arguments": lambda: AnyArguments(mlp()),
    "training_step in a decorator": lambda: DecoratedWithoutNumber(mlp()),
    "training_step that returns a dict": lambda: DictOfLoss(mlp()),
    "a loss of shape (1,)": lambda: Net(mlp(), lambda o, y: F.cross_entropy(o, y).reshape(1)),
}

# What vmap refuses and the factors of a whole piece of records do not mind.
FACTORED_ONLY: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a metric": (Measured, "vmap refuses in accuracy (MulticlassAccuracy): "),
    "a branch on data": (
        lambda: Net(mlp(), lambda o, y: F.cross_entropy(o if o.sum() > -99 else -o, y)),
        "vmap refuses in training_step: ",
    ),
}
NOT_FACTORED = {
    "tied weights": "not factored: network.second (Linear) shares a parameter with another layer",
    "an unused parameter": "not factored: Unused has parameters and layers of its own",
}

WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0, 9.0]))
BATCH_WISE: dict[str, Callable[[], Net]] = {
    "batch norm": lambda: Net(around(nn.BatchNorm1d(4))),
    "batch norm without running statistics": lambda: Net(
        around(nn.BatchNorm1d(4, track_running_stats=False))
    ),
    "class weights": lambda: Net(mlp(), WEIGHTED),
    "a sum over the batch": lambda: Net(mlp(), nn.CrossEntropyLoss(reduction="sum")),
}


def build(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def records_of(module: nn.Module) -> Dataset[Any]:
    return DictRecords() if isinstance(module, DictNet) else records()


def engine_of(module: nn.Module, memory: int = 2**29, path: str | None = None) -> GradientEngine:
    return GradientEngine(module, records_of(module), PROBE, memory=memory, path=path)


def engine_with_chunk(module: nn.Module, chunk: int, path: str) -> GradientEngine:
    """An engine that takes so many records and rows at once, as a small memory would have it."""
    engine = engine_of(module, path=path)
    engine.plan = replace(engine.plan, chunk=chunk, rows=chunk)
    return engine


def plain(module: nn.Module, indices: Tensor) -> Tensor:
    """The twin: one backward pass for each row, parameter by parameter."""
    source, rows = records_of(module), []
    for row in indices.tolist():
        twin: Any = copy.deepcopy(module)
        batch = default_collate([source[i] for i in row])  # type: ignore[index]
        output = twin.training_step(batch, *([] if isinstance(twin, WithoutNumber) else [0]))
        (output["loss"] if isinstance(output, dict) else output).sum().backward()
        parts = [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in twin.parameters()
            if p.requires_grad
        ]
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_equal(found: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    distance = (found - expected).norm(dim=1)
    assert (distance <= relative * expected.norm(dim=1)).all()


def state(module: nn.Module) -> list[Tensor]:
    tensors: list[Tensor] = []
    for parameter in module.parameters():
        tensors += [parameter, *([] if parameter.grad is None else [parameter.grad])]
    return [tensor.detach().clone() for tensor in [*tensors, *module.buffers()]]


@pytest.mark.parametrize("path", [None, *PATHS])
@pytest.mark.parametrize("name", RECORD_WISE)
def test_gradients_are_those_of_plain_autograd(name: str, path: str | None) -> None:
    module = build(RECORD_WISE[name])
    if path == "factored" and name in NOT_FACTORED:
        with pytest.raises(LeakageError, match=re.escape(NOT_FACTORED[name])):
            engine_of(module, path=path)
        return
    engine = engine_of(module, path=path)
    if path is None:
        expected = "record-wise" if name in NOT_FACTORED else "factored"
        reason = f"{NOT_FACTORED[name]}; " if name in NOT_FACTORED else ""
        assert engine.plan.path == expected, engine.plan.reason
        assert engine.plan.reason == f"{reason}equal to plain autograd on 4 records"
    else:
        assert engine.plan.path == path
    for k in (1, 3, 8):
        indices = torch.stack([torch.randperm(N, generator=generator(i))[:k] for i in range(5)])
        assert_equal(engine.means(indices, generator()), plain(module, indices))


@pytest.mark.parametrize("name", FACTORED_ONLY)
def test_what_vmap_refuses_may_still_have_factors(name: str) -> None:
    make, refusal = FACTORED_ONLY[name]
    module = build(make)
    indices = torch.stack([torch.randperm(N, generator=generator(i))[:4] for i in range(5)])
    engine = engine_of(module)
    assert engine.plan.path == "factored"
    assert_equal(engine.means(indices, generator()), plain(module, indices))
    with pytest.raises(LeakageError, match=re.escape(f"no record-wise path, {refusal}")):
        engine_of(module, path="record-wise")


@pytest.mark.parametrize("name", BATCH_WISE)
def test_batch_wise_gradients_are_those_of_plain_autograd(name: str) -> None:
    module = build(BATCH_WISE[name])
    engine = engine_of(module)
    assert engine.plan.path == "batch-wise"
    for k in (2, 8):
        indices = torch.stack([torch.randperm(N, generator=generator(i))[:k] for i in range(4)])
        assert_equal(engine.means(indices, generator()), plain(module, indices))


MLP = build(RECORD_WISE["mlp"])
P = Layout.of(MLP).p
BY_CHUNK = {
    (path, chunk): engine_with_chunk(MLP, chunk, path)
    for path in ("factored", "record-wise")
    for chunk in (1, 3, 1024)
}


@given(
    table=st.integers(1, 6).flatmap(
        lambda k: st.lists(
            st.lists(st.integers(0, N - 1), min_size=k, max_size=k), min_size=1, max_size=6
        )
    )
)
def test_any_table_gives_plain_autograd_however_small_the_memory(table: list[list[int]]) -> None:
    """Records may repeat within a batch and between batches."""
    indices = torch.tensor(table)
    expected = plain(MLP, indices)
    for engine in BY_CHUNK.values():
        assert_equal(engine.means(indices, generator()), expected)


@pytest.mark.parametrize("way", BY_CHUNK, ids=str)
def test_a_per_record_map_sees_each_record_alone_before_the_mean(way: tuple[str, int]) -> None:
    indices = torch.tensor([[0, 5, 7], [5, 5, 2]])
    each = plain(MLP, torch.arange(N).unsqueeze(1))  # (N, p)
    clipped = each / each.norm(dim=1, keepdim=True).clamp(min=0.1)

    def clip(gradients: Tensor) -> Tensor:
        return gradients / gradients.norm(dim=1, keepdim=True).clamp(min=0.1)

    found = BY_CHUNK[way].means(indices, generator(), clip)
    assert_equal(found, clipped[indices].mean(1))


def test_an_unused_parameter_has_gradient_zero() -> None:
    engine = engine_of(build(Unused))
    means = engine.means(torch.tensor([[0, 1], [2, 3]]), generator())
    idle = means[:, engine.layout.span("idle")]
    assert idle.shape == (2, 6)
    assert not idle.any()


def test_an_unused_parameter_has_gradient_zero_where_records_mix() -> None:
    module = Unused()
    module.loss = WEIGHTED
    engine = engine_of(module)
    assert engine.plan.path == "batch-wise"
    means = engine.means(torch.tensor([[0, 1]]), generator())
    assert not means[:, engine.layout.span("idle")].any()
    assert means.any()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("batch norm", "records mix in network.1 (BatchNorm1d), which is in training mode"),
        (
            "batch norm without running statistics",
            "records mix in network.1 (BatchNorm1d), which is in training mode",
        ),
        ("class weights", "records mix: network."),
        ("a sum over the batch", "records mix: network."),
    ],
)
def test_the_plan_says_why_records_have_no_gradient_of_their_own(name: str, reason: str) -> None:
    found = engine_of(build(BATCH_WISE[name])).plan.reason
    assert found.startswith(reason), found
    assert "\n" not in found


def test_dropout_is_drawn_anew_for_each_batch_from_the_generator_alone() -> None:
    """Of Dropout(1/2) and a linear loss each entry of the gradient is 0 or 2x, by a fair coin."""
    x = torch.arange(1.0, 65.0).unsqueeze(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False))
    module = Net(network, lambda output, y: output.mean())
    engine = GradientEngine(module, TensorDataset(x, torch.zeros(1)), torch.tensor([0]))
    assert engine.plan.path == "batch-wise"
    assert engine.plan.reason == "stochastic layers: network.1.weight changes from call to call"
    table = torch.zeros(100, 1, dtype=torch.int64)
    means = engine.means(table, generator(3))
    dropped = means == 0
    assert torch.equal(means, torch.where(dropped, 0.0, 2 * x))
    assert abs(dropped.float().mean() - 0.5) < 5 * 0.5 / 80  # 6,400 coins
    assert len({tuple(row) for row in dropped.tolist()}) == 100
    assert torch.equal(means, engine.means(table, generator(3)))
    assert not torch.equal(means, engine.means(table, generator(4)))


@pytest.mark.parametrize(
    "make",
    [RECORD_WISE["mlp"], BATCH_WISE["batch norm"], lambda: Net(around(nn.Dropout(0.5)))],
    ids=["record-wise", "batch norm", "dropout"],
)
def test_observing_changes_neither_the_module_nor_the_randomness(make: Callable[[], Net]) -> None:
    module = build(make)
    module.network[0].weight.grad = torch.ones_like(module.network[0].weight)
    before, random = state(module), torch.get_rng_state()
    engine = engine_of(module)
    engine.means(torch.tensor([[0, 1], [2, 3]]), generator())
    after = state(module)
    assert len(after) == len(before)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_an_accelerator_is_never_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy stands on the CPU, so the randomness of a training on CUDA stays as it is."""
    seeded: list[int] = []
    module = build(lambda: Net(around(nn.Dropout(0.5))))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(torch.initial_seed())
    assert len(seeded) == 1  # which is why
    engine_of(module).means(torch.tensor([[0, 1]]), generator())
    assert len(seeded) == 1


def test_a_metric_of_the_module_counts_no_observed_batch() -> None:
    module: Any = build(Measured)
    engine_of(module).means(torch.tensor([[0, 1]]), generator())
    assert module.accuracy.update_count == 0


def test_the_engine_holds_the_weights_of_its_making() -> None:
    module = build(RECORD_WISE["mlp"])
    indices = torch.tensor([[0, 1]])
    engine = engine_of(module)
    expected = plain(module, indices)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert_equal(engine.means(indices, generator()), expected)


@pytest.mark.parametrize("make", [RECORD_WISE["mlp"], BATCH_WISE["class weights"]])
def test_gradients_are_computed_where_autograd_is_off(
    make: Callable[[], Net],
) -> None:
    module, indices = build(make), torch.tensor([[0, 1]])
    expected = plain(module, indices)
    with torch.no_grad():
        found = engine_of(module).means(indices, generator())
    assert_equal(found, expected)


class Logging(Net):
    """Counts what it logs."""

    logged = 0

    def log(self, *args: Any, **kwargs: Any) -> None:
        Logging.logged += 1

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        Logging.logged += 1

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, prog_bar=True)
        self.log_dict({"loss": loss})
        return loss


def test_the_copy_logs_nowhere_and_the_module_still_does() -> None:
    module = build(lambda: Logging(mlp()))
    indices = torch.tensor([[0, 1]])
    Logging.logged = 0
    found = engine_of(module).means(indices, generator())
    assert Logging.logged == 0
    assert_equal(found, plain(module, indices))
    assert Logging.logged == 2


@pytest.mark.parametrize("make", [RECORD_WISE["mlp"], BATCH_WISE["class weights"]])
def test_a_bf16_module_gives_the_float32_gradient_at_its_weights(make: Callable[[], Net]) -> None:
    module = build(make).bfloat16()
    indices = torch.tensor([[0, 1, 2], [3, 3, 4]])
    found = engine_of(module).means(indices, generator())
    assert_equal(found, plain(copy.deepcopy(module).float(), indices))
    assert all(parameter.dtype == torch.bfloat16 for parameter in module.parameters())


@pytest.mark.parametrize("path", ["factored", "record-wise"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_record_that_is_not_finite_counts_as_zero_and_is_named(path: str, value: float) -> None:
    x, y = records().tensors
    module, indices = build(RECORD_WISE["mlp"]), torch.tensor([[0, 7], [1, 2], [7, 7], [3, 4]])
    expected = plain(module, indices)
    expected[0] = plain(module, torch.tensor([[0]]))[0] / 2
    expected[2] = 0
    x = x.clone()
    x[7, 2] = value
    engine = GradientEngine(module, TensorDataset(x, y), PROBE, path=path)
    assert engine.broken == []
    assert_equal(engine.means(indices, generator()), expected)
    assert engine.broken == [7]
    clipped = engine.means(indices, generator(), Clip(1e9))
    assert_equal(clipped, expected)


def test_a_probe_with_a_broken_record_is_made_without_it() -> None:
    x, y = records().tensors
    x = x.clone()
    x[1] = torch.inf
    engine = GradientEngine(build(RECORD_WISE["mlp"]), TensorDataset(x, y), PROBE)
    assert engine.plan.path == "factored"
    assert engine.plan.reason == "equal to plain autograd on 3 records"


def test_where_most_records_are_broken_there_is_no_figure() -> None:
    x, y = records().tensors
    x = x.clone()
    x[5:] = torch.nan
    engine = GradientEngine(build(RECORD_WISE["mlp"]), TensorDataset(x, y), PROBE)
    with pytest.raises(LeakageError) as error:
        engine.means(torch.arange(N).reshape(4, 3), generator())
    assert str(error.value) == (
        "model Net: 7 of 12 records have a gradient with NaN or inf; training has diverged or the"
        " records are not finite"
    )


def test_a_batch_that_is_not_finite_is_counted_with_its_layer() -> None:
    x, y = records().tensors
    x = x.clone()
    x[7] = torch.nan
    module = build(BATCH_WISE["class weights"])
    engine = GradientEngine(module, TensorDataset(x, y), PROBE)
    with pytest.raises(LeakageError) as error:
        engine.means(torch.tensor([[0, 7], [1, 2], [7, 7]]), generator())
    assert str(error.value) == (
        "model Net: 2 of 3 batch gradients hold NaN or inf, most of them in network.0.weight;"
        " training has diverged or a record is not finite"
    )


def test_a_diverged_module_is_refused_before_any_path_is_chosen() -> None:
    module = build(RECORD_WISE["mlp"])
    with torch.no_grad():
        module.network[0].weight.fill_(torch.nan)
    with pytest.raises(LeakageError) as error:
        engine_of(module)
    assert str(error.value) == (
        "model Net: 1 of 1 batch gradients hold NaN or inf, most of them in network.0.weight;"
        " training has diverged or a record is not finite"
    )


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda o, y: None, "None"),
        (lambda o, y: 0.5, "0.5"),
        (lambda o, y: o, "shape (4, 3)"),
        (lambda o, y: {"losses": o}, "None"),
        (lambda o, y: {"loss": o[0]}, "shape (3,)"),
    ],
    ids=["None", "a float", "not scalar", "a dict without loss", "a dict, not scalar"],
)
def test_a_loss_that_is_no_scalar_is_refused(output: Callable[..., Any], found: str) -> None:
    with pytest.raises(LeakageError) as error:
        engine_of(Net(mlp(), output))
    assert str(error.value) == (
        "model Net: training_step must return a scalar loss or a dict with the key loss,"
        f" found {found}"
    )


def test_a_loss_without_parameters_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        engine_of(Net(mlp(), lambda output, y: y.float().mean()))
    assert str(error.value) == ("model Net: the loss does not depend on any trainable parameter")


@pytest.mark.parametrize("name", BATCH_WISE)
def test_a_per_record_map_is_refused_where_records_have_no_gradient(name: str) -> None:
    module = build(BATCH_WISE[name])
    engine = engine_of(module)
    with pytest.raises(LeakageError) as error:
        engine.means(torch.tensor([[0, 1]]), generator(), lambda gradients: gradients)
    assert str(error.value) == (
        "defense: it maps the gradient of each record before the mean, but the model"
        f" {type(module).__name__} gives no record a gradient of its own ({engine.plan.reason})"
    )


@pytest.fixture
def layout() -> Layout:
    return Layout.of(build(RECORD_WISE["mlp"]))


def test_the_layout_follows_named_parameters(layout: Layout) -> None:
    assert layout.names == (
        "network.0.weight",
        "network.0.bias",
        "network.2.weight",
        "network.2.bias",
    )
    assert layout.shapes == ((6, D), (6,), (CLASSES, 6), (CLASSES,))
    assert layout.sizes == (30, 6, 18, 3)
    assert layout.p == 57


def test_spans_tile_the_gradient_in_order(layout: Layout) -> None:
    spans = [layout.span(name) for name in layout.names]
    assert [(span.start, span.stop) for span in spans] == [(0, 30), (30, 36), (36, 54), (54, 57)]


def test_each_span_holds_the_gradient_of_its_parameter(layout: Layout) -> None:
    module: Any = build(RECORD_WISE["mlp"])
    found = engine_of(module).means(torch.tensor([[0, 4, 9]]), generator())[0]
    batch = default_collate([records()[i] for i in (0, 4, 9)])
    module.training_step(batch, 0).backward()
    for name, parameter in module.named_parameters():
        expected = parameter.grad
        assert torch.allclose(found[layout.span(name)].view_as(expected), expected, atol=1e-6)


def test_the_layout_skips_frozen_and_counts_tied_weights_once() -> None:
    assert Layout.of(frozen()).names == ("network.2.weight", "network.2.bias")
    assert Layout.of(Net(Tied())).names == (
        "network.first.weight",
        "network.first.bias",
        "network.second.bias",
        "network.head.weight",
        "network.head.bias",
    )


def test_a_module_without_a_trainable_parameter_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        Layout.of(Net(mlp().requires_grad_(False)))
    assert str(error.value) == (
        "model Net: no parameter requires a gradient, so no gradient is ever shared; unfreeze at"
        " least one layer"
    )


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["*"], range(57)),
        (["network.0.*"], range(36)),
        (["*.bias"], [*range(30, 36), *range(54, 57)]),
        (["network.2.bias", "network.0.bias", "*.bias"], [*range(30, 36), *range(54, 57)]),
    ],
)
def test_globs_select_columns_once_and_in_the_order_of_the_layout(
    layout: Layout, patterns: list[str], kept: Iterator[int]
) -> None:
    part, columns = layout.select(patterns, "attack.layers")
    assert columns.tolist() == list(kept)
    assert part.p == len(columns)
    whole = torch.arange(57)
    for name in part.names:
        assert torch.equal(whole[columns][part.span(name)], whole[layout.span(name)])
        assert part.shapes[part.names.index(name)] == layout.shapes[layout.names.index(name)]


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name(layout: Layout) -> None:
    with pytest.raises(LeakageError) as error:
        layout.select(["network.0.*", "network.2.weigth"], "attack.layers")
    assert str(error.value) == (
        "attack.layers: the pattern 'network.2.weigth' matches no trainable parameter; did you"
        " mean 'network.2.weight'? Known: network.0.weight, network.0.bias, network.2.weight,"
        " network.2.bias"
    )


def test_an_empty_list_of_layers_is_refused(layout: Layout) -> None:
    with pytest.raises(LeakageError) as error:
        layout.select([], "attack.layers")
    assert str(error.value) == (
        "attack.layers: an empty list lets the adversary see no layer at all"
    )


@pytest.mark.parametrize("make", [RECORD_WISE["tied weights"], frozen, Unused])
def test_what_is_written_as_shared_gradient_is_read_back(make: Callable[[], nn.Module]) -> None:
    module = build(make)
    p = Layout.of(module).p
    assert torch.equal(read_shared_gradient(module), torch.zeros(p))
    written = torch.randn(p, generator=generator())
    write_shared_gradient(module, written)
    assert torch.equal(read_shared_gradient(module), written)
    for parameter in module.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


def test_a_batch_does_not_see_what_another_one_left_in_a_buffer() -> None:
    class Remembers(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))
            self.register_buffer("ema", torch.ones(()))

        def training_step(self, batch: Any) -> Tensor:
            loss = (batch[0] @ self.w).square().mean()
            self.ema = 0.9 * self.ema + 0.1 * loss.detach()
            return loss / self.ema

    data = TensorDataset(torch.randn(20, 3), torch.zeros(20))
    engine = GradientEngine(Remembers(), data, torch.arange(4))
    means = engine.means(torch.arange(4).repeat(6, 1), torch.Generator())
    assert torch.equal(means, means[:1].expand_as(means))


def test_records_are_collated_as_the_loader_does() -> None:
    class Mean(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def training_step(self, batch: Any) -> Tensor:
            return (batch["x"] @ self.w).mean()

    x = torch.randn(20, 3)

    def collate(items: list[Any]) -> dict[str, Tensor]:
        return {"x": 10 * torch.stack([item[0] for item in items])}

    engine = GradientEngine(Mean(), TensorDataset(x), torch.arange(4), collate=collate)
    torch.testing.assert_close(
        engine.means(torch.arange(6).reshape(2, 3), torch.Generator()),
        10 * x[:6].reshape(2, 3, 3).mean(1),
    )


def test_a_training_step_that_needs_the_trainer_is_told_what_it_may_use() -> None:
    class Logs(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def training_step(self, batch: Any) -> Tensor:
            self.logger.log_metrics({"a": 1.0})  # type: ignore[union-attr]
            return (batch[0] @ self.w).mean()

    data = TensorDataset(torch.randn(20, 3))
    with pytest.raises(LeakageError) as error:
        GradientEngine(Logs(), data, torch.arange(4))
    assert str(error.value) == (
        "model Logs: training_step fails on a batch of 4 outside the Trainer with"
        " AttributeError: 'NoneType' object has no attribute 'log_metrics'; it may use"
        " current_epoch, global_step, log and log_dict, but no logger, optimizer or other part of"
        " it"
    )


def test_a_clipped_gradient_never_exceeds_its_norm_however_long_it_is() -> None:
    gradients = torch.randn(2, 2**20, generator=generator()) + 0.5
    norms = Clip(1.0)(gradients).double().norm(dim=1)
    assert (norms - 1).abs().max() < 1e-6


class _Apart(LightningModule):
    """A loss of the difference of two positions, whose gradients all but cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.last = nn.Linear(16, 16), nn.Linear(16, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        h = self.near(x)  # (k, 2, 16)
        return ((self.last(h[:, 0] - h[:, 1]).squeeze(1) - y) ** 2).mean()


@pytest.mark.parametrize("far", [1.0, 3e3, 3e4, 3e5, 1e8, 1e15])
def test_no_record_exceeds_its_clip_however_its_positions_cancel(far: float) -> None:
    stream = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _Apart()
    x, y = torch.randn(40, 2, 16, generator=stream), torch.randn(40, generator=stream) * 20
    x[8:] += far * torch.randn(32, 1, 16, generator=stream)
    engine = GradientEngine(module, TensorDataset(x, y), torch.arange(8))
    assert engine.plan.path == "factored"
    clipped = engine.means(torch.arange(40).unsqueeze(1), generator(), Clip(1.0))
    assert float(clipped.double().norm(dim=1).max()) <= 1 + 1e-6
    assert float(clipped[:8].norm(dim=1).min()) > 0.99  # ordinary ones keep all that they may


def test_a_record_of_enormous_features_and_no_gradient_is_no_nan_under_clipping() -> None:
    stream = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _Apart()
    x, y = torch.randn(40, 2, 16, generator=stream), torch.randn(40, generator=stream)
    x[39] = 1e20
    engine = GradientEngine(module, TensorDataset(x, y), torch.arange(8))
    clipped = engine.means(torch.arange(40).unsqueeze(1), generator(), Clip(1.0))
    assert clipped.isfinite().all()
    assert float(clipped.norm(dim=1).max()) <= 1 + 1e-6


def test_on_cuda_gradients_have_all_bits_and_training_keeps_its_own() -> None:
    """TensorFloat-32, which convolutions take there, would look as if records mixed."""

    def precision() -> list[str]:
        cudnn: Any = torch.backends.cudnn
        return [p.fp32_precision for p in (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)]

    before = precision()
    with full_precision(torch.device("cpu")):
        assert precision() == before
    with full_precision(torch.device("cuda")):
        assert precision() == ["ieee"] * 3
    assert precision() == before
