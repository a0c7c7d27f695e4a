"""Every adversary: seconds to fit and predict, and AUROC, on a planted leak and on Adult."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import leakage.adversaries
from leakage.adversaries import Adversary, Identifier, Surface
from leakage.data.adult import Adult
from leakage.defenses import Defense, NoDefense, Sign
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.models.tabular import Tabular
from leakage.releases import release
from leakage.secrets import Property
from leakage.secrets.base import Sizes, draw_of_class
from tests.benchmarks.measure import print_table, seconds

K, IN_FEATURES = 16, 96
ALL = ", all p"
REDUCTIONS = ("f_test", "sketch")


@dataclass(frozen=True)
class Data:
    """Releases to fit on and to guess, with their secrets.

    Args:
        title: for the table.
        fit: float32 (n, p).
        fit_values: int64 (n,).
        asked: float32 (m, p).
        asked_values: int64 (m,).
        surface: what adversaries know beside them.
    """

    title: str
    fit: NDArray[np.float32]
    fit_values: NDArray[np.int64]
    asked: NDArray[np.float32]
    asked_values: NDArray[np.int64]
    surface: Surface


def planted(n: int) -> Data:
    """Noise (n, 8,354) in the layout of the Adult MLP, in which the first layer's bias shows again
    in the column of the secret's value, faintly: `grad W[:, a] = grad b` is what FirstLayer reads.
    """
    layout = Layout.of(Tabular(IN_FEATURES))
    weight, bias = layout.span(layout.names[0]), layout.span(layout.names[1])
    rng = np.random.default_rng(0)
    values = rng.integers(2, size=n + n // 2)
    releases = rng.standard_normal((len(values), layout.p), dtype=np.float32)
    releases[:, bias] += 1
    W = releases[:, weight].reshape(len(values), -1, IN_FEATURES)
    W[np.arange(len(values)), :, values] += 0.25 * releases[:, bias]
    surface = Surface(layout, 2, (0, 1), IN_FEATURES)
    return Data("planted", releases[:n], values[:n], releases[n:], values[n:], surface)


def adult(n: int, defense: Defense, root: str | None) -> Data:
    """Releases of the Adult MLP, property sex, n to fit on and half as many to guess."""
    with tempfile.TemporaryDirectory() as folder:
        data = Adult(root or folder, standin=root is None, exclude=["sex", "relationship"])
        data.prepare_data()
        data.setup()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Tabular(data.in_features)
    population, secret = data.population, Property("sex")
    generator = torch.Generator().manual_seed(0)
    pools = secret.seats(population, Sizes(K, 0, K)).pools
    probe = population.splits["shadow_fit"][:8]
    found, values = [], []
    for split, count in (("shadow_fit", n), ("challenge", n // 2)):
        drawn = torch.arange(count) % 2
        table = draw_of_class(drawn, K, pools[split], generator)
        engine = GradientEngine(module, population.records, probe)
        found.append(torch.cat(list(release(engine, table, defense, generator))).numpy())
        values.append(drawn.numpy())
    kind = "stand-in" if population.standin else "real"
    surface = Surface(Layout.of(module), 2, (), data.in_features)
    title = f"Adult ({kind}), {type(defense).__name__}"
    return Data(title, found[0], values[0], found[1], values[1], surface)


def variants() -> Iterator[tuple[str, Adversary]]:
    """Each adversary as it is by default; those that reduce, with all entries and each way."""
    for name in leakage.adversaries.__all__:
        kind = getattr(leakage.adversaries, name)
        if not (inspect.isclass(kind) and issubclass(kind, Adversary)) or inspect.isabstract(kind):
            continue
        if issubclass(kind, Identifier):  # which gives places, not scores
            continue
        made = kind()
        settings = {field.name for field in fields(made)} if is_dataclass(made) else set()
        if "reduce" in settings:
            every = {"features": 2**31, "reduce": "f_test"}
            yield f"{name}{ALL}", replace(made, **every)  # type: ignore[type-var]
            for reduction in REDUCTIONS:
                yield f"{name}, {reduction}", replace(made, reduce=reduction)  # type: ignore[type-var]
        else:
            yield name, made


def row(name: str, adversary: Adversary, data: Data) -> list[str]:
    """Seconds and AUROC of one adversary on one set of releases."""
    try:
        adversary.check(data.surface)
    except LeakageError as error:
        return [data.title, name, "-", "-", f"refuses: {error}".split(";")[0]]
    scores = reduce = None

    def fit() -> None:
        nonlocal scores, reduce
        view, shadow = adversary.view(data.surface, 0), torch.from_numpy(data.fit)
        reduce = view.fit([shadow], torch.from_numpy(data.fit_values))
        scores = adversary.fit(reduce(shadow).numpy(), data.fit_values, data.surface, 0)

    def guess() -> None:
        seen = reduce(torch.from_numpy(data.asked)).numpy()  # type: ignore[misc]
        guessed.append(scores(seen))  # type: ignore[misc]

    fitting = seconds(fit)
    guessed: list[NDArray[np.float64]] = []
    predicting = seconds(guess)
    area = roc_auc_score(data.asked_values, guessed[0][:, 1] - guessed[0][:, 0])
    return [data.title, name, f"{fitting:.2f}", f"{predicting:.2f}", f"{area:.3f}"]


def play(*, quick: bool, root: str | None) -> None:
    """Prints the table of adversaries."""
    n = 300 if quick else 2000

    def rows() -> Iterator[list[str]]:
        for data in (planted(n), adult(n, NoDefense(), root), adult(n, Sign(), root)):
            for name, adversary in variants():
                if not (quick and name.endswith(ALL)):
                    yield row(name, adversary, data)

    columns = ["releases", "adversary", "fit, s", "predict, s", "AUROC"]
    print_table(columns, rows())
    print(f"{n:,} releases to fit on, {n // 2:,} to guess; k = {K} on Adult, untrained weights.")
