"""The bottleneck: closed forms, plain twins, what training makes of it, and the engine."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from lightning import LightningModule, Trainer
from populations import gaussian, linear_game, population
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from leakage.callbacks import Attack
from leakage.defenses import Bottleneck, GaussianLayer, bottlenecks, penalty, silenced
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.updates import Local
from leakage.models.classifier import dense
from leakage.models.tabular import Tabular

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "defenses" / "bottleneck.yaml"
FEATURES = 6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fixed(mean: float, spread: float, dimension: int = 1) -> GaussianLayer:
    """A layer whose mu and log variance (before its bound) are the same for every input."""
    layer = Bottleneck(dimension=dimension).layer(1)
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias[:dimension] = mean
        layer.linear.bias[dimension:] = spread
    return layer


def tabular(bottleneck: Bottleneck | None = None, seed: int = 0) -> Tabular:
    torch.manual_seed(seed)
    return Tabular(FEATURES, 2, [8, 4], bottleneck=bottleneck)


def records(n: int, seed: int = 0) -> TensorDataset:
    """Two classes, far apart; 2 of 3 records are of class 0."""
    y = (torch.arange(n) % 3 == 0).long()
    x = torch.randn(n, FEATURES, generator=generator(seed)) + 3 * (2 * y - 1).unsqueeze(1)
    return TensorDataset(x, y)


def step(module: Any, batch: Any) -> Tensor:
    module.log = lambda *_: None
    loss: Tensor = module.training_step(batch, 0)
    return loss


def flat_gradient(loss: Tensor, module: nn.Module) -> Tensor:
    parts = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    pairs = zip(parts, module.parameters(), strict=True)
    return torch.cat([(p * 0 if g is None else g).detach().flatten() for g, p in pairs])


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dimension=st.integers(1, 5),
    scale=st.floats(0.1, 20),
    seed=st.integers(0, 9),
    training=st.booleans(),
)
def test_kl_is_that_of_torch_summed_over_a_record_and_averaged_over_records(
    shape: list[int], dimension: int, scale: float, seed: int, training: bool
) -> None:
    torch.manual_seed(seed)
    layer = Bottleneck(dimension).layer(3).double().train(training)
    x = scale * torch.randn(*shape, 3, dtype=torch.float64)
    z = layer(x)
    mean, spread = layer.linear(x).chunk(2, -1)
    sigma = (5 * torch.tanh(spread / 10)).exp()
    each = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0))
    assert z.shape == (*shape, dimension)
    torch.testing.assert_close(layer.kl, each.sum() / shape[0])


def test_kl_of_the_prior_itself_is_0() -> None:
    layer = fixed(0.0, 0.0, dimension=3)
    layer(torch.zeros(5, 1))
    assert layer.kl == 0


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (1.5, -2.0), (-3.0, 1.0), (0.5, 40.0)])
def test_z_has_the_moments_of_its_gaussian_at_every_record_alike(
    mean: float, spread: float
) -> None:
    layer, n = fixed(mean, spread, dimension=2), 100_000
    variance = math.exp(10 * math.tanh(spread / 10))
    torch.manual_seed(0)
    z = layer(torch.zeros(n, 1)).detach().double()
    error = 5 / math.sqrt(n)
    assert torch.allclose(z.mean(0), torch.tensor(mean).double(), atol=error * variance**0.5)
    assert torch.allclose(z.var(0) / variance, torch.ones(2).double(), atol=error * math.sqrt(2))
    standard = (z - mean) / variance**0.5
    assert (standard.pow(4).mean(0) - 3).abs().max() < error * math.sqrt(96)
    neighbours = (standard[1:] * standard[:-1]).mean(0)  # of records
    across = (standard[:, 0] * standard[:, 1]).mean()  # of the entries of a record
    assert max(neighbours.abs().max(), across.abs()) < error


def test_noise_is_fresh_in_each_call_and_the_global_randomness_decides_it() -> None:
    layer, x = Bottleneck(4).layer(3), torch.ones(5, 3)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert len(first.detach().unique(dim=0)) == 5  # of records that are one and the same


def test_gradients_through_z_are_those_of_the_expectation() -> None:
    """E z^2 = mu^2 + sigma^2, of which d/d mu is 2 mu, and d/d log sigma^2 is sigma^2."""
    mean, n = 0.7, 200_000
    for spread in (-1.0, 0.0, 0.5):
        layer = fixed(mean, spread)
        torch.manual_seed(0)
        layer(torch.zeros(n, 1)).square().mean().backward()
        variance = math.exp(10 * math.tanh(spread / 10))
        slope = 1 - math.tanh(spread / 10) ** 2
        found = layer.linear.bias.grad
        assert found is not None
        # One draw has variance 4 sigma^2, and that of (mu sigma e + sigma^2 e^2) at most 2.5 here.
        assert found[0] == pytest.approx(2 * mean, abs=5 * math.sqrt(4 * variance / n))
        assert found[1] == pytest.approx(variance * slope, abs=5 * math.sqrt(8 / n))


def test_evaluation_gives_mu_and_draws_nothing() -> None:
    layer, x = Bottleneck(4).layer(3).eval(), torch.randn(5, 2, 3, generator=generator())
    state = torch.get_rng_state()
    assert torch.equal(layer(x), layer.linear(x)[..., :4])
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.kl > 0


@pytest.mark.parametrize("spread", [-1e4, -200.0, 200.0, 1e4, 1e30])
def test_no_input_makes_the_variance_overflow(spread: float) -> None:
    layer = fixed(0.0, spread, dimension=3)
    z = layer(torch.ones(4, 1))
    (z.square().sum() + layer.kl).backward()
    assert z.isfinite().all()
    assert layer.kl.isfinite()
    assert layer.linear.weight.grad is not None
    assert layer.linear.weight.grad.isfinite().all()


def test_a_unit_beyond_the_bound_keeps_a_gradient_that_brings_it_back() -> None:
    layer = fixed(0.0, 20.0)
    layer(torch.zeros(4, 1))
    layer.kl.backward()
    assert layer.linear.bias.grad is not None
    assert layer.linear.bias.grad[1] > 100


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dimension": 0}, "dimension: a whole number of at least 1, got 0"),
        ({"dimension": 2.0}, "dimension: a whole number of at least 1, got 2.0"),
        ({"dimension": True}, "dimension: a whole number of at least 1, got True"),
        ({"beta": -1e-9}, "beta: a finite weight of at least 0, got -1e-09"),
        ({"beta": math.inf}, "beta: a finite weight of at least 0, got inf"),
        ({"beta": math.nan}, "beta: a finite weight of at least 0, got nan"),
        ({"after": -1}, "after: a number of hidden layers of at least 0, got -1"),
        ({"after": 1.0}, "after: a number of hidden layers of at least 0, got 1.0"),
    ],
    ids=str,
)
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LeakageError) as error:
        Bottleneck(**settings)
    assert str(error.value) == f"model.bottleneck.{sentence}"


def test_a_place_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        tabular(Bottleneck(after=3))
    assert str(error.value) == (
        "model.bottleneck.after: the model has 2 hidden layers, so that the bottleneck comes"
        " after 0 to 2 of them, got 3"
    )


def test_a_single_record_without_its_axis_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        Bottleneck(2).layer(3)(torch.zeros(3))
    assert str(error.value) == (
        "model.bottleneck: its layer takes records (k, ..., features), found the shape (3,)"
    )


@pytest.mark.parametrize(
    ("after", "place", "widths"),
    [
        (None, 4, [(6, 8), (8, 4), (4, 10), (5, 2)]),
        (2, 4, [(6, 8), (8, 4), (4, 10), (5, 2)]),
        (1, 2, [(6, 8), (8, 10), (5, 4), (4, 2)]),
        (0, 0, [(6, 10), (5, 8), (8, 4), (4, 2)]),
    ],
)
def test_the_bottleneck_stands_after_as_many_hidden_layers(
    after: int | None, place: int, widths: list[tuple[int, int]]
) -> None:
    model = tabular(Bottleneck(dimension=5, after=after))
    ((path, layer),) = bottlenecks(model)
    assert path == f"network.{place}"
    assert model.get_submodule(path) is layer
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == widths
    assert model(torch.zeros(3, FEATURES)).shape == (3, 2)


def test_a_linear_model_takes_one_right_after_its_input() -> None:
    network = dense([3, 2], Bottleneck(dimension=4))
    assert [type(layer) for layer in network] == [GaussianLayer, nn.Linear]
    with pytest.raises(LeakageError, match="has 0 hidden layers"):
        dense([3, 2], Bottleneck(after=1))


def test_a_label_names_the_settings() -> None:
    assert Bottleneck(16, 1e-3).label == "Bottleneck(dimension=16, beta=0.001)"
    assert Bottleneck(4, 0.0, 0).label == "Bottleneck(dimension=4, beta=0, after=0)"
    ((_, layer),) = bottlenecks(tabular(Bottleneck(2, 0.5)))
    assert layer.settings.label == "Bottleneck(dimension=2, beta=0.5)"
    assert "Bottleneck(dimension=2, beta=0.5)" in repr(layer)


def test_a_model_without_a_bottleneck_trains_on_the_plain_loss() -> None:
    model, batch = tabular(), records(12)[:]
    loss = step(model, batch)
    plain = F.cross_entropy(model(batch[0]), batch[1])
    assert torch.equal(loss, plain)
    assert torch.equal(flat_gradient(loss, model), flat_gradient(plain, model))
    assert bottlenecks(model) == []
    assert [type(layer) for layer in model.network] == [
        *(nn.Linear, nn.ReLU) * 2,
        nn.Linear,
    ]
    engine = GradientEngine(model, records(12), torch.arange(4))
    assert engine.plan.path == "factored"


@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_the_gradient_is_that_of_the_loss_and_beta_times_kl(beta: float) -> None:
    model, (x, y) = tabular(Bottleneck(3, beta)), records(12)[:]
    torch.manual_seed(5)
    loss = step(model, (x, y))
    torch.manual_seed(5)
    ((_, layer),) = bottlenecks(model)
    hidden = model.network[:4](x)
    mean, spread = layer.linear(hidden).chunk(2, -1)
    log_variance = 10 * torch.tanh(spread / 10)
    z = mean + (log_variance / 2).exp() * torch.randn(12, 3)
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    twin = F.cross_entropy(model.network[5](z), y) + beta * kl
    torch.testing.assert_close(loss, twin)
    torch.testing.assert_close(flat_gradient(loss, model), flat_gradient(twin, model))


def test_what_is_logged_in_training_is_the_loss_with_its_penalty() -> None:
    model, logged = tabular(Bottleneck(3, 2.0)), {}
    model.log = logged.__setitem__  # type: ignore[assignment]
    loss = model.training_step(records(12)[:], 0)
    assert torch.equal(logged["utility/train_loss"], loss)
    assert penalty(model) > 0


def test_the_penalty_is_the_sum_over_all_bottlenecks_each_once() -> None:
    one, other = Bottleneck(2, 0.5).layer(3), Bottleneck(4, 3.0).layer(2)
    model = nn.ModuleDict({"one": nn.Sequential(one, other), "again": one})
    assert penalty(model) == 0
    model["one"](torch.randn(5, 3, generator=generator()))
    torch.testing.assert_close(penalty(model), 0.5 * one.kl + 3 * other.kl)
    assert [path for path, _ in bottlenecks(model)] == ["one.0", "one.1"]
    with silenced(one):
        model["one"](torch.randn(5, 3, generator=generator()))
        torch.testing.assert_close(penalty(model), 3 * other.kl)


def trained(beta: float, steps: int = 200) -> tuple[float, float, Tensor, Tensor]:
    """Accuracy, KL in nats, and mu and sigma of the records, after training on them."""
    model, (x, y) = tabular(Bottleneck(3, beta)), records(300)[:]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        step(model, (x, y)).backward()
        optimizer.step()
    ((_, layer),) = bottlenecks(model)
    inputs: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        accuracy = float((model.eval()(x).argmax(1) == y).float().mean())
        mean, spread = layer.linear(inputs[0]).chunk(2, -1)
    return accuracy, float(layer.kl), mean, (5 * torch.tanh(spread / 10)).exp()


def test_a_large_beta_leaves_nothing_but_the_prior() -> None:
    accuracy, kl, mean, sigma = trained(30.0)
    assert kl < 1e-3
    assert mean.abs().max() < 0.05
    assert (sigma - 1).abs().max() < 0.05
    assert accuracy == pytest.approx(2 / 3)  # the majority


def test_a_small_beta_keeps_the_utility_and_the_information() -> None:
    accuracy, kl, _, _ = trained(1e-3)
    assert accuracy > 0.99
    entropy = math.log(3) - 2 / 3 * math.log(2)
    assert kl > entropy  # it is no less than what z tells of the class


def test_the_divergence_falls_as_beta_grows() -> None:
    divergences = [trained(beta, 100)[1] for beta in (0.0, 0.1, 1.0)]
    assert divergences == sorted(divergences, reverse=True)
    assert divergences[0] > 4 * divergences[-1]


def test_copies_and_pickles_are_of_the_weights_alone() -> None:
    model = tabular(Bottleneck(3, 1.0))
    with silenced(model):
        quiet = copy.deepcopy(model)
    step(model, records(12)[:])  # leaves a tensor with a graph
    copied = copy.deepcopy(model)
    del model.log
    for twin in (copied, pickle.loads(pickle.dumps(model.network))):
        assert penalty(twin) == 0
        for kept, given_ in zip(twin.parameters(), model.network.parameters(), strict=True):
            assert torch.equal(kept, given_)
    assert penalty(model) > 0
    x = torch.ones(4, FEATURES)
    assert not torch.equal(copied(x), copied(x))
    assert torch.equal(quiet(x), quiet(x))
    assert quiet.state_dict().keys() == model.state_dict().keys()


def test_a_silenced_module_gives_mu_without_a_penalty() -> None:
    model, (x, y) = tabular(Bottleneck(3, 1.0)), records(12)[:]
    state = torch.get_rng_state()
    with silenced(model):
        loss = step(model, (x, y))
        assert penalty(model) == 0
        with silenced(model):
            pass
        assert torch.equal(step(model, (x, y)), loss)
        copied = copy.deepcopy(model)
    with pytest.raises(RuntimeError), silenced(model):
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(step(copied, (x, y)), loss)
    assert model.training
    assert not torch.equal(step(model, (x, y)), loss)
    with torch.no_grad():
        plain = F.cross_entropy(model.eval()(x), y)
    torch.testing.assert_close(loss, plain)


def test_a_checkpoint_brings_the_weights_back(tmp_path: Path) -> None:
    model = tabular(Bottleneck(3, 1.0))
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(records(40), batch_size=10), DataLoader(records(40), 20))
    assert trainer.checkpoint_callback is not None
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert [name for name in saved["state_dict"] if name.startswith("network.4.")] == [
        "network.4.linear.weight",
        "network.4.linear.bias",
    ]
    other = tabular(Bottleneck(3, 1.0), seed=1)
    other.load_state_dict(saved["state_dict"])
    x = torch.ones(4, FEATURES)
    assert torch.equal(model.eval()(x), other.eval()(x))


@pytest.mark.parametrize("silent", [False, True])
def test_half_precision_trains_and_the_divergence_is_computed_in_float32(silent: bool) -> None:
    model, (x, y) = tabular(Bottleneck(3, 1.0)), records(12)[:]
    ((_, layer),) = bottlenecks(model)
    layer.silent = silent
    with torch.autocast("cpu", torch.bfloat16):
        loss = step(model, (x, y))
    whole = layer.kl
    assert whole.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    step(model, (x, y))
    torch.testing.assert_close(whole, layer.kl, rtol=0.05, atol=0.01)
    half = model.bfloat16()
    step(half, (x.bfloat16(), y)).backward()
    assert layer(torch.zeros(2, 4).bfloat16()).dtype == torch.bfloat16
    assert step(model.double(), (x.double(), y)).dtype == torch.float64


def engine_of(module: nn.Module, **settings: Any) -> GradientEngine:
    return GradientEngine(module, records(40), torch.arange(4), **settings)


def test_every_release_has_noise_of_its_own_and_the_seed_decides_it() -> None:
    model = tabular(Bottleneck(3, 0.1))
    state = torch.get_rng_state()
    engine = engine_of(model)
    assert engine.plan.path == "batch-wise"
    assert "stochastic layers" in engine.plan.reason
    table = torch.arange(5).repeat(3, 1)
    one, other = (engine.means(table, generator(seed)) for seed in (1, 2))
    assert len(torch.cat([one, other]).unique(dim=0)) == 6
    assert torch.equal(engine.means(table, generator(1)), one)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_records_of_a_release_have_independent_noise() -> None:
    """Of k times one record the release is a mean of k draws: 1/k of the variance of one."""
    engine, n, k = engine_of(tabular(Bottleneck(3, 0.1))), 300, 4
    alone = engine.means(torch.zeros(n, 1, dtype=torch.long), generator(1))
    together = engine.means(torch.zeros(n, k, dtype=torch.long), generator(2))
    ratio = float(together.var(0).sum() / alone.var(0).sum())
    assert ratio == pytest.approx(1 / k, rel=0.3)
    spread = (together.var(0) / n + alone.var(0) / n).sum().sqrt()
    assert (together.mean(0) - alone.mean(0)).norm() < 3 * spread


def test_a_release_is_the_gradient_of_plain_autograd_at_its_seed() -> None:
    model = tabular(Bottleneck(3, 0.1))
    engine = engine_of(model)
    indices = torch.tensor([[3, 1, 7]])
    found = engine.means(indices, generator(3))[0]
    torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator(3))))
    batch = tuple(tensor[indices[0]] for tensor in records(40).tensors)
    torch.testing.assert_close(found, flat_gradient(step(model, batch), model))


def test_what_a_static_adversary_computes_is_the_gradient_at_mu() -> None:
    model = tabular(Bottleneck(3, 5.0))
    step(model, records(12)[:])  # as between two steps of training
    del model.log
    with silenced(model):
        engine = engine_of(model)
    assert engine.plan.path == "factored"
    table = torch.tensor([[3, 1, 7], [0, 0, 2]])
    found = engine.means(table, generator(1))
    assert torch.equal(found, engine.means(table, generator(2)))
    ((path, layer),) = bottlenecks(model)
    for row, gradient in zip(table, found, strict=True):
        x, y = (tensor[row] for tensor in records(40).tensors)
        mean = layer.linear(model.network[:4](x))[:, :3]
        plain = F.cross_entropy(model.network[5](mean), y)
        torch.testing.assert_close(gradient, flat_gradient(plain, model))
        parts = dict(
            zip(engine.layout.names, gradient.split(list(engine.layout.sizes)), strict=True)
        )
        assert parts[f"{path}.linear.weight"].unflatten(0, (6, 4))[3:].abs().max() == 0
        assert parts[f"{path}.linear.weight"].unflatten(0, (6, 4))[:3].abs().max() > 0


@pytest.mark.parametrize("path", ["record-wise", "batch-wise"])
def test_every_path_takes_a_module_that_draws_nothing(path: str) -> None:
    """In evaluation mode KL stays in L: vmap leaves a tensor of its own in the layer."""
    model = tabular(Bottleneck(3, 5.0))
    for _, layer in bottlenecks(model):
        layer.eval()
    table = torch.tensor([[3, 1, 7], [0, 0, 2]])
    factored = engine_of(model)
    assert factored.plan.path == "factored"
    found = engine_of(model, path=path).means(table, generator())
    torch.testing.assert_close(found, factored.means(table, generator()), rtol=1e-4, atol=1e-6)
    batch = tuple(tensor[table[0]] for tensor in records(40).tensors)
    torch.testing.assert_close(found[0], flat_gradient(step(model, batch), model))


@pytest.mark.parametrize("mode", ["training", "evaluation", "silent"])
def test_clients_train_through_a_bottleneck(mode: str) -> None:
    model, lr = tabular(Bottleneck(3, 0.1)), 0.1
    for _, layer in bottlenecks(model):
        layer.train(mode == "training")
        layer.silent = mode == "silent"
    engine = engine_of(model, local=Local(steps=3, lr=lr))
    table = torch.arange(8).reshape(2, 4)
    one, again, other = (engine.means(table, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    if mode == "training":
        assert len(torch.cat([one, other]).unique(dim=0)) == 4
        return
    assert torch.equal(one, other)
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    batch = tuple(tensor[table[1]] for tensor in records(40).tensors)
    for _ in range(3):
        gradient = flat_gradient(step(model, batch), model)
        after = nn.utils.parameters_to_vector(model.parameters()) - lr * gradient
        nn.utils.vector_to_parameters(after, model.parameters())
    torch.testing.assert_close(one[1], (before - after) / lr, rtol=1e-3, atol=1e-4)


class Own(LightningModule):
    """A module of a user's: two lines are about the bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 8)
        self.bottleneck = Bottleneck(dimension=4, beta=1e-3).layer(8)
        self.last = nn.Linear(4, 2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self.last(self.bottleneck(self.first(x).relu()))
        return F.cross_entropy(logits, y) + penalty(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def fit(folder: Path, *callbacks: Attack) -> Own:
    people = population(*gaussian(2_000, torch.tensor([1.0, 0.5, 0.0]), seed=0))
    module = Own()
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(7)
    trainer.fit(module, DataLoader(people.records, batch_size=50, shuffle=True))
    return module


def test_an_own_module_is_attacked_and_trains_as_if_it_were_not(tmp_path: Path) -> None:
    people = population(*gaussian(2_000, torch.tensor([1.0, 0.5, 0.0]), seed=0))
    settings = {"shadow_batches": 60, "calibrate_batches": 60, "trials": 60, "rounds": [0, 1]}
    watched = fit(tmp_path, Attack(linear_game(**settings), None, people))
    state = torch.get_rng_state()
    assert (tmp_path / "attack.csv").exists()
    alone = fit(tmp_path / "alone")
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(watched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_config_gives_the_model_its_bottleneck() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Tabular, "model")
    config = yaml.safe_load(CONFIG.read_text())
    config["model"]["init_args"]["in_features"] = 5
    parsed = parser.parse_object(config)
    ((_, layer),) = bottlenecks(parser.instantiate(parsed).model)
    assert layer.settings == Bottleneck()  # the defaults are what the file shows
    argv = ["--model", "Tabular", "--model.in_features", "5", "--model.bottleneck.dimension", "7"]
    model = parser.instantiate(parser.parse_args(argv)).model
    assert [layer.settings for _, layer in bottlenecks(model)] == [Bottleneck(dimension=7)]
