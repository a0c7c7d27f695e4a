"""Updates equal plain SGD on every path, and one full step is the gradient."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from lightning import LightningModule
from test_gradients import (
    BATCH_WISE,
    CLASSES,
    PROBE,
    RECORD_WISE,
    D,
    N,
    Net,
    WithoutNumber,
    around,
    build,
    generator,
    mlp,
    records,
    records_of,
    state,
)
from test_random_modules import Case, alike, cases, fingerprint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset, default_collate

from leakage.defenses import NoDefense, RecordPruning, Sign
from leakage.errors import LeakageError
from leakage.gradients import updates
from leakage.gradients.clip import Clip
from leakage.gradients.engine import GradientEngine
from leakage.gradients.farthest import farthest
from leakage.gradients.training import OneByOne, Stacked
from leakage.gradients.updates import Local
from leakage.releases import Releases, release

STACKED = "vmap over clients"
LOCALS = [Local(1, 0.1, 2), Local(3, 0.1), Local(5, 0.1, 2), Local(4, 0.05, 5)]


def images() -> nn.Sequential:
    """A small CNN with GroupNorm on records of D x 1 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, D, 1)), nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(),
        nn.Conv2d(4, 4, (3, 1), stride=2), nn.Flatten(), nn.Linear(4 * (D // 2), CLASSES),
    )  # fmt: skip


class Follows(Net):
    """Weighs its loss by a statistic that follows the losses of its batches."""

    def __init__(self) -> None:
        super().__init__(mlp())
        self.register_buffer("ema", torch.ones(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.ema = 0.9 * self.ema + 0.1 * loss.detach()
        return loss / self.ema


class Clamps(Net):
    """Keeps its own weights in a box, beside what the optimizer does."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        with torch.no_grad():
            self.network[0].weight.clamp_(-0.3, 0.3)
        return super().training_step(batch, batch_idx)


def hooked() -> Net:
    module = Net(mlp())
    module.network[0].weight.register_hook(lambda gradient: gradient.sign())
    return module


MODULES: dict[str, Callable[[], nn.Module]] = {
    **RECORD_WISE,
    **BATCH_WISE,
    "a small CNN": lambda: Net(images()),
    "a buffer that follows the losses": Follows,
    "batch norm that averages all batches": lambda: Net(around(nn.BatchNorm1d(4, momentum=None))),
    "a hook": hooked,
    "weights in a box": lambda: Clamps(mlp()),
}
LOOPS = {
    "a dict batch with strings": "the batch holds a str",
    "batch norm that averages all batches": "vmap refuses in network.1 (BatchNorm1d): ",
    "a hook": "network.0.weight has a hook on the gradient of a batch",
    "weights in a box": "vmap refuses in training_step: it changes parameters by itself",
}


WHOLE, MIXED = ("mlp", "tied weights"), ("batch norm", "class weights")


def engine_of(module: nn.Module, local: Local | None, **more: Any) -> GradientEngine:
    return GradientEngine(module, records_of(module), PROBE, local=local, **more)


def table(n: int, k: int, clients: int = 1) -> Tensor:
    """Rows of clients, each with k records of its own."""
    draw = generator(7)
    rows = [torch.randperm(N, generator=draw)[:k] for _ in range(n * clients)]
    return torch.stack(rows).reshape(n, clients * k)


def batches(local: Local, k: int, seed: int) -> list[list[int]]:
    """The places of the records of each step, as `Local.walk` and `Local.spans` say it."""
    if local.batch is None or local.batch == k:
        return [list(range(k))] * local.steps
    steps: list[list[int]] = []
    draw = generator(seed)
    while len(steps) < local.steps:
        order = torch.rand(k, generator=draw).argsort().tolist()
        steps += [order[start : start + local.batch] for start in range(0, k, local.batch)]
    return steps[: local.steps]


def train(module: nn.Module, data: Any, local: Local, row: list[int], seeds: list[int]) -> Tensor:
    """The twin: a client that trains a copy of the module with torch's own SGD."""
    twin: Any = copy.deepcopy(module)
    for parameter, counterpart in zip(module.parameters(), twin.parameters(), strict=True):
        for hook in (parameter._backward_hooks or {}).values():  # which copying drops
            counterpart.register_hook(hook)
    twin = twin.float()
    trainable = [p for p in twin.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trainable]
    optimizer = torch.optim.SGD(trainable, lr=local.lr)
    with torch.random.fork_rng():
        torch.manual_seed(seeds[1])
        for places in batches(local, len(row), seeds[0]):
            batch = default_collate([data[row[place]] for place in places])
            output = twin.training_step(batch, *([] if isinstance(twin, WithoutNumber) else [0]))
            optimizer.zero_grad()
            (output["loss"] if isinstance(output, dict) else output).sum().backward()
            optimizer.step()
    pairs = zip(before, trainable, strict=True)
    return torch.cat([((a.double() - b.double()) / local.lr).flatten() for a, b in pairs]).float()


def plain(
    module: nn.Module, data: Any, local: Local, rows: Tensor, clients: int, seed: int = 0
) -> Tensor:
    seeds = torch.randint(2**62, (len(rows), clients, 2), generator=generator(seed)).tolist()
    k = rows.shape[1] // clients
    return torch.stack(
        [
            torch.stack(
                [
                    train(module, data, local, row[client * k : (client + 1) * k], of_client)
                    for client, of_client in enumerate(of_row)
                ]
            ).mean(0)
            for row, of_row in zip(rows.tolist(), seeds, strict=True)
        ]
    )


def assert_equal(found: Tensor, expected: Tensor, relative: float = 5e-5) -> None:
    """To what the float32 weights of the twin can tell: its updates are differences of them."""
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    distance = (found - expected).norm(dim=1)
    assert (distance <= relative * expected.norm(dim=1) + 2e-6).all(), distance


@pytest.mark.parametrize("local", LOCALS, ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_updates_are_those_of_plain_sgd(name: str, local: Local) -> None:
    module = build(MODULES[name])
    engine = engine_of(module, local)
    assert engine.plan.path == "updates"
    if name in LOOPS:
        assert engine.plan.reason.startswith(f"one client at a time: {LOOPS[name]}")
    else:
        assert engine.plan.reason.startswith(STACKED), engine.plan.reason
    for k, clients in ((6, 1), (8, 1), (6, 3)):
        if local.batch == 5 and k == 6 and "batch norm" in name:
            continue  # it takes no batch of one
        rows = table(4, k, clients)
        expected = plain(module, records_of(module), local, rows, clients)
        assert_equal(engine.means(rows, generator(), clients=clients), expected)


@settings(max_examples=25)
@given(
    case=cases(),
    steps=st.integers(2, 4),
    batch=st.sampled_from([None, 2, 3]),
    clients=st.integers(1, 2),
)
def test_modules_drawn_at_random_are_trained_as_they_would_be(
    case: Case, steps: int, batch: int | None, clients: int
) -> None:
    note(f"{case.module}\n{case.module.kind}")
    assume(not case.stochastic)
    local, rows = Local(steps, 0.01, batch), table(3, 6, clients) % len(case.records)
    before = fingerprint(case.module)
    try:
        expected = plain(case.module, case.records, local, rows, clients)
        engine = GradientEngine(case.module, case.records, PROBE, local=local)
    except (RuntimeError, LeakageError):  # a change in place that autograd refuses
        return
    found = engine.means(rows, generator(), clients=clients)
    assert_equal(found, expected, 5e-4)
    assert alike(fingerprint(case.module), before)


@pytest.mark.parametrize(
    ("name", "clients"),
    [*((name, 1) for name in (*WHOLE, *MIXED)), *((name, 2) for name in WHOLE)],
)
@pytest.mark.parametrize("batch", [None, 4])
def test_one_full_step_is_the_gradient_to_the_bit(
    name: str, clients: int, batch: int | None
) -> None:
    module, rows = build(MODULES[name]), table(5, 4, clients)
    gradients = engine_of(module, None)
    engine = engine_of(module, Local(1, 0.3, batch))
    assert engine.plan_for(rows, clients) == gradients.plan
    expected = gradients.means(rows, generator())
    assert torch.equal(engine.means(rows, generator(), clients=clients), expected)
    assert torch.equal(gradients.means(rows, generator(), clients=clients), expected)
    trains = engine_of(module, Local(2, 0.3, batch))
    assert not torch.equal(trains.means(rows, generator(), clients=clients), expected)
    assert torch.equal(trains.means(rows, generator(), clients=0), expected)


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("batch", [None, 5])
def test_one_step_of_several_clients_whose_records_mix_is_the_mean_of_theirs(
    name: str, batch: int | None
) -> None:
    """A batch norm over the records of all clients would be a gradient that nobody computes."""
    module, rows = build(MODULES[name]), table(6, 5, clients=3)
    engine = engine_of(module, Local(1, 0.1, batch))
    together = engine.means(rows, generator(), clients=3)
    each = engine_of(module, None).means(rows.view(18, 5), generator())
    assert_equal(together, each.view(6, 3, -1).mean(1))
    mixed = engine_of(module, None).means(rows, generator())
    assert not torch.allclose(together, mixed, rtol=1e-3)


class Linear(LightningModule):
    """L = mean w.x: its gradient is the mean of x, whatever w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(D))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (batch[0] @ self.w).mean()


class Quadratic(Linear):
    """L = mean |w - x|^2 / 2, which a step of rate lr shrinks by 1 - lr."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (self.w - batch[0]).square().sum(1).mean() / 2


@pytest.mark.parametrize("steps", [2, 7])
def test_steps_on_a_linear_loss_add_up(steps: int) -> None:
    x, rows = records().tensors[0], table(6, 8)
    found = engine_of(Linear(), Local(steps, 0.01)).means(rows, generator())
    assert_equal(found, steps * x[rows].mean(1), 1e-6)
    halves = engine_of(Linear(), Local(2 * steps, 0.01, 4)).means(rows, generator())
    assert_equal(halves, 2 * steps * x[rows].mean(1), 1e-6)  # whole passes, in any order
    crowd = engine_of(Linear(), Local(steps, 0.01)).means(rows, generator(), clients=4)
    assert_equal(crowd, steps * x[rows].mean(1), 1e-6)


@pytest.mark.parametrize("lr", [0.01, 0.5, 1.5])
def test_steps_on_a_quadratic_loss_go_the_known_way(lr: float) -> None:
    """s steps leave (1 - lr)^s of the distance to the mean of the records."""
    module, rows, steps = Quadratic(), table(6, 8), 6
    with torch.no_grad():
        module.w.fill_(2.0)
    found = engine_of(module, Local(steps, lr)).means(rows, generator())
    distance = 2.0 - records().tensors[0][rows].mean(1)
    assert_equal(found, (1 - (1 - lr) ** steps) / lr * distance, 1e-5)


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_pass_holds_every_record_once_and_its_last_batch_may_be_smaller(steps: int) -> None:
    local, k = Local(steps, 0.1, 3), 7
    records, spans = torch.arange(100, 107), local.spans(7)
    walk = local.walk(records, 5)
    assert [span.stop - span.start for span in spans] == [3, 3, 1, 3, 3, 1, 3][:steps]
    for start in range(0, len(walk), k):
        assert sorted(walk[start : start + k].tolist()) == records.tolist()
    assert spans[-1].stop <= len(walk) < spans[-1].stop + k
    if steps > 3:
        assert not torch.equal(walk[:k], walk[k : 2 * k])
    assert torch.equal(walk, local.walk(records, 5))
    assert not torch.equal(walk, local.walk(records, 6))
    other = [records[places].tolist() for places in batches(local, k, 5)]
    assert [walk[span].tolist() for span in spans] == other


def test_every_record_is_as_likely_in_the_first_batch() -> None:
    """Of an update of one step with one of k records, each is the record in 1 of k cases."""
    k, draws = 4, 4000
    rows = torch.arange(k).repeat(draws, 1)
    found = engine_of(Linear(), Local(1, 0.1, 1)).means(rows, generator())
    counts = torch.stack([(found == x).all(1).sum() for x in records().tensors[0][:k]])
    assert counts.sum() == draws
    assert ((counts / draws - 1 / k).abs() < 5 * (1 / k * (1 - 1 / k) / draws) ** 0.5).all()


@pytest.mark.parametrize("name", ["mlp", "batch norm", "a hook"])
def test_updates_do_not_depend_on_how_many_are_made_at_once(name: str) -> None:
    engine, rows = engine_of(build(MODULES[name]), Local(5, 0.1, 2)), table(7, 4, 3)
    expected, whole = engine.means(rows, generator(), clients=3), engine.plan
    for chunk, at_once in ((1, 1), (2, 3), (5, 2), (100, 4)):
        engine.plan = replace(whole, chunk=chunk, rows=at_once)
        found = list(engine.blocks(rows, generator(), clients=3))
        assert max(map(len, found)) == min(at_once, 7)
        assert_equal(torch.cat(found), expected, 1e-5)


def test_a_small_memory_trains_few_clients_at_once() -> None:
    data = TensorDataset(torch.randn(N, 300, generator=generator()), torch.arange(N) % CLASSES)
    module = build(lambda: Net(nn.Sequential(nn.Linear(300, 300), nn.Linear(300, CLASSES))))
    rows, local = table(9, 4), Local(3, 0.1, 2)
    small, large = (
        GradientEngine(module, data, PROBE, local=local, memory=memory) for memory in (2**25, 2**30)
    )
    assert small.plan.chunk < len(rows) < large.plan.chunk
    assert_equal(small.means(rows, generator()), large.means(rows, generator()), 1e-5)


class Drawn(Dataset[Any]):
    """Records with a shift that is drawn anew each time."""

    def __getitem__(self, index: int) -> Any:
        x, y = records()[index]
        return x + torch.randn(()), y


@pytest.mark.parametrize("clients", [1, 2])
@pytest.mark.parametrize(
    ("network", "data", "reason"),
    [
        (lambda: around(nn.Dropout(0.5)), records(), "stochastic layers: network.0.weight changes"),
        (mlp, Drawn(), "records are drawn anew"),
    ],
    ids=["dropout", "augmentation"],
)
def test_what_a_client_draws_comes_from_a_seed_of_its_own(
    network: Callable[[], nn.Module], data: Any, reason: str, clients: int
) -> None:
    module, local, rows = build(lambda: Net(network())), Local(3, 0.1, 2), table(4, 4, clients)
    engine = GradientEngine(module, data, PROBE, local=local)
    assert engine.plan.reason.startswith(f"one client at a time: {reason}")
    found = engine.means(rows, generator(3), clients=clients)
    assert_equal(found, plain(module, data, local, rows, clients, seed=3))
    whole = engine.plan
    engine.plan = replace(whole, chunk=2, rows=3)
    assert torch.equal(found, engine.means(rows, generator(3), clients=clients))
    assert not torch.equal(found, engine.means(rows, generator(4), clients=clients))
    same = engine.means(rows[:1].repeat(4, 1), generator(3), clients=clients)
    assert len({tuple(row) for row in same.tolist()}) == 4


@pytest.mark.parametrize("name", ["mlp", "batch norm", "weights in a box", "tied weights"])
def test_training_clients_leaves_the_module_and_the_randomness_as_they_were(name: str) -> None:
    module: Any = build(MODULES[name])
    before, random = state(module), torch.get_rng_state()
    engine, rows = engine_of(module, Local(3, 0.1, 2)), table(4, 4)
    inner = state(engine._loss.module)
    first = engine.means(rows, generator())
    assert torch.equal(first, engine.means(rows, generator()))  # and where the last one ended
    assert not torch.equal(first, engine.means(rows, generator(1)))
    assert all(map(torch.equal, before, state(module)))
    assert all(map(torch.equal, inner, state(engine._loss.module)))
    assert torch.equal(random, torch.get_rng_state())


def test_a_parameter_that_no_step_uses_is_shared_as_zero() -> None:
    engine = engine_of(build(MODULES["an unused parameter"]), Local(3, 0.1, 2))
    means = engine.means(table(3, 4), generator())
    assert means.any(dim=1).all()
    assert not means[:, engine.layout.span("idle")].any()


def padded(items: list[Any]) -> Any:
    """Pads to the longest record of the batch, and tells how long that is."""
    longest = max(len(x) for x, _ in items)
    x = torch.stack([F.pad(x, (0, longest - len(x))) for x, _ in items])
    return x, torch.tensor([y for _, y in items])


class MeanOverTime(LightningModule):
    """Takes the padding for part of a record, so that its length counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.layer(x.unsqueeze(2).tanh()).mean(1), y)


class Ragged(Dataset[Any]):
    """Records of several lengths; the first ones are equally long."""

    def __getitem__(self, index: int) -> Any:
        x, y = records()[index]
        return (x if index < 6 else x[: index % 5 + 1]), int(y)


def test_batches_are_padded_as_those_of_one_client(caplog: pytest.LogCaptureFixture) -> None:
    module, data, local = build(MeanOverTime), Ragged(), Local(3, 0.1, 2)
    engine = GradientEngine(module, data, PROBE, local=local, collate=padded)
    assert engine.plan.reason == STACKED
    rows = torch.tensor([[0, 1, 2, 3], [3, 4, 1, 2], [5, 0, 4, 3], [1, 2, 3, 5], [6, 7, 8, 9]])
    with caplog.at_level(logging.WARNING, "leakage.gradients"):
        found = engine.means(rows, generator())
    said = "the batches of clients differ in their shapes"
    assert caplog.messages == [f"model MeanOverTime: clients now train one by one: {said}"]
    seeds = torch.randint(2**62, (len(rows), 1, 2), generator=generator()).tolist()
    for row, seed, one in zip(rows.tolist(), seeds, found, strict=True):
        twin = copy.deepcopy(module)
        for places in batches(local, 4, seed[0][0]):
            twin.zero_grad()
            twin.training_step(padded([data[row[place]] for place in places]), 0).backward()
            with torch.no_grad():
                for parameter in twin.parameters():
                    parameter -= local.lr * parameter.grad
        moved = zip(module.parameters(), twin.parameters(), strict=True)
        expected = torch.cat([((a - b) / local.lr).flatten() for a, b in moved]).detach()
        assert_equal(one[None], expected[None])


def test_a_batch_that_vmap_cannot_tell_apart_by_client_is_trained_one_by_one() -> None:
    def transposed(items: list[Any]) -> Any:
        return [part.t() if part.dim() > 1 else part for part in default_collate(items)]

    class Transposed(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            return self.loss(self.network(x.t()), y)

    module, rows, local = build(lambda: Transposed(mlp())), table(3, 4), Local(3, 0.1, 2)
    by_collate = GradientEngine(module, records(), PROBE, local=local, collate=transposed)
    by_hook = GradientEngine(
        module, records(), PROBE, local=local,
        prepare=lambda batch: [part.t() if part.dim() > 1 else part for part in batch],
    )  # fmt: skip
    assert by_collate.plan.reason == STACKED  # each batch is made by itself
    assert by_hook.plan.reason == (
        "one client at a time: the batch holds a tensor that does not go by records"
    )
    expected = by_hook.means(rows, generator())
    assert_equal(by_collate.means(rows, generator()), expected, 1e-5)
    untransposed = build(lambda: Net(mlp()))
    assert_equal(expected, plain(untransposed, records(), local, rows, 1))


def test_what_only_some_records_show_is_found_where_they_are_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Branches(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            if len(x) > 2 and x.abs().max() > 0:  # vmap refuses, but the probe has two at a time
                x = 2 * x
            return self.loss(self.network(x), y)

    module, local, rows = build(lambda: Branches(mlp())), Local(2, 0.1, 3), table(4, 6)
    engine = engine_of(module, local)
    assert engine.plan.reason == STACKED
    with caplog.at_level(logging.WARNING, "leakage.gradients"):
        found = engine.means(rows, generator())
    assert len(caplog.messages) == 1
    assert engine.plan.reason.startswith("one client at a time: ")
    assert_equal(found, plain(module, records(), local, rows, 1))


def test_long_steps_are_not_stacked() -> None:
    wide = build(
        lambda: Net(nn.Sequential(nn.Linear(D, 4096), *[nn.Tanh()] * 40, nn.Linear(4096, 3)))
    )
    rows = table(3, 4)
    for batch, reason in (
        (2, "one client at a time: a step of 2 records is long enough by itself"),
        (None, "one client at a time: a step of 1 records is long enough by itself"),
    ):
        local = Local(2, 0.01, batch)
        engine = engine_of(wide, local)
        assert engine.plan.reason == reason
        assert_equal(engine.means(rows, generator()), plain(wide, records(), local, rows, 1), 1e-3)


def test_short_steps_of_the_clients_of_one_table_may_be_long_in_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, trained = build(MODULES["mlp"]), []
    for way in (OneByOne, Stacked):

        def watched(self: Any, *args: Any, train: Any = way.train) -> Tensor:
            trained.append(type(self))
            return train(self, *args)

        monkeypatch.setattr(way, "train", watched)
    saved = engine_of(module, None)._choice.saved
    monkeypatch.setattr(updates, "_SHORT", 4 * saved)
    engine = engine_of(module, Local(2, 0.1))
    assert engine.plan.reason == (
        "vmap over clients, one at a time where a step has more than 4 records"
    )
    for k, ways in ((4, {OneByOne, Stacked}), (5, {OneByOne})):  # the first one is compared
        trained.clear()
        engine.means(table(3, k), generator())
        assert set(trained) == ways


def centred(batch: Any) -> Any:
    """Takes the mean over a batch from it, if anything in it is large."""
    x, y = batch
    return [x - x.mean(0) if x.abs().max() > 50 else x, y]


@pytest.mark.parametrize("large", [0, 7], ids=["in the probe", "elsewhere"])
def test_a_hook_that_mixes_records_mixes_those_of_one_client(large: int) -> None:
    x, y = records().tensors
    x = x.clone()
    x[large, 0] = 60
    module, local, data = build(MODULES["mlp"]), Local(3, 0.01, 2), TensorDataset(x, y)
    engine = GradientEngine(module, data, PROBE, local=local, prepare=centred)
    stacked = engine.plan.reason == STACKED
    assert stacked == (large not in PROBE)
    rows = torch.tensor([[1, 2, 3, 5], [large, 6, 8, 9], [3, 5, large, 11]])
    found = engine.means(rows, generator())
    assert engine.plan.reason.startswith("one client at a time: network.")
    assert engine.plan.reason.endswith(" differs under vmap")
    engine = GradientEngine(
        module, data, PROBE, local=local, prepare=centred, collate=lambda b: default_collate(b)
    )
    assert engine.plan.reason == STACKED  # of batches that are made one by one
    assert_equal(engine.means(rows, generator()), found, 1e-5)


# Releases


def test_releases_are_made_of_updates() -> None:
    module, rows = build(MODULES["mlp"]), table(8, 4, 2)
    engine = engine_of(module, Local(3, 0.1, 2))
    columns = torch.tensor([1, 5, 9])
    made = Releases(engine, rows, NoDefense(), 5, columns, clients=2)
    whole = engine.means(rows, generator(5), clients=2)
    assert torch.equal(torch.cat(list(made)), whole[:, columns])
    signs = torch.cat(list(release(engine, rows, Sign(), generator(5), 2)))
    assert torch.equal(signs, whole.sign())
    [reduced] = Releases(engine, rows, NoDefense(), 5, columns, 2).through(
        [lambda r: r.sum(1, True)]
    )
    assert torch.equal(reduced, whole[:, columns].sum(1, True))


def test_a_linear_map_of_releases_is_one_of_updates_and_not_of_records() -> None:
    engine, rows = engine_of(build(MODULES["mlp"]), Local(3, 0.1, 2)), table(8, 4, 2)
    engine.plan = replace(engine.plan, rows=3)
    made = Releases(engine, rows, NoDefense(), 5, torch.arange(engine.layout.p), clients=2)
    assert not made._fits
    assert not made._linear
    [reduced] = made.through([lambda rows: rows[:, :2]])
    assert_equal(reduced, engine.means(rows, generator(5), clients=2)[:, :2], 1e-6)
    assert replace(made, clients=0)._linear  # gradients of targets


def test_the_worst_target_is_one_by_its_gradient() -> None:
    module = build(MODULES["mlp"])
    found = [
        farthest(engine_of(module, local), torch.arange(N), torch.arange(57))
        for local in (None, Local(3, 0.1, 2))
    ]
    assert found[0] == found[1]


# Refusals


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((0, 0.1), "attack.local_steps: at least 1 is needed, got 0"),
        ((1, 0.0), "attack.local_lr: a finite rate above 0 is needed, got 0.0"),
        ((1, float("inf")), "attack.local_lr: a finite rate above 0 is needed, got inf"),
        ((1, float("nan")), "attack.local_lr: a finite rate above 0 is needed, got nan"),
        ((1, 0.1, 0), "attack.local_batch: at least 1 record a step is needed, got 0"),
    ],
)
def test_settings_that_train_nobody_are_refused(settings: Any, sentence: str) -> None:
    with pytest.raises(LeakageError) as error:
        Local(*settings)
    assert str(error.value) == sentence


@pytest.mark.parametrize("steps", [1, 3])
def test_a_batch_larger_than_a_client_is_refused(steps: int) -> None:
    engine = engine_of(build(MODULES["mlp"]), Local(steps, 0.1, 5))
    with pytest.raises(LeakageError) as error:
        engine.means(table(2, 4, 2), generator(), clients=2)
    assert str(error.value) == (
        "attack.local_batch: a client has k = 4 records, fewer than the 5 of a step"
    )


@pytest.mark.parametrize("local", [None, Local(3, 0.1)])
def test_records_that_do_not_make_whole_clients_are_refused(local: Local | None) -> None:
    engine = engine_of(build(MODULES["mlp"]), local)
    with pytest.raises(LeakageError) as error:
        engine.means(table(2, 8), generator(), clients=3)
    assert str(error.value) == (
        "attack.others: a row of 8 records is not that of 3 clients with as many records each"
    )


@pytest.mark.parametrize("per_record", [Clip(1.0), lambda gradients: gradients])
def test_a_map_of_record_gradients_is_refused(per_record: Any) -> None:
    engine = engine_of(build(MODULES["mlp"]), Local(3, 0.1))
    sentence = (
        "defense: it maps the gradient of each record before the mean, but with"
        " attack.local_steps = 3 a client shares an update, in which no record has a gradient of"
        " its own"
    )
    with pytest.raises(LeakageError) as error:
        engine.means(table(2, 4), generator(), per_record)
    assert str(error.value) == sentence
    with pytest.raises(LeakageError) as error:
        list(release(engine, table(2, 4), RecordPruning(0.1), generator()))
    assert str(error.value) == sentence
    clipped = engine_of(build(MODULES["mlp"]), Local(1, 0.1)).means(
        table(2, 4), generator(), Clip(1e-3)
    )
    assert (clipped.norm(dim=1) < 1.001e-3).all()


def test_training_that_diverges_is_counted_with_its_layer() -> None:
    module, rows = Quadratic(), table(3, 4)
    engine = engine_of(module, Local(200, 3.0))  # each step doubles the distance
    with pytest.raises(LeakageError) as error:
        engine.means(rows, generator())
    assert str(error.value) == (
        "model Quadratic: 3 of 3 updates hold NaN or inf, most of them in w; the training of a"
        " client diverged at attack.local_lr = 3, or a record is not finite"
    )


def test_a_record_that_is_not_finite_is_refused_with_its_update() -> None:
    x, y = records().tensors
    x = x.clone()
    x[7] = torch.inf
    module = build(MODULES["mlp"])
    engine = GradientEngine(module, TensorDataset(x, y), PROBE, local=Local(3, 0.1))
    with pytest.raises(LeakageError, match="1 of 2 updates hold NaN or inf, most of them in net"):
        engine.means(torch.tensor([[0, 1], [2, 7]]), generator())


def test_the_plan_says_how_many_clients_train_at_once() -> None:
    plan = engine_of(build(MODULES["mlp"]), Local(3, 0.1, 2)).plan
    assert str(plan).startswith(f"updates (vmap over clients), {plan.chunk} clients and ")
