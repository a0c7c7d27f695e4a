"""What is claimed of a whole report: nothing where there is nothing, and the right numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_runs import LABELS, drawn, drawn_run, leave, rows_of

from leakage.reading.claims import Family, family_of, holm
from leakage.reading.finding import places_in
from leakage.reading.report import report_of
from leakage.reading.runs import read_run

REPORTS = 80
NOBODY = {LABELS: 0.0, "Forest": 0.0, "Trees": 0.0}


def family_in(folder: Path) -> Family:
    places = places_in([folder])
    return family_of([read_run(place, place.folder.name) for place in places])


def test_a_report_of_nothing_claims_something_in_at_most_one_of_twenty(tmp_path: Path) -> None:
    """Two adversaries that know nothing in each of 3 rounds: their true gain over the prior is 0.

    Without a correction one report of 9 claims something, and one of 5 has a limit beyond it.
    """
    rng, claiming, naive, exceeded, each = np.random.default_rng(7), 0, 0, 0, 0
    for _ in range(REPORTS):
        drawn_run(tmp_path / "run", rng, {"Forest": 0.0, "Trees": 0.0}, rounds=3)
        family = family_in(tmp_path)
        assert len(family.claims) == 6
        claiming += any(claim.holds for claim in family.claims)
        naive += any(claim.p < 0.05 for claim in family.claims)
        exceeded += any(s.gain.at(family.alpha)[1] < 0 for s in family.statements)
        each += any(s.gain.at(0.05)[1] < 0 for s in family.statements)
    assert claiming <= 0.05 * REPORTS < naive
    assert exceeded <= 0.05 * REPORTS < each


def test_of_a_leak_the_claim_has_the_numbers_of_the_metrics(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    answers, truth, draws = drawn(rng, [0.3, 2.0, 0.0])
    rows = rows_of(dict(zip([LABELS, "Forest", "Trees"], answers, strict=True)), truth, draws)
    folder = leave(tmp_path / "leaks", rows)
    report = report_of([folder])
    held = {claim.adversary: claim for claim in report.claims if claim.holds}
    drew = [len(np.unique(draws.units[truth == a])) for a in (0, 1)]
    for statement in family_in(folder).statements:
        assert statement.gain.freedom == min(*drew, *np.bincount(truth)) - 1
    assert set(held) == {"Forest"}
    assert held["Forest"].p < held["Forest"].p_holm < 1e-3
    figures = {row.metric: row for row in rows if (row.adversary, row.group) == ("Forest", "all")}
    verdict = report.runs[0].sentences[0]
    auroc, gain = figures["auroc"], figures["gain"]
    assert f"AUROC {auroc.value:.3f} [{auroc.low:.3f}, {auroc.high:.3f}]" in verdict
    assert f"gain of {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over labels" in verdict
    assert report.runs[0].strongest == next(
        g for g in report.runs[0].guessers if g.adversary == "Forest"
    )


def test_a_defense_is_said_to_bound_the_listed_adversaries_and_never_to_stop(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(2)
    run = drawn_run(tmp_path / "quiet", rng, NOBODY, defense="DP(clip=1, sigma=2)")
    family, report = family_in(run), report_of([run])
    most = max(statement.gain.at(0.05 / 2)[1] for statement in family.statements)
    assert report.runs[0].sentences[0] == (
        "Under DP(clip=1, sigma=2) none of the listed adversaries (Forest, Trees) beat the best"
        f" baseline by more than {most:.3f} (upper 95% limit, Bonferroni over the 2 statements of"
        " the report); others may."
    )
    said = " ".join(report.runs[0].sentences).lower()
    assert not {"stops", "safe", "secure", "protects"} & set(said.split())


def test_more_runs_in_a_report_make_each_claim_harder(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    leaky = drawn_run(tmp_path / "a", rng, {LABELS: 0.2, "Forest": 1.0})
    drawn_run(tmp_path / "b", rng, NOBODY, rounds=4)
    alone, beside = family_in(leaky), family_in(tmp_path)
    assert beside.claims[0].p == alone.claims[0].p == alone.claims[0].p_holm
    assert beside.claims[0].p_holm == pytest.approx(9 * alone.claims[0].p)
    assert beside.alpha == pytest.approx(0.05 / 9)
    own, wider = alone.most("a"), beside.most("a")
    assert own is not None
    assert wider is not None
    assert wider > own


def test_without_an_interval_nothing_is_claimed_and_why_is_said(tmp_path: Path) -> None:
    answers, truth, draws = drawn(np.random.default_rng(4), [2.0])
    rows = rows_of({"Forest": answers[0]}, truth, draws)
    note = "no interval: a trial draws on average 64 of the 100 units of pool 0"
    bare = [
        replace(row, low=np.nan, high=np.nan, note=note) if row.adversary == "Forest" else row
        for row in rows
    ]
    report = report_of([leave(tmp_path / "wide", bare)])
    assert report.claims == []
    assert report.runs[0].sentences[0] == f"Nothing is claimed of all adversaries, {note}."
    assert any(note in said for said in report.notes)


def test_a_static_adversary_is_no_part_of_the_verdict(tmp_path: Path) -> None:
    answers, truth, draws = drawn(np.random.default_rng(5), [2.0, 0.0])
    known = dict(zip(["Forest", "Trees"], answers, strict=True))
    rows = [
        row
        for row in rows_of(known, truth, draws, defense="Sign()")
        if row.adversary != "Forest" or row.knowledge == "static"
    ]
    run = report_of([leave(tmp_path / "fooled", rows)]).runs[0]
    assert run.strongest is not None
    assert run.strongest.adversary == "Trees"
    assert "Forest" not in " ".join(run.sentences)


def test_holm_is_monotone_and_never_above_one() -> None:
    assert holm([0.5, 0.001, 0.5]) == [1.0, 0.003, 1.0]
    assert holm([]) == []


def test_a_baseline_that_is_no_rival_and_guesses_better_is_named(tmp_path: Path) -> None:
    answers, truth, draws = drawn(np.random.default_rng(7), [0.2, 0.6, 2.0])
    rows = rows_of(dict(zip([LABELS, "Forest", "imputation"], answers, strict=True)), truth, draws)
    told = [
        replace(row, knowledge="") if row.adversary == "imputation" else row
        for row in rows
        if row.adversary != "imputation" or (row.knowledge, row.metric) == ("static", "auroc")
    ]
    weak = [row for row in rows if row.adversary != "imputation"]
    runs = [leave(tmp_path / "known", told), leave(tmp_path / "unknown", weak)]
    said = [note for note in report_of(runs).notes if "imputation" in note]
    assert len(said) == 1
    assert said[0].startswith("In 1 of 2 runs imputation guesses better without gradients than")
    assert not any("no rival" in note for note in report_of(runs[1:]).notes)
