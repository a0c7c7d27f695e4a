"""Prototypical network: an embedding that is trained to tell users from few releases of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F
from typing_extensions import override

from leakage.adversaries.base import Scores, Surface, check_numbers
from leakage.adversaries.identifiers import Identifier, LinearDiscriminant, standardised
from leakage.randomness import torch_generator

_EACH = 5  # releases of a user that make its prototype, and as many that are asked about
_CHECKED = 25  # episodes between two looks at users who are not trained on


@dataclass(frozen=True)
class Prototypes(Identifier):
    """A network trained on episodes of shadow users (Snell et al. 2017).

    The embedding is Fisher's, scaled, beside that of a multilayer perceptron. It starts as about
    the first alone; a fifth of the shadow users is held out, and the best embedding on those is
    kept, so that it is hardly ever worse. With few shadow users that often is the first one: then
    its figures are Fisher's, and confirm nothing.

    Args:
        features: how many numbers are left of a release.
        hidden: the width of the hidden layer.
        dimension: of the part that is learned.
        episodes: how many it is trained on.
        ways: users of an episode, at most.
        rate: of Adam.
        reduce: `f_test`, `sketch`, or `auto`.
    """

    features: int = 1024
    hidden: int = 128
    dimension: int = 64
    episodes: int = 300
    ways: int = 16
    rate: float = 1e-3
    reduce: Literal["auto", "f_test", "sketch"] = "auto"

    def __post_init__(self) -> None:
        check_numbers(self)

    @override
    def fit(
        self,
        releases: NDArray[np.float32],
        values: NDArray[np.int64],
        surface: Surface,
        seed: int,
    ) -> Scores:
        linear = LinearDiscriminant(self.features, self.reduce).fit(releases, values, surface, seed)
        scaled = standardised(releases)

        def seen(rows: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
            parts = linear(rows), scaled(rows)
            return torch.from_numpy(parts[0]).float(), torch.from_numpy(parts[1]).float()

        with torch.inference_mode(False), torch.enable_grad():
            network = self._trained(*seen(releases), torch.from_numpy(values), seed)

        def embed(rows: NDArray[np.float32]) -> NDArray[np.float64]:
            with torch.no_grad():
                return network(*seen(rows)).double().numpy()

        return embed

    def _trained(self, linear: Tensor, rows: Tensor, users: Tensor, seed: int) -> _Network:
        generator = torch_generator(seed, "prototypes")
        of_user = [(users == user).nonzero().flatten() for user in users.unique().tolist()]
        of_user = [own for own in of_user if len(own) > 1]
        order = torch.randperm(len(of_user), generator=generator).tolist()
        held_out = max(2, len(of_user) // 5)
        network = _Network(rows.shape[1], self.hidden, self.dimension, generator)
        if len(of_user) - held_out < 2:
            return network
        known = [of_user[i] for i in order[held_out:]]
        unknown = list(_episodes([of_user[i] for i in order[:held_out]], 20, 16, generator))
        optimizer = torch.optim.Adam(network.weights, lr=self.rate)

        def loss(episode: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            support, query, truth = episode
            ways = support.shape[0]
            prototypes = network(linear[support], rows[support]).mean(1)  # (ways, q)
            asked = network(linear[query], rows[query])
            return F.cross_entropy(-(torch.cdist(asked, prototypes) ** 2) / 2, truth[:, :ways])

        def judged() -> float:
            with torch.no_grad():
                return float(torch.stack([loss(episode) for episode in unknown]).mean())

        best, kept = judged(), network.copied()
        for number, episode in enumerate(_episodes(known, self.episodes, self.ways, generator), 1):
            optimizer.zero_grad()
            loss(episode).backward()
            optimizer.step()
            if number % _CHECKED == 0 and (now := judged()) < best:
                best, kept = now, network.copied()
        network.load(kept)
        return network


class _Network:
    """Fisher's embedding, scaled, beside a perceptron's; its weights are drawn from a generator."""

    def __init__(self, m: int, hidden: int, dimension: int, generator: Generator) -> None:
        first = torch.randn(m, hidden, generator=generator) * (2 / m) ** 0.5
        last = torch.randn(hidden, dimension, generator=generator) * 0.1 / hidden**0.5
        self.weights = [first, torch.zeros(hidden), last, torch.zeros(())]
        for weight in self.weights:
            weight.requires_grad_()

    def __call__(self, linear: Tensor, rows: Tensor) -> Tensor:
        first, bias, last, log_scale = self.weights
        learned = F.relu(rows @ first + bias) @ last
        return torch.cat([linear * log_scale.exp(), learned], dim=-1)

    def copied(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.weights]

    def load(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for mine, given in zip(self.weights, weights, strict=True):
                mine.copy_(given)


def _episodes(
    of_user: list[Tensor], count: int, ways: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Draws users, and of each releases for its prototype and others that are asked about.

    Yields:
        Rows (ways, s) and (n,), and which of the users each of the n is, one-hot (n, ways).
    """
    ways = min(ways, len(of_user))
    for _ in range(count):
        chosen = torch.randperm(len(of_user), generator=generator)[:ways].tolist()
        each = min(_EACH, min(len(of_user[user]) for user in chosen) // 2)
        drawn = torch.stack(
            [
                of_user[user][torch.randperm(len(of_user[user]), generator=generator)[: 2 * each]]
                for user in chosen
            ]
        )
        truth = torch.eye(ways).repeat_interleave(each, dim=0)
        yield drawn[:, :each], drawn[:, each:].flatten(), truth
