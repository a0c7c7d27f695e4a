"""Several runs in one report: differences, the frontier, and curves along what differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import LABELS, drawn, leave, rows_of

from leakage.answered import Answered, answered_file, read_answered
from leakage.metrics.intervals import Draws, Floats, Ints
from leakage.metrics.ranking import auroc, gain
from leakage.metrics.utility import accuracy, accuracy_loss
from leakage.page.charts import frontiers
from leakage.predicted import Predicted
from leakage.reading.figures import Curve, Difference
from leakage.reading.report import report_of
from leakage.reading.schema import Report


@pytest.fixture(scope="module")
def trials() -> tuple[list[Floats], Ints, Draws]:
    """Answers of labels alone, of a strong adversary, and of one that errs with it."""
    (labels, strong, noise), truth, draws = drawn(np.random.default_rng(0), [0.3, 1.2, 0.0])
    odds = (strong[:, 1] - strong[:, 0]) + 0.8 * (noise[:, 1] - noise[:, 0])
    weak = -np.logaddexp(0, np.column_stack([odds, -odds]))
    return [labels, strong, weak], truth, draws


def left(folder: Path, labels: Floats, answer: Floats, truth: Ints, draws: Draws) -> Path:
    """A run that has left its trials."""
    run = leave(folder, rows_of({LABELS: labels, "Forest": answer}, truth, draws))
    (run / "attack").mkdir()
    rankings = {("", LABELS): labels, ("either", "Forest"): answer}
    kept = Answered(truth, draws, rankings).packed()
    (run / "attack" / answered_file(0, "alone")).write_bytes(kept)
    return run


def test_runs_of_the_same_trials_are_compared_trial_by_trial(
    trials: tuple[list[Floats], Ints, Draws], tmp_path: Path
) -> None:
    (labels, strong, weak), truth, draws = trials
    runs = [
        left(tmp_path / "plain", labels, strong, truth, draws),
        left(tmp_path / "defended", labels, weak, truth, draws),
    ]
    expected = gain(weak, strong, truth, draws)
    found = {d.metric: d for d in report_of(runs, compare=True).differences}
    for metric in ("auroc", "gain"):
        figure = found[metric].figure
        assert (found[metric].one, found[metric].other) == (["defended"], ["plain"])
        assert found[metric].paired
        assert (figure.value, figure.low, figure.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
    (runs[1] / "attack" / answered_file(0, "alone")).write_bytes(b"half of a file")
    loose = {d.metric: d for d in report_of(runs, compare=True).differences}["auroc"]
    assert not loose.paired
    assert loose.figure.value == pytest.approx(expected.value)
    assert loose.figure.low is not None
    assert loose.figure.low < expected.low
    assert loose.figure.note == "as if the two were independent"
    assert report_of(runs).differences == []


def test_other_trials_or_another_rival_are_no_pairs(
    trials: tuple[list[Floats], Ints, Draws], tmp_path: Path
) -> None:
    (labels, strong, weak), truth, draws = trials
    first = left(tmp_path / "one", labels, strong, truth, draws)
    shifted = Draws(np.roll(draws.units, 1, axis=0), draws.pools)
    other = left(tmp_path / "two", labels, weak, np.roll(truth, 1), shifted)
    assert {d.paired for d in report_of([first, other], compare=True).differences} == {False}
    rival = left(tmp_path / "three", labels[::-1].copy(), weak, truth, draws)
    found = {d.metric: d.paired for d in report_of([first, rival], compare=True).differences}
    assert found == {"auroc": True, "gain": False}


def test_what_is_kept_of_the_trials_comes_back(
    trials: tuple[list[Floats], Ints, Draws], tmp_path: Path
) -> None:
    (labels, *_), truth, draws = trials
    file = tmp_path / answered_file(3, "sum")
    kept = Answered(truth, replace(draws, clustered=False), {("", LABELS): labels})
    file.write_bytes(kept.packed())
    back = read_answered(file)
    assert back is not None
    assert back.of_the_same_trials(kept)
    assert list(back.rankings) == [("", LABELS)]
    assert auroc(back.rankings["", LABELS], back.values, back.draws) == auroc(labels, truth, draws)
    assert read_answered(tmp_path / answered_file(4, "sum")) is None


def run_with(
    folder: Path, strength: float, defense: str, utility: dict[str, object], **rules: object
) -> Path:
    answers, truth, draws = drawn(np.random.default_rng(5), [0.2, strength])
    rows = rows_of(dict(zip([LABELS, "Forest"], answers, strict=True)), truth, draws, defense)
    return leave(folder, rows, utility=utility, **rules)


def test_accuracy_is_compared_record_by_record(tmp_path: Path) -> None:
    rng, records = np.random.default_rng(7), 500
    table = np.stack([np.arange(records), rng.integers(0, 2, records), np.arange(records) // 2])
    right = rng.random(records) < 0.85
    hits = {"one": right, "two": right & (rng.random(records) < 0.97)}
    runs = []
    for name, predicted in hits.items():
        told = accuracy(predicted, table[2])
        utility = {"test_accuracy": [told.value, told.low, told.high]}
        runs.append(run_with(tmp_path / name, 1.0, "none", utility))
        kept = Predicted({"test": table}, {"test": predicted})
        (runs[-1] / "predicted.safetensors").write_bytes(kept.packed())

    def found() -> Difference:
        differences = report_of(runs, compare=True).differences
        return next(d for d in differences if d.metric == "test_accuracy")

    # One less the other is what the other loses.
    expected = accuracy_loss(hits["two"], hits["one"], table[2])
    figure = found().figure
    assert found().paired
    assert (figure.value, figure.low, figure.high) == (expected.value, expected.low, expected.high)
    assert figure.value == pytest.approx(hits["two"].mean() - hits["one"].mean())
    assert figure.value < 0
    for other in (table + 1, table[:, ::-1], None):  # of other records, or in another order
        kept = Predicted({"test": other} if other is not None else {}, {"test": hits["two"]})
        (runs[1] / "predicted.safetensors").write_bytes(kept.packed())
        assert not found().paired
        assert found().figure.value == pytest.approx(expected.value)
    assert found().figure.low is not None
    assert found().figure.low < expected.low


def test_rounds_together_are_compared_with_each_other(tmp_path: Path) -> None:
    rng, runs = np.random.default_rng(8), []
    for name, strength in (("one", 1.0), ("two", 0.4)):
        rows = []
        for round_ in (0, 1):
            answers, truth, draws = drawn(rng, [0.2, strength])
            named = dict(zip([LABELS, "Forest"], answers, strict=True))
            rows += rows_of(named, truth, draws, round_=round_)
        runs.append(
            leave(
                tmp_path / name,
                rows + [replace(row, rounds="sum") for row in rows[len(rows) // 2 :]],
            )
        )
    found = report_of(runs, compare=True).differences
    assert [(d.metric, d.place) for d in found] == [
        (metric, place)
        for place in ("round 1 alone", "all rounds up to 1 together")
        for metric in ("auroc", "gain")
    ]
    one, two = (run.strongest for run in report_of(runs).runs)
    assert one is not None
    assert two is not None
    for row in found:
        assert row.figure.value == pytest.approx(
            (two.figures[row.metric].value or 0) - (one.figures[row.metric].value or 0)
        )


def test_the_frontier_leaves_out_who_is_beaten_in_both(tmp_path: Path) -> None:
    for name, strength, share, rules in (
        ("strong", 2.0, 0.9, {}),
        ("beaten", 2.0, 0.8, {}),
        ("quiet", 0.0, 0.8, {}),
        ("useless", 0.1, 0.5, {}),
        ("elsewhere", 2.0, 0.5, {"data": "Health"}),
    ):
        run_with(tmp_path / name, strength, name, {"test_accuracy": share}, **rules)
    run_with(tmp_path / "unknown", 0.0, "unknown", {"val_loss": 0.1})
    placed = {run: t.best for t in report_of([tmp_path]).frontier for run in t.runs}
    assert placed == {
        **{"beaten": False, "elsewhere": True, "quiet": True},
        **{"strong": True, "useless": False},
    }


def test_a_weaker_attack_is_no_better_defense(tmp_path: Path) -> None:
    for batches, strength in ((50, 0.1), (1500, 2.0)):
        run = tmp_path / f"n{batches}"
        run_with(run, strength, "none", {"test_accuracy": 0.9}, shadow_batches=batches)
    report = report_of([tmp_path])
    assert [tradeoff.best for tradeoff in report.frontier] == [True, True]
    assert frontiers(report) == []  # each of them alone with its question
    run_with(tmp_path / "beaten", 2.0, "Sign()", {"test_accuracy": 0.8}, shadow_batches=50, seed=1)
    placed = {run: t.best for t in report_of([tmp_path]).frontier for run in t.runs}
    assert placed == {"n50": True, "n1500": True, "beaten": False}


def curves_in(report: Report, against: str, metric: str) -> list[Curve]:
    return [c for c in report.curves if (c.against, c.metric) == (against, metric)]


def test_a_curve_stands_against_the_one_number_in_which_runs_differ(tmp_path: Path) -> None:
    for n, strength in ((100, 0.3), (1000, 1.0), (300, 0.6)):
        run_with(tmp_path / f"n{n}", strength, "none", {}, shadow_batches=n)
    run_with(tmp_path / "both", 1.0, "Pruning(keep=0.1)", {}, shadow_batches=50)
    report = report_of([tmp_path])
    adversary, baseline = curves_in(report, "shadow_batches", "auroc")
    assert (adversary.baseline, baseline.baseline) == (False, True)
    assert [(p.x, p.runs) for p in adversary.points] == [
        (100, ["n100"]),
        (300, ["n300"]),
        (1000, ["n1000"]),
    ]
    by_name = {run.name: run for run in report.runs}
    for curve, name in ((adversary, "Forest"), (baseline, LABELS)):
        for point in curve.points:
            guessers = by_name[point.runs[0]].guessers
            assert point.figure == next(g for g in guessers if g.adversary == name).figures["auroc"]


def test_runs_that_were_trained_otherwise_share_no_curve(tmp_path: Path) -> None:
    for n, clip in ((100, None), (1000, 1.0)):
        run = run_with(tmp_path / f"n{n}", 1.0, "none", {}, shadow_batches=n)
        trainer = {"max_epochs": 2, "gradient_clip_val": clip}
        (run / "config.yaml").write_text(json.dumps({"trainer": trainer}))
    assert curves_in(report_of([tmp_path]), "shadow_batches", "auroc") == []


def test_the_numbers_of_a_defense_are_settings_and_static_stands_apart(tmp_path: Path) -> None:
    for sigma in (2, 0.5, 1):
        run_with(tmp_path / f"s{sigma}", 1.0, f"DP(clip=1, sigma={sigma})", {})
    run_with(tmp_path / "other", 1.0, "Sign()", {})
    gains = curves_in(report_of([tmp_path]), "sigma", "gain")
    assert [(c.label, [p.x for p in c.points]) for c in gains] == [
        ("DP(clip=1, sigma=...), adaptive", [0.5, 1, 2]),
        ("DP(clip=1, sigma=...), static", [0.5, 1, 2]),
    ]
    assert {c.against for c in report_of([tmp_path]).curves} == {"sigma"}


def test_rounds_and_points_of_an_aggregation_curve_are_curves_of_one_run(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(6), []
    for round_ in (0, 1):
        answers, truth, draws = drawn(rng, [0.2, 1.0])
        rows += rows_of(
            dict(zip([LABELS, "Forest"], answers, strict=True)), truth, draws, round_=round_
        )
    last = [row for row in rows if row.round == 1]
    rows += [replace(row, rounds="sum") for row in last]
    rows += [replace(row, k=16) for row in last] + [replace(row, others=12) for row in last]
    report = report_of([leave(tmp_path / "run", rows)])
    assert {(c.against, tuple(p.x for p in c.points)) for c in report.curves} == {
        ("round", (0, 1)),
        ("rounds together", (1, 2)),
        ("k", (4, 16)),
        ("clients", (1, 4)),
    }
    assert len(report.runs[0].guessers) == 9  # of the game itself
