"""Canaries are told as well as they claim: against closed forms, plain autograd and each other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule
from populations import population
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from leakage.audit.canaries import (
    Canary,
    CraftedCanary,
    GivenCanary,
    GradientCanary,
    MislabelledCanary,
    NaturalCanary,
    RandomCanary,
)
from leakage.audit.canaries.crafting import Crafting
from leakage.audit.canaries.form import Form, Swap, Variants
from leakage.audit.canaries.hunt import Found, Hunt, alignment
from leakage.audit.canaries.record_loss import RecordLoss
from leakage.data.adult import Adult
from leakage.errors import LeakageError
from leakage.fields import fields_of, read, why_invalid
from leakage.gradients.clip import Clip
from leakage.gradients.engine import GradientEngine
from leakage.gradients.loss import Loss
from leakage.gradients.source import Source
from leakage.models.image import Image
from leakage.models.tabular import Tabular
from leakage.population import CHALLENGE, Population

FEW = CraftedCanary(steps=8, restarts=2, search=60)
NATURAL, MISLABELLED = NaturalCanary(60), MislabelledCanary(60)


class Logistic(LightningModule):
    """Logistic regression without a bias: the gradient of a record is (sigmoid(w.x) - y) x."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w.clone())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.binary_cross_entropy_with_logits(x @ self.w, y.float())


def hunt_for(
    own: Population, module: nn.Module, attribute: str | None, clip: float | None = 1.0
) -> Hunt:
    variants = Variants(own.records)
    form = Form.of(own.records, own, own.splits[CHALLENGE][:8])
    return Hunt(
        engine=GradientEngine(module, variants, own.splits[CHALLENGE][:6]),
        variants=variants,
        form=form,
        fields=fields_of(own),
        pool=own.splits[CHALLENGE],
        labels=int(own.labels.max()) + 1,
        clip=clip,
        record_map=None if clip is None else Clip(clip),
        swap=None if attribute is None else Swap.of(own, own.traits[attribute]),
        loss=RecordLoss(Loss(module), Source(own.records)),
    )


def logistic_hunt(attribute: str | None, clip: float | None = None) -> tuple[Hunt, Tensor]:
    """Records (N, 6) of which columns 1 and 2 tell the attribute, and w."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    codes = torch.randint(2, (400,), generator=generator)
    x[:, 1:3] = torch.eye(2)[codes]
    w = torch.randn(6, generator=generator)
    own = population(x, codes, one_hot=(1, 2))
    return hunt_for(own, Logistic(w), attribute, clip), w


def gradient(w: Tensor, x: Tensor, y: int | None, clip: float | None) -> Tensor:
    """The closed form, clipped."""
    assert y is not None
    g = (torch.sigmoid(w.double() @ x.double()) - y) * x.double()
    return g if clip is None else g * min(1.0, clip / float(g.norm()))


@pytest.fixture(scope="module")
def adult(adult_root: Path) -> Population:
    data = Adult(str(adult_root))
    data.prepare_data()
    data.setup("fit")
    return data.population


def adult_hunt(adult: Population, attribute: str | None = "sex") -> Hunt:
    torch.manual_seed(0)
    return hunt_for(adult, Tabular(adult.features.shape[1], hidden=[16]), attribute)


@pytest.fixture(scope="module")
def hunt(adult: Population) -> Hunt:
    return adult_hunt(adult)


@pytest.fixture(scope="module")
def crafted(hunt: Hunt) -> Found:
    return FEW.find(hunt)


def distance(hunt: Hunt, found: Found) -> float:
    return float(hunt.distances([found])[0])


# Against the closed form


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_gradients_of_a_swap_are_those_of_logistic_regression(clip: float | None) -> None:
    hunt, w = logistic_hunt("a", clip)
    found = [hunt.found(index, y) for index in hunt.sample(20) for y in (0, 1)]
    assert hunt.swap is not None
    pairs, distances = hunt.pairs(found), hunt.distances(found)
    for record, pair, apart in zip(found, pairs, distances, strict=True):
        zero, one = (gradient(w, hunt.swap(record.x, a), record.y, clip) for a in (0, 1))
        torch.testing.assert_close(pair.double(), torch.stack([zero, one]), atol=1e-6, rtol=1e-5)
        assert float(apart) == pytest.approx(float((one - zero).norm()), rel=1e-5)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_in_an_audit_of_membership_the_other_neighbour_adds_nothing(clip: float | None) -> None:
    hunt, w = logistic_hunt(None, clip)
    found = [hunt.found(index) for index in hunt.sample(20)]
    for record, pair, apart in zip(
        found, hunt.pairs(found), hunt.distances(found).tolist(), strict=True
    ):
        one = gradient(w, record.x, record.y, clip)
        assert torch.equal(pair[0], torch.zeros(6))
        torch.testing.assert_close(pair[1].double(), one, atol=1e-6, rtol=1e-5)
        assert apart == pytest.approx(float(one.norm()), rel=1e-5)


@pytest.mark.parametrize("attribute", ["a", None])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_natural_and_mislabelled_are_the_worst_records_by_the_closed_form(
    attribute: str | None, clip: float | None
) -> None:
    hunt, w = logistic_hunt(attribute, clip)

    def apart(found: Found, clip: float | None = clip) -> float:
        if hunt.swap is None:
            return float(gradient(w, found.x, found.y, clip).norm())
        zero, one = (gradient(w, hunt.swap(found.x, a), found.y, clip) for a in (0, 1))
        return float((one - zero).norm())

    every = [hunt.found(index) for index in hunt.pool.tolist()]
    wrong = [replace(found, y=1 - found.y) for found in every if found.y is not None]
    for canary, among in ((NaturalCanary(), every), (MislabelledCanary(), wrong)):
        found = canary.find(hunt)
        assert (found.y == hunt.found(found.origin).y) == (among is every)
        assert apart(found) == pytest.approx(max(map(apart, among)), rel=1e-5)
        if hunt.swap is None and clip is not None:  # of all that are clipped, the longest
            assert apart(found, None) == pytest.approx(max(apart(f, None) for f in among), rel=1e-5)


def test_where_both_are_clipped_the_worst_record_has_the_least_cosine(hunt: Hunt) -> None:
    low = replace(hunt, clip=1e-3, record_map=Clip(1e-3))
    raw = replace(hunt, clip=None, record_map=None)
    found = NATURAL.find(low)
    pairs = raw.pairs([raw.found(index) for index in raw.sample(NATURAL.search)])
    cosines = F.cosine_similarity(pairs[:, 0].double(), pairs[:, 1].double())
    assert found.origin == raw.sample(NATURAL.search)[int(cosines.argmin())]
    least = math.sqrt((1 - float(cosines.min())) / 2)
    assert distance(low, found) / 2e-3 == pytest.approx(least, rel=1e-3)


# Against plain autograd


def test_gradients_of_made_up_records_are_those_of_plain_autograd(adult: Population) -> None:
    torch.manual_seed(0)
    module = Tabular(adult.features.shape[1], hidden=[16])
    hunt = hunt_for(adult, module, "sex", clip=None)
    found = MISLABELLED.find(hunt)
    assert hunt.swap is not None
    assert hunt.loss is not None
    for a, row in enumerate(hunt.pairs([found])[0]):
        x = hunt.swap(found.x, a).unsqueeze(0)
        loss = F.cross_entropy(module(x), torch.tensor([found.y]))
        plain = torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])
        torch.testing.assert_close(row, plain, atol=1e-6, rtol=1e-5)
        again = hunt.loss.gradient((x[0], torch.tensor(found.y)))
        torch.testing.assert_close(again.detach(), plain, atol=1e-6, rtol=1e-5)


def test_the_second_derivative_is_that_of_finite_differences() -> None:
    w = torch.tensor([0.3, -0.2, 0.5])
    loss = RecordLoss(Loss(Logistic(w)), Source(TensorDataset(torch.zeros(1, 3))))
    x = torch.tensor([0.7, -1.1, 0.4], requires_grad=True)
    slope = torch.autograd.grad(loss.gradient((x, torch.tensor(1))).norm(), x)[0]
    for j in range(3):
        step = torch.zeros(3)
        step[j] = 1e-3
        ends = [gradient(w, x.detach() + s * step, 1, None).norm() for s in (-1, 1)]
        assert float(slope[j]) == pytest.approx(float(ends[1] - ends[0]) / 2e-3, abs=1e-4)


def test_the_index_of_a_canary_is_that_of_its_two_records(hunt: Hunt) -> None:
    found = NATURAL.find(hunt)
    indices = hunt.index(found)
    assert hunt.swap is not None
    rows = hunt.engine.means(torch.tensor(indices).unsqueeze(1), torch.Generator(), hunt.record_map)
    torch.testing.assert_close(rows, hunt.pairs([found])[0])
    zero, one = (hunt.variants[index] for index in indices if index is not None)
    differ = (zero[0] != one[0]).nonzero().flatten().tolist()
    assert differ == list(hunt.swap.columns)
    assert int(zero[1]) == int(one[1]) == found.y


# Against each other


def test_on_adult_crafted_beats_natural_beats_random(hunt: Hunt, crafted: Found) -> None:
    rho = {
        canary.name: distance(hunt, canary.find(hunt)) / 2
        for canary in (RandomCanary(), NATURAL, MISLABELLED)
    }
    rho["crafted"] = distance(hunt, crafted) / 2
    assert rho["crafted"] > 1.02 * rho["natural"]
    assert rho["natural"] > 1.1 * rho["random"] > 0
    assert rho["crafted"] >= rho["mislabelled"]
    assert rho["crafted"] <= 1


def test_a_crafted_record_of_adult_is_valid_readable_and_without_its_attribute_set(
    adult: Population, hunt: Hunt, crafted: Found
) -> None:
    found = crafted
    assert why_invalid(hunt.fields, found.x) is None
    told = read(hunt.fields, found.x)
    assert set(told) == {field.name for field in adult.fields}
    given = {name: value for name, value in told.items() if name != "sex"}
    again = GivenCanary(dict(given), int(found.y or 0)).find(hunt)
    assert distance(hunt, again) == pytest.approx(distance(hunt, found), rel=1e-5)


def test_without_its_descent_and_without_its_fields_the_start_is_the_worst_record(
    hunt: Hunt,
) -> None:
    bare = replace(hunt, fields=(), loss=None)
    found = FEW.find(bare)
    worst = max(distance(bare, canary.find(bare)) for canary in (NATURAL, MISLABELLED))
    assert distance(bare, found) == worst


def test_an_image_is_crafted_for_membership_within_the_range_of_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 2
    x = torch.rand(120, 3, 16, 16, generator=generator) * y.reshape(-1, 1, 1, 1).add(1)
    own = replace(
        population(torch.zeros(120, 1), y, labels=y),
        records=TensorDataset(x, y),
        features=torch.empty(120, 0),
    )
    torch.manual_seed(0)
    hunt = hunt_for(own, Image(widths=[4, 8]), None, clip=1e3)
    sizes = {c.name: distance(hunt, c.find(hunt)) for c in (RandomCanary(), NATURAL, FEW)}
    assert sizes["crafted"] > 1.1 * sizes["natural"]
    assert sizes["natural"] > sizes["random"]
    found = FEW.find(hunt)
    assert found.x.shape == (3, 16, 16)
    pool = x[hunt.pool]
    assert (found.x <= pool.amax((0, 2, 3)).reshape(3, 1, 1)).all()
    assert (found.x >= pool.amin((0, 2, 3)).reshape(3, 1, 1)).all()


def test_a_penalty_turns_the_difference_away_from_the_others() -> None:
    hunt, _ = logistic_hunt("a", 0.5)
    others = torch.eye(6)[1:2]  # in which every difference has a part
    unknown = replace(hunt, others=others)
    along = []
    for penalty in (0.0, 1.0):
        pair = unknown.pairs([replace(FEW, penalty=penalty).find(unknown)])[0]
        along.append(float(alignment((pair[1] - pair[0]).unsqueeze(0), others)[0]))
    assert along[1] < along[0]


@pytest.mark.parametrize("canary", [RandomCanary(), NATURAL, MISLABELLED, FEW, GradientCanary()])
@pytest.mark.parametrize("attribute", ["a", None])
def test_a_canary_is_the_same_again(canary: Canary, attribute: str | None) -> None:
    one, two = (canary.find(logistic_hunt(attribute, 0.5)[0]) for _ in range(2))
    assert torch.equal(one.x, two.x)
    assert (one.y, one.origin) == (two.y, two.origin)


def test_a_canary_is_the_same_whatever_the_threads(hunt: Hunt, process_state: None) -> None:
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(NATURAL.find(hunt))
    assert (found[0].origin, found[0].y) == (found[1].origin, found[1].y)


def test_a_descent_alone_comes_close_to_the_best_there_is() -> None:
    """In an audit of membership C is reached, and no further than the pool reaches."""
    hunt, w = logistic_hunt(None, 1e3)
    found = Crafting(hunt, 60, 4, 0.1, 0.0, 50)
    starts = found._starts()
    ends = found._descended(starts, found._relaxed(starts))
    x = torch.stack([hunt.found(index).x for index in range(400)])
    low, high = x.amin(0), x.amax(0)
    # Of a label y the gradient is longest in one of the corners: |sigmoid(w.x) - y| |x|.
    corners = torch.cartesian_prod(*torch.stack([low, high], 1))
    corners = corners[corners[:, 1:3].sum(1) == 1]  # one category
    best = max(float(gradient(w, c, y, None).norm()) for c in corners for y in (0, 1))
    assert float(hunt.distances(ends).max()) >= 0.9 * best
    assert distance(hunt, found.best()) == pytest.approx(best, rel=1e-4)


def test_the_objective_of_an_attribute_is_the_cosine_and_what_both_norms_lack_of_c() -> None:
    hunt, _ = logistic_hunt("a", 2.0)
    zero, one = torch.tensor([1.0, 0.0]), torch.tensor([3.0, 3.0])
    found = Crafting(hunt, 1, 1, 0.1, 0.0, 1)._objective([zero, one])
    assert float(found) == pytest.approx(math.cos(math.pi / 4) + 0.5**2)


def test_a_wrong_label_is_wrong_even_where_the_own_one_is_told_better() -> None:
    hunt, w = logistic_hunt(None)
    every = [hunt.found(index) for index in hunt.pool.tolist()]
    misfits = [
        found.origin
        for found in every
        if gradient(w, found.x, found.y, None).norm()
        > gradient(w, found.x, 1 - int(found.y or 0), None).norm()
    ]
    found = MislabelledCanary().find(replace(hunt, pool=torch.tensor(misfits)))
    assert found.y == 1 - int(hunt.found(found.origin).y or 0)


def test_other_seeds_look_at_other_records(hunt: Hunt) -> None:
    assert hunt.sample(30) != replace(hunt, seed=1).sample(30)
    assert hunt.sample(30)[:10] == hunt.sample(10)
    assert set(hunt.sample(10**6)) == set(hunt.pool.tolist())


def test_a_hunt_leaves_no_record_behind(hunt: Hunt) -> None:
    before = len(hunt.variants._made)
    NATURAL.find(hunt)
    GradientCanary.norm(hunt)
    assert len(hunt.variants._made) == before


# The gradient canary


def test_the_gradient_canary_is_2c_apart_on_the_entry_that_moves_least(hunt: Hunt) -> None:
    b = torch.arange(1.0, hunt.engine.layout.p + 1)
    b[[7, 9]] = torch.tensor([-0.5, 0.5])
    canary = GradientCanary()
    zero, one = canary.gradients(hunt, canary.find(hunt), b)
    assert not canary.has_record
    assert float((one - zero).norm()) == 2 * float(hunt.clip or 0)
    assert one.nonzero().flatten().tolist() == zero.nonzero().flatten().tolist() == [7]


def test_the_gradient_canary_of_membership_points_against_a_sum_that_is_known(
    adult: Population,
) -> None:
    hunt, canary = adult_hunt(adult, None), GradientCanary()
    found = canary.find(hunt)
    b = torch.randn(hunt.engine.layout.p, generator=torch.Generator().manual_seed(0))
    zero, one = canary.gradients(hunt, found, b)
    torch.testing.assert_close(one, -b / b.norm())
    assert not zero.any()
    unknown = replace(hunt, others=torch.ones(3, len(b)))
    assert canary.gradients(unknown, found, b)[1].nonzero().flatten().tolist() == [b.abs().argmin()]
    assert float(canary.gradients(hunt, found, b * 0)[1].norm()) == 1


def test_without_clipping_the_gradient_canary_has_the_median_norm() -> None:
    hunt, w = logistic_hunt("a")
    norms = sorted(
        float(gradient(w, hunt.swap(found.x, 1), found.y, None).norm())
        for found in map(hunt.found, hunt.sample(256))
        if hunt.swap is not None
    )
    assert GradientCanary.norm(hunt) == pytest.approx(norms[(len(norms) - 1) // 2], rel=1e-5)


# What is refused


def given(hunt: Hunt, **values: str | float) -> GivenCanary:
    return GivenCanary({**read(hunt.fields, hunt.found(hunt.sample(1)[0]).x), **values}, 1)


def check(canary: Canary, hunt: Hunt) -> None:
    """As an audit does before training."""
    canary.check(hunt.fields, hunt.labels, hunt.swap)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"workclass": "Public"}, "the field workclass is one of Private, Self-emp-not-inc,"),
        ({"age": 170}, "the field age is a whole number from 17 to "),
        ({"agee": 30}, "a record has no field 'agee'; did you mean 'age'?"),
    ],
)
def test_a_given_record_that_is_not_valid_is_refused(
    hunt: Hunt, values: dict[str, str | float], words: str
) -> None:
    with pytest.raises(LeakageError) as error:
        check(given(hunt, **values), hunt)
    assert str(error.value).startswith(f"audit.canaries: {words}")
    assert "\n" not in str(error.value)


def test_a_given_record_needs_all_its_fields_and_a_label_that_there_is(hunt: Hunt) -> None:
    with pytest.raises(LeakageError) as error:
        check(GivenCanary({"age": 39}, 1), hunt)
    assert str(error.value).startswith(
        "audit.canaries: the record of GivenCanary is not a valid one: it has no value of workclass"
    )
    with pytest.raises(LeakageError) as error:
        check(replace(given(hunt), label=2), hunt)
    assert str(error.value) == "audit.canaries: the label of GivenCanary is one of 0 to 1, got 2"
    with pytest.raises(LeakageError, match="but x is no row of a table"):
        check(given(hunt), replace(hunt, fields=()))


def test_a_given_record_is_what_was_given(hunt: Hunt) -> None:
    canary = given(hunt, age=44, education="Masters")
    told = read(hunt.fields, canary.find(hunt).x)
    assert told == {name: str(value) for name, value in canary.values.items()}


def test_mislabelled_needs_a_label(hunt: Hunt) -> None:
    with pytest.raises(LeakageError, match=r"^audit\.canaries: MislabelledCanary gives a record"):
        MISLABELLED.find(replace(hunt, form=replace(hunt.form, label=None)))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(LeakageError, match="NaturalCanary searches at least 1 record, got 0"):
        NaturalCanary(0)
    with pytest.raises(LeakageError, match="CraftedCanary needs steps >= 0"):
        CraftedCanary(penalty=2)
