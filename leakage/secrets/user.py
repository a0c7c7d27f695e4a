"""User inference: a is which of m candidates a batch came from (Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from typing_extensions import override

from leakage.errors import LeakageError
from leakage.population import CHALLENGE, FIT, GAME_SPLITS, Population
from leakage.randomness import derived_seed, torch_generator
from leakage.secrets.base import (
    Pool,
    Seats,
    Secret,
    Sizes,
    draw_of_class,
    largest_unit,
)


@dataclass(frozen=True)
class User(Secret):
    """Which of m candidates the k records are of; no candidate is in the shadow data.

    The adversary has met each candidate: it holds `enrolment` batches of records of each, none of
    which is ever in a batch that it is asked about. It learns how users differ from others.

    Args:
        candidates: m, at least 2, drawn from the users of the challenge split with enough records;
            or which of them, by their numbers.
        enrolment: batches of k records of each candidate that the adversary holds, at least 1.
        queries: disjoint batches of k that a candidate's other records have to be enough for.
    """

    candidates: int | list[int] = 8
    enrolment: int = 5
    queries: int = 5

    def __post_init__(self) -> None:
        m = self.candidates if isinstance(self.candidates, int) else len(set(self.candidates))
        if m < 2 or (isinstance(self.candidates, list) and m < len(self.candidates)):
            raise LeakageError(
                f"{self.key}.candidates: at least 2 are needed, each once, got {self.candidates}"
            )
        for name, value in (("enrolment", self.enrolment), ("queries", self.queries)):
            if value < 1:
                raise LeakageError(f"{self.key}.{name}: at least 1 is needed, got {value}")

    @property
    @override
    def name(self) -> str:
        return "user"

    @property
    def _m(self) -> int:
        return self.candidates if isinstance(self.candidates, int) else len(self.candidates)

    @override
    def seats(self, population: Population, sizes: Sizes) -> Seats:
        pools: dict[str, Pool] = {}
        enrolled: list[Tensor] = []
        users: list[int] = []
        for split in GAME_SPLITS:
            users = self._users(population, split, sizes)
            records, classes = [], []
            for number, user in enumerate(users):
                own = _records_of(population, split, user)
                if split != FIT:
                    met = self.enrolment * sizes.shadow_k
                    enrolled.append(own[:met].view(self.enrolment, sizes.shadow_k))
                    own = own[met:]
                records.append(own)
                classes.append(torch.full_like(own, number))
            pools[split] = Pool(split, torch.cat(records), torch.cat(classes))
        support = tuple(f"user {user}" for user in users)
        return Seats(support, pools, torch.stack(enrolled))

    def _users(self, population: Population, split: str, sizes: Sizes) -> list[int]:
        """The users of a split who play, in the order of their seats."""
        if split == CHALLENGE and isinstance(self.candidates, list):
            return self.candidates
        needed = self._needed(split, sizes)
        sizes_of = _sizes_of(population, split)
        enough = [user for user, size in sizes_of.items() if size >= needed]
        if split == CHALLENGE:  # a random order that neither k nor m changes
            enough.sort(key=lambda user: derived_seed(0, "candidate", user))
            return enough[: self._m]
        return enough

    def _needed(self, split: str, sizes: Sizes) -> int:
        """The records that a user of a split needs."""
        if split == FIT:
            return 2 * sizes.shadow_k  # with fewer, its batches would all be about the same
        return self.enrolment * sizes.shadow_k + self.queries * sizes.of(split)

    @override
    def draw(
        self, values: Tensor, k: int, pool: Pool, generator: Generator, targets: Tensor | None
    ) -> Tensor:
        return draw_of_class(values, k, pool, generator)

    @override
    def check(self, population: Population, sizes: Sizes) -> None:
        units = population.units
        if len(units.unique()) == len(units):
            raise LeakageError(
                f"{self.key}: User asks whose records a batch is made of, but each record of"
                f" {population.name} is a user of its own; name the column of the table that says"
                " whose a record is in attack.units, or use another secret"
            )
        for split in GAME_SPLITS:
            self._check_split(population, split, sizes)
        seats = self.seats(population, sizes)
        assert seats.enrolled is not None
        if sizes.others:
            for split in GAME_SPLITS:
                records = strangers_of(population, split, seats)
                held = len(records) - largest_unit(population.units, records)
                if held < sizes.others:
                    raise LeakageError(
                        f"attack.others: {sizes.others} records of other users are wanted in each"
                        f" batch, but beside its largest user the {split} split holds {held} that"
                        " no candidate is enrolled from"
                    )

    def _check_split(self, population: Population, split: str, sizes: Sizes) -> None:
        held, needed = _sizes_of(population, split), self._needed(split, sizes)
        given = self.candidates if split == CHALLENGE else self._m
        least = 2 if split == FIT else self._m
        for user in given if isinstance(given, list) else []:
            if user not in held:
                raise LeakageError(
                    f"{self.key}.candidates: user {user} has no record in the challenge split,"
                    f" whose users are {_some(list(held))}"
                )
            if held[user] < needed:
                raise LeakageError(
                    f"{self.key}.candidates: user {user} has {held[user]} records, but"
                    f" {self._sum(split, sizes)} are needed; {_REMEDY}"
                )
        if isinstance(given, list):
            return
        if len(held) < least:
            raise LeakageError(
                f"{self.key}.candidates: {least} users are needed in the {split} split, which has"
                f" {len(held)}; lower it or give that split more users"
            )
        enough = sum(size >= needed for size in held.values())
        if enough < least:
            ranked = sorted(held, key=lambda user: (-held[user], user))
            short, smallest = ranked[enough], ranked[-1]
            raise LeakageError(
                f"attack.k: {least} users of the {split} split need {self._sum(split, sizes)}"
                f" records each, but {enough} of {len(held)} have as many: user {short} has"
                f" {held[short]}, and user {smallest}, the smallest, {held[smallest]}; {_REMEDY}"
            )

    def _sum(self, split: str, sizes: Sizes) -> str:
        if split == FIT:
            return f"2 * k = {self._needed(split, sizes)}"
        k, shadow_k = sizes.of(split), sizes.shadow_k
        if k == shadow_k:
            return f"k * (enrolment + queries) = {self._needed(split, sizes)}"
        return f"shadow_k * enrolment + k * queries = {self._needed(split, sizes)}"


def strangers_of(population: Population, split: str, seats: Seats) -> Tensor:
    """The records of a split that may be those of other clients: none that a user is met by."""
    records = population.splits[split]
    return records if seats.enrolled is None else records[~torch.isin(records, seats.enrolled)]


_REMEDY = "lower attack.k, attack.secret.enrolment or attack.secret.queries"


def _sizes_of(population: Population, split: str) -> dict[int, int]:
    """The number of records of each user of a split."""
    users, counts = population.units[population.splits[split]].unique(return_counts=True)
    return dict(zip(users.tolist(), counts.tolist(), strict=True))


def _records_of(population: Population, split: str, user: int) -> Tensor:
    """The records of a user in an order that is random and stays: first those it is met by."""
    records = population.splits[split]
    own = records[population.units[records] == user].sort().values
    return own[torch.randperm(len(own), generator=torch_generator(0, "enrolment", user))]


def _some(users: list[int]) -> str:
    shown = ", ".join(map(str, users[:8]))
    return shown + (", ..." if len(users) > 8 else "")
