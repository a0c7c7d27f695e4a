"""The order of DESIGN 6 holds: what imports what, which hooks say so, how long a file is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jsonargparse._parameter_resolvers import get_signature_parameters
from lightning import Callback, LightningDataModule, LightningModule

from leakage.adversaries import Adversary
from leakage.audit.canaries import Canary
from leakage.audit.estimators.base import Estimator
from leakage.audit.estimators.thresholds import Threshold
from leakage.audit.rules import AuditRules
from leakage.defenses import Defense
from leakage.rules import Game
from leakage.secrets import Secret

PACKAGE = Path(__file__).resolve().parent.parent / "leakage"

# Data flows from left to right; a part imports itself and what stands before it.
ORDER = (
    "errors",
    "writing",
    "origin",
    "quiet",
    "randomness",
    "ranks",
    "knowledge",
    "idle",
    "fields",
    "fingerprint",
    "population",
    "shadow",
    "table",
    "secrets",
    "gradients",
    "distributed",
    "accounting",
    "defenses",
    "releases",
    "adversaries",
    "metrics",
    "answered",
    "predicted",
    "rounds",
    "rules",
    "dealing",
    "rehearsal",
    "judging",
    "game",
    "snapshot",
    "player",
    "archive",
    "background",
    "audit",
    "report",
    "reading",
    "page",
    "sweep",
    "callbacks",
    "cli",
    "__main__",
)
# What is plugged in knows no more of the game than the records.
PLUGGED = {
    "data": {"errors", "writing", "origin", "randomness", "fields", "population", "data"},
    "models": {"errors", "randomness", "population", "defenses", "models"},
}
PLUGGED_INTO = {"cli"}
LIGHTNING = {"data", "models", "distributed", "callbacks", "cli"}
NO_MATHEMATICS = {"callbacks": {"numpy", "scipy", "sklearn"}}
HOOKED = {"callbacks", "data", "distributed", "models"}
KWARGS = {
    ("leakage.cli.auditing", "instantiate_trainer"),
    ("leakage.cli.base", "instantiate_trainer"),
    ("leakage.cli.training", "instantiate_trainer"),
    ("leakage.gradients.loss", "_log_nowhere"),
}
LINES = 300

Sources = dict[str, str]
Check = Callable[[Sources], list[str]]


def sources_of(package: Path) -> Sources:
    """The text of every module by its name; a package has the name of its folder."""
    sources = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text(encoding="utf-8")
    return sources


def part_of(module: str) -> str:
    """`leakage.metrics.attack` is of the part `metrics`; the package itself of none."""
    return [*module.split("."), ""][1]


def imports(module: str, sources: Sources) -> set[str]:
    """The modules that a module imports, also inside functions and for annotations alone."""
    found = set()
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                # A module is one level above itself, a package stands for itself.
                is_package = any(name.startswith(f"{module}.") for name in sources)
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in sources else base)
    return found


def unranked(sources: Sources) -> list[str]:
    known = {"", *ORDER, *PLUGGED}
    return [module for module in sources if part_of(module) not in known]


def order_violations(sources: Sources) -> list[str]:
    wrong = []
    for module in sources:
        part = part_of(module)
        for target in sorted(imports(module, sources)):
            to = part_of(target)
            if target.split(".")[0] != "leakage" or not to:
                continue
            if part in PLUGGED:
                allowed = to in PLUGGED[part]
            elif to in PLUGGED:
                allowed = part in PLUGGED_INTO
            elif part in ORDER and to in ORDER:
                allowed = ORDER.index(to) <= ORDER.index(part)
            else:
                allowed = False
            if not allowed:
                wrong.append(f"{module} imports {target}")
    return wrong


def cycles(sources: Sources) -> list[str]:
    """The parts from which a way of imports leads back to them."""
    graph: dict[str, set[str]] = {part_of(module): set() for module in sources}
    for module in sources:
        targets = {part_of(t) for t in imports(module, sources) if t.startswith("leakage.")}
        graph[part_of(module)] |= targets - {part_of(module)}
    found = []
    for start in graph:
        reached: set[str] = set()
        ahead = list(graph[start])
        while ahead:
            part = ahead.pop()
            if part not in reached:
                reached.add(part)
                ahead.extend(graph.get(part, ()))
        if start in reached:
            found.append(start)
    return sorted(found)


def foreign_violations(sources: Sources) -> list[str]:
    wrong = []
    for module in sources:
        part = part_of(module)
        forbidden = NO_MATHEMATICS.get(part, set()) | (set() if part in LIGHTNING else _LIGHTNING)
        for target in sorted(imports(module, sources)):
            if target.split(".")[0] in forbidden:
                wrong.append(f"{module} imports {target}")
    return wrong


_LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric"}


def missing_overrides(sources: Sources) -> list[str]:
    hooks = {
        name
        for base in (Callback, LightningModule, LightningDataModule)
        for name in dir(base)
        if not name.startswith("_")
    }
    wrong = []
    for module, text in sources.items():
        if part_of(module) not in HOOKED:
            continue
        for owner in ast.walk(ast.parse(text)):
            if not isinstance(owner, ast.ClassDef) or not owner.bases:
                continue
            for method in _functions(owner):
                marks = {ast.unparse(mark).split(".")[-1] for mark in method.decorator_list}
                if method.name in hooks and "override" not in marks:
                    wrong.append(f"{module}.{owner.name}.{method.name}")
    return wrong


def _functions(owner: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def open_signatures(sources: Sources) -> list[str]:
    wrong = []
    for module, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            name = getattr(node, "name", "lambda")
            if node.args.kwarg and (module, name) not in KWARGS:
                wrong.append(f"{module}.{name}")
    return wrong


def long_files(sources: Sources) -> list[str]:
    return [module for module, text in sources.items() if len(text.splitlines()) > LINES]


SOURCES = sources_of(PACKAGE)
CHECKS = (
    unranked,
    order_violations,
    cycles,
    foreign_violations,
    missing_overrides,
    open_signatures,
    long_files,
)


def test_the_sources_are_found() -> None:
    assert {"leakage", "leakage.cli", "leakage.game", "leakage.metrics.attack"} <= set(SOURCES)
    assert {part_of(module) for module in SOURCES} == {"", *ORDER, *PLUGGED}
    assert "leakage.gradients.engine" in imports("leakage.game", SOURCES)
    assert "leakage.data.adult" in imports("leakage.cli.base", SOURCES)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package_keeps(check: Check) -> None:
    assert check(SOURCES) == []


@pytest.mark.parametrize("exception", sorted(KWARGS), ids=str)
def test_an_exception_is_still_needed(exception: tuple[str, str]) -> None:
    module, name = exception
    functions = [n for n in ast.walk(ast.parse(SOURCES[module])) if getattr(n, "name", "") == name]
    assert [f.args.kwarg for f in functions if isinstance(f, ast.FunctionDef)] != []


HOOK = """
from lightning import Callback
class Attack(Callback):
    def on_train_start(self, trainer, pl_module): ...
"""
FINE = """
from lightning import Callback
class Attack(Callback):
    @override
    def on_train_start(self, trainer, pl_module): ...
    def on_train_starts(self): ...
class Helper:
    def setup(self): ...
"""


@pytest.mark.parametrize(
    ("check", "planted", "found"),
    [
        (unranked, {"leakage.plots": ""}, ["leakage.plots"]),
        (unranked, {"leakage.plots.roc": ""}, ["leakage.plots.roc"]),
        (
            order_violations,
            {"leakage.secrets.base": "from leakage.game import Match"},
            ["leakage.secrets.base imports leakage.game"],
        ),
        (
            order_violations,
            {"leakage.metrics.attack": "import leakage.rules"},
            ["leakage.metrics.attack imports leakage.rules"],
        ),
        (
            order_violations,
            {
                "leakage.report": "",
                "leakage.report.rows": "",
                "leakage.game": "from . import report",
            },
            ["leakage.game imports leakage.report"],
        ),
        (
            order_violations,
            {
                "leakage.game": "",
                "leakage.metrics": "",
                "leakage.metrics.a": "from ..game import x",
            },
            ["leakage.metrics.a imports leakage.game"],
        ),
        (
            order_violations,
            {"leakage.game": "def f():\n    from leakage.callbacks.attack import Attack"},
            ["leakage.game imports leakage.callbacks.attack"],
        ),
        (
            order_violations,
            {"leakage.game": "if TYPE_CHECKING:\n    from leakage.report.rows import Row"},
            ["leakage.game imports leakage.report.rows"],
        ),
        (
            order_violations,
            {"leakage.data.adult": "from leakage.adversaries import Adversary"},
            ["leakage.data.adult imports leakage.adversaries"],
        ),
        (
            order_violations,
            {"leakage.models.tabular": "from leakage.data.adult import Adult"},
            ["leakage.models.tabular imports leakage.data.adult"],
        ),
        (
            order_violations,
            {"leakage.game": "import leakage.data.adult"},
            ["leakage.game imports leakage.data.adult"],
        ),
        (
            cycles,
            {
                "leakage.data.a": "import leakage.models.b",
                "leakage.models.b": "from leakage.data.a import x",
                "leakage.cli": "import leakage.data.a",
            },
            ["data", "models"],
        ),
        (
            foreign_violations,
            {"leakage.metrics.attack": "from lightning.pytorch import Trainer"},
            ["leakage.metrics.attack imports lightning.pytorch"],
        ),
        (
            foreign_violations,
            {"leakage.report.rows": "import lightning as L"},
            ["leakage.report.rows imports lightning"],
        ),
        (
            foreign_violations,
            {"leakage.callbacks.attack": "from sklearn.metrics import roc_curve"},
            ["leakage.callbacks.attack imports sklearn.metrics"],
        ),
        (
            missing_overrides,
            {"leakage.callbacks.x": HOOK},
            ["leakage.callbacks.x.Attack.on_train_start"],
        ),
        (open_signatures, {"leakage.game": "def play(a, **kwargs): ..."}, ["leakage.game.play"]),
        (open_signatures, {"leakage.game": "f = lambda **k: k"}, ["leakage.game.lambda"]),
        (
            open_signatures,
            {"leakage.game": "def _log_nowhere(**k): ..."},
            ["leakage.game._log_nowhere"],
        ),
        (long_files, {"leakage.game": "x = 1\n" * (LINES + 1)}, ["leakage.game"]),
    ],
)
def test_a_planted_violation_is_found(check: Check, planted: Sources, found: list[str]) -> None:
    assert check(planted) == found


@pytest.mark.parametrize(
    "sources",
    [
        {"leakage.game": "from leakage.secrets import Secret\nimport numpy, torch"},
        {"leakage.callbacks.attack": "from lightning import Callback\nimport leakage.game"},
        {"leakage.report.run": "from leakage import __version__"},
        {"leakage.data.adult": "from leakage.data.standins.adult import ADULT"},
        {"leakage.callbacks.x": FINE},
        {"leakage.gradients.loss": "def _log_nowhere(*_, **__): ..."},
        {"leakage.game": "x = 1\n" * LINES},
    ],
    ids=lambda sources: next(iter(sources)),
)
def test_what_is_allowed_is_not_blamed(sources: Sources) -> None:
    assert [problem for check in CHECKS for problem in check(sources)] == []


def plugged() -> list[type]:
    """All classes that a config can name."""
    found: list[type] = [Game, AuditRules]
    queue: list[type] = [Secret, Adversary, Defense, Canary, Estimator, Threshold]
    while queue:
        kind = queue.pop()
        queue += kind.__subclasses__()
        if kind.__module__.startswith("leakage.") and not inspect.isabstract(kind):
            found.append(kind)
    return found


@pytest.mark.parametrize("kind", plugged(), ids=lambda kind: kind.__name__)
def test_the_parser_resolves_every_type_of_a_setting(kind: type) -> None:
    """A type that stays a string is not checked: a wrong value would end in a traceback."""
    unresolved = [p.name for p in get_signature_parameters(kind) if isinstance(p.annotation, str)]
    assert unresolved == []
