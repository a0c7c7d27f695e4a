"""Runs that differ in the seed alone stand as one, with what another seed is expected to give."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import LABELS, drawn, leave, rows_of
from scipy import stats

from leakage.reading.figures import Figure
from leakage.reading.report import report_of
from leakage.reading.seeds import mean_of, range_of

SHARE = (0.0, 1.0)


def run_of(
    folder: Path, seed: int, strength: float = 1.0, share: float = 0.9, **rules: int
) -> Path:
    """Its trials are of its seed, and so is what the model is worth."""
    answers, truth, draws = drawn(np.random.default_rng(seed), [0.2, strength])
    rows = rows_of(dict(zip([LABELS, "Forest"], answers, strict=True)), truth, draws)
    worth = {"test_accuracy": share + 0.01 * seed}
    run = folder / f"{seed}-{len(list(folder.glob('*')))}"
    leave(run, rows, utility=worth, seed=seed, **rules)
    (run / "config.yaml").write_text(f"seed_everything: {seed}")
    return run


def test_seeds_are_one_curve_one_place_on_the_plane_and_one_mean(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        for batches, strength in ((50, 0.3), (1500, 1.5)):
            run_of(tmp_path, seed, strength, shadow_batches=batches)
    report = report_of([tmp_path])
    names = [run.name for run in report.runs]
    curves = [c for c in report.curves if (c.against, c.metric) == ("shadow_batches", "gain")]
    assert [[(p.x, len(p.runs)) for p in c.points] for c in curves] == [[(50, 3), (1500, 3)]]
    assert curves[0].label == ""  # what differs is along the axis, or pooled
    assert sorted(name for p in curves[0].points for name in p.runs) == sorted(names)
    assert [len(place.runs) for place in report.frontier] == [3, 3]
    assert [(s.metric, len(s.runs)) for s in report.spreads] == 2 * [
        ("auroc", 3), ("gain", 3), ("test_accuracy", 3),
    ]  # fmt: skip
    by_name = {run.name: run for run in report.runs}
    for spread in report.spreads:
        figures = [by_name[name].strongest.figures for name in spread.runs]  # type: ignore[union-attr]
        if spread.metric == "test_accuracy":
            values = np.array([0.9, 0.91, 0.92])
        else:
            values = np.array([some[spread.metric].value for some in figures])
        assert spread.mean.value == pytest.approx(values.mean())
        assert (spread.least, spread.most) == pytest.approx((values.min(), values.max()))
        reach = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
        assert spread.mean.low is not None
        assert spread.mean.low <= values.mean() - reach + 1e-12


def test_the_same_seed_again_is_no_further_sample(tmp_path: Path) -> None:
    for seed in (0, 1, 1):
        run_of(tmp_path, seed)
    report = report_of([tmp_path])
    assert [len(spread.runs) for spread in report.spreads if spread.metric == "gain"] == [2]
    assert [len(place.runs) for place in report.frontier] == [2, 1]
    for number in (0, 1, 2):
        run_of(tmp_path, number, k=5)
    gains = [s for s in report_of([tmp_path]).spreads if s.metric == "gain"]
    assert sorted(len(spread.runs) for spread in gains) == [2, 3]


def test_what_may_differ_in_more_than_the_seed_is_not_pooled(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, seed) for seed in (0, 1, 2, 3, 4)]

    def pooled() -> list[list[str]]:
        return [s.runs for s in report_of([tmp_path]).spreads if s.metric == "gain"]

    def told(run: Path, **changed: object) -> None:
        file = run / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    assert pooled() == [["0-0", "1-1", "2-2", "3-3", "4-4"]]
    told(runs[2], contents="of other records")
    (runs[3] / "config.yaml").unlink()  # a model of Python, that nobody knows
    rows = (runs[4] / "attack.csv").read_text().splitlines()
    later = [line.replace("0,0,alone", "1,1,alone") for line in rows[1:]]
    (runs[4] / "attack.csv").write_text("\n".join([*rows, *later]) + "\n")  # it has come further
    assert pooled() == [["0-0", "1-1"]]


def test_configs_are_compared_seed_by_seed(tmp_path: Path) -> None:
    for seed in (0, 1, 2, 3):
        run_of(tmp_path / "none", seed, 1.5, shadow_batches=50)
        if seed < 3:
            run_of(tmp_path / "weak", seed, 0.5, 0.8, shadow_batches=60)
    run_of(tmp_path / "elsewhere", 7, 0.5, shadow_batches=70)  # no seed in common
    report = report_of([tmp_path / name for name in ("none", "weak", "elsewhere")], compare=True)
    by_name = {run.name: run for run in report.runs}
    first, alone = ([d for d in report.differences if len(d.one) == n] for n in (3, 1))
    assert [d.metric for d in first] == ["auroc", "gain", "test_accuracy"]
    for row in [*first, *alone]:
        pairs = [
            (by_name[one], by_name[other]) for one, other in zip(row.one, row.other, strict=True)
        ]
        apart = []
        for one, other in pairs:
            assert one.seed == other.seed or row in alone
            told = [
                run.utility[row.metric]
                if "accuracy" in row.metric
                else run.strongest.figures[row.metric]
                for run in (one, other)
                if run.strongest
            ]
            apart.append((told[0].value or 0.0) - (told[1].value or 0.0))
        assert row.figure.value == pytest.approx(np.mean(apart))
        if row in first and row.metric != "test_accuracy":
            assert row.figure.low is not None
            assert row.figure.high is not None
            reach = stats.t.ppf(0.975, 2) * np.std(apart, ddof=1) / math.sqrt(3)
            assert row.figure.low <= np.mean(apart) - reach + 1e-12
            assert row.figure.note == "mean of 3 seeds"


def test_a_mean_is_of_one_place(tmp_path: Path) -> None:
    """Where one seed's strongest is of the last round, and the other's of both."""
    rng = np.random.default_rng(1)
    for seed, strengths in ((0, (0.2, 2.5)), (1, (2.0, 0.2)), (2, (2.0, 0.2))):
        rows = []
        for round_, strength in enumerate(strengths):
            answers, truth, draws = drawn(rng, [0.1, strength])
            named = dict(zip([LABELS, "Forest"], answers, strict=True))
            rows += rows_of(named, truth, draws, round_=round_)
        half = len(rows) // 2  # as strong together as in the first round
        rows += [replace(row, round=1, rounds="sum") for row in rows[:half]]
        run = leave(tmp_path / str(seed), rows, seed=seed, utility={"test_accuracy": 0.9})
        (run / "config.yaml").write_text(f"seed_everything: {seed}")
    report = report_of([tmp_path])
    places = {run.strongest.rounds for run in report.runs if run.strongest}
    assert places == {"alone", "sum"}
    together = [
        max(
            (g for g in run.guessers if (g.round, g.rounds, g.adversary) == (1, "sum", "Forest")),
            key=lambda guesser: guesser.figures["gain"].value or 0.0,
        )
        for run in report.runs
    ]
    gains = np.array([guesser.figures["gain"].value for guesser in together])
    spread = next(s for s in report.spreads if s.metric == "gain")
    assert spread.place == "all rounds up to 1 together"
    assert spread.mean.value == pytest.approx(gains.mean())
    (placed,) = report.frontier
    assert placed.gain == spread.mean
    assert report_of([tmp_path / "0"]).frontier[0].gain == report.runs[0].strongest.figures["gain"]  # type: ignore[union-attr]


def test_means_of_games_with_other_rules_are_told_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        run_of(tmp_path, seed, batches="fresh")
        run_of(tmp_path, seed, batches="persistent")
    labels = {spread.label for spread in report_of([tmp_path]).spreads}
    assert labels == {"batches fresh", "batches persistent"}


def test_seeds_alone_are_compared_one_by_one(tmp_path: Path) -> None:
    names = [run_of(tmp_path, seed).name for seed in (0, 1, 2)]
    found = report_of([tmp_path], compare=True).differences
    assert {(*d.one, *d.other) for d in found} == {(names[1], names[0]), (names[2], names[0])}


def test_a_seed_without_a_figure_leaves_no_mean() -> None:
    there = Figure(0.5, 0.4, 0.6)
    assert mean_of([there], SHARE) == there
    assert mean_of([there, Figure(None)], SHARE).value is None
    same = mean_of([Figure(0.5), Figure(0.5)], (-math.inf, math.inf))
    assert (same.value, same.low, same.high) == (0.5, None, None)


def test_figures_at_the_edge_keep_the_width_that_their_trials_leave() -> None:
    found = mean_of([Figure(1.0, 0.94, 1.0)] * 4, SHARE)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - math.sqrt(4 * 0.06**2) / 4)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("between", [0.0, 0.02, 0.05])
def test_the_interval_covers_what_another_seed_is_expected_to_give(
    seeds: int, between: float
) -> None:
    rng, games, within, truth = np.random.default_rng(seeds), 2_000, 0.03, 0.1
    values = truth + between * rng.normal(size=(games, seeds))
    values += within * rng.normal(size=(games, seeds))
    covered, reaches = 0, []
    for game in values:
        figures = [Figure(v, v - 1.96 * within, v + 1.96 * within) for v in game]
        found = mean_of(figures, (-1.0, 1.0))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
        reaches.append(found.high - found.low)
    assert 0.94 <= covered / games <= 0.997
    if seeds == 10:  # it is no wider than it has to be
        sample = math.hypot(between, within) / math.sqrt(seeds)
        assert np.median(reaches) < 1.3 * 2 * stats.t.ppf(0.975, 9) * sample


def test_bits_keep_the_side_that_their_figures_have() -> None:
    found = mean_of([Figure(0.3, 0.2), Figure(0.1, 0.0)], range_of("bits"))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (0.0, None)
    alike = mean_of([Figure(0.3, 0.2), Figure(0.3, 0.2)], range_of("bits"))
    assert alike.low == pytest.approx(0.3 - math.hypot(0.1, 0.1) / 2)  # not narrower than the runs
    assert alike.high is None


def test_a_share_without_limits_stays_in_its_range() -> None:
    found = mean_of([Figure(0.99), Figure(0.9)], range_of("val_acc"))
    assert found.low == pytest.approx(0.945 - 12.7062 * 0.045, abs=1e-4)
    assert found.high == 1.0


def test_a_run_that_has_not_come_as_far_is_on_no_curve_of_the_others(tmp_path: Path) -> None:
    for batches in (50, 500, 5000):
        run = run_of(tmp_path, batches, shadow_batches=batches)
        told = json.loads((run / "run.json").read_text())
        told["game"] |= {"rounds": [0, 1], "seed": 0}
        (run / "run.json").write_text(json.dumps(told))
        rows = (run / "attack.csv").read_text().splitlines()
        later = [line.replace("0,0,alone", "1,1,alone") for line in rows[1:] if batches != 500]
        (run / "attack.csv").write_text("\n".join([*rows, *later]) + "\n")
        (run / "config.yaml").write_text("seed_everything: 0")
    report = report_of([tmp_path])
    assert [run.state for run in report.runs] == ["finished", "unfinished", "finished"]
    curves = [c for c in report.curves if (c.against, c.metric) == ("shadow_batches", "gain")]
    assert [[point.x for point in curve.points] for curve in curves] == [[50, 5000]]


@pytest.mark.parametrize(("name", "placed"), [("val_mae", 0), ("val_RMSE", 0), ("val_f1", 1)])
def test_errors_are_no_utility_of_which_more_is_better(
    tmp_path: Path, name: str, placed: int
) -> None:
    answers, truth, draws = drawn(np.random.default_rng(0), [0.2, 1.0])
    rows = rows_of(dict(zip([LABELS, "Forest"], answers, strict=True)), truth, draws)
    leave(tmp_path / "run", rows, utility={name: 0.9})
    report = report_of([tmp_path])
    assert len(report.frontier) == placed
    assert report.runs[0].utility[name].value == 0.9
