"""The trials of one canary: a fair coin picks a neighbour, M releases it, the release is scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from leakage.audit.neighbours import Drawn, Neighbours, Side
from leakage.audit.pilot import Pilot, check_fresh, pilot_of, released
from leakage.audit.rules import AuditRules
from leakage.audit.scoring import (
    Linear,
    Sampled,
    gaussian_score,
    noise_fits,
    pilot_score,
    silent_score,
    whitened_score,
)
from leakage.audit.tally import Tally
from leakage.defenses import Defense, NoDefense, dp_of, final_dp, noiseless
from leakage.defenses.checks import checked_release
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.randomness import numpy_generator, torch_generator

SIDES: tuple[Side, Side] = ("zero", "one")
_PILOT, _LONG_PILOT = 64, 512  # releases of each neighbour before the trials
_PILOTED = 2**25  # entries that they may have


def play(
    tally: Tally,
    rules: AuditRules,
    neighbours: Neighbours,
    defense: Defense,
    values: tuple[int, int],
    layout: Layout,
    round_: int,
) -> None:
    """Adds the scores of one round to a tally.

    Args:
        tally: of one canary under one noise.
        rules: the settings.
        neighbours: what is released.
        defense: M.
        values: the position of the secret on each side, for an M that reads it.
        layout: of a gradient.
        round_: epochs before it.
    """
    names = (tally.canary, str(tally.sigma), round_)
    pilot = _pilot(rules, neighbours, defense, values, layout, names)
    check_fresh(defense, pilot, layout)
    if pilot.deterministic:
        tally.by_theory = False
        ever = 1 - (1 - rules.q) ** len(rules.rounds)  # that any release has taken the canary
        if pilot.silent.any() and ever <= rules.delta_for(defense):  # which delta forgives
            tally.alike = f"{_who(defense)}, but takes the canary as seldom as q = {rules.q:g}"
        elif pilot.silent.any():
            told = _in_words(pilot, layout, defense, rules)
            tally.certain = tally.certain or told
        else:
            tally.alike = f"{_who(defense)}, and releases this pair alike"
        return
    score = _score(tally, rules, neighbours, defense, pilot, layout, round_)
    for side, value, sums in zip(SIDES, values, (tally.zero, tally.one), strict=True):
        generator = numpy_generator(rules.seed, "audit", "present", side, *names)
        present = generator.random(len(sums)) < rules.q
        parts: tuple[tuple[Side, NDArray[np.bool_]], ...] = ((side, present), ("absent", ~present))
        for shown, rows in parts:
            n = int(rows.sum())
            if not n:
                continue
            noise, batches = (
                torch_generator(rules.seed, "audit", what, side, shown, *names)
                for what in ("noise", "batches")
            )
            means = neighbours.means(shown, n, batches)
            blocks = released(defense, means, neighbours.k(shown), value, layout, noise)
            if final_dp(defense) is not None:
                blocks = _no_repeats(blocks, defense, tally.canary, layout)
            sums[rows] += score(blocks)


def _pilot(
    rules: AuditRules,
    neighbours: Neighbours,
    defense: Defense,
    values: tuple[int, int],
    layout: Layout,
    names: tuple[str | int, ...],
) -> Pilot:
    rows = _PILOT if final_dp(defense) else _LONG_PILOT
    rows = max(4, min(rows, _PILOTED // layout.p))  # not by the memory: figures would follow it
    batches = torch_generator(rules.seed, "audit", "pilot batches", *names)
    means = [neighbours.one_batch(side, rows, batches) for side in SIDES]
    return pilot_of(
        defense,
        (means[0], means[1]),
        (neighbours.k("zero"), neighbours.k("one")),
        values,
        layout,
        torch_generator(rules.seed, "audit", "pilot", *names),
        rows,
    )


def _score(
    tally: Tally,
    rules: AuditRules,
    neighbours: Neighbours,
    defense: Defense,
    pilot: Pilot,
    layout: Layout,
    round_: int,
) -> Linear | Sampled:
    """How a release is scored, settled before any trial; tells the tally what theory says of it."""
    dp, final, clean = dp_of(defense), final_dp(defense), noiseless(defense)
    if dp is None or dp.sigma is None or clean is None:
        tally.by_theory = False
        return tally.expect(pilot_score(pilot.zero, pilot.one))
    std = dp.sigma * dp.clip / dp.batch

    def release(side: Side) -> Tensor:
        """What M adds its noise to, (p,)."""
        k, generator = max(1, neighbours.k(side)), Generator()
        return checked_release(clean, neighbours.typical(side), k, layout, generator)[0]

    zero, one = release("zero"), release("one")
    difference = one.double() - zero.double()
    tally.distance += float(difference.norm() / std) ** 2
    if final is None:  # the direction is the best guess, and no theory tells the rest
        tally.by_theory = False
        unit = difference / difference.norm().clamp(min=1e-30)
        return Linear(pilot.zero.double().mean(0), unit, 0.0, 0.0)
    if pilot.silent.any():
        silent = [name for name in layout.names if pilot.silent[layout.span(name)].any()]
        tally.findings.add(f"no noise in {', '.join(silent)}, although {defense.label} claims it")
        tally.by_theory &= rules.q == 1 and not isinstance(neighbours, Drawn)
        return tally.expect(silent_score(pilot.zero[0], pilot.one[0], pilot.silent))
    plain = gaussian_score(zero, one, std)
    if not noise_fits(plain, pilot.zero, pilot.one, std):
        tally.by_theory = False  # thresholds for noise as it should be may show nothing of this
        tally.findings.add(f"it does not vary as that of {defense.label}, before any trial")
    if isinstance(neighbours, Drawn):
        tally.by_theory &= rules.q == 1
        others = neighbours.crowd / dp.batch
        return tally.expect(whitened_score(zero, one, std, others, neighbours.others))
    if rules.q == 1:
        return tally.expect(plain)
    absent = release("absent")
    sampled = Sampled(absent, zero - absent, one - absent, std, rules.q)
    rng = numpy_generator(rules.seed, "audit", "foreseen", tally.canary, str(tally.sigma), round_)
    tally.foresee(
        sampled.expected("zero", len(tally.zero), rng), sampled.expected("one", len(tally.one), rng)
    )
    return sampled


def _no_repeats(
    blocks: Iterator[Tensor], defense: Defense, canary: str, layout: Layout
) -> Iterator[Tensor]:
    """Hands on releases; refuses noise that comes again between trials, where the pilot missed it.

    For an M whose noise comes last: others may well release the same again.

    Releases are told apart by their product with one random direction. The score would not do: it
    may look at a single entry, of which float32 holds few values.
    """
    u = torch.randn(layout.p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = []
    for block in blocks:
        seen.append((block.double() @ u).numpy())
        yield block
    n = sum(map(len, seen))
    repeated = n - len(np.unique(np.concatenate(seen)))
    if n > 100 and 100 * repeated > n:
        raise LeakageError(
            f"defense: the noise of {defense.label} is not fresh: {repeated} of {n} trials of"
            f" {canary} have the very release of another one; draw the noise of every release anew"
            " from the generator that release is given"
        )


def _who(defense: Defense) -> str:
    none = isinstance(defense, NoDefense)
    return "without a defense there is no noise" if none else f"{defense.label} draws no noise"


def _in_words(pilot: Pilot, layout: Layout, defense: Defense, rules: AuditRules) -> str:
    """The entry of a deterministic M that tells the neighbours apart most clearly."""
    difference = (pilot.one[0].double() - pilot.zero[0].double()).abs()
    entry = int(difference.argmax())
    name = next(n for n in layout.names if layout.span(n).start <= entry < layout.span(n).stop)
    place = entry - layout.span(name).start
    when = "every time"
    if rules.q < 1:
        when = f"whenever the canary takes part (q = {rules.q:g})"
    if rules.background == "unknown":
        when += ", beside one and the same other records, for which a guarantee has to hold too"
    return (
        f"{_who(defense)}: entry {place} of {name} is released as"
        f" {float(pilot.zero[0, entry]):.6g} with one neighbour and as"
        f" {float(pilot.one[0, entry]):.6g} with the other, {when}"
    )
