"""Audits played without a Trainer, on populations whose gradients are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from populations import LinearLoss, population
from torch import Tensor, nn

from leakage.audit.auditor import Auditor
from leakage.audit.canaries import GradientCanary, RandomCanary
from leakage.audit.canaries.record_loss import RecordLoss
from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.one_run import OneRun
from leakage.audit.names import EXACT
from leakage.audit.results import Result
from leakage.audit.rules import AuditRules
from leakage.defenses import Defense
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.loss import Loss
from leakage.gradients.source import Source
from leakage.population import Population
from leakage.report.epsilons import epsilon_rows
from leakage.report.verdicts import verdict

D = 6  # entries of x, and of the gradient of `LinearLoss`
Observe = Callable[[Auditor, int], None]


def one_hot_population(n: int = 600, scale: float = 1.0, seed: int = 0) -> Population:
    """x of four normal entries and the one-hot code of a trait `a`, times a scale; (n, 6)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2, (n,), generator=generator)
    numbers = torch.randn(n, D - 2, generator=generator)
    x = torch.cat([numbers, nn.functional.one_hot(codes, 2)], 1) * scale
    return population(x, codes, one_hot=(D - 2, D - 1))


def rules(**settings: Any) -> AuditRules:
    """An audit of small batches whose canary is a random record, by the bounds that are valid."""
    defaults: dict[str, Any] = {
        "k": 8,
        "trials": 400,
        "canaries": [RandomCanary()],
        "estimators": [ClopperPearson(), OneRun()],
    }
    return AuditRules(**(defaults | settings))


def attribute_rules(**settings: Any) -> AuditRules:
    return rules(attribute="a", **settings)


def both(**settings: Any) -> AuditRules:
    """A random record and the gradient that is told best."""
    return rules(canaries=[RandomCanary(), GradientCanary()], **settings)


def observed(
    how: AuditRules, records: Population, defense: Defense, module: nn.Module | None = None
) -> Auditor:
    """An audit whose rounds are all over; the weights stay the same."""
    module = LinearLoss(records.features.shape[1]) if module is None else module
    auditor = Auditor(how, records, defense, Layout.of(module))
    probe = records.splits["shadow_fit"][:4]
    memory = int(how.memory * 2**30)
    engine = GradientEngine(module, auditor.population.records, probe, memory=memory)
    loss = RecordLoss(Loss(module), Source(auditor.population.records))
    for round_ in how.rounds:
        auditor.observe(round_, engine, loss, lambda step: None)
    return auditor


def audited(
    how: AuditRules, records: Population, defense: Defense, module: nn.Module | None = None
) -> list[Result]:
    """All that an audit concludes."""
    return observed(how, records, defense, module).conclude()


def said(how: AuditRules, results: Sequence[Result], delta: float = 1e-5) -> list[str]:
    """The words that an audit ends with."""
    values = ("a0", "a1") if how.attribute else ()
    defenses = {str(result.sigma): "M" for result in results}
    rows = epsilon_rows(results, how, values, defenses, delta, 0)
    return verdict(rows, how.attribute is not None)


def pick(results: Sequence[Result], estimator: str, canary: str = "random") -> Result:
    """The one result of an estimator."""
    found = [r for r in results if (r.estimator, r.canary) == (estimator, canary)]
    assert len(found) == 1, [(r.estimator, r.canary) for r in results]
    return found[0]


def exact(results: Sequence[Result], canary: str = "random") -> float:
    """E0 of a canary."""
    return pick(results, EXACT, canary).bound.value


def clipped(x: Tensor, clip: float) -> Tensor:
    """x (..., p), double, with norms of at most C."""
    x = x.double()
    return x * (clip / x.norm(dim=-1, keepdim=True)).clamp(max=1)
