"""The auditor: plays many trials of neighbouring batches under M, and bounds epsilon from below.

1. Canaries are found, at the weights of the first observed round, without any noise.
2. A pilot tells whether M draws noise at all, and whether it is fresh.
3. In every trial a fair coin picks one of two neighbours, and M releases it in each round.
4. Each release is scored, and the scores of a trial are summed over its rounds.
5. Estimators turn the scores into lower bounds; which of them is the headline is settled before 3.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from leakage.audit.canaries import Canary
from leakage.audit.canaries.form import Form, Variants, read_record
from leakage.audit.canaries.hunt import Found, Hunt
from leakage.audit.canaries.record_loss import RecordLoss
from leakage.audit.difference import Difference
from leakage.audit.neighbours import Drawn, Fixed, Neighbours, Side, Whole
from leakage.audit.results import Result, conclude
from leakage.audit.rules import AuditRules
from leakage.audit.tally import noises_of, tallies_of
from leakage.audit.trials import play
from leakage.defenses import Defense, dp_of, final_dp
from leakage.defenses.checks import check_defense
from leakage.errors import LeakageError
from leakage.fields import fields_of
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.gradients.records import PerRecord
from leakage.population import CHALLENGE, FIT, Population
from leakage.randomness import derived_seed, torch_generator
from leakage.rehearsal import Rehearsals
from leakage.rules import Game
from leakage.secrets import Attribute

Progress = Callable[[str], None]
_log = logging.getLogger("leakage.audit")
_OTHERS, _ENTRIES = 512, 2**25  # whose gradients tell what unknown others are like, at most


class Auditor:
    """An audit under way, from round to round.

    Args:
        rules: the settings.
        population: the records.
        defense: M.
        layout: the entries of a gradient.

    Attributes:
        population: the records, with made-up ones behind them: what engines have to go over.
        found: by canary the record, once it was found.
        distances: by canary how far the two gradients of the pair were apart when it was found.
        delta: at which epsilon is told.
    """

    def __init__(
        self, rules: AuditRules, population: Population, defense: Defense, layout: Layout
    ) -> None:
        self._rules, self._layout, self._defense = rules, layout, defense
        probe = population.splits[CHALLENGE][:8]
        self.form = Form.of(population.records, population, probe)
        self._variants = Variants(population.records)
        self.population = replace(population, records=self._variants)
        one = int(probe[0])
        x = self.form.x(read_record(population.records, one))
        is_row = torch.equal(x, population.features[one])  # pictures have but a summary there
        self.fields = fields_of(population) if is_row else ()
        self._difference = Difference.of(rules, population)
        self._labels = int(population.labels.max()) + 1
        for canary in rules.hunted:
            canary.check(self.fields, self._labels, self._difference.swap)
        self._rehearsals: Rehearsals | None = None
        if defense.rehearses:
            self._rehearsals = self._rehearse(population)
        else:
            check_defense(defense, layout, rules.k)
        self.delta = rules.delta_for(defense)
        rules.check_trials(self.delta)
        self._others, self._pool = self._seats(population)
        self.found: dict[str, Found] = {}
        self.distances: dict[str, float] = {}
        self._tallies = tallies_of(rules, defense)

    def observe(
        self, round_: int, engine: GradientEngine, loss: RecordLoss, progress: Progress
    ) -> None:
        """Plays all trials of a round.

        Args:
            round_: epochs before it.
            engine: at the weights of the round, over `population`.
            loss: of one record, at the same weights.
            progress: is told what is under way.
        """
        rules = self._rules
        engine.layout.check_same(self._layout, round_)
        defense = self._defense
        if self._rehearsals is not None:
            defense = self._rehearsals.defender(engine, round_)
        record_map = defense.record_map(self._layout)
        crowd = self._crowd(engine, record_map)
        background = self._background(engine, record_map, round_)
        hunt = Hunt(
            engine=engine,
            variants=self._variants,
            form=self.form,
            fields=self.fields,
            pool=self._pool,
            labels=self._labels,
            clip=None if (dp := dp_of(defense)) is None else dp.clip,
            record_map=record_map,
            swap=self._difference.swap,
            values=self._difference.positions,
            loss=loss,
            others=crowd if rules.background == "unknown" else None,
            seed=derived_seed(rules.seed, "audit", "hunt"),
        )
        for canary in rules.hunted:
            if canary.name not in self.found and round_ == min(rules.rounds):  # 1.
                progress(f"finding {canary.name}")
                self._find(canary, hunt)
            if canary.name not in self.found:
                continue
            progress(f"trials of {canary.name}")
            neighbours = self._neighbours(hunt, canary, background, crowd)
            for sigma, noisy in noises_of(rules, defense).items():
                tally, values = self._tallies[canary.name, sigma], self._difference.positions
                play(tally, rules, neighbours, noisy, values, self._layout, round_)

    def records(self) -> dict[str, dict[str, Tensor]]:
        """By canary x as it stands in the batches: with a0 and with a1, or as it is."""
        made: dict[str, dict[str, Tensor]] = {}
        for canary in self._rules.hunted:
            if canary.has_record and canary.name in self.found:
                x = self.found[canary.name].x
                made[canary.name] = {"x": x}
                if (swap := self._difference.swap) is not None:
                    named = zip(self._difference.values, self._difference.positions, strict=True)
                    made[canary.name] = {name: swap(x, value) for name, value in named}
        return made

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the two values of the attribute; none for membership."""
        return self._difference.values

    def conclude(self) -> list[Result]:
        """All figures, once the last round was observed."""
        final = final_dp(self._defense) is not None
        played = [tally for tally in self._tallies.values() if tally.canary in self.found]
        return conclude(played, self._rules, self.delta, final)

    @property
    def sensitivity(self) -> float:
        """How far neighbouring sums may lie apart, C or 2C; 0 without DP."""
        dp = dp_of(self._defense)
        return 0.0 if dp is None else dp.sensitivity(self._rules.adjacency)

    def _find(self, canary: Canary, hunt: Hunt) -> None:
        """Finds a canary; one that nobody asked for by name may be left out."""
        try:
            if hunt.engine.records_mix and not canary.has_record:
                raise LeakageError("the model has no sum of records that it could be added to")
            found = canary.find(hunt)
        except LeakageError as error:
            if self._rules.canaries is not None:
                raise LeakageError(
                    f"audit.canaries: {canary.name} cannot be found: {error}"
                ) from error
            _log.warning("the canary %s is left out: %s", canary.name, error)
            return
        self.found[canary.name], self.distances[canary.name] = found, math.nan
        if not hunt.engine.records_mix:  # else no record has a gradient of its own
            pair = canary.gradients(hunt, found, torch.zeros(self._layout.p)).double()
            self.distances[canary.name] = float((pair[1] - pair[0]).norm())

    def _rehearse(self, population: Population) -> Rehearsals:
        rules, defense = self._rules, self._defense
        if rules.attribute is None:
            raise LeakageError(
                f"defense: {defense.label} is fitted on batches whose secrets are known, which an"
                " audit of membership does not have; name an attribute in audit.attribute"
            )
        secret = Attribute(rules.attribute, "target")
        game = Game(secret, k=rules.k, memory=rules.memory, seed=rules.seed)
        c = len(population.traits[rules.attribute].values)
        prior = torch.full((c,), 1 / c, dtype=torch.float64)
        return Rehearsals(game, population, population, prior, defense, self._layout)

    def _seats(self, population: Population) -> tuple[Tensor, Tensor]:
        """The k - 1 records beside the canary, and those that canaries are made of."""
        records, others = population.splits[CHALLENGE], self._rules.k - 1
        if len(records) < 2 * max(1, others):
            raise LeakageError(
                f"audit.k: k = {self._rules.k} records of a batch and the canaries come from the"
                f" {CHALLENGE} split, which holds {len(records)}; at most k ="
                f" {len(records) // 2 + 1} is allowed"
            )
        generator = torch_generator(self._rules.seed, "audit", "seats")
        order = records[torch.randperm(len(records), generator=generator)]
        return order[:others], order[others:].sort().values

    def _crowd(self, engine: GradientEngine, record_map: PerRecord | None) -> Tensor:
        """What each of some other records adds to a sum, (m, p): those that the auditor has."""
        if self._rules.background == "known" or engine.records_mix:
            return torch.empty(0, self._layout.p)
        records = self.population.splits[FIT][: max(2, min(_OTHERS, _ENTRIES // self._layout.p))]
        generator = torch_generator(self._rules.seed, "audit", "crowd")
        return engine.means(records.unsqueeze(1), generator, record_map)

    def _background(
        self, engine: GradientEngine, record_map: PerRecord | None, round_: int
    ) -> Tensor:
        """The sum over the k - 1 records beside the canary, (p,); 0 where records have none."""
        if engine.records_mix or not len(self._others):
            return torch.zeros(self._layout.p)
        generator = torch_generator(self._rules.seed, "audit", "background", round_)
        mean = engine.means(self._others.unsqueeze(0), generator, record_map)[0]
        return mean * len(self._others)

    def _neighbours(
        self, hunt: Hunt, canary: Canary, background: Tensor, crowd: Tensor
    ) -> Neighbours:
        engine, record_map = hunt.engine, hunt.record_map
        others, known = len(self._others), self._rules.background == "known"
        found = self.found[canary.name]
        if engine.records_mix:
            if others == 0 and hunt.swap is None:
                raise LeakageError(
                    "audit.k: the gradient of this model is no mean over records, so that an empty"
                    " batch has none; take k of at least 2 in an audit of membership"
                )
            zero, one = hunt.index(found)
            indices: dict[Side, int] = {"one": one}
            if zero is not None:
                indices["zero"] = zero
            trials = self._others if known else None
            return Whole(engine, record_map, self._pool, trials, indices, others, self._others)
        gradients = canary.gradients(hunt, found, background)
        adds: dict[Side, Tensor] = {"one": gradients[1]}
        if hunt.swap is not None:
            adds["zero"] = gradients[0]
        fixed = Fixed(background, adds, others)
        if known or not others:
            return fixed
        return Drawn(engine, record_map, self._pool, adds, others, crowd, fixed)
