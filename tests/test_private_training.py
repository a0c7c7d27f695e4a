"""Training under DP: the draws, the clipped sum, the noise, the accountant and the refusals."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.plugins import MixedPrecision
from opacus import PrivacyEngine
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from populations import released
from scipy import stats
from test_live import captured, sgd, stream, weights
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from leakage.accounting.training import training_epsilon
from leakage.callbacks import Capture, Defend, private
from leakage.callbacks.poisson import PoissonBatches
from leakage.callbacks.records import BatchRecords
from leakage.defenses import DP, Chain, Defense, Pruning, RecordPruning, Sign, dp
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.live import LiveRecords
from leakage.models.tabular import Tabular

D, N, B, SEED, LR = 5, 40, 8, 3, 0.1
STEPS = N // B  # of an epoch
SLOWER = "each record's gradient is computed anew, which is slower"


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accountant of no time, where a test is not about the accountants."""
    if "accountants" not in request.fixturenames:
        monkeypatch.setattr(private, "training_epsilon", lambda *_: 0.0)


@pytest.fixture
def accountants() -> None:
    """The real ones."""


def tabular(hidden: tuple[int, ...] = (6, 4)) -> Tabular:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tabular(D, 3, list(hidden), sgd)


def table(n: int = N) -> TensorDataset:
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, torch.arange(n) % 3)


def trainer(folder: Path, *callbacks: Callback, **given: Any) -> Trainer:
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "max_epochs": 1,
    }
    return Trainer(**(quiet | given), callbacks=list(callbacks))


def fit(
    folder: Path,
    module: LightningModule,
    *callbacks: Callback,
    data: Dataset[Any] | DataLoader[Any] | None = None,
    **given: Any,
) -> Trainer:
    runner = trainer(folder, *callbacks, **given)
    loader = data if isinstance(data, DataLoader) else DataLoader(data or table(), batch_size=B)
    runner.fit(module, loader)
    return runner


def draws(steps: int = STEPS, n: int = N, b: int = B) -> list[Tensor]:
    """The records of each step, none of an empty one."""
    found = []
    for epoch in range(-(-steps // -(-n // b))):
        batches = PoissonBatches(n, b, SEED, lambda first=epoch * -(-n // b): first)
        found += [torch.tensor(batch[: batches.sizes[step]]) for step, batch in enumerated(batches)]
    return found[:steps]


def enumerated(batches: PoissonBatches) -> Iterator[tuple[int, list[int]]]:
    for batch in batches:
        yield max(batches.sizes), batch


def twin_releases(
    module: LightningModule, defense: Defense, steps: int, data: Dataset[Any] | None = None
) -> list[Tensor]:
    """What the challenger would release at each step of plain SGD; moves the module."""
    found, generator, data = [], stream(), data or table()
    for rows in draws(steps):
        engine = GradientEngine(module, data, rows)
        found.append(released(engine, rows.unsqueeze(0), defense, generator)[0])
        trainable = [p for p in module.parameters() if p.requires_grad]
        parts = found[-1].split([p.numel() for p in trainable])
        with torch.no_grad():
            for parameter, part in zip(trainable, parts, strict=True):
                parameter.add_(part.view_as(parameter), alpha=-LR)
    return found


def traces(module: nn.Module) -> list[str]:
    """What a hook of Opacus would leave on a module."""
    on_layers = ("activations", "max_batch_len", "ft_compute_sample_grad")
    found = [name for p in module.parameters() for name in vars(p)]
    for layer in module.modules():
        found += [name for name in vars(layer) if name in on_layers or "grad_sample" in name]
        found += ["hook"] * (len(layer._forward_hooks) + len(layer._backward_hooks))
        found += ["full"] * (layer._is_full_backward_hook is not None)
    return found


DEFENSES: list[Defense] = [
    DP(clip=0.5, batch=B, sigma=0.7),
    DP(clip=100.0, batch=B, sigma=0.0),
    Chain([RecordPruning(0.3), DP(clip=0.5, batch=B, sigma=0.7), Sign()]),
    Chain([DP(clip=0.5, batch=B, sigma=0.7), Pruning(0.5)]),
]


# One M


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_every_step_is_the_release_that_the_challenger_makes_of_the_drawn_records(
    defense: Defense, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = tabular()
    expected = twin_releases(copy.deepcopy(module), defense, STEPS + 2)
    fit(tmp_path, module, Defend(defense, SEED), Capture(), max_epochs=9, max_steps=STEPS + 2)
    found = captured(tmp_path)
    assert len(found) == STEPS + 2
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert SLOWER not in caplog.text
    assert traces(module) == []


def test_a_step_is_that_of_an_optimizer_of_opacus_with_the_same_generator(tmp_path: Path) -> None:
    module, dp = tabular(), DP(clip=0.5, batch=B, sigma=0.7)
    twin = copy.deepcopy(module)
    fit(tmp_path, module, Defend(dp, SEED), Capture(), max_steps=1)
    wrapped = GradSampleModule(twin.network)
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=LR),
        noise_multiplier=dp.sigma,
        max_grad_norm=dp.clip,
        expected_batch_size=dp.batch,
        generator=stream(),
    )
    x, y = table()[draws(1)[0]]
    F.cross_entropy(wrapped(x), y).backward()
    optimizer.pre_step()
    theirs = torch.cat([p.grad.flatten() for p in twin.network.parameters()])
    assert torch.allclose(captured(tmp_path)[0], theirs, atol=1e-5)


class Module(LightningModule):
    """A network of anyone's own."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=LR)


class Numbers(nn.Module):
    """Makes whole numbers below `most` of x."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        return (3 * x.abs()).long().clamp(max=self.most - 1)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Last(nn.Module):
    """An LSTM over the columns of x."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(1, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.unsqueeze(-1))[0][:, -1]


class Tied(Module):
    def __init__(self) -> None:
        super().__init__(Numbers(3), nn.Embedding(3, 4), Mean(), nn.Tanh(), nn.Linear(4, 3, False))
        self.network[4].weight = self.network[1].weight


class Unused(Module):
    def __init__(self) -> None:
        super().__init__(nn.Linear(D, 3))
        self.idle = nn.Linear(2, 2)


class Direct(Module):
    """Its parameter belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((D, 3), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


class PastTheLayer(Module):
    """Uses the weights of a layer without calling it, so that no hook of it runs."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(D, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.network[0].weight, self.network[0].bias)


def frozen() -> Module:
    """A frozen layer, and one whose bias alone learns."""
    module = Module(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    module.network[0].weight.requires_grad_(False)
    module.network[2].requires_grad_(False)
    return module


def convolution() -> Module:
    return Module(
        nn.Unflatten(1, (1, D)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    )


def normed() -> Module:
    return Module(nn.Linear(D, 6), nn.LayerNorm(6), nn.GELU(), nn.GroupNorm(1, 6), nn.Linear(6, 3))


def padded() -> Module:
    """Opacus forgets that the padding has no gradient."""
    return Module(Numbers(7), nn.Embedding(7, 4, padding_idx=0), Mean(), nn.Linear(4, 3))


def in_place() -> Module:
    """Opacus cannot hook what is changed in place."""
    return Module(nn.Linear(D, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("make", "hooked"),
    [
        (frozen, True),
        (convolution, True),
        (normed, True),
        (Tied, True),
        (Unused, True),
        (Direct, True),
        (padded, False),
        (in_place, False),
        (lambda: Module(Last(), nn.Linear(4, 3)), False),
        (PastTheLayer, False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_modules_of_anyones_own_release_what_the_challenger_does(
    make: Callable[[], Module], hooked: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leakage.defend")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
    dp = DP(clip=0.3, batch=B, sigma=0.7)
    expected = twin_releases(copy.deepcopy(module), dp, 2)
    fit(tmp_path, module, Defend(dp, SEED), Capture(), max_steps=2)
    for ours, theirs in zip(captured(tmp_path), expected, strict=True):
        assert len(ours) == Layout.of(module).p
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert (SLOWER in caplog.text) == (not hooked)
    assert caplog.text.count("the loss does not use idle.weight, idle.bias") == (make is Unused)
    assert traces(module) == []


class Turning(Module):
    """Its hooks see all of the loss in the first step only."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(D, 3))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.network[0]
        return layer(x) if self.global_step < 4 else F.linear(x, layer.weight, layer.bias)


def test_hooks_that_miss_a_part_later_on_are_left_for_plain_autograd(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last comparison, the gradient of each batch still shows it."""
    caplog.set_level(logging.INFO, "leakage.defend")
    monkeypatch.setattr(private, "_COMPARED", 2)
    module, dp = Turning(), DP(clip=0.3, batch=B, sigma=0.0)
    plain = Module(nn.Linear(D, 3))
    plain.load_state_dict(module.state_dict())
    expected = twin_releases(plain, dp, 6)
    fit(tmp_path, module, Defend(dp, SEED), Capture(), max_epochs=2, max_steps=6)
    for ours, theirs in zip(captured(tmp_path), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert f"{SLOWER}: network.0." in caplog.text


class Weighted(Tabular):
    """Its loss weighs the classes, which no hook shows: the mean over records is always right."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1], weight=torch.tensor([1.0, 5.0, 2.0]))


def test_a_loss_that_weighs_records_is_refused(tmp_path: Path) -> None:
    module = Weighted(D, 3, [6], sgd)
    before = weights(module)
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, module, Defend(DP(batch=B, sigma=1.0)))
    assert str(error.value).startswith(
        "defense: it maps the gradient of each record before the mean, but the model Weighted gives"
        " no record a gradient of its own (records mix: network."
    )
    assert torch.equal(weights(module), before)
    assert traces(module) == []


def test_records_that_mix_are_found_in_the_batches_that_follow_small_ones(tmp_path: Path) -> None:
    """Records of one label do not show a weight by class; the first draw of several holds no more.

    So the comparison goes on in the batches after it.
    """
    x, y = table().tensors
    first = next(rows for rows in draws(20, N, 2) if len(rows) > 1)
    y = torch.ones_like(y)
    y[first] = 0
    module = Weighted(D, 3, [6], sgd)
    with pytest.raises(LeakageError, match="records mix"):
        fit(
            tmp_path,
            module,
            Defend(DP(batch=2, sigma=1.0), SEED),
            data=TensorDataset(x, y),
            max_epochs=4,
        )


def test_parameters_that_thaw_during_training_are_hooked_too(tmp_path: Path) -> None:
    class Thaw(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                pl_module.network[0].requires_grad_(True)

    module = tabular()
    module.network[0].requires_grad_(False)
    fit(tmp_path, module, Thaw(), Defend(DP(batch=B, sigma=0.0), SEED), Capture())
    sizes = [len(release) for release in captured(tmp_path)]
    assert sizes == [sizes[0]] * 2 + [sizes[0] + 6 * D + 6] * 3


def test_a_trainer_that_trains_again_goes_on_with_new_draws_and_noise(tmp_path: Path) -> None:
    whole, parts = tabular(), tabular()
    fit(tmp_path / "whole", whole, Defend(DP(batch=B, sigma=1.0), SEED), max_epochs=2)
    defend = Defend(DP(batch=B, sigma=1.0), SEED)
    runner = fit(tmp_path / "parts", parts, defend)
    runner.fit_loop.max_epochs = 2
    runner.fit(parts, DataLoader(table(), batch_size=B))
    assert torch.equal(weights(parts), weights(whole))
    assert defend.privacy()["steps"] == 2 * STEPS


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("make", [normed, convolution])
def test_other_precisions_train_on_float32_releases(
    make: Callable[[], Module], precision: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bfloat16 has 8 bits, so the size of the error alone is asked there."""
    caplog.set_level(logging.INFO, "leakage.defend")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
    dp = DP(clip=0.3, batch=B, sigma=0.0)
    if precision == "bf16-true":
        module = module.bfloat16()
    expected = twin_releases(copy.deepcopy(module).float(), dp, 1)[0]
    fit(tmp_path, module, Defend(dp, SEED), Capture(), max_steps=1, precision=precision)
    (found,) = captured(tmp_path)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6 if precision == "64-true" else 3e-3)
    assert float(found.norm()) <= len(draws(1)[0]) * 0.3 / B * 1.01
    assert SLOWER not in caplog.text


def test_workers_that_fetch_ahead_keep_the_draws_in_order(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        folder, loader = tmp_path / str(workers), DataLoader(table(), 32, num_workers=workers)
        defend = Defend(DP(batch=2, sigma=1.0), SEED)  # with empty draws
        fit(folder, tabular(), defend, Capture(), data=loader)
        found.append(torch.stack(captured(folder)))
    assert torch.equal(*found)


# Sensitivity


def summed(module: Module, x: Tensor, y: Tensor, defense: Defense, b: int) -> Tensor:
    """The sum of clipped gradients that a step releases without noise."""
    if not len(x):
        return torch.zeros(Layout.of(module).p)
    module.zero_grad()
    live, layout = LiveRecords(module), Layout.of(module)
    module.training_step((x, y), 0).backward()
    mean = live.collect(len(x)).mean(defense.record_map(layout))
    return b * defense.release(mean, k=len(x), layout=layout, generator=stream())[0]


extreme = st.sampled_from([0.0, 1e-30, -1e-3, 1.0, -7.0, 1e6, -1e18, 3e38, math.inf, math.nan])
record = st.lists(extreme | st.floats(-3, 3, width=32), min_size=D, max_size=D)


@pytest.mark.parametrize("stages", [[], [RecordPruning(0.4)]], ids=["dp", "pruned records"])
@given(
    records=st.lists(record, min_size=1, max_size=6),
    other=record,
    clip=st.sampled_from([1e-3, 0.5, 4.0, 1e3]),
    b=st.sampled_from([1, 3, 64]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_no_record_moves_the_sum_by_more_than_the_clip(
    stages: list[Defense], records: list[list[float]], other: list[float], clip: float, b: int
) -> None:
    """At most C if it leaves, 2C if it changes; whatever it and the others hold."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Module(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 3))
    defense = Chain([*stages, DP(clip=clip, batch=b, sigma=0.0)])
    x, y = torch.tensor(records), torch.arange(len(records)) % 3
    whole = summed(module, x, y, defense, b)
    assert whole.isfinite().all()
    without = summed(module, x[1:], y[1:], defense, b)
    rounding = 1e-5 * clip * len(records)
    assert float((whole - without).norm()) <= clip + rounding
    changed = torch.cat([torch.tensor([other]), x[1:]])
    replaced = summed(module, changed, y, defense, b)
    assert float((whole - replaced).norm()) <= 2 * clip + rounding


def test_a_release_is_divided_by_the_declared_batch_and_not_by_the_drawn_one(
    tmp_path: Path,
) -> None:
    """Every record has the same gradient, of norm 1 after the clip."""
    data = TensorDataset(torch.ones(N, D), torch.zeros(N, dtype=torch.long))
    dp = DP(clip=1e-3, batch=B, sigma=0.0)
    fit(tmp_path, tabular(()), Defend(dp, SEED), Capture(), data=data)
    for rows, release in zip(draws(), captured(tmp_path), strict=True):
        assert float(release.norm()) == pytest.approx(len(rows) * 1e-3 / B, rel=1e-5)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("make", [tabular, in_place], ids=["hooks", "plain autograd"])
def test_a_record_with_an_infinite_feature_counts_as_zero_and_is_told(
    make: Callable[[], LightningModule],
    value: float,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    x, y = table().tensors
    bad = int(draws()[1][0])
    x[bad, 2] = value
    module, defend = make(), Defend(DP(batch=B, sigma=0.5), SEED)
    fit(tmp_path, module, defend, data=TensorDataset(x, y), max_epochs=3)
    assert weights(module).isfinite().all()
    drawn = [int((rows == bad).sum()) for rows in draws(3 * STEPS)]
    first = drawn.index(1)
    assert [
        record.getMessage() for record in caplog.records if record.name == "leakage.defend"
    ] == [
        f"step {first}: the gradients of 1 of {len(draws(3 * STEPS)[first])} records hold NaN or"
        " inf and count as zero; the end of training tells how many did",
        f"{sum(drawn)} gradients of records held NaN or inf and counted as zero",
    ]


@pytest.mark.parametrize("make", [tabular, in_place], ids=["hooks", "plain autograd"])
def test_a_record_with_an_infinite_feature_leaves_the_sum_of_the_others(
    make: Callable[[], LightningModule], tmp_path: Path
) -> None:
    x, y = table().tensors
    rows, defense, module = draws(1)[0], DP(clip=0.5, batch=B, sigma=0.0), make()
    x[rows[1], 2] = math.inf
    data, others = TensorDataset(x, y), rows[rows != rows[1]]
    engine = GradientEngine(module, data, others)
    expected = released(engine, others.unsqueeze(0), defense, stream())[0]
    fit(tmp_path, module, Defend(defense, SEED), Capture(), data=data, max_steps=1)
    assert torch.allclose(captured(tmp_path)[0], expected, atol=1e-6)


def test_a_batch_of_infinite_records_alone_releases_noise(tmp_path: Path) -> None:
    data = TensorDataset(torch.full((4, D), math.inf), torch.zeros(4, dtype=torch.long))
    for make in (tabular, in_place):
        module, folder = make(), tmp_path / make.__name__
        fit(folder, module, Defend(DP(batch=2, sigma=0.0), SEED), Capture(), data=data)
        assert not torch.stack(captured(folder)).any()


# Draws


def test_each_record_is_drawn_on_its_own_with_the_chance_q() -> None:
    n, b, steps = 50, 8, 7000
    batches = PoissonBatches(n, b, SEED, lambda: 0)
    assert batches.q == b / n
    drawn = torch.zeros(steps, n)
    step = 0
    while step < steps:
        batches = PoissonBatches(n, b, SEED, lambda first=step: first)
        for at, batch in enumerated(batches):
            drawn[at, batch[: batches.sizes[at]]] = 1
            step += 1
    q, within = b / n, 5 / math.sqrt(steps)  # standard errors, over fixed seeds
    assert (drawn.mean(0) - q).abs().max() < within * math.sqrt(q * (1 - q))
    sizes = drawn.sum(1)
    assert float(sizes.mean()) == pytest.approx(b, abs=within * math.sqrt(n * q * (1 - q)))
    assert float(sizes.var()) == pytest.approx(n * q * (1 - q), rel=0.1)
    together = torch.corrcoef(drawn.T).fill_diagonal_(0)
    assert together.abs().max() < within  # of two records in one step
    for lag in (1, 7, 49):  # of one record in two steps, also of two epochs
        ahead, behind = drawn[lag:] - q, drawn[:-lag] - q
        assert ((ahead * behind).mean(0) / (q * (1 - q))).abs().max() < within


@pytest.mark.parametrize("n", [49, 98, 103, 107])  # int(1 / (1 / n)) is n - 1 of some
def test_an_epoch_has_as_many_steps_as_batches(n: int) -> None:
    assert len(PoissonBatches(n, 1, 0, lambda: 0)) == n
    assert len(PoissonBatches(n, n, 0, lambda: 0)) == 1
    assert len(PoissonBatches(n, 10, 0, lambda: 0)) == math.ceil(n / 10)


@pytest.mark.parametrize("first", [1, 4, 5, 7, 23])
def test_the_draw_of_a_step_depends_on_its_number_alone(first: int) -> None:
    whole = draws(40)
    batches = PoissonBatches(N, B, SEED, lambda: first)
    for step, batch in zip(range(first, first + STEPS), batches, strict=True):
        assert batch[: batches.sizes[step]] == whole[step].tolist()
    assert whole[0].tolist() != whole[STEPS].tolist()
    other = next(iter(PoissonBatches(N, B, SEED + 1, lambda: 0)))
    assert other != whole[0].tolist()


class DictRecords(Dataset[Any]):
    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        x, y = table(30)[index]
        return {"file": f"{index}.wav", "scale": 2.0, "x": x, "label": y}


class DictTabular(Tabular):
    def forward_two(self, x: Tensor, scale: Tensor) -> Tensor:
        return self(x * scale.float().unsqueeze(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert len(batch["file"]) == len(batch["x"]) > 0
        assert all(name.endswith(".wav") for name in batch["file"])
        return F.cross_entropy(self.forward_two(batch["x"], batch["scale"]), batch["label"])


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_a_third_of_the_draws_is_empty_and_still_releases_noise_and_counts(
    sigma: float, tmp_path: Path
) -> None:
    module = DictTabular(D, 3, [6], sgd)
    sizes = [len(rows) for rows in draws(30, 30, 1)]
    assert 0.25 < sizes.count(0) / 30 < 0.5
    defend = Defend(DP(batch=1, sigma=sigma), SEED)
    fit(tmp_path, module, defend, Capture(), data=DictRecords())
    found = captured(tmp_path)
    assert [bool(release.any()) for release in found] == [size > 0 or sigma > 0 for size in sizes]
    assert torch.stack(found).isfinite().all()
    assert defend.privacy()["steps"] == 30
    if sigma:
        assert all(
            0.5 < float(r.std()) < 2 for r, size in zip(found, sizes, strict=True) if not size
        )


class Skipping(Tabular):
    """Gives no loss in every other step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


def test_a_step_without_a_loss_releases_noise_and_counts(tmp_path: Path) -> None:
    module, defend = Skipping(D, 3, [6], sgd), Defend(DP(batch=B, sigma=1.0), SEED)
    fit(tmp_path, module, defend, Capture())
    assert len(captured(tmp_path)) == STEPS
    assert all(bool(release.all()) for release in captured(tmp_path))
    assert defend.privacy()["steps"] == STEPS
    assert traces(module) == []


def test_the_loader_keeps_all_but_its_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leakage.defend")

    def collate(records: list[Any]) -> Any:
        return torch.stack([x for x, _ in records]) * 1.0, torch.stack([y for _, y in records])

    loader = DataLoader(
        table(), 5, shuffle=True, collate_fn=collate, drop_last=True, pin_memory=True
    )
    runner = fit(tmp_path, tabular(), Defend(DP(batch=B, sigma=1.0)), data=loader)
    used = runner.train_dataloader
    assert used.dataset is loader.dataset
    assert used.collate_fn is collate
    assert used.pin_memory
    assert runner.num_training_batches == STEPS
    sentence = "the loader's batches of 5 records became Poisson ones of 8 on average"
    assert sentence in caplog.messages
    caplog.clear()
    fit(tmp_path, tabular(), Defend(DP(batch=B, sigma=1.0)))
    assert "became Poisson" not in caplog.text


class Records(LightningDataModule):
    """Has its records after `setup` alone."""

    def setup(self, stage: str) -> None:
        self.records = table()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.records, batch_size=B)


class WithLoader(Tabular):
    def setup(self, stage: str) -> None:
        self.records = table()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.records, batch_size=B)


def test_data_modules_and_modules_with_a_loader_draw_as_a_loader_does(tmp_path: Path) -> None:
    found = []
    for name in ("loader", "data module", "module"):
        folder, module = tmp_path / name, tabular((6,))
        runner = trainer(folder, Defend(DP(batch=B, sigma=1.0), SEED), Capture())
        if name == "loader":
            runner.fit(module, DataLoader(table(), batch_size=B))
        elif name == "data module":
            runner.fit(module, datamodule=Records())
        else:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                runner.fit(WithLoader(D, 3, [6], sgd))
        found.append(torch.stack(captured(folder)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# Resuming


class SaveAt(Callback):
    """Writes a checkpoint after some steps, as a run that is killed then leaves it."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")
@pytest.mark.parametrize("step", [3, STEPS, STEPS + 1])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    step: int, workers: int, tmp_path: Path
) -> None:
    defense, path = DP(batch=B, sigma=1.0), tmp_path / "killed.ckpt"
    loader = DataLoader(table(), batch_size=B, num_workers=workers)
    whole, rest, defend = tabular(), tabular(), Defend(defense, SEED)
    callbacks = Defend(defense, SEED), Capture(), SaveAt(step, path)
    fit(tmp_path / "whole", whole, *callbacks, data=loader, max_epochs=2)
    runner = trainer(tmp_path / "rest", defend, Capture(), max_epochs=2)
    runner.fit(rest, loader, ckpt_path=path, weights_only=True)
    assert torch.equal(weights(rest), weights(whole))
    assert defend.privacy()["steps"] == 2 * STEPS
    noisy = captured(tmp_path / "whole")
    assert torch.equal(torch.stack(noisy[step:]), torch.stack(captured(tmp_path / "rest")))


def test_a_resumed_run_under_other_noise_is_refused(tmp_path: Path) -> None:
    first = fit(tmp_path, tabular(), Defend(DP(batch=B, sigma=1.0), SEED))
    first.save_checkpoint(tmp_path / "half.ckpt")
    runner = trainer(tmp_path, Defend(DP(batch=B, sigma=2.0), SEED), max_epochs=2)
    with pytest.raises(LeakageError) as error:
        runner.fit(
            tabular(),
            DataLoader(table(), batch_size=B),
            ckpt_path=tmp_path / "half.ckpt",
            weights_only=True,
        )
    assert str(error.value) == (
        "ckpt_path: training so far was under sigma = 1 and q = 0.2, and would go on under sigma ="
        " 2 and q = 0.2; go on with the same, or no one epsilon holds for all of it"
    )


def test_a_resumed_run_that_began_without_dp_is_refused(tmp_path: Path) -> None:
    first = fit(tmp_path, tabular())
    first.save_checkpoint(tmp_path / "half.ckpt")
    runner = trainer(tmp_path, Defend(DP(batch=B, sigma=2.0), SEED), max_epochs=2)
    with pytest.raises(LeakageError) as error:
        runner.fit(
            tabular(),
            DataLoader(table(), batch_size=B),
            ckpt_path=tmp_path / "half.ckpt",
            weights_only=True,
        )
    assert str(error.value) == (
        "ckpt_path: 5 of the 5 steps so far were not taken under DP, so no epsilon holds for all of"
        " them; load the weights alone, if they come from other records"
    )


# What is left


def test_nothing_that_copies_the_module_during_training_meets_a_hook(tmp_path: Path) -> None:
    found: list[list[str]] = []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            found.append(traces(copy.deepcopy(pl_module)))

        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            found.append(traces(pl_module))

    fit(tmp_path, tabular(), Defend(DP(batch=B, sigma=1.0)), Watch())
    assert found == [[]] * (2 * STEPS)


def test_a_step_that_fails_leaves_no_hook(tmp_path: Path) -> None:
    class Failing(Tabular):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            if isinstance(self._trainer, Trainer) and self.trainer.global_step == 2:  # no copy
                assert traces(self)
                raise RuntimeError("no more")
            return loss

    module = Failing(D, 3, [6], sgd)
    with pytest.raises(RuntimeError, match="no more"):
        fit(tmp_path, module, Defend(DP(batch=B, sigma=1.0)))
    assert traces(module) == []


def test_dp_draws_nothing_from_the_randomness_of_training(tmp_path: Path) -> None:
    random = []
    for own in ([], [Defend(DP(batch=B, sigma=1.0))]):
        torch.manual_seed(1)
        fit(tmp_path, tabular(), *own)
        random.append(torch.get_rng_state())
    assert torch.equal(*random)


def test_what_has_no_entry_for_each_record_stays_whole_in_a_part_of_a_batch() -> None:
    batch = {
        "x": torch.arange(6.0).view(3, 2),
        "name": ["a", "b", "c"],
        "rate": torch.tensor(0.5),
        "two": torch.zeros(2),
        "pair": [torch.zeros(3), torch.ones(3)],
    }
    part = BatchRecords(batch, 3).take([2, 0])
    assert part["x"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert part["name"] == ["c", "a"]
    assert part["rate"] == 0.5
    assert part["two"].shape == (2,)
    assert [len(x) for x in part["pair"]] == [2, 2]


# The accountant


def test_each_epoch_tells_the_epsilon_of_all_steps_so_far(
    accountants: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leakage.defend")
    seen = []

    class Watch(Callback):
        def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
            seen.append(trainer.callback_metrics.get("privacy/epsilon_training"))

    defend = Defend(DP(batch=B, sigma=1.0, delta=1e-4), SEED)
    runner = fit(tmp_path, tabular(), defend, Watch(), max_epochs=3)
    told = [
        float(value) for value in [*seen[1:], runner.callback_metrics["privacy/epsilon_training"]]
    ]
    expected = [training_epsilon(1.0, B / N, STEPS * epoch, 1e-4) for epoch in (1, 2, 3)]
    assert told == pytest.approx(expected, rel=1e-6)
    figures = defend.privacy()
    for accountant in ("rdp", "prv"):
        value = training_epsilon(1.0, B / N, 3 * STEPS, 1e-4, accountant)  # type: ignore[arg-type]
        assert figures[f"epsilon_training_{accountant}"] == value
    assert figures["epsilon_training"] == expected[2]
    rest = {name: figures[name] for name in ("delta", "sigma", "q", "steps")}
    assert rest == {"delta": 1e-4, "sigma": 1.0, "q": 0.2, "steps": 15.0}
    assert caplog.messages[-1] == (
        f"training under DP: epsilon = {expected[2]:.2f} (PLD; RDP"
        f" {figures['epsilon_training_rdp']:.2f}, PRV {figures['epsilon_training_prv']:.2f}) at"
        " delta = 0.0001 for one record added or removed, sigma = 1, q = 0.2, 15 steps"
    )


def test_no_noise_is_told_as_infinity(accountants: None, tmp_path: Path) -> None:
    defend = Defend(DP(batch=B, sigma=0.0), SEED)
    runner = fit(tmp_path, tabular(), defend)
    assert float(runner.callback_metrics["privacy/epsilon_training"]) == math.inf
    assert defend.privacy()["epsilon_training"] == math.inf


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_epochs": 2}, 2 * STEPS),
        ({"max_epochs": 9, "max_steps": 7}, 7),
        ({"max_epochs": -1, "max_steps": 7}, 7),
    ],
)
def test_the_noise_of_a_target_follows_from_the_steps_of_the_whole_training(
    limits: dict[str, int], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def found(*given: float) -> float:
        asked.append(given)
        return 1.5

    monkeypatch.setattr(dp, "noise_multiplier", found)
    target = DP(batch=B, epsilon=3.0)
    defend = Defend(Chain([target, Sign()]), SEED)
    assert defend.settled is defend.defense
    fit(tmp_path, tabular(), defend, **limits)
    assert asked == [(3.0, 1e-5, B / N, steps)]
    assert defend.settled == Chain([DP(batch=B, sigma=1.5), Sign()])
    assert defend.defense == Chain([target, Sign()])
    assert defend.privacy()["steps"] == steps
    assert defend.privacy()["sigma"] == 1.5


def test_a_target_is_met(accountants: None, tmp_path: Path) -> None:
    defend = Defend(DP(batch=B, epsilon=3.0), SEED)
    fit(tmp_path, tabular(), defend, max_steps=4)
    assert 2.95 < defend.privacy()["epsilon_training"] <= 3.0


def test_a_defense_without_dp_is_settled_as_it_is() -> None:
    defend = Defend(Sign())
    assert defend.settled is defend.defense
    assert defend.privacy() == {}


# Refusals


def refused(
    folder: Path, defense: Defense, module: LightningModule | None = None, **given: Any
) -> str:
    module = module or tabular()
    before = weights(module)
    with pytest.raises(LeakageError) as error:
        fit(folder, module, *given.pop("callbacks", []), Defend(defense), **given)
    assert torch.equal(weights(module), before)
    assert traces(module) == []
    return str(error.value)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(table())


class OwnWay(DataLoader[Any]):
    def __iter__(self) -> Any:
        return super().__iter__()


class OwnBatches(BatchSampler):
    pass


def loaders() -> list[tuple[Any, str]]:
    records = table()
    weighted = WeightedRandomSampler(torch.ones(N), N)
    return [
        (
            DataLoader(records, B, sampler=weighted),
            "data: DP draws every record with the same chance, in order or shuffled, found a"
            " WeightedRandomSampler of its own; leave the sampler out",
        ),
        (
            DataLoader(records, B, sampler=RandomSampler(records, replacement=True)),
            "data: DP draws every record with the same chance, in order or shuffled, found a"
            " RandomSampler of its own; leave the sampler out",
        ),
        (
            DataLoader(records, B, sampler=RandomSampler(records, num_samples=7)),
            "data: DP draws every record with the same chance, in order or shuffled, found a"
            " RandomSampler of its own; leave the sampler out",
        ),
        (
            DataLoader(Stream(), B),
            "data: DP draws records by their number, found the iterable data set Stream, which has"
            " none; use a map-style data set with a length",
        ),
        (
            DataLoader(records, batch_sampler=OwnBatches(SequentialSampler(records), B, False)),
            "data: DP draws its batches record by record, found the batch sampler OwnBatches; give"
            " the training DataLoader a batch_size instead",
        ),
        (
            DataLoader(records, batch_size=None),
            "data: DP draws its batches record by record, found no batches; give the training"
            " DataLoader a batch_size instead",
        ),
        (
            OwnWay(records, B),
            "data: DP makes its own batches, but the training loader OwnWay has its own way through"
            " the data; use a plain torch.utils.data.DataLoader",
        ),
        (
            DataLoader(Subset(records, range(B - 1)), B),
            "defense.batch: 8 records are more than the 7 of the training set",
        ),
    ]


@pytest.mark.parametrize(
    ("loader", "sentence"), loaders(), ids=lambda v: v[:60] if isinstance(v, str) else ""
)
def test_loaders_whose_records_have_other_chances_are_refused(
    loader: DataLoader[Any], sentence: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, DP(batch=B, sigma=1.0), data=loader) == sentence


def test_several_loaders_are_refused(tmp_path: Path) -> None:
    runner = trainer(tmp_path, Defend(DP(batch=B, sigma=1.0)))
    with pytest.raises(LeakageError) as error:
        runner.fit(tabular(), [DataLoader(table()), DataLoader(table())])
    assert str(error.value) == (
        "data: DP draws its batches from the records of one training DataLoader, found a list of 2"
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"accumulate_grad_batches": 2},
            f"trainer.accumulate_grad_batches: {DP(batch=B, sigma=1.0).label} maps the gradient of"
            " each record of one batch, so 1 is allowed, got 2",
        ),
        (
            {"gradient_clip_val": 0.5},
            f"trainer.gradient_clip_val: 0.5 would change what {DP(batch=B, sigma=1.0).label} has"
            " released; leave it out",
        ),
        (
            {"limit_train_batches": 0.5},
            "trainer.limit_train_batches: DP counts the steps of whole epochs, found 0.5; leave it"
            " out, and set trainer.max_steps instead",
        ),
        (
            {"limit_train_batches": 1},
            "trainer.limit_train_batches: DP counts the steps of whole epochs, found 1; leave it"
            " out, and set trainer.max_steps instead",
        ),
        (
            {"overfit_batches": 2},
            "trainer.overfit_batches: DP draws from all records in every step, found 2; leave it"
            " out",
        ),
        (
            {"reload_dataloaders_every_n_epochs": 1},
            "trainer.reload_dataloaders_every_n_epochs: DP draws from the same records in all of"
            " training, found 1; leave it out",
        ),
        (
            {"plugins": MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))},
            "trainer.precision: under 16-mixed the gradients of the records decide whether a step"
            " is taken, which DP does not answer for; use bf16-mixed or 32-true",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_settings_of_a_trainer_that_dp_cannot_answer_for_are_refused(
    given: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, DP(batch=B, sigma=1.0), **given) == sentence


def test_a_dry_run_is_not_refused(tmp_path: Path) -> None:
    defend = Defend(DP(batch=B, sigma=1.0))
    fit(tmp_path, tabular(), defend, fast_dev_run=2)
    assert defend.privacy()["steps"] == 2


class Manual(Tabular):
    def __init__(self) -> None:
        super().__init__(D, 3, [6], sgd)
        self.automatic_optimization = False


def test_manual_optimization_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, DP(batch=B, sigma=1.0), Manual()) == (
        "model Manual: DP releases one gradient a batch, but under manual optimization"
        " training_step steps by itself; set automatic_optimization to True"
    )


@pytest.mark.parametrize("callbacks", [[], [Timer(duration={"hours": 1})]], ids=["", "timer"])
def test_a_target_of_a_training_without_end_is_refused(
    callbacks: list[Callback], tmp_path: Path
) -> None:
    limits = {"max_epochs": None if callbacks else -1}
    sentence = refused(tmp_path, DP(batch=B, epsilon=2.0), callbacks=callbacks, **limits)
    assert sentence == (
        "trainer.max_epochs: the noise for epsilon = 2 follows from the number of steps, but"
        " neither max_epochs nor max_steps says how many there are"
    )


def test_layers_that_mix_records_are_named_with_what_to_put_there(tmp_path: Path) -> None:
    flat = Module(nn.Linear(D, 3), nn.BatchNorm1d(3))
    assert refused(tmp_path, DP(batch=B, sigma=1.0), flat) == (
        "model: network.1 is a BatchNorm1d, which mixes the records of a batch, so none has a"
        " gradient of its own; put torch.nn.GroupNorm(1, 3) in its place"
    )
    norm = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
    kept = Module(nn.Unflatten(1, (1, D)), nn.Conv1d(1, 4, 3), norm, nn.Flatten(), nn.Linear(12, 3))
    assert refused(tmp_path, DP(batch=B, sigma=1.0), kept) == (
        "model: network.2 is a InstanceNorm1d that keeps statistics of the records, which DP does"
        " not hide; set its track_running_stats to False"
    )


def test_a_layer_of_frozen_statistics_trains(tmp_path: Path) -> None:
    module = Module(nn.Linear(D, 3), nn.BatchNorm1d(3).eval())
    before = copy.deepcopy(module.network[1].running_mean)
    fit(tmp_path, module, Defend(DP(batch=B, sigma=1.0)))
    assert torch.equal(module.network[1].running_mean, before)


class Lbfgs(Tabular):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.parameters(), lr=LR)


def test_an_optimizer_that_asks_twice_is_refused(tmp_path: Path) -> None:
    module = Lbfgs(D, 3, [6], sgd)
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, module, Defend(DP(batch=B, sigma=1.0)))
    assert str(error.value) == (
        "model Lbfgs: its optimizer asks for the gradient of a step more than once, and DP releases"
        " it once; use one that does not, such as SGD or Adam"
    )


def test_a_batch_without_an_entry_for_each_record_is_refused(tmp_path: Path) -> None:
    def collate(records: list[Any]) -> Any:
        x = torch.stack([x for x, _ in records]).repeat(3, 1)
        return x, torch.stack([y for _, y in records]).repeat(3)

    size = len(next(iter(PoissonBatches(N, B, 0, lambda: 0))))
    loader = DataLoader(table(), B, collate_fn=collate)
    assert refused(tmp_path, DP(batch=B, sigma=1.0), data=loader) == (
        f"data: {size} records were drawn, but nothing in their batch has {size} entries, so no"
        " record can be told from the others; let a record be one entry of each"
    )


# The headline


def learnable(n: int, seed: int) -> TensorDataset:
    """Three classes that a linear model learns."""
    x = torch.randn(n, 30, generator=torch.Generator().manual_seed(seed))
    w = torch.linspace(-1, 1, 30)
    return TensorDataset(x, (x @ torch.stack([w, w.roll(11), -w], 1)).argmax(1))


class Fast(Module):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def linear() -> Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Fast(nn.Linear(30, 3))


def utility(module: Module) -> tuple[float, float]:
    x, y = learnable(4000, 1).tensors
    with torch.no_grad():
        logits = module(x)
    accuracy = (logits.argmax(1) == y).float().mean()
    return float(accuracy), float(F.cross_entropy(logits, y))


def test_dp_sgd_through_a_trainer_reaches_the_utility_of_opacus_own_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same noise, chances and steps; half or twice the noise would show in both figures."""
    records, b, sigma, epochs, seeds = learnable(256, 0), 32, 3.0, 5, range(5)
    ours, theirs = [], []
    for seed in seeds:
        module = linear()
        defend = Defend(DP(clip=1.0, batch=b, sigma=sigma), seed)
        runner = fit(tmp_path, module, defend, data=DataLoader(records, b), max_epochs=epochs)
        ours.append(utility(module))
        assert runner.global_step == epochs * 8
        module = linear()
        torch.manual_seed(1000 + seed)
        network, optimizer, loader = PrivacyEngine().make_private(
            module=module.network,
            optimizer=torch.optim.SGD(module.network.parameters(), lr=0.5),
            data_loader=DataLoader(records, b),
            noise_multiplier=sigma,
            max_grad_norm=1.0,
        )
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(network(x), y).backward()
                optimizer.step()
        theirs.append(utility(module))
    for name, one, other in zip(
        ("accuracy", "loss"), zip(*ours, strict=True), zip(*theirs, strict=True), strict=True
    ):
        interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
        with capsys.disabled():
            means = [sum(values) / len(values) for values in (one, other)]
            print(f"\n{name}: Trainer {means[0]:.3f}, Opacus {means[1]:.3f}, {interval}")
        assert interval.low < 0 < interval.high
