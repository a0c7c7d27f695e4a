"""The networks of images and of sound: what they compute, alone and through engine and defense."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from leakage.callbacks import Defend
from leakage.defenses import DP, Bottleneck, GaussianLayer, bottlenecks, silenced
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.live import LiveRecords
from leakage.models.audio import Audio, OverTime
from leakage.models.classifier import Classifier
from leakage.models.convolution import group_norm
from leakage.models.image import Image, ResNet18

Make = Callable[..., Classifier]
SMALL = {Image: [8, 16], Audio: [8, 16]}
PLACES = {None: 4, 0: 0, 1: 2, 2: 4}  # of a bottleneck after so many of two hidden layers
CHANNELS = {Image: 3, Audio: 1, ResNet18: 3}
both = pytest.mark.parametrize("kind", [Image, Audio])
every = pytest.mark.parametrize("kind", [Image, Audio, ResNet18])


def made(kind: Make, classes: int = 2, **settings: Any) -> Classifier:
    """A network of small widths where they can be chosen."""
    torch.manual_seed(0)
    if kind in SMALL:
        settings = {"widths": SMALL[kind], **settings}
    return kind(classes, **settings)


def records(kind: Make, n: int, height: int = 21, width: int = 18) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, CHANNELS[kind], height, width, generator=generator)
    return TensorDataset(x, torch.arange(n) % 2)


def step(module: Any, x: Tensor, y: Tensor) -> Tensor:
    module.log = lambda *_: None
    loss: Tensor = module.training_step((x, y), 0)
    del module.log
    return loss


def gradient(module: Classifier, x: Tensor, y: Tensor) -> Tensor:
    parts = torch.autograd.grad(step(module, x, y), list(module.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [(Image, 200_000, 400_000), (Audio, 200_000, 400_000), (ResNet18, 11.1e6, 11.3e6)],
)
def test_the_size_of_a_network_is_that_which_it_claims(
    kind: Make, least: float, most: float
) -> None:
    assert least < sum(parameter.numel() for parameter in kind().parameters()) < most


@every
@pytest.mark.parametrize("size", [(50, 37), (1, 3), (1, 1)], ids=str)
def test_every_size_of_input_gives_logits_and_a_gradient_even_of_one_record(
    kind: Make, size: tuple[int, int]
) -> None:
    model = made(kind, classes=5)
    assert model(records(kind, 2, *size).tensors[0]).shape == (2, 5)
    x, y = records(kind, 1, *size)[:]
    found = gradient(model, x, y)
    assert found.isfinite().all()
    assert found.norm() > 0


@pytest.mark.parametrize("width", [2, 3, 8, 9, 16, 24, 64])
def test_a_norm_keeps_more_than_one_number_of_a_record(width: int) -> None:
    norm = group_norm(width)
    out = norm(torch.randn(1, width, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert norm.num_groups == (8 if width in (16, 24, 64) else 1)
    assert out.abs().max() > 0.5


@both
def test_a_network_is_convolutions_norms_pooling_and_dense_layers(kind: Make) -> None:
    model = made(kind, hidden=[7])
    x = records(kind, 3, 32, 16).tensors[0]
    found = x
    for _, block in list(model.network.blocks.named_children())[1:]:
        found = F.conv2d(found, block.conv.weight, stride=2, padding=1)
        found = F.group_norm(found, block.norm.num_groups, block.norm.weight, block.norm.bias)
        found = found.clamp(min=0)
    assert found.shape == (3, 16, 8, 4)
    if kind is Image:
        # Of 8 x 4 places, the means over a grid of 4 x 4 fields, channel by channel.
        found = found.unflatten(2, (4, 2)).mean(3).flatten(1)
    else:
        bands = found.unflatten(2, (4, 2))
        found = torch.cat([bands.mean((3, 4)), bands.amax(4).mean(3)], 1).flatten(1)
    first, last = model.network.head[0], model.network.head[2]
    found = F.linear(found, first.weight, first.bias).clamp(min=0)
    found = F.linear(found, last.weight, last.bias)
    torch.testing.assert_close(model(x), found)


def test_pooling_over_time_forgets_when_and_keeps_how_high() -> None:
    x = torch.zeros(3, 1, 8, 5)
    x[0, 0, 0, 1] = x[1, 0, 0, 4] = x[2, 0, 7, 1] = 1
    early, late, high = OverTime()(x)
    assert torch.equal(early, late)
    assert early.tolist() == pytest.approx([0.1, 0, 0, 0, 0.5, 0, 0, 0])
    assert high.tolist() == pytest.approx([0, 0, 0, 0.1, 0, 0, 0, 0.5])


def test_resnet_is_that_of_torchvision() -> None:
    model = made(ResNet18)
    twin = resnet18(num_classes=2, norm_layer=group_norm)
    ours = model.network[1].state_dict()
    twin.load_state_dict({name.replace("fc.0.", "fc."): part for name, part in ours.items()})
    x = records(ResNet18, 2, 33, 40).tensors[0]
    torch.testing.assert_close(model(x), twin(x))


@every
def test_the_gradient_of_a_batch_is_the_mean_over_its_records(kind: Make) -> None:
    model, (x, y) = made(kind), records(kind, 3)[:]
    each = torch.stack([gradient(model, x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(gradient(model, x, y), each.mean(0), rtol=1e-4, atol=1e-5)
    assert (each[0] - each[1]).norm() > 0.1 * each[0].norm()
    torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-4, atol=1e-5)


@every
def test_the_engine_takes_its_fast_path_and_equals_plain_autograd(
    kind: Make, caplog: pytest.LogCaptureFixture
) -> None:
    model, data = made(kind), records(kind, 4)
    table = torch.tensor([[3, 1], [0, 0]])
    engine = GradientEngine(model, data, torch.arange(2))
    found = engine.means(table, torch.Generator())
    assert engine.plan.path == "factored"
    assert caplog.text == ""
    for row, release in zip(table, found, strict=True):
        expected = gradient(model, *data[row])
        torch.testing.assert_close(release, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "after", "place"),
    [
        *((kind, after, place) for kind in (Image, Audio) for after, place in PLACES.items()),
        (ResNet18, None, 4),
        (ResNet18, 1, 2),
    ],
)
def test_a_bottleneck_stands_after_as_many_dense_layers(
    kind: Make, after: int | None, place: int
) -> None:
    model = made(kind, hidden=[12, 10], bottleneck=Bottleneck(dimension=5, after=after))
    ((path, layer),) = bottlenecks(model)
    assert path == f"network.{'1.fc' if kind is ResNet18 else 'head'}.{place}"
    x, y = records(kind, 2)[:]
    assert not torch.equal(model(x), model(x))
    assert gradient(model, x, y).isfinite().all()
    assert layer.kl > 0
    with silenced(model):
        assert torch.equal(model(x), model(x))
        assert layer.kl == 0
    model.eval()
    assert torch.equal(model(x), model(x))


@every
def test_a_bottleneck_stands_before_the_last_layer_where_there_is_no_other(kind: Make) -> None:
    model = made(kind, bottleneck=Bottleneck(dimension=5))
    last = model.network[1].fc if kind is ResNet18 else model.network.head
    assert [type(layer) for layer in last] == [GaussianLayer, nn.Linear]
    assert last[1].in_features == 5
    with pytest.raises(LeakageError) as error:
        made(kind, bottleneck=Bottleneck(after=1))
    assert str(error.value) == (
        "model.bottleneck.after: the model has 0 hidden layers, so that the bottleneck comes"
        " after 0 to 0 of them, got 1"
    )


@both
def test_the_engine_draws_where_there_is_a_bottleneck_and_is_fast_where_it_is_silent(
    kind: Make,
) -> None:
    model, data = made(kind, bottleneck=Bottleneck(dimension=5)), records(kind, 8)
    table = torch.tensor([[3, 1, 7], [0, 0, 2]])
    engine = GradientEngine(model, data, torch.arange(4))
    assert engine.plan.path == "batch-wise"
    one, again, other = (
        engine.means(table, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    with silenced(model):
        engine = GradientEngine(model, data, torch.arange(4))
        expected = gradient(model, *data[table[0]])
    assert engine.plan.path == "factored"
    found = engine.means(table, torch.Generator())[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@both
def test_training_under_dp_takes_the_hooks(
    kind: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = made(kind)
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        callbacks=[Defend(DP(clip=0.5, batch=8, sigma=1.0))],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with caplog.at_level(logging.INFO):
        trainer.fit(model, DataLoader(records(kind, 24), batch_size=8))
    assert trainer.global_step == 3
    assert "training under DP: epsilon" in caplog.text
    assert "slower" not in caplog.text
    for name, part in model.named_parameters():
        assert not torch.equal(part, before[name])


def test_resnet_gives_the_hooks_of_dp_the_gradient_of_each_record() -> None:
    model, (x, y) = made(ResNet18), records(ResNet18, 2)[:]
    live = LiveRecords(model)
    step(model, x, y).backward()
    samples = live.collect(2)
    found = samples.mean(None)[0]
    torch.testing.assert_close(found, gradient(model, x, y), rtol=1e-4, atol=1e-5)
    alone = gradient(model, x[:1], y[:1]).norm()
    assert float(samples.norms[0]) == pytest.approx(float(alone), rel=1e-3)


def told(kind: Make, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a bar at a random place: upright or lying in images, low or high in sound."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=generator)
    x = 0.3 * torch.randn(n, CHANNELS[kind], 16, 16, generator=generator)
    places = torch.randint(10, (n,), generator=generator)
    for image, label, place in zip(x, y.tolist(), places.tolist(), strict=True):
        if kind is Audio:
            image[:, 12 if label else 3, place : place + 5] += 2
        elif label:
            image[:, :, place] += 2
        else:
            image[:, place] += 2
    return x, y


def accuracy(kind: Make, shuffled: bool) -> float:
    """Of records that training has not seen, whose labels are of chance alone where shuffled."""
    (x, y), (new_x, new_y) = told(kind, 256, 0), told(kind, 400, 1)
    if shuffled:
        y, new_y = (
            labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))]
            for labels in (y, new_y)
        )
    model = made(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(6):
        for rows in torch.arange(256).split(32):
            optimizer.zero_grad()
            step(model, x[rows], y[rows]).backward()
            optimizer.step()
    return float(model.eval().hits((new_x, new_y)).float().mean())


@both
def test_what_is_there_to_learn_is_learnt_and_nothing_else(kind: Make) -> None:
    assert accuracy(kind, shuffled=False) > 0.97
    assert accuracy(kind, shuffled=True) == pytest.approx(0.5, abs=5 * 0.5 / 400**0.5)


BLOCKS = "widths: at least one block, each of at least 2 channels, got"


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (Image, {"widths": []}, f"{BLOCKS} []"),
        (Audio, {"widths": [8, 1]}, f"{BLOCKS} [8, 1]"),
        (Audio, {"widths": [-8, 8]}, f"{BLOCKS} [-8, 8]"),
        (Image, {"hidden": [4, 0]}, "hidden: layer widths are at least 1, got [4, 0]"),
        (ResNet18, {"hidden": [-1]}, "hidden: layer widths are at least 1, got [-1]"),
        (Audio, {"classes": 1}, "classes: at least 2 labels are told apart, got 1"),
        (ResNet18, {"classes": 0}, "classes: at least 2 labels are told apart, got 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(
    kind: Make, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(LeakageError) as error:
        kind(**settings)
    assert str(error.value) == f"model.{sentence}"


@pytest.mark.parametrize(
    ("kind", "channels", "shape"),
    [
        (Image, 3, (2, 1, 8, 8)),
        (ResNet18, 3, (2, 1, 8, 8)),
        (Image, 3, (3, 8, 8)),
        (Audio, 1, (8, 1, 8)),
        (Image, 3, (2, 3, 1, 8, 8)),
        (Audio, 1, (2, 2, 8, 8)),
    ],
)
def test_records_of_another_shape_are_refused(
    kind: Make, channels: int, shape: tuple[int, ...]
) -> None:
    with pytest.raises(LeakageError) as error:
        made(kind)(torch.zeros(shape))
    assert str(error.value) == (
        f"model: its network takes records (k, {channels}, height, width), found the shape {shape}"
    )


@both
def test_a_config_sets_sizes_and_bottleneck(kind: Make) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "model")
    argv = ["--model", kind.__name__, "--model.widths", "[4, 6]", "--model.hidden", "[9]"]
    argv += ["--model.classes", "3", "--model.bottleneck.dimension", "7"]
    model = parser.instantiate(parser.parse_args(argv)).model
    assert [layer.settings for _, layer in bottlenecks(model)] == [Bottleneck(dimension=7)]
    convolutions = [part for part in model.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [4, 6]
    assert model(records(kind, 2).tensors[0]).shape == (2, 3)
