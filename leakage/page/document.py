"""The page: a report's dataclasses in, one file of HTML out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from leakage.page import charts, of_runs, proofs
from leakage.page.curves import curve_pictures
from leakage.page.names import called
from leakage.page.view import view_of
from leakage.reading.schema import Report, Run

_HERE = Path(__file__).parent
_FEW = 16  # runs that are drawn one below the other without being asked for


def page(report: Report) -> str:
    """One self-contained page: no network, no script, light and dark, on a phone and on paper.

    Args:
        report: all that is shown; what it lacks is left out.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,  # names of folders and notes are anybody's text
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    report = replace(report, runs=sorted(report.runs, key=_order))
    several = len(report.runs) > 1
    titles = called(report.runs)
    shown = {
        "frontiers": charts.frontiers(report),
        "curves": curve_pictures(report, by_round=False),
        "rounds": curve_pictures(report, by_round=True),
        "differences": charts.differences(report),
    }
    return environment.get_template("report.html.jinja").render(
        report=report,
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        meta=_meta(report),
        several=several,
        few=_FEW,
        verdict=of_runs.verdict(report, titles),
        titles=titles,
        briefly=of_runs.briefly(report),
        contents=_contents(report, {name for name, pictures in shown.items() if pictures}),
        summary=of_runs.summary(report),
        spreads=of_runs.spreads(report),
        information=proofs.information(
            report.runs, [titles[run.name] for run in report.runs], "information", "information.csv"
        ),
        statements=of_runs.statements(report.claims, "statements.csv"),
        views=[
            view_of(run, titles[run.name], f"run-{number}", [] if several else report.claims)
            for number, run in enumerate(report.runs, 1)
        ],
        **shown,
    )


def _order(run: Run) -> tuple[str, str, int, int, bool, str]:
    """What is asked, then what is done against it: first nothing."""
    return run.data, run.secret, run.k, run.others, run.defense != "none", run.defense


def _meta(report: Report) -> str:
    runs = f"{len(report.runs)} run{'' if len(report.runs) == 1 else 's'}"
    written = f", written {report.written.replace('T', ' ')}" if report.written else ""
    version = f", leakage {report.version}" if report.version else ""
    return f"{runs}{written}{version}."


def _contents(report: Report, there: set[str]) -> list[tuple[str, str]]:
    """The parts of the page, an anchor and its words each."""
    several = len(report.runs) > 1
    parts = [
        ("attacked", "What was attacked", len(report.runs) == 1),
        ("runs", "All runs", several),
        ("frontier", "Utility against gain", "frontiers" in there),
        ("curves", "Curves", bool({"curves", "rounds"} & there)),
        ("differences", "Differences", "differences" in there),
        ("statements", "Statements", several and bool(report.claims)),
        ("details", "Each run" if several else "The run", True),
        ("reading", "How to read a figure", True),
        ("limits", "What this does not prove", True),
    ]
    return [(anchor, words) for anchor, words, is_there in parts if is_there]
