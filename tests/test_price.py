"""What a defense costs, through the command line and from Python, against plain twins."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from populations import gaussian, population
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from leakage.callbacks import Attack, Defend, Utility
from leakage.callbacks.play import Play
from leakage.callbacks.resume import Resume
from leakage.cli import main
from leakage.data.adult import Adult
from leakage.data.standins.adult import ADULT
from leakage.defenses import Defense, Pruning, RecordPruning, Sign
from leakage.defenses.bottleneck import Bottleneck, bottlenecks
from leakage.errors import LeakageError
from leakage.metrics.intervals import Estimate
from leakage.metrics.utility import accuracy, accuracy_loss
from leakage.models.classifier import Classifier
from leakage.models.tabular import Tabular
from leakage.population import Population

pytestmark = pytest.mark.usefixtures("process_state")

MAIN_JOB = str(Path(__file__).resolve().parent.parent / "configs" / "adult.yaml")
ROWS = 2500
SHORT = {
    "attack.shadow_batches": 20,
    "attack.calibrate_batches": 20,
    "attack.trials": 20,
    "attack.rounds": [0],
    "attack.layer_map": False,
    "attack.adversaries": [
        {"class_path": "leakage.adversaries.RandomForest", "init_args": {"trees": 2, "features": 8}}
    ],
    "data.standin_size": ROWS,
    "data.exclude": ["sex", "relationship"],
    "trainer.max_epochs": 2,
    "trainer.limit_train_batches": 15,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}
TWIN = "training the undefended twin of the same seed, for utility/loss_vs_none"
SIGN = ("--defense=Sign",)


class Noisy(Tabular):
    """Draws from the randomness of training at every step, and remembers what it was made of."""

    def __init__(
        self, in_features: int, dropout: float = 0.3, bottleneck: Bottleneck | None = None
    ) -> None:
        fast = partial(torch.optim.Adam, lr=0.02)
        super().__init__(in_features, hidden=[16], bottleneck=bottleneck, optimizer=fast)
        self.save_hyperparameters(logger=False)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.dropout(x))


@dataclass
class Run:
    """What a command line left: of each of its trainings, as they ended, and in its folder."""

    folder: Path
    trained: list[tuple[LightningModule, dict[str, Tensor], Utility]]
    said: list[str] = field(default_factory=list)

    @property
    def utility(self) -> Utility:
        return self.trained[0][2]

    @property
    def figures(self) -> dict[str, Estimate]:
        return self.utility.figures

    @property
    def scalars(self) -> dict[str, tuple[int, float]]:
        """The last step and value of each figure of utility."""
        events = EventAccumulator(str(self.folder)).Reload()
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("utility/")]
        return {tag: (events.Scalars(tag)[-1].step, events.Scalars(tag)[-1].value) for tag in tags}


def run(root: Path, logs: Path, *flags: str, config: str = MAIN_JOB, attacked: bool = False) -> Run:
    """The main job with a model that draws, or a saved config; most play no round."""
    trained = []
    ended = Utility.on_fit_end

    def noted(self: Utility, trainer: Trainer, module: LightningModule) -> None:
        state = {name: value.clone() for name, value in module.state_dict().items()}
        trained.append((module, state, self))
        ended(self, trainer, module)

    said = _Said()
    logger = logging.getLogger("leakage.utility")
    settings: dict[str, Any] = {"trainer.logger.save_dir": str(logs)}
    if config == MAIN_JOB:
        settings |= SHORT | {"data.root": str(root), "model": f"{__name__}.Noisy"}
    words = [
        word
        for key, value in settings.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    logger.addHandler(said)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(logs)
            patch.setattr(Utility, "on_fit_end", noted)
            if not attacked:
                patch.setattr(Play, "take", lambda *_: None)
            main(["fit", "--config", config, *words, *flags])
    finally:
        logger.removeHandler(said)
    folders = (logs / "adult").iterdir()
    return Run(max(folders, key=lambda f: int(f.name.split("_")[1])), trained, said.lines)


class _Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adult")
    ADULT.write(folder, size=ROWS, seed=0)
    return folder


@pytest.fixture(scope="module")
def plain(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(root, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def signed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(root, tmp_path_factory.mktemp("signed"), *SIGN, attacked=True)


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def twin_accuracy(root: Path, weights: dict[str, Tensor], split: str) -> float:
    """Without the callback: the rows of the data set through the layers, one by one."""
    data = Adult(str(root), exclude=["sex", "relationship"], seed=0)
    data.prepare_data()
    data.setup()
    x, y = (tensor[data.population.splits[split]] for tensor in data.population.records.tensors)  # type: ignore[attr-defined]
    hidden = F.relu(F.linear(x, weights["network.0.weight"], weights["network.0.bias"]))
    logits = F.linear(hidden, weights["network.2.weight"], weights["network.2.bias"])
    return float(((logits[:, 1] > logits[:, 0]) == (y == 1)).double().mean())


# Through the command line


def test_a_run_without_a_defense_has_its_accuracy_and_no_twin(plain: Run, root: Path) -> None:
    assert len(plain.trained) == 1
    assert TWIN not in plain.said
    assert set(plain.figures) == {"validation_accuracy", "test_accuracy"}
    for split in ("validation", "test"):
        figure = plain.figures[f"{split}_accuracy"]
        wanted = twin_accuracy(root, plain.trained[0][1], split)
        assert figure.value == pytest.approx(wanted, abs=1e-12)
        assert figure.low < figure.value < figure.high < figure.low + 0.15
        assert figure.n == len(plain.utility.hits[split]) > 200


def test_the_twin_ends_as_the_same_command_line_without_the_defense(
    plain: Run, signed: Run
) -> None:
    assert len(signed.trained) == 2
    assert signed.said.count(TWIN) == 1
    assert same_weights(signed.trained[1][1], plain.trained[0][1])
    assert not same_weights(signed.trained[0][1], plain.trained[0][1])
    assert signed.trained[1][2].figures == plain.figures


def test_a_run_is_the_same_without_its_twin(signed: Run, root: Path, tmp_path: Path) -> None:
    alone = run(root, tmp_path, *SIGN, "--undefended_twin=false", attacked=True)
    assert len(alone.trained) == 1
    assert TWIN not in alone.said
    assert same_weights(alone.trained[0][1], signed.trained[0][1])
    assert set(alone.figures) == {"validation_accuracy", "test_accuracy"}
    for name, figure in alone.figures.items():
        assert figure == signed.figures[name]
    [ours, theirs] = [(r.folder / "attack.csv").read_bytes() for r in (alone, signed)]
    assert ours == theirs
    assert "utility/loss_vs_none" not in alone.scalars


DEFENSES = {
    "pruning": ("--defense=Pruning", "--defense.keep=0.005"),
    "bottleneck": ("--model.bottleneck.beta=0.1", "--model.bottleneck.dimension=2"),
    "both": (*SIGN, "--model.bottleneck.beta=0.1"),
}


@pytest.mark.parametrize("name", DEFENSES)
def test_the_loss_is_the_difference_of_two_accuracies_counted_by_hand(
    name: str, plain: Run, root: Path, tmp_path: Path
) -> None:
    found = run(root, tmp_path, *DEFENSES[name])
    (module, *_), (twin, undefended, _) = found.trained
    assert same_weights(undefended, plain.trained[0][1])
    check_by_hand(found, root)
    assert bottlenecks(twin) == []
    assert "bottleneck" in twin.hparams
    assert twin.hparams["bottleneck"] is None  # what a module may be built of, too
    assert bool(bottlenecks(module)) == ("model.bottleneck" in "".join(DEFENSES[name]))


def test_sign_has_its_price(signed: Run, root: Path) -> None:
    check_by_hand(signed, root)


def test_dp_has_its_price(root: Path, tmp_path: Path) -> None:
    """Each record has a gradient of its own, so nothing is drawn, and epochs are whole."""
    whole = ("--trainer.limit_train_batches=1.0", "--model.dropout=0")
    found = run(root, tmp_path, "--defense=DP", "--defense.sigma=4.0", *whole)
    check_by_hand(found, root)


def check_by_hand(found: Run, root: Path) -> None:
    (module, weights, utility), (_, undefended, none) = found.trained
    if not bottlenecks(module):
        for split, key in (("test", "loss_vs_none"), ("validation", "validation_loss_vs_none")):
            without, with_ = (twin_accuracy(root, w, split) for w in (undefended, weights))
            assert utility.figures[key].value == pytest.approx(without - with_, abs=1e-12)
    by_hand = float(none.hits["test"].double().mean() - utility.hits["test"].double().mean())
    loss = utility.figures["loss_vs_none"]
    assert loss.value == pytest.approx(by_hand, abs=1e-12)
    assert loss.low < loss.value < loss.high
    assert loss.n == len(none.hits["test"])
    assert not torch.equal(none.hits["test"], utility.hits["test"])


def test_the_loggers_have_each_figure_with_its_limits(signed: Run) -> None:
    scalars = signed.scalars
    last = 2 * 15
    for name, tag in (
        ("validation_accuracy", "utility/val_accuracy"),
        ("test_accuracy", "utility/test_accuracy"),
        ("loss_vs_none", "utility/loss_vs_none"),
    ):
        figure = signed.figures[name]
        for suffix, value in (("_low", figure.low), ("_high", figure.high)):
            assert scalars[tag + suffix] == (last, pytest.approx(value, abs=1e-6))
        assert scalars[tag][1] == pytest.approx(figure.value, abs=1e-6)  # val: by the module
    assert "utility/val_auroc" in scalars
    assert set(signed.utility.seconds) == {"utility", "undefended twin"}


def test_the_twin_leaves_nothing_behind(signed: Run) -> None:
    for folder, name in ((signed.folder.parent, "version_0"), (signed.folder.parents[1], "adult")):
        assert [path.name for path in folder.iterdir()] == [name]
    assert len(list((signed.folder / "checkpoints").iterdir())) == 2  # the last two of the run
    assert len(list(signed.folder.glob("events*"))) == 1


def test_the_saved_config_gives_the_same_figures(signed: Run, root: Path, tmp_path: Path) -> None:
    again = run(root, tmp_path, config=str(signed.folder / "config.yaml"))
    assert again.figures == signed.figures
    assert same_weights(again.trained[1][1], signed.trained[1][1])


def test_a_resumed_run_has_a_twin_from_the_start(
    plain: Run, signed: Run, root: Path, tmp_path: Path
) -> None:
    """All epochs of this one are in the checkpoint, and its twin still trains them."""
    checkpoint = max((signed.folder / "checkpoints").iterdir())  # of the later epoch
    again = run(root, tmp_path, *SIGN, f"--ckpt_path={checkpoint}")
    assert same_weights(again.trained[0][1], signed.trained[0][1])
    assert same_weights(again.trained[1][1], plain.trained[0][1])
    assert again.figures == signed.figures


def test_a_fast_dev_run_has_no_twin(root: Path, tmp_path: Path) -> None:
    (tmp_path / "adult" / "version_0").mkdir(parents=True)
    found = run(root, tmp_path, *SIGN, "--trainer.fast_dev_run=true")
    assert len(found.trained) == 1
    assert TWIN not in found.said


def test_the_callbacks_of_the_config_are_not_those_of_the_twin(root: Path, tmp_path: Path) -> None:
    stop = '[{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args":'
    stop += ' {"monitor": "utility/val_loss", "stopping_threshold": 100.0}}]'
    found = run(root, tmp_path, *SIGN, f"--trainer.callbacks={stop}")
    steps = [module.trainer.global_step for module, *_ in found.trained]
    assert steps == [15, 30]
    kinds = [type(c) for c in found.trained[0][0].trainer.callbacks]  # type: ignore[attr-defined]
    assert kinds[:4] == [Resume, Defend, Utility, Attack]


def test_a_mistake_is_told_before_the_twin_is_trained(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Noisy, "training_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(SystemExit):
        run(root, tmp_path, *SIGN, "--attack.k=5000")
    assert "error: attack.k: a batch of k = 5000 needs 5000 records" in capsys.readouterr().err


# From Python


class Data(LightningDataModule):
    """The records of a population; its hook turns each feature round."""

    def __init__(self, records: Population, turned: bool = False) -> None:
        super().__init__()
        self.population = records
        self.turned = turned

    def train_dataloader(self) -> DataLoader[Any]:
        train = Subset(self.population.records, self.population.splits["train"].tolist())
        return DataLoader(train, batch_size=16, shuffle=True, collate_fn=_as_dict)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch | {"x": -batch["x"]} if self.turned else batch


def _as_dict(records: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    x, y = zip(*records, strict=True)
    return {"x": torch.stack(x), "y": torch.stack(y)}


class Own(LightningModule):
    """Of anyone: batches are dicts, and one part is frozen in evaluation mode."""

    def __init__(self, *, hits: Callable[[Tensor, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
        self.last = nn.Linear(5, 2)
        self.seen = 0
        self.register_buffer("calls", torch.zeros(()))
        if hits is not None:
            self._hits = hits

    def on_train_epoch_start(self) -> None:
        self.frozen.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return self.last(self.frozen(self.norm(x)))  # type: ignore[no-any-return]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch["x"]), batch["y"])

    def hits(self, batch: dict[str, Tensor]) -> Any:
        assert not self.training
        assert not self.norm.training
        assert not torch.is_grad_enabled()
        logits = self(batch["x"])
        torch.rand(3)
        return self._hits(logits, batch["y"])

    def _hits(self, logits: Tensor, y: Tensor) -> Any:
        return logits.argmax(1) == y

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Silent(Own):
    hits = None  # type: ignore[assignment]


@pytest.fixture
def records() -> Population:
    return records_of(0)


def records_of(seed: int, shares: tuple[float, ...] = (0.3, 0.2, 0.2, 0.1, 0.1, 0.1)) -> Population:
    x, codes = gaussian(1000, torch.full((5,), 1.5), seed=0)
    splits = ("train", "validation", "test", "shadow_fit", "shadow_calibrate", "challenge")
    return population(
        x, codes, labels=codes, shares=dict(zip(splits, shares, strict=True)), seed=seed
    )


def fit(
    data: LightningDataModule,
    *callbacks: Callback,
    module: LightningModule | None = None,
    **more: Any,
) -> LightningModule:
    seed_everything(0, verbose=False)
    module = Own() if module is None else module
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(callbacks=list(callbacks), **(settings | more))
    trainer.fit(module, datamodule=data)
    return module


@pytest.mark.parametrize("defense", [Sign(), Pruning(0.2)], ids=repr)
def test_two_trainers_tell_what_a_defense_costs(defense: Defense, records: Population) -> None:
    none, defended = Utility(), None
    fit(Data(records), none)
    defended = Utility(against=none)
    fit(Data(records), Defend(defense), defended)
    for split, key in (("test", "loss_vs_none"), ("validation", "validation_loss_vs_none")):
        units = records.units[records.splits[split]].numpy()
        ours, theirs = defended.hits[split].numpy(), none.hits[split].numpy()
        assert defended.figures[key] == accuracy_loss(theirs, ours, units)
        assert defended.figures[f"{split}_accuracy"] == accuracy(ours, units)
    assert defended.figures["loss_vs_none"].n == 200
    assert "loss_vs_none" not in none.figures


def test_a_run_costs_nothing_against_itself(records: Population) -> None:
    none = Utility()
    fit(Data(records), none)
    again = Utility(against=none)
    fit(Data(records), again)
    loss = again.figures["loss_vs_none"]
    assert loss.value == 0
    assert -0.02 < loss.low < 0 < loss.high < 0.02


@pytest.mark.parametrize("turned", [False, True])
def test_predictions_are_those_of_the_module_on_what_the_loader_gives(
    turned: bool, records: Population
) -> None:
    utility = Utility()
    module = fit(Data(records, turned), utility)
    module.eval()
    x, y = (tensor[records.splits["test"]] for tensor in records.records.tensors)  # type: ignore[attr-defined]
    wanted = module(-x if turned else x).argmax(1) == y
    assert torch.equal(utility.hits["test"], wanted)
    assert not torch.equal(module(x if turned else -x).argmax(1) == y, wanted)


def test_training_is_not_disturbed(records: Population) -> None:
    def left(*callbacks: Callback) -> tuple[Any, ...]:
        module = fit(Data(records), *callbacks, max_epochs=2)
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 - the global state is the point
        modes = [part.training for part in module.modules()]
        return module.state_dict(), torch.get_rng_state(), random.getstate(), numpy_state[1], modes

    alone, watched = left(), left(Utility())
    assert same_weights(alone[0], watched[0])
    assert torch.equal(alone[1], watched[1])
    assert alone[2] == watched[2]
    assert np.array_equal(alone[3], watched[3])
    assert alone[4] == watched[4]
    assert False in alone[4]
    assert True in alone[4]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precision_is_that_of_training(precision: str, records: Population) -> None:
    class Typed(Own):
        def hits(self, batch: dict[str, Tensor]) -> Tensor:
            logits = self(batch["x"])
            wanted = torch.float64 if precision == "64-true" else torch.bfloat16
            assert logits.dtype == wanted
            return logits.argmax(1) == batch["y"]

    utility = Utility()
    fit(Data(records), utility, module=Typed(), precision=precision)
    assert utility.figures["test_accuracy"].value > 0.8


def test_a_diverged_model_has_no_utility(
    records: Population, caplog: pytest.LogCaptureFixture
) -> None:
    class Diverged(Classifier):
        def on_train_end(self) -> None:
            for parameter in self.parameters():
                parameter.data.fill_(torch.nan)

    class Pairs(Data):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.population.records, batch_size=100)

    utility = Utility()
    module = Diverged(nn.Linear(5, 2), 2, torch.optim.Adam)
    fit(Pairs(records), utility, module=module)
    assert not utility.figures
    assert not utility.hits
    assert "weights are NaN or inf: training has diverged" in caplog.text


@pytest.mark.parametrize(
    ("module", "shares", "reason"),
    [
        (Silent, (0.3, 0.2, 0.2, 0.1, 0.1, 0.1), "Silent has no method `hits`"),
        (Own, (0.7, 0.0, 0.0, 0.1, 0.1, 0.1), "synthetic has no validation and no test records"),
        (Own, None, "no data module with a `population` says which records were held out"),
    ],
)
def test_what_cannot_be_counted_is_said_once(
    module: type[Own],
    shares: tuple[float, ...] | None,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = Data(records_of(0, shares or (0.3, 0.2, 0.2, 0.1, 0.1, 0.1)))
    if shares is None:
        data.population = None  # type: ignore[assignment]
        held = records_of(0)
        data.train_dataloader = Data(held).train_dataloader  # type: ignore[method-assign]
    utility = Utility(against=lambda: pytest.fail("a twin was trained for nothing"))
    with caplog.at_level(logging.INFO, logger="leakage.utility"):
        fit(data, utility, module=module())
    said = [record.getMessage() for record in caplog.records if record.name == "leakage.utility"]
    assert said == [f"utility: no interval and no loss_vs_none, since {reason}"]
    assert utility.figures == utility.hits == {}


def test_a_population_can_be_given(records: Population) -> None:
    data = Data(records)
    loader = data.train_dataloader()
    utility, other = Utility(), Utility(population=records)
    fit(data, utility)
    data.population = None  # type: ignore[assignment]
    data.train_dataloader = lambda: loader  # type: ignore[method-assign]
    fit(data, other)
    assert other.figures == utility.figures


def test_a_split_alone_has_its_figures(caplog: pytest.LogCaptureFixture) -> None:
    alone = records_of(0, (0.5, 0.2, 0.0, 0.1, 0.1, 0.1))
    none = Utility()
    fit(Data(alone), none)
    utility = Utility(against=none)
    fit(Data(alone), Defend(Sign()), utility)
    assert set(utility.figures) == {
        "validation_accuracy",
        "loss_vs_none",
        "validation_loss_vs_none",
    }
    assert utility.figures["loss_vs_none"] == utility.figures["validation_loss_vs_none"]


def test_a_run_on_other_records_is_no_measure(
    records: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = Utility()
    fit(Data(records), none)
    monkeypatch.setattr(Own, "training_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(LeakageError) as refused:
        fit(Data(records_of(1)), Utility(against=none))
    assert str(refused.value) == (
        "Utility.against: the validation records of the run without a defense are not those of"
        " this run; give both the same data and the same seed of the splits"
    )


def test_a_run_that_was_never_trained_is_no_measure(records: Population) -> None:
    with pytest.raises(LeakageError) as refused:
        fit(Data(records), Utility(against=Utility()))
    assert str(refused.value) == (
        "Utility.against: the run without a defense has predicted nothing yet; fit it first, with"
        " a module that has a method `hits`"
    )


@pytest.mark.parametrize(
    ("hits", "found"),
    [
        (lambda logits, y: logits, "torch.float32 of shape (2, 2)"),
        (lambda logits, y: (logits.argmax(1) == y)[:1], "torch.bool of shape (1,)"),
        (lambda logits, y: (logits.argmax(1) == y).float(), "torch.float32 of shape (2,)"),
        (lambda logits, y: 0.5, "float"),
    ],
)
def test_hits_that_are_none_are_refused_before_training(
    hits: Callable[..., Any], found: str, records: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "training_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(LeakageError) as refused:
        fit(Data(records), Utility(), module=Own(hits=hits))
    assert str(refused.value) == (
        "model Own: hits must give one torch.bool for each of the 2 records of a batch, found"
        f" {found}"
    )


def test_record_wise_defenses_have_a_price_too(records: Population) -> None:
    class Plain(Own):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(x)  # type: ignore[no-any-return]

    none = Utility()
    fit(Data(records), none, module=Plain())
    utility = Utility(against=none)
    fit(Data(records), Defend(RecordPruning(0.2)), utility, module=Plain())
    assert np.isfinite(utility.figures["loss_vs_none"].value)
