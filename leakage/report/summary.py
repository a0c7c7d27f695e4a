"""The table that a run ends with on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from leakage.adversaries.looks import SEEN
from leakage.knowledge import HEADLINE, INFORMATION
from leakage.report.rows import ALL, Row
from leakage.report.words import with_limits


def summary_table(
    rows: Sequence[Row],
    baselines: Mapping[tuple[int, str], str],
    utility: str,
    data: str,
    told: Sequence[str] = (),
) -> str:
    """Secret, defense, adversary, AUROC with interval, gain, bits, best baseline, utility.

    Args:
        rows: all rows of the run.
        baselines: the best baseline of each round, alone and summed.
        utility: the model's, in words.
        data: the data set, and whether it is a stand-in.
        told: what else a reader has to know of the game, a line each.
    """
    first = rows[0]
    curve = [row for row in rows if (row.k, row.others) != (first.k, first.others)]
    rows = [row for row in rows if (row.k, row.others) == (first.k, first.others)]
    by_layer = [row for row in rows if row.layers != SEEN]
    rows = [row for row in rows if row.layers == SEEN and row.group == ALL]
    figures = {
        (row.round, row.rounds, row.knowledge, row.adversary, row.metric): row for row in rows
    }
    header = (
        "round",
        "rounds",
        "knowledge",
        "adversary",
        "AUROC [95%]",
        "ASR",
        "gain [95%]",
        "bits",
        "best baseline",
    )
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if row.metric != "auroc" or not row.knowledge:
            continue
        if row.defense == "none" and row.knowledge == "adaptive":
            continue  # there is no M to know, so both are one and the same
        key = (row.round, row.rounds, row.knowledge, row.adversary)
        best = baselines[row.round, row.rounds]
        rival = figures[row.round, row.rounds, "", best, "auroc"]
        lines.append(
            (
                str(row.round),
                row.rounds,
                "either" if row.defense == "none" else row.knowledge,
                row.adversary,
                with_limits(row),
                f"{figures[*key, 'asr'].value:.3f}",
                with_limits(figures[*key, "gain"], sign=True),
                f"{figures[*key, 'bits'].value:.3f}",
                f"{best} ({rival.value:.3f})",
            )
        )
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    table = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [header, *lines]
    ]
    others = f" + {first.others} of others" if first.others else ""
    title = f"secret {first.secret}, k = {first.k}{others}, defense {first.defense}, data {data}"
    rule = "-" * max(map(len, table))
    notes = [
        *_refused(rows),
        _strongest(rows),
        *_errors(rows),
        *_layers(by_layer),
        *_aggregation(curve),
        _baselines(rows),
        *_information(rows),
        *told,
        utility,
    ]
    return "\n".join([title, rule, *table, rule, *notes])


def _strongest(rows: Sequence[Row]) -> str:
    """The most that any adversary got in the last round, of those that know of the defense."""
    last = [row for row in rows if row.metric == "auroc" and row.knowledge in HEADLINE]
    last = [row for row in last if (row.round, row.rounds) == (last[-1].round, last[-1].rounds)]
    best = max(last, key=lambda row: row.value)
    together = "all rounds together" if best.rounds == "sum" else f"round {best.round}"
    known = "" if best.defense == "none" else f" ({best.knowledge})"
    return f"strongest: {best.adversary}{known}, {together}: AUROC {with_limits(best)}"


def _information(rows: Sequence[Row]) -> list[str]:
    """What is proven of the secret, in bits and as an error, and the epsilon of the releases."""
    view = [row for row in rows if row.adversary == INFORMATION]
    last = (view[-1].round, view[-1].rounds)
    found = {row.metric: row for row in view if (row.round, row.rounds) == last}
    when = "all rounds together" if last[1] == "sum" else f"round {last[0]}"
    floor, ceiling = found["bits_floor"], found["bits_ceiling"]
    least = f"at least {floor.value:.3f} ({floor.note})"
    if floor.value == 0:
        least = "none is proven to leak (one-sided 95%)"
    elif math.isnan(floor.value):
        least = f"no least number ({floor.note})"
    said = f"of {found['entropy'].value:.3f} bits, {when}: {least}"
    if math.isnan(ceiling.value):
        said += f"; {ceiling.note}"
    else:
        said += f"; at most {ceiling.value:.3f} by DP"
        error = found["error_floor"].value
        said += f" ({ceiling.note})" if ceiling.note else f", so anybody errs in {error:.3f}"
    lines = [said]
    for metric, what in (
        ("epsilon_release_record", "whoever sees whose batch a release is"),
        ("epsilon_release_secret", "the same for the secret"),
    ):
        if metric in found:
            lines.append(f"{what}: epsilon {found[metric].value:.3g}, {found[metric].note}")
    return lines


def _layers(rows: Sequence[Row]) -> list[str]:
    """The layers that tell most when they are all that an adversary sees."""
    rows = [row for row in rows if row.knowledge in HEADLINE]
    if not rows:
        return []
    ranked = sorted(rows, key=lambda row: -row.value)[:3]
    shown = ", ".join(f"{row.layers} {row.value:.3f}" for row in ranked)
    first = rows[0]
    return [f"one layer alone, round {first.round}, AUROC of {first.adversary}: {shown}"]


def _errors(rows: Sequence[Row]) -> list[str]:
    """How far the guess of a quantity is off, beside a guess without gradients."""
    last = [row for row in rows if row.metric == "mae" and row.knowledge != "static"]
    last = [row for row in last if (row.round, row.rounds) == (last[-1].round, "alone")]
    if not last:
        return []
    shown = ", ".join(f"{row.adversary} {with_limits(row)}" for row in last)
    return [f"mean error of the median, round {last[-1].round} alone: {shown}"]


def _aggregation(rows: Sequence[Row]) -> list[str]:
    """The most that any adversary got at each further batch size and number of clients."""
    points: dict[tuple[int, int], Row] = {}
    for row in rows:
        if (row.metric, row.group, row.layers) == ("auroc", ALL, SEEN) and (
            row.knowledge in HEADLINE
        ):
            place = (row.k, row.others)
            points[place] = max(points.get(place, row), row, key=lambda r: r.value)
    if not points:
        return []
    shown = ", ".join(
        f"k {k}{f' in {1 + others / k:g} clients' if others else ''} {with_limits(row)}"
        for (k, others), row in points.items()
    )
    return [f"elsewhere on the curve, AUROC: {shown}"]


def _refused(rows: Sequence[Row]) -> list[str]:
    """Why figures have no interval, once."""
    refused = [row for row in rows if row.metric == "auroc" and "no interval" in row.note]
    return list(dict.fromkeys(row.note for row in refused))[:1]


def _baselines(rows: Sequence[Row]) -> str:
    """The AUROC of each baseline in the last round, and what it would have to know."""
    needs = {"imputation": " (to one who knows the other features of the records)"}
    last = [row for row in rows if row.metric == "auroc" and not row.knowledge]
    shown = ", ".join(
        f"{row.adversary} {row.value:.3f}{needs.get(row.adversary, '')}"
        for row in last
        if (row.round, row.rounds) == (last[-1].round, "alone")
    )
    return f"without gradients, round {last[-1].round} alone, AUROC: {shown}"
