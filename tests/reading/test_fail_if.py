"""Conditions under which a report fails a pipeline."""

from __future__ import annotations

import operator
from dataclasses import replace

import numpy as np
import pytest
from drawn_runs import LABELS, drawn_run

from leakage.errors import LeakageError
from leakage.reading.figures import Figure
from leakage.reading.gate import condition_of, judge
from leakage.reading.report import report_of
from leakage.reading.schema import Audited, Report, Run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("runs")
    known = {LABELS: 0.2, "Forest": 1.5, "Trees": 0.1}
    utility = {"test_accuracy": [0.8, 0.75, 0.85], "utility/val_auroc": 0.7}
    drawn_run(folder / "leaky", np.random.default_rng(0), known, rounds=2, utility=utility)
    return report_of([folder])


def met(report: Report, *conditions: str) -> list[str]:
    return judge(report, [condition_of(text) for text in conditions]).met


def test_a_metric_is_that_of_the_strongest_adversary_in_any_round(report: Report) -> None:
    gains = {(g.adversary, g.round): g.figures["gain"] for g in report.runs[0].guessers if g.rival}
    place, most = max(gains.items(), key=lambda item: item[1].value or 0)
    assert place[0] == "Forest"
    assert most.value is not None
    assert met(report, f"gain > {most.value - 1e-6}") == [
        f"--fail-if 'gain > {most.value - 1e-6}': in leaky the gain of Forest (round {place[1]}"
        f" alone) is {most.value:.6g}"
    ]
    assert met(report, f"gain > {most.value + 1e-6}") == []
    lows = [figure.low for figure in gains.values() if figure.low is not None]
    highs = [figure.high for figure in gains.values() if figure.high is not None]
    assert met(report, f"low(gain) > {max(lows) - 1e-6}", f"high( gain )>={max(highs) + 1e-6}") == [
        f"--fail-if 'low(gain) > {max(lows) - 1e-6}': in leaky the lower limit of gain of Forest"
        f" (round {place[1]} alone) is {max(lows):.6g}"
    ]


def test_a_static_adversary_fails_nothing(report: Report) -> None:
    run = report.runs[0]
    fooled = [
        replace(g, knowledge="static" if g.adversary == "Forest" else g.knowledge)
        for g in run.guessers
    ]
    quiet = replace(report, runs=[replace(run, guessers=fooled)])
    assert met(report, "gain > 0.2") != []
    assert met(quiet, "gain > 0.2") == []


@pytest.mark.parametrize(
    ("sign", "holds"),
    [(">", operator.gt), (">=", operator.ge), ("<", operator.lt), ("<=", operator.le)],
)
def test_each_comparison_means_what_it_says(report: Report, sign: str, holds: object) -> None:
    assert callable(holds)
    for bound in (0.7, 0.8, 0.9):
        assert bool(met(report, f"test_accuracy {sign} {bound}")) == holds(0.8, bound)


@pytest.mark.parametrize(
    "text",
    ["gain", "gain > ", "gain > x", "gain == 1", "> 1", "gain > 1; import os", "f(gain) > 1"],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(LeakageError, match="expected a metric, one of >, >=, < and <=, and a num"):
        condition_of(text)


def test_an_unknown_metric_is_refused_with_the_nearest(report: Report) -> None:
    with pytest.raises(LeakageError, match="no run has a metric 'gian'; did you mean 'gain'") as e:
        met(report, "gian > 0.1")
    assert "test_accuracy" in str(e.value)


def test_what_a_run_lacks_and_an_unfinished_run_are_unsure(report: Report) -> None:
    leaky = report.runs[0]
    bare = replace(leaky, name="bare", utility={})
    killed = replace(leaky, name="killed", state="unfinished")
    found = judge(replace(report, runs=[leaky, bare]), [condition_of("test_accuracy < 0.5")])
    assert found.lacking == ["--fail-if 'test_accuracy < 0.5': bare has no test_accuracy"]
    found = judge(replace(report, runs=[killed]), [condition_of("gain > 2")])
    assert found.lacking == ["--fail-if: killed is unfinished, so nothing is sure of it"]
    assert judge(replace(report, runs=[killed]), []).lacking == []
    torn = replace(killed, guessers=[])  # of its files attack.csv is not there
    with pytest.raises(LeakageError, match=r"no run has a metric 'gain' \(killed unfinished\); "):
        judge(replace(report, runs=[torn]), [condition_of("gain > 0.1")])
    early = replace(killed, guessers=[], utility={})  # killed before its first figure
    found = judge(replace(report, runs=[early]), [condition_of("gain > 2")])
    assert found.lacking == ["--fail-if: killed is unfinished, so nothing is sure of it"]
    assert judge(replace(report, runs=[leaky]), [condition_of("gain > 2")]).lacking == []


def test_epsilon_is_what_the_headline_of_an_audit_has_proven(report: Report) -> None:
    def row(epsilon: Figure, headline: bool) -> Audited:
        return Audited("natural", "one_run", 1.0, 1e-5, epsilon, headline, True)

    rows = [row(Figure(3.0, 1.5), True), row(Figure(9.0, 8.0), False)]
    audit = Run("audit", "", "finished", "Drawn", False, "membership", 4, 0, "DP", audit=rows)
    both = replace(report, runs=[*report.runs, audit])
    assert met(both, "epsilon > 1.6") == []
    assert met(both, "epsilon > 1.4") == [
        "--fail-if 'epsilon > 1.4': in audit the epsilon of natural at sigma = 1 is 1.5"
    ]
    assert judge(both, [condition_of("gain > 2"), condition_of("epsilon > 2")]).lacking == []
    infinite = replace(audit, audit=[row(Figure(float("inf")), True)])
    assert met(replace(report, runs=[infinite]), "epsilon > 100") != []


def test_no_metric_is_passed_over_because_of_the_kind_of_its_run(report: Report) -> None:
    row = Audited("natural", "one_run", 1.0, 1e-5, Figure(3.0, 1.5), True, True)
    audit = Run("audit", "", "finished", "Drawn", False, "membership", 4, 0, "DP", audit=[row])
    audit = replace(audit, privacy={"delta": 1e-5})
    assert met(replace(report, runs=[audit]), "delta > 1e-6") != []
    assert met(replace(report, runs=[*report.runs, audit]), "delta > 1e-6") != []


def test_what_is_no_number_passes_nothing(report: Report) -> None:
    privacy: dict[str, float | str] = {"epsilon_training": "nan", "sigma": "inf"}
    told = replace(report, runs=[replace(report.runs[0], privacy=privacy)])
    for sign in "<>":
        found = judge(told, [condition_of(f"epsilon_training {sign} 3")])
        assert found.met == []
        assert found.lacking != []
    assert met(told, "sigma > 3") != []
