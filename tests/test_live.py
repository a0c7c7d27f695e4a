"""What an optimizer sees of a real step, and what Capture keeps of it, is what M releases."""

from __future__ import annotations

import copy
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from populations import released
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from leakage.callbacks import Capture, Defend
from leakage.callbacks.defend import count_records
from leakage.defenses import Chain, Defense, NoDefense, Pruning, RecordPruning, Sign
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.models.tabular import Tabular
from leakage.randomness import torch_generator

D, K, LR, SEED = 5, 8, 0.1, 3

DEFENSES: list[Defense] = [
    NoDefense(),
    Pruning(0.2),
    Pruning(0.2, "layer"),
    Sign(),
    Sign("random"),
    RecordPruning(0.2),
    Chain([Pruning(0.3), Sign("random")]),
    Chain([RecordPruning(0.2), Pruning(0.5), Sign("random")]),
]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=LR)


def tabular() -> Tabular:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tabular(D, 3, [6, 4], sgd)  # of 2 classes, the last gradients tie in magnitude


def table(n: int = 3 * K) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, D, generator=generator)
    return TensorDataset(x, torch.arange(n) % 3)


def trainer(folder: Path, *callbacks: Callback, **settings: Any) -> Trainer:
    return Trainer(
        **{"max_epochs": 1} | settings,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )


def fit(
    folder: Path, module: LightningModule, *callbacks: Callback, data: Any = None, **settings: Any
) -> Trainer:
    runner = trainer(folder, *callbacks, **settings)
    runner.fit(module, DataLoader(data or table(), batch_size=K))
    return runner


def captured(folder: Path) -> list[Tensor]:
    """The captured gradients by step."""
    found = []
    for path in sorted((folder / "captures").iterdir()):
        with safe_open(path, "pt") as file:
            assert list(file.keys()) == ["gradient"]
            found.append(file.get_tensor("gradient"))
    return found


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])


def stream() -> torch.Generator:
    """The randomness of Defend(..., seed=SEED) on the first rank."""
    return torch_generator(SEED, "defend", 0)


def engine_of(module: nn.Module, data: Dataset[Any] | None = None) -> GradientEngine:
    return GradientEngine(module, data or table(), torch.arange(4))


class Keep(Callback):
    """The weights after each optimizer step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.seen.append(weights(pl_module))


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_the_step_that_is_trained_is_the_release_that_the_challenger_makes(
    defense: Defense, tmp_path: Path
) -> None:
    module = tabular()
    engine, before = engine_of(module), weights(module)
    fit(tmp_path, module, Defend(defense, SEED), Capture(), max_steps=1)
    expected = released(engine, torch.arange(K).unsqueeze(0), defense, stream())[0]
    (found,) = captured(tmp_path)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(found == 0, expected == 0)
    assert torch.equal(weights(module), torch.add(before, found, alpha=-LR))
    assert not torch.equal(weights(module), before)


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_every_step_is_defended_at_the_weights_of_that_step(
    defense: Defense, tmp_path: Path
) -> None:
    """The second and third batch, the last one smaller, with one stream of randomness."""
    module, data = tabular(), table(2 * K + 3)
    twin, generator = copy.deepcopy(module), stream()
    fit(tmp_path, module, Defend(defense, SEED), Capture(), data=data)
    found = captured(tmp_path)
    assert len(found) == 3
    for step, gradient in enumerate(found):
        rows = torch.arange(step * K, min((step + 1) * K, len(data))).unsqueeze(0)
        expected = released(engine_of(twin, data), rows, defense, generator)[0]
        assert torch.allclose(gradient, expected, atol=1e-5)
        parts = gradient.split([p.numel() for p in twin.parameters()])
        with torch.no_grad():
            for parameter, part in zip(twin.parameters(), parts, strict=True):
                parameter.add_(part.view_as(parameter), alpha=-LR)
    assert torch.equal(weights(module), weights(twin))


@pytest.mark.parametrize("defense", [Pruning(0.2), Sign(), Chain([Pruning(0.3), Sign()])], ids=repr)
def test_accumulated_batches_are_defended_once_as_one_mean(
    defense: Defense, tmp_path: Path
) -> None:
    module = tabular()
    engine = engine_of(module)
    callbacks = Defend(defense, SEED), Capture()
    fit(tmp_path, module, *callbacks, max_steps=1, accumulate_grad_batches=2)
    expected = released(engine, torch.arange(2 * K).unsqueeze(0), defense, stream())[0]
    (found,) = captured(tmp_path)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(found == 0, expected == 0)


class Told(Defense):
    """Writes down over how many records each mean is."""

    def __init__(self) -> None:
        self.k: list[int] = []

    def release(
        self, means: Tensor, *, k: int, layout: Layout, generator: torch.Generator
    ) -> Tensor:
        self.k.append(k)
        return means


def test_a_defense_is_told_the_records_of_all_accumulated_batches(tmp_path: Path) -> None:
    one, two = Told(), Told()
    fit(tmp_path, tabular(), Defend(one), data=table(2 * K + 3))
    fit(tmp_path, tabular(), Defend(two), data=table(2 * K + 3), accumulate_grad_batches=2)
    assert one.k == [K, K, 3]
    assert two.k == [2 * K, 3]


@pytest.mark.parametrize(
    "defense", [RecordPruning(0.2), Chain([RecordPruning(0.2), Sign()])], ids=repr
)
def test_a_record_wise_defense_with_accumulation_is_refused(
    defense: Defense, tmp_path: Path
) -> None:
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, tabular(), Defend(defense), accumulate_grad_batches=2)
    assert str(error.value) == (
        f"trainer.accumulate_grad_batches: {defense.label} maps the gradient of each record of one"
        " batch, so 1 is allowed, got 2"
    )


def test_a_record_wise_defense_with_scheduled_accumulation_is_refused(tmp_path: Path) -> None:
    callbacks = GradientAccumulationScheduler({0: 2}), Defend(RecordPruning(0.2))
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, tabular(), *callbacks)
    assert str(error.value) == (
        "trainer.accumulate_grad_batches: RecordPruning(keep=0.2, scope='global') maps the gradient"
        " of each record of one batch, so 1 is allowed, got 2"
    )


class Weighted(Tabular):
    """Its loss weighs the classes, so a batch is no mean over its records."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y, weight=torch.tensor([1.0, 5.0]))


def test_a_record_wise_defense_is_refused_where_records_mix_wherever_they_stand(
    tmp_path: Path,
) -> None:
    """The first four records of the batch agree in label and do not show it."""
    x, _ = table(K).tensors
    data = TensorDataset(x, (torch.arange(K) >= 5).long())
    module = Weighted(D, 2, [6], sgd)
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, module, Defend(RecordPruning(0.2)), data=data)
    sentence = str(error.value)
    assert sentence.startswith(
        "defense: it maps the gradient of each record before the mean, but the model Weighted gives"
        " no record a gradient of its own (records mix: network."
    )


@pytest.mark.parametrize(
    ("layer", "named"),
    [(nn.BatchNorm1d(4), "network.1 (BatchNorm1d)"), (nn.Dropout(0.5), "stochastic layers")],
    ids=["batch norm", "dropout"],
)
def test_a_record_wise_defense_names_the_layer_that_mixes_records(
    layer: nn.Module, named: str, tmp_path: Path
) -> None:
    module = tabular()
    module.network = nn.Sequential(nn.Linear(D, 4), layer, nn.Linear(4, 3))
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, module, Defend(RecordPruning(0.2)))
    assert named in str(error.value)


class DictRecords(Dataset[Any]):
    def __len__(self) -> int:
        return K

    def __getitem__(self, index: int) -> Any:
        x, y = table(K)[index]
        return {"file": f"{index}.wav", "x": x, "label": y}


class DictTabular(Tabular):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch["x"]), batch["label"])


@pytest.mark.parametrize("defense", [Pruning(0.2), RecordPruning(0.2)], ids=repr)
def test_batches_that_are_dicts_with_strings_are_defended(defense: Defense, tmp_path: Path) -> None:
    module = DictTabular(D, 3, [6], sgd)
    expected = released(
        engine_of(module, DictRecords()), torch.arange(K).unsqueeze(0), defense, stream()
    )[0]
    fit(tmp_path, module, Defend(defense, SEED), Capture(), data=DictRecords())
    (found,) = captured(tmp_path)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize("defense", [Pruning(0.2), RecordPruning(0.2)], ids=repr)
def test_training_in_another_precision_is_defended(
    defense: Defense, precision: Any, tmp_path: Path
) -> None:
    """The release is float32; bfloat16 has 8 bits, so only the size of the error is asked."""
    module, data = tabular(), table(K)
    if precision == "bf16-true":
        x, y = data.tensors
        data = TensorDataset(x.bfloat16().float(), y)
        module = module.bfloat16()
    engine = engine_of(module, data)
    expected = released(engine, torch.arange(K).unsqueeze(0), NoDefense(), stream())[0]
    fit(tmp_path, module, Defend(defense, SEED), Capture(), data=data, precision=precision)
    (found,) = captured(tmp_path)
    assert found.dtype == torch.float32
    kept = found != 0
    assert kept.any()
    if not defense.record_wise:
        assert torch.allclose(found[kept], expected[kept], atol=0.01)


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ((torch.zeros(7, 2), torch.zeros(7)), 7),
        ({"name": ["a"] * 4, "temperature": torch.tensor(1.0), "x": torch.zeros(4, 2)}, 4),
        ([[torch.zeros(3)]], 3),
    ],
)
def test_records_are_counted_by_the_first_axis(batch: Any, count: int) -> None:
    assert count_records(batch) == count


def test_capture_before_defend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, tabular(), Capture(), Defend(Sign()))
    assert str(error.value) == (
        "trainer.callbacks: Capture stands before Defend and would keep gradients that are never"
        " shared; put Defend first"
    )
    assert not (tmp_path / "captures").exists()


@pytest.mark.parametrize("setting", ["every", "limit"])
@pytest.mark.parametrize("value", [0, -1])
def test_capture_refuses_settings_below_one(setting: str, value: int) -> None:
    with pytest.raises(LeakageError) as error:
        Capture(**{setting: value})
    assert str(error.value) == f"Capture.{setting}: at least 1 is needed, got {value}"


def test_a_capture_is_its_owners_alone_and_names_the_layers(tmp_path: Path) -> None:
    module = tabular()
    fit(tmp_path, module, Capture())
    folder = tmp_path / "captures"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"step_000000{i}.safetensors" for i in range(3)]
    layout = Layout.of(module)
    for step, path in enumerate(paths):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with safe_open(path, "pt") as file:
            gradient, metadata = file.get_tensor("gradient"), file.metadata()
        assert gradient.dtype == torch.float32
        assert gradient.shape == (layout.p,)
        layers = {name: tuple(shape) for name, shape in json.loads(metadata["layers"]).items()}
        assert layers == dict(zip(layout.names, layout.shapes, strict=True))
        assert list(layers) == list(layout.names)
        assert metadata["step"] == str(step)


@pytest.mark.parametrize(
    ("capture", "steps"),
    [
        (lambda: Capture(every=2), [0, 2, 4]),
        (lambda: Capture(every=2, limit=2), [0, 2]),
        (lambda: Capture(limit=1), [0]),
        (lambda: Capture(every=4, limit=9), [0, 4]),
    ],
)
def test_capture_keeps_every_nth_step_up_to_the_limit(
    capture: Callable[[], Capture], steps: list[int], tmp_path: Path
) -> None:
    fit(tmp_path, tabular(), capture(), max_epochs=2)  # 6 steps
    found = [int(path.stem.removeprefix("step_")) for path in (tmp_path / "captures").iterdir()]
    assert sorted(found) == steps


class WithIdle(Tabular):
    """Has a parameter that the loss never uses, with weight decay on all."""

    def __init__(self) -> None:
        super().__init__(
            D, 3, [6], lambda parameters: torch.optim.AdamW(parameters, lr=LR, weight_decay=0.5)
        )
        self.idle = nn.Parameter(torch.ones(3))


@pytest.mark.parametrize("make", [tabular, WithIdle])
@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [Capture()],
        lambda: [Defend(NoDefense())],
        lambda: [Defend(Pruning(1.0)), Capture(every=2)],
    ],
    ids=["capture", "no defense", "a defense that changes nothing"],
)
def test_without_a_defense_the_run_is_that_without_callbacks_to_the_bit(
    make: Callable[[], Tabular], callbacks: Callable[[], list[Callback]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    plain = make()
    observed = copy.deepcopy(plain)
    random = []
    for module, own in ((plain, []), (observed, callbacks())):
        torch.manual_seed(1)
        fit(tmp_path, module, *own, max_epochs=3)
        random.append(torch.get_rng_state())
    assert torch.equal(weights(plain), weights(observed))
    assert torch.equal(*random)


def test_defend_draws_nothing_from_the_training_randomness(tmp_path: Path) -> None:
    random = []
    for own in ([], [Defend(Chain([RecordPruning(0.5), Sign("random")]))]):
        torch.manual_seed(1)
        fit(tmp_path, tabular(), *own)
        random.append(torch.get_rng_state())
    assert torch.equal(*random)


def mostly_zero(module: Tabular) -> Tabular:
    """A module whose gradient is 0 nearly everywhere: a dead first layer."""
    with torch.no_grad():
        module.network[0].bias.fill_(-1e3)
    return module


def test_a_resumed_run_goes_on_with_the_noise_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def run(epochs: int, module: Tabular, folder: str, **settings: Any) -> Trainer:
        callbacks = Defend(Sign("random"), SEED), Capture()
        runner = trainer(tmp_path / folder, *callbacks, max_epochs=epochs)
        runner.fit(module, DataLoader(table(), batch_size=K), **settings)
        return runner

    whole, part, rest = (mostly_zero(tabular()) for _ in range(3))
    run(2, whole, "whole")
    run(1, part, "part").save_checkpoint(tmp_path / "half.ckpt")
    assert not torch.equal(weights(part), weights(whole))
    run(2, rest, "rest", ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert torch.equal(weights(rest), weights(whole))
    noise = captured(tmp_path / "whole")
    assert torch.equal(torch.stack(noise[3:]), torch.stack(captured(tmp_path / "rest")))
    assert not torch.equal(noise[0], noise[3])  # else any state would have passed


def test_the_state_of_defend_replays_the_noise_of_sign(tmp_path: Path) -> None:
    first = Defend(Sign("random"), SEED)
    fit(tmp_path / "first", mostly_zero(tabular()), first)
    state = copy.deepcopy(first.state_dict())
    second = Defend(Sign("random"), seed=SEED + 1)
    second.load_state_dict(state)
    means, layout = torch.zeros(1, 50), Layout(("w",), ((50,),))
    ours, theirs = (
        d.defense.release(means, k=1, layout=layout, generator=d._generator)
        for d in (first, second)
    )
    assert torch.equal(ours, theirs)
    fresh = Sign("random").release(means, k=1, layout=layout, generator=stream())
    assert not torch.equal(ours, fresh)


def test_seeds_of_defend_give_different_noise(tmp_path: Path) -> None:
    for seed in (1, 2):
        callbacks = Defend(Sign("random"), seed), Capture()
        fit(tmp_path / str(seed), mostly_zero(tabular()), *callbacks, max_steps=1)
    one, two = (captured(tmp_path / str(seed))[0] for seed in (1, 2))
    assert not torch.equal(one, two)
    assert one.abs().eq(1).all()
