"""A stock module and loader with a table of attributes: from the command line and from Python."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from populations import gaussian, population
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from leakage.adversaries import Adversary, LogisticRegression
from leakage.adversaries.base import Scores, Surface
from leakage.callbacks import Attack, Defend
from leakage.cli import main
from leakage.defenses import RecordPruning
from leakage.errors import LeakageError
from leakage.rules import Game
from leakage.secrets import Property

HERE = __name__
N = 600


def _records() -> tuple[TensorDataset, pd.DataFrame]:
    """x (N, 6), whose first half tells a and b, and its second half nothing; two a person."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(N) // 2
    a, b = torch.randint(2, (2, N // 2), generator=generator)[:, person]
    label = (torch.rand(N, generator=generator) < 0.9).long()
    x = torch.randn(N, 6, generator=generator)
    x[:, 0] += 3 * a
    x[:, 1] += 3 * b
    table = pd.DataFrame({"a": a, "b": b, "copy": a, "one": "x", "many": torch.arange(N)})
    return TensorDataset(x, label), table.assign(person=[f"p{number}" for number in person])


RECORDS, TABLE = _records()


class Branches(LightningModule):
    """Two layers that share nothing: the left one sees x that tells a, the right one the rest."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, label = batch
        left, right = self.left(x[:, :3]), self.right(x[:, 3:])
        loss = F.cross_entropy(left, label) + F.cross_entropy(right, label)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Quiet(Branches):
    """Logs nothing: dynamo cannot trace `self.log` of Lightning 2.6 on Python 3.11."""

    def log(self, *_: Any, **__: Any) -> None: ...


class Late(Branches):
    """Has no layer until the Trainer asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.left = self.right = None  # type: ignore[assignment]

    def configure_model(self) -> None:
        if self.left is None:
            made = Branches()
            self.left, self.right = made.left, made.right


class Records(LightningDataModule):
    """Any data module: it knows of no population."""

    def train_dataloader(self) -> Any:
        return DataLoader(RECORDS, batch_size=20)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from RECORDS


class Streams(LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(Stream(), batch_size=20)


class Several(LightningDataModule):
    def train_dataloader(self) -> Any:
        return [DataLoader(RECORDS, batch_size=20), DataLoader(RECORDS, batch_size=20)]


def named_loss(module: Any, batch: list[Tensor]) -> Tensor:
    """What `training_step` computes, to be named by its path."""
    x, label = batch
    branches = ((module.left, x[:, :3]), (module.right, x[:, 3:]))
    return sum((F.cross_entropy(layer(part), label) for layer, part in branches), torch.zeros(()))


def half_loss(module: Any, batch: list[Tensor]) -> Tensor:
    """The part of the loss that tells nothing of a."""
    return F.cross_entropy(module.right(batch[0][:, 3:]), batch[1])


# Adversaries that run in threads


class Teller(Adversary):
    """Guesses at random where nothing is said; what it is given is looked at."""

    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        self.look(releases)
        return lambda seen: np.random.default_rng(seed).random((len(seen), surface.classes))

    def look(self, releases: NDArray[np.float32]) -> None:
        """Sees the releases."""


class Refuses(Teller):
    def look(self, releases: NDArray[np.float32]) -> None:
        raise LeakageError("attack.adversaries: Refuses refuses")


class Stumbles(Teller):
    def look(self, releases: NDArray[np.float32]) -> None:
        raise ZeroDivisionError("in a thread")


class Waits(Teller):
    """Ends as soon as training has taken a step after the round."""

    stepped: ClassVar[threading.Event]

    def look(self, releases: NDArray[np.float32]) -> None:
        if not self.stepped.wait(20):
            raise RuntimeError("training stood still while an adversary was fitted")


class Stepping(Branches):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if getattr(self._trainer, "train_dataloader", None) is not None:  # not that of the game
            Waits.stepped.set()
        return super().training_step(batch, batch_idx)


class Sees(Teller):
    seen: ClassVar[list[NDArray[np.float32]]]

    def look(self, releases: NDArray[np.float32]) -> None:
        self.seen.append(releases)


# How a run is made


@dataclass(frozen=True)
class Run:
    """What a run left and printed."""

    folder: Path
    out: str = ""

    @property
    def csv(self) -> str:
        return (self.folder / "attack.csv").read_text()

    @property
    def rows(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "attack.csv", keep_default_na=False)

    @property
    def json(self) -> Any:
        return json.loads((self.folder / "run.json").read_text())

    def auroc(self, name: str, layers: str = "all", round_: int = 0) -> float:
        rows = self.rows
        rows = rows[(rows["metric"] == "auroc") & (rows["adversary"] == name)]
        rows = rows[(rows["layers"] == layers) & (rows["round"] == round_)]
        return float(rows[rows["rounds"] == "alone"]["value"].iloc[0])


SIZES: dict[str, Any] = {"k": 4, "shadow_batches": 80, "calibrate_batches": 60, "trials": 100}


def game(secret: str = "a", **settings: Any) -> Game:
    rules: dict[str, Any] = {"rounds": [0, 1], "adversaries": [LogisticRegression()]}
    return Game(Property(secret), **(SIZES | rules | settings))


def fit(
    folder: Path,
    *callbacks: Callback,
    module: Any = None,
    loader: Any = None,
    capsys: pytest.CaptureFixture[str] | None = None,
    **settings: Any,
) -> Run:
    trainer = Trainer(
        **{"max_epochs": 1, "logger": False} | settings,
        accelerator="cpu",
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    loader = DataLoader(RECORDS, batch_size=20) if loader is None else loader
    trainer.fit(Branches() if module is None else module, loader)
    out = "" if capsys is None else capsys.readouterr().out
    return Run(Path(trainer.log_dir or folder), out)


def argv(folder: Path, data: str = "Records", model: str = "Branches", **attack: Any) -> list[str]:
    """A config as a user writes it, and the command that names it."""
    secret = {"class_path": "leakage.secrets.Property", "init_args": {"attribute": "a"}}
    adversaries = [{"class_path": "leakage.adversaries.LogisticRegression"}]
    rules = {"secret": secret, "rounds": [0, 1], "adversaries": adversaries}
    logger = {"save_dir": str(folder / "logs"), "name": "run"}
    config = {
        "seed_everything": 0,
        "data": {"class_path": f"{HERE}.{data}"},
        "model": {"class_path": f"{HERE}.{model}"},
        "attack": SIZES | rules | attack,
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": logger,
            },
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path)]


def run_cli(folder: Path, **settings: Any) -> Run:
    main(argv(folder, **settings))
    return Run(folder / "logs" / "run" / "version_0")


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a run that is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    sentences = [line for line in err.strip().splitlines() if line.startswith("error: ")]
    assert sentences == err.strip().splitlines()[-1:], err
    assert not list(Path(words[-1]).parent.rglob("attack*.csv"))
    return sentences[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def csv_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("table") / "people.csv"
    TABLE.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def cli(csv_file: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_cli(tmp_path_factory.mktemp("cli"), attributes=csv_file)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(tmp_path_factory.mktemp("python"), Attack(game(), attributes=TABLE))


# A table, however it comes


def test_a_file_and_a_frame_give_the_same_figures(cli: Run, python: Run) -> None:
    assert cli.csv == python.csv
    assert python.auroc("LogisticRegression") > 0.9 > 0.7 > python.auroc("labels")


def test_a_parquet_file_gives_the_same_figures(cli: Run, tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "people.parquet")
    assert run_cli(tmp_path, attributes=str(tmp_path / "people.parquet")).csv == cli.csv


def test_units_are_a_column(csv_file: str, cli: Run, tmp_path: Path) -> None:
    run = run_cli(tmp_path, attributes=csv_file, units="person")
    frame = fit(tmp_path / "frame", Attack(game(units="person"), attributes=TABLE))
    assert frame.csv == run.csv
    alone, own = (found.rows[found.rows["rounds"] == "alone"] for found in (run, cli))
    assert alone["units"].max() <= 0.4 * N / 2 < own["units"].max() <= 0.4 * N
    assert run.json["game"]["units"] == "person"
    assert sum(run.json["splits"].values()) == N


def test_labels_are_a_column(csv_file: str, cli: Run, tmp_path: Path) -> None:
    """A column that says what the secret is makes a baseline of it."""
    run = run_cli(tmp_path, attributes=csv_file, labels="copy")
    assert run.auroc("labels") == 1 > 0.7 > cli.auroc("labels")
    assert run.auroc("LogisticRegression") == cli.auroc("LogisticRegression")


def test_a_loss_is_named_by_its_path(csv_file: str, cli: Run, tmp_path: Path) -> None:
    run = run_cli(tmp_path, attributes=csv_file, loss=f"{HERE}.named_loss")
    pd.testing.assert_frame_equal(run.rows, cli.rows)
    assert run.json["game"]["loss"] == "named_loss"
    (tmp_path / "half").mkdir()
    half = run_cli(tmp_path / "half", attributes=csv_file, loss=f"{HERE}.half_loss")
    assert half.auroc("LogisticRegression") < 0.65  # the named one is what the game is played on


def test_the_summary_says_that_the_model_trains_on_the_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = fit(tmp_path / "table", Attack(game(), attributes=TABLE), capsys=capsys)
    assert "data TensorDataset (records as given, which the model trains on)" in table.out
    assert table.json["trained_on"] is True
    apart = replace(population(*gaussian(N, torch.ones(6), 0)), standin=False)
    apart_run = fit(tmp_path / "apart", Attack(game(), population=apart), capsys=capsys)
    assert "data synthetic (records as given)\n" in apart_run.out
    assert apart_run.json["trained_on"] is False


# What is wrong with a table is one sentence

ROWS = "give a .csv file with a header line, or a .parquet file, with one row a record"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown attribute": (
        {"secret": "aa"},
        "attack.secret.attribute: the data set TensorDataset knows no attribute 'aa'; did you mean"
        " 'a'? Known: a, b, copy, one",
    ),
    "missing file": (
        {"attributes": "nowhere.csv"},
        f"attack.attributes: nowhere.csv does not exist; {ROWS}",
    ),
    "neither kind of file": (
        {"attributes": "people.xlsx"},
        f"attack.attributes: people.xlsx is neither a .csv nor a .parquet file; {ROWS}",
    ),
    "unknown column of units": (
        {"units": "persn"},
        "attack.units: the table has no column 'persn'; did you mean 'person'? Known: a, b, copy,"
        " one, many, person",
    ),
    "unknown column of labels": (
        {"labels": "coppy"},
        "attack.labels: the table has no column 'coppy'; did you mean 'copy'? Known: a, b, copy,"
        " one, many, person",
    ),
    "one value": (
        {"secret": "one"},
        "attack.secret.attribute: 'one' has the one value 'x' in the data, so there is nothing to"
        " infer; choose an attribute with two or more",
    ),
    "many values": (
        {"secret": "many"},
        f"attack.secret.attribute: 'many' has {N} distinct values, and a secret is one of at most"
        " 50 values; add a column that groups them into bins",
    ),
    "no table": (
        {"attributes": None},
        "attack.attributes: the attack needs to know the attributes of the records; name a table"
        " with a row for each record of the training data, or use a data module with an attribute"
        " `population` of type leakage.population.Population (Records has none)",
    ),
    "a stream": (
        {"data": "Streams"},
        "{file}: the data set Stream is a Stream, whose records have no numbers that the rows of a"
        " table could go by; give one with __len__ and __getitem__",
    ),
    "several loaders": (
        {"data": "Several"},
        "attack.attributes: a row is about a record of the data set of one training DataLoader,"
        " found a list without a data set",
    ),
    "a pattern of layers": (
        {"layers": ["lefft.*"]},
        "attack.layers: the pattern 'lefft.*' matches no trainable parameter; did you mean"
        " 'left.bias'? Known: left.weight, left.bias, right.weight, right.bias",
    ),
    "too little memory": (
        {"memory": 1e-5},
        "attack.memory: 1e-05 GiB are too little for one record of Branches, which has p = 16"
        " parameters; at least *",
    ),
    "no memory": ({"memory": 0.0}, "attack.memory: GiB above 0 are needed, got 0.0"),
    "too few cores": ({"cores": -1}, "attack.cores: at least 0 is needed, got -1"),
    "no function": ({"loss": f"{HERE}.nowhere"}, "*"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(
    name: str, csv_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, sentence = BAD[name]
    if "secret" in wrong:
        arguments = {"class_path": "Property", "init_args": {"attribute": wrong["secret"]}}
        wrong = {"secret": arguments}
    found = refusal(argv(tmp_path, **({"attributes": csv_file} | wrong)), capsys)
    start, star, _ = sentence.replace("{file}", csv_file).partition("*")
    assert found.startswith(start)
    assert star or found == start


@pytest.mark.parametrize("rows", [N - 1, N + 1])
def test_a_table_of_another_length_is_refused(
    rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "people.csv"
    pd.concat([TABLE, TABLE])[:rows].to_csv(path, index=False)
    sentence = (
        f"the table has {rows} rows, but the data set TensorDataset has {N} records; give one row"
        " for each record, in the order of the data set"
    )
    assert refusal(argv(tmp_path, attributes=str(path)), capsys) == f"{path}: {sentence}"
    frame = pd.concat([TABLE, TABLE])[:rows]
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, Attack(game(), attributes=frame))
    assert str(error.value) == f"attack.attributes: {sentence}"


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    """A path has a length of its own, which once was told as that of the table."""
    with pytest.raises(LeakageError) as error:
        fit(tmp_path, Attack(game(), attributes="people.csv"))  # type: ignore[arg-type]
    assert str(error.value) == (
        "attack.attributes: a pandas.DataFrame is needed, got str; a file is read by"
        " pandas.read_csv, or named by Game(attributes=...)"
    )


# One layer alone


def test_the_map_of_layers_says_which_one_leaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = TensorBoardLogger(tmp_path, "map")
    attack = Attack(game(layer_map=True, trials=300), attributes=TABLE)
    run = fit(tmp_path, attack, module=Branches(lr=0.001), logger=logger, capsys=capsys)
    by_layer = run.rows[run.rows["layers"] != "all"]
    assert by_layer["layers"].tolist() == ["left", "left", "right", "right"]
    assert set(by_layer["round"]) == {1}
    assert set(by_layer["rounds"]) == {"alone"}
    assert set(by_layer["metric"]) == {"auroc"}
    assert by_layer["knowledge"].tolist() == ["static", "adaptive"] * 2
    left, right = (by_layer[by_layer["layers"] == name].iloc[0] for name in ("left", "right"))
    assert float(left["low"]) > 0.9
    assert float(right["low"]) < 0.5 < float(right["high"])
    assert (
        "one layer alone, round 1, AUROC of LogisticRegression:"
        f" left {float(left['value']):.3f}, right {float(right['value']):.3f}\n" in run.out
    )
    events = EventAccumulator(str(run.folder), {"images": 0}).Reload()
    images = [tag for tag in events.Tags()["images"] if tag.endswith("/layers")]
    assert images == ["attack/property_a/LogisticRegression/adaptive/layers"]
    assert [event.step for event in events.Images(images[0])] == [N // 20]


def test_a_map_of_layers_changes_no_other_figure(python: Run, tmp_path: Path) -> None:
    run = fit(tmp_path, Attack(game(layer_map=True), attributes=TABLE))
    seen = [line for line in run.csv.splitlines() if ",left," not in line and ",right," not in line]
    assert seen == python.csv.splitlines()


def test_a_map_is_of_the_layers_that_are_seen(tmp_path: Path) -> None:
    run = fit(tmp_path, Attack(game(layer_map=True, layers=["right.*"]), attributes=TABLE))
    assert set(run.rows["layers"]) == {"all", "right"}
    assert run.auroc("LogisticRegression", round_=1) == pytest.approx(
        run.auroc("LogisticRegression", "right", round_=1)
    )


# Modules as they come


def test_a_module_may_make_its_layers_late(python: Run, csv_file: str, tmp_path: Path) -> None:
    assert fit(tmp_path / "a", Attack(game(), attributes=TABLE), module=Late()).csv == python.csv
    (tmp_path / "b").mkdir()
    assert run_cli(tmp_path / "b", model="Late", attributes=csv_file).csv == python.csv


def test_layers_may_be_late_beside_a_population_too(tmp_path: Path) -> None:
    apart = population(*gaussian(N, torch.ones(6), 0))
    runs = [
        fit(tmp_path / type(module).__name__, Attack(game(), population=apart), module=module)
        for module in (Branches(), Late())
    ]
    assert runs[0].csv == runs[1].csv


def test_a_compiled_module_gives_the_same_figures(python: Run, tmp_path: Path) -> None:
    module = Quiet()
    compiled = torch.compile(module, backend="eager")
    assert fit(tmp_path, Attack(game(), attributes=TABLE), module=compiled).csv == python.csv
    assert "training_step" in vars(module)  # it was trained as it was compiled


def test_a_record_wise_defense_goes_through_a_compiled_module(tmp_path: Path) -> None:
    modules, runs = (Quiet(), Quiet()), []
    for module, name in zip(modules, ("plain", "compiled"), strict=True):
        defense = RecordPruning(0.5)
        given = torch.compile(module, backend="eager") if name == "compiled" else module
        attack = Attack(game(), defense, attributes=TABLE)
        runs.append(fit(tmp_path / name, Defend(defense), attack, module=given))
    assert runs[0].csv == runs[1].csv
    assert torch.equal(modules[0].left.weight, modules[1].left.weight)
    assert not torch.equal(modules[0].left.weight, Quiet().left.weight)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_is_observed_in_float32(precision: Any, tmp_path: Path) -> None:
    """As the float32 copy of the weights, which stand still in a Trainer of its own."""
    Sees.seen = []
    rules = {"rounds": [1], "adversaries": [LogisticRegression(), Sees()]}
    module = Branches()
    attack = Attack(game(**rules), attributes=TABLE)
    half = fit(tmp_path / "half", attack, module=module, precision=precision)
    assert module.left.weight.dtype is (torch.bfloat16 if "true" in precision else torch.float32)
    still = Branches(lr=0.0)
    still.load_state_dict({name: weight.float() for name, weight in module.state_dict().items()})
    full = fit(tmp_path / "full", Attack(game(**rules), attributes=TABLE), module=still)
    assert half.csv == full.csv
    one, other = Sees.seen
    assert one.dtype == other.dtype == np.float32
    assert np.array_equal(one, other)
    assert not np.array_equal(one, torch.from_numpy(one).bfloat16().float().numpy())


# Guesses beside training


def test_two_attacks_give_what_each_gives_alone(python: Run, tmp_path: Path) -> None:
    alone = fit(tmp_path / "b", Attack(game("b"), attributes=TABLE))
    both = [Attack(game("a"), attributes=TABLE), Attack(game("b"), attributes=TABLE)]
    run = fit(tmp_path / "both", *both)
    assert run.csv == python.csv
    assert (run.folder / "attack_2.csv").read_text() == alone.csv
    assert alone.csv != python.csv


def test_two_attacks_share_the_cores(tmp_path: Path) -> None:
    both = [Attack(game(name, cores=1), attributes=TABLE) for name in ("a", "b")]
    fit(tmp_path, *both)
    assert both[0]._side is both[1]._side


def test_cores_change_no_figure(python: Run, tmp_path: Path) -> None:
    for cores in (1, 2):
        run = fit(tmp_path / str(cores), Attack(game(cores=cores), attributes=TABLE))
        assert run.csv == python.csv


def test_training_goes_on_while_adversaries_are_fitted(tmp_path: Path) -> None:
    Waits.stepped = threading.Event()
    rules = {"rounds": [0], "adversaries": [Waits()], "cores": 2}
    fit(tmp_path, Attack(game(**rules), attributes=TABLE), module=Stepping())
    assert Waits.stepped.is_set()


def threads_left(before: set[threading.Thread]) -> set[threading.Thread]:
    """The threads that are still there a while after a run, but for those that nobody waits for."""
    for _ in range(100):
        left = {thread for thread in threading.enumerate() if not thread.daemon} - before
        if not left:
            break
        time.sleep(0.02)
    return left


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(
    ("adversary", "error", "message"),
    [
        (Refuses(), LeakageError, "attack.adversaries: Refuses refuses"),
        (Stumbles(), ZeroDivisionError, "in a thread"),
    ],
)
def test_an_adversary_that_fails_in_its_thread_ends_the_run(
    adversary: Adversary, error: type[Exception], message: str, cores: int, tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    attack = Attack(game(adversaries=[adversary], cores=cores), attributes=TABLE)
    with pytest.raises(error, match=f"^{message}$"):
        fit(tmp_path, attack)
    assert not threads_left(before)
    assert not list(tmp_path.rglob("attack.csv"))


def test_an_adversary_that_refuses_ends_the_command_line(
    csv_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(threading.enumerate())
    adversaries = [{"class_path": f"{HERE}.Refuses"}]
    words = argv(tmp_path, attributes=csv_file, adversaries=adversaries)
    assert refusal(words, capsys) == "attack.adversaries: Refuses refuses"
    assert not threads_left(before)


def test_no_thread_outlives_a_run(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    fit(tmp_path, Attack(game(), attributes=TABLE))
    assert not threads_left(before)
