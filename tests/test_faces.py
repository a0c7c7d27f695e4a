"""The drawn faces that stand in for CelebA and UTKFace."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from leakage.data.celeba_files import ATTRIBUTES
from leakage.data.standins import celeba, utkface
from leakage.data.standins.celeba import CELEBA
from leakage.data.standins.face_canvas import Canvas, smooth
from leakage.data.standins.face_head import measure
from leakage.data.standins.faces import HAIR, ORIGINS, Moment, Person, draw_moment, draw_person
from leakage.data.standins.marker import StandIn
from leakage.data.standins.utkface import UTKFACE
from leakage.data.utkface import parse
from leakage.errors import LeakageError

N = 200
PERSONS = 1500
# Of the official list, rounded; what is not here is not near its share.
SHARES = {
    "Arched_Eyebrows": 0.27, "Attractive": 0.51, "Bangs": 0.15, "Big_Lips": 0.24,
    "Big_Nose": 0.24, "Black_Hair": 0.24, "Blurry": 0.05, "Brown_Hair": 0.21,
    "Bushy_Eyebrows": 0.14, "Chubby": 0.06, "Eyeglasses": 0.07, "Goatee": 0.06,
    "Heavy_Makeup": 0.39, "High_Cheekbones": 0.46, "Male": 0.42, "Mouth_Slightly_Open": 0.48,
    "Narrow_Eyes": 0.12, "No_Beard": 0.84, "Smiling": 0.48, "Wearing_Earrings": 0.19,
    "Wearing_Hat": 0.05, "Wearing_Lipstick": 0.47, "Wearing_Necklace": 0.12, "Young": 0.77,
}  # fmt: skip


@cache
def celeba_files() -> dict[str, bytes]:
    return dict(CELEBA.files(N, 0))


@cache
def utkface_files() -> dict[str, bytes]:
    return dict(UTKFACE.files(N, 0))


@cache
def identities() -> NDArray[np.int64]:
    rows = celeba_files()["identity_CelebA.txt"].decode().split("\r\n")[:-1]
    return np.array([int(row.split(" ")[1]) for row in rows])


def pixels(content: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=float)


@cache
def told() -> dict[str, NDArray[np.bool_]]:
    """The attributes of `PERSONS` pictures, each of another person."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(PERSONS):
        person = celeba.make_person(rng)
        rows.append(celeba.attributes(person, draw_moment(person, rng), rng))
    return {name: np.array([row[name] for row in rows]) for name in ATTRIBUTES}


# CelebA


def test_celeba_has_the_official_files_and_images_of_the_official_size() -> None:
    files = celeba_files()
    images = [f"img_align_celeba/{i:06d}.jpg" for i in range(1, N + 1)]
    lists = ["list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"]
    assert list(files) == images + lists
    for name in images:
        image = Image.open(io.BytesIO(files[name]))
        assert (image.format, image.size, image.mode) == ("JPEG", (178, 218), "RGB")


def test_the_lists_of_celeba_have_the_official_form_byte_for_byte() -> None:
    files = celeba_files()
    count, header, *rows, end = files["list_attr_celeba.txt"].decode().split("\r\n")
    assert (count, end) == (str(N), "")
    assert header.startswith("5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald ")
    assert header.endswith(" Wearing_Necklace Wearing_Necktie Young ")
    assert tuple(header.split()) == ATTRIBUTES
    assert len(rows) == N
    for i, row in enumerate(rows):
        assert re.fullmatch(rf"{i + 1:06d}\.jpg( -1|  1){{40}}", row)
    for name, value in (
        ("identity_CelebA.txt", "[1-9][0-9]*"),
        ("list_eval_partition.txt", "[012]"),
    ):
        *rows, end = files[name].decode().split("\r\n")
        assert (len(rows), end) == (N, "")
        for i, row in enumerate(rows):
            assert re.fullmatch(rf"{i + 1:06d}\.jpg {value}", row)


@pytest.mark.parametrize(
    ("size", "fewest", "mean"), [(200, 30, 7), (3000, 130, 22), (202_599, 9700, 21)]
)
def test_identities_have_1_to_35_images_and_one_partition(
    size: int, fewest: int, mean: float
) -> None:
    owners, partitions = celeba._owners(size, 0)
    assert len(owners) == len(partitions) == size
    assert (np.diff(partitions) >= 0).all()  # as in the official set, side by side
    shares = np.bincount(partitions) / size
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=35 / size)
    counts = np.unique(owners, return_counts=True)[1]
    assert fewest <= len(counts) <= celeba.IDENTITIES
    assert 1 <= counts.min() < counts.max() <= 35
    assert counts.mean() <= mean
    pairs = np.unique(np.stack([owners, partitions]), axis=1)
    assert len(pairs.T) == len(counts)


def test_the_lists_tell_the_identities_and_partitions_that_were_drawn() -> None:
    owners, partitions = celeba._owners(N, 0)
    rows = celeba_files()["list_eval_partition.txt"].decode().split("\r\n")[:-1]
    assert [int(row.split(" ")[1]) for row in rows] == partitions.tolist()
    _, drawn = np.unique(owners, return_inverse=True)
    _, listed = np.unique(identities(), return_inverse=True)
    assert len({*zip(drawn.tolist(), listed.tolist(), strict=True)}) == len(set(drawn.tolist()))
    assert identities().max() <= 10_177


def test_the_attributes_have_about_the_official_shares() -> None:
    for name, share in SHARES.items():
        error = 3 * (share * (1 - share) / PERSONS) ** 0.5
        assert told()[name].mean() == pytest.approx(share, abs=0.04 + error), name
    for name, values in told().items():
        assert 0.01 < values.mean() < 0.95, name


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("Smiling", "High_Cheekbones", 0.3, 0.7),
        ("Smiling", "Mouth_Slightly_Open", 0.25, 0.6),
        ("Male", "Wearing_Lipstick", -0.95, -0.6),
        ("Male", "Heavy_Makeup", -0.9, -0.4),
        ("Male", "No_Beard", -0.7, -0.3),
        ("Male", "Big_Nose", 0.1, 0.5),
        ("Young", "Gray_Hair", -0.6, -0.1),
        ("Young", "Attractive", 0.2, 0.7),
        ("Smiling", "Male", -0.1, 0.1),
    ],
)
def test_attributes_go_together_as_in_life(one: str, other: str, low: float, high: float) -> None:
    assert low < np.corrcoef(told()[one], told()[other])[0, 1] < high


def test_what_excludes_each_other_is_never_told_together() -> None:
    has = told()
    colours = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald")
    assert sum(has[colour].astype(int) for colour in colours).max() == 1
    for beard in ("Goatee", "Sideburns", "Mustache"):
        assert not (has[beard] & has["Wearing_Lipstick"]).any()
    assert not (has["Straight_Hair"] & has["Wavy_Hair"]).any()


def test_an_identity_is_nearer_to_itself_than_to_others() -> None:
    """By nothing but the colours of the middle of the face and of the hair above it."""
    x = np.stack([pixels(content) for name, content in celeba_files().items() if "/" in name])
    face, hair = x[:, 100:150, 70:110], x[:, 35:60, 75:105]
    seen = np.concatenate([face.mean((1, 2)), hair.mean((1, 2))], axis=1)
    apart = np.linalg.norm(seen[:, None] - seen, axis=2)
    same = identities()[:, None] == identities()
    own = apart[same & ~np.eye(N, dtype=bool)].mean()
    assert own < 0.75 * apart[~same].mean()


def test_more_images_than_the_official_set_has_are_refused() -> None:
    with pytest.raises(LeakageError) as error:
        next(iter(CELEBA.files(202_600, 0)))
    assert str(error.value) == "a stand-in of CelebA has at most 202599 images, got 202600"


# UTKFace


def test_utkface_has_the_official_names_and_size() -> None:
    files = utkface_files()
    assert len(files) == N
    for name, content in files.items():
        assert re.fullmatch(r"[0-9]{1,3}_[01]_[0-4]_2017[0-9]{13}\.jpg\.chip\.jpg", name)
        image = Image.open(io.BytesIO(content))
        assert (image.format, image.size, image.mode) == ("JPEG", (200, 200), "RGB")


def test_utkface_has_about_the_official_margins() -> None:
    rng = np.random.default_rng(0)
    persons = [utkface.make_person(rng) for _ in range(4000)]
    ages = np.array([person.age for person in persons])
    assert 0 <= ages.min() <= 2
    assert 95 < ages.max() <= 116
    bands = np.bincount(np.digitize(ages, [18, 30, 45, 60])) / len(ages)
    np.testing.assert_allclose(bands, [0.195, 0.335, 0.24, 0.125, 0.105], atol=0.025)
    assert np.mean([person.male for person in persons]) == pytest.approx(0.523, abs=0.025)
    races = Counter(person.origin for person in persons)
    official = dict(zip(ORIGINS, (0.425, 0.191, 0.145, 0.168, 0.071), strict=True))
    for race, share in official.items():
        assert races[race] / len(persons) == pytest.approx(share, abs=0.025)


def test_a_few_names_are_malformed_and_a_few_images_are_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(utkface, "draw_picture", lambda person, moment, rng: rng.bytes(8))
    files = dict(UTKFACE.files(3000, 0))
    assert len(files) == 3000
    malformed = [name for name in files if parse(name) is None]
    assert 0 < len(malformed) < 0.005 * len(files)
    assert {re.sub("[0-9]+", "1", name) for name in malformed} == {
        "1_1_1.jpg.chip.jpg",
        "1__1_1.jpg.chip.jpg",
    }
    ends = Counter(re.sub(".*_[0-9]{17}", "", name) for name in files)
    assert ends == {".jpg.chip.jpg": 2997, "jpg": 1, " .jpg": 1, ".pg": 1}
    copies: dict[bytes, list[tuple[int, int, int] | None]] = {}
    for name, content in files.items():
        copies.setdefault(content, []).append(parse(name))
    groups = [group for group in copies.values() if len(group) > 1 and None not in group]
    assert 8 <= len(groups) <= 12
    mistaken = [group for group in groups if len(set(group)) > 1]
    assert 0 < len(mistaken) < len(groups)


# Both


@pytest.mark.parametrize("standin", [CELEBA, UTKFACE])
def test_the_seed_decides_every_byte(standin: StandIn) -> None:
    files, again, other = (list(islice(standin.files(N, seed), 12)) for seed in (0, 0, 1))
    assert files == again
    assert not {content for _, content in files} & {content for _, content in other}


def test_celeba_s_lists_hang_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celeba, "draw_picture", lambda person, moment, rng: b"")
    one, again, other = (dict(list(CELEBA.files(N, seed))[-3:]) for seed in (0, 0, 1))
    assert one == again
    assert one == {name: content for name, content in celeba_files().items() if "/" not in name}
    assert all(one[name] != other[name] for name in one)


# What a face shows


@pytest.fixture
def person() -> Person:
    rng = np.random.default_rng(3)
    shape = replace(
        draw_person(False, 30.0, "White", rng).shape,
        **dict.fromkeys(
            ("width", "jaw", "chin", "fullness", "eyes", "lids", "slant", "brows", "arch", "lips"),
            0.0,
        ),
    )
    return replace(draw_person(False, 30.0, "White", rng), shape=shape, length=0.3, receding=0.0)


@pytest.fixture
def moment(person: Person) -> Moment:
    """A calm look into the camera, with nothing on."""
    return replace(
        draw_moment(person, np.random.default_rng(0)),
        smile=0.0, opening=-1.0, turn=0.0, nod=0.0, tilt=0.0, shift=np.zeros(2), scale=1.0,
        light=0.0, contrast=1.0, exposure=1.0, warmth=0.0, lipstick=0.0, blush=0.0, stubble=0.0,
        moustache=0.0, goatee=0.0, sideburns=0.0, bangs=False, glasses=0, hat=False,
        earrings=False, necklace=False, necktie=False, blur=0.2, noise=0.0,
    )  # fmt: skip


def picture(person: Person, moment: Moment) -> NDArray[np.float64]:
    return pixels(celeba.draw_picture(person, moment, np.random.default_rng(0)))


# Rows and columns of a picture of CelebA.
MOUTH = (slice(140, 182), slice(58, 120))
CHEEKS = (slice(112, 142), slice(40, 138))
EYES = (slice(92, 122), slice(44, 134))
FOREHEAD = (slice(62, 88), slice(60, 118))
CROWN = (slice(10, 50), slice(40, 138))
CHIN = (slice(168, 192), slice(70, 108))
EARS = (slice(120, 150), slice(22, 156))
NECK = (slice(192, 218), slice(40, 138))


@pytest.mark.parametrize(
    ("change", "where", "elsewhere"),
    [
        ({"smile": 1.5}, MOUTH, CROWN),
        ({"opening": 2.0}, MOUTH, EYES),
        ({"lipstick": 1.0}, MOUTH, FOREHEAD),
        ({"blush": 1.0}, CHEEKS, CROWN),
        ({"glasses": 1}, EYES, CHIN),
        ({"glasses": 2}, EYES, CHIN),
        ({"bangs": True}, FOREHEAD, CHIN),
        ({"hat": True}, CROWN, CHIN),
        ({"moustache": 1.0}, MOUTH, FOREHEAD),
        ({"goatee": 1.0}, CHIN, FOREHEAD),
        ({"sideburns": 1.0}, CHEEKS, FOREHEAD),
        ({"stubble": 1.0}, CHIN, FOREHEAD),
        ({"earrings": True}, EARS, CROWN),
        ({"necklace": True}, NECK, EYES),
        ({"necktie": True}, NECK, EYES),
    ],
)
def test_what_a_moment_changes_is_seen_there_and_not_elsewhere(
    person: Person,
    moment: Moment,
    change: dict[str, float],
    where: tuple[slice, slice],
    elsewhere: tuple[slice, slice],
) -> None:
    difference = abs(
        picture(person, replace(moment, **change)) - picture(person, moment)  # type: ignore[arg-type]
    )
    assert difference[where].mean() > 1.5 + 2 * difference[elsewhere].mean()


def test_a_smile_and_high_cheekbones_both_brighten_the_cheeks(
    person: Person, moment: Moment
) -> None:
    apples = (slice(118, 136), slice(50, 64))
    plain = picture(person, replace(moment, smile=-1.0))
    smiling = picture(person, replace(moment, smile=1.0))
    raised = replace(person, shape=replace(person.shape, cheekbones=person.shape.cheekbones + 2))
    high = picture(raised, replace(moment, smile=-1.0))
    assert smiling[apples].mean() > plain[apples].mean() + 5
    assert high[apples].mean() > plain[apples].mean() + 5


def test_the_corners_of_a_mouth_rise_with_a_smile(person: Person, moment: Moment) -> None:
    def rise(smile: float) -> float:
        """Pixels from the lips' corners up to their middle, found by what lipstick changes."""
        shut = replace(moment, smile=smile, opening=-9.0)
        red = abs(picture(person, replace(shut, lipstick=1.0)) - picture(person, shut)).sum(2)
        lips = red[MOUTH] > 40
        columns = np.flatnonzero(lips.any(0))
        rows = [np.flatnonzero(lips[:, column]).mean() for column in columns]
        return float(rows[len(rows) // 2] - (rows[1] + rows[-2]) / 2)

    assert rise(1.5) > rise(0.0) + 5 > rise(-1.5) + 5


def test_hair_is_of_its_colour_and_a_bald_head_of_the_skin_s(
    person: Person, moment: Moment
) -> None:
    crown = (slice(36, 52), slice(76, 102))
    for colour in HAIR.values():
        painted = picture(replace(person, hair_colour=np.array(colour, float)), moment)
        np.testing.assert_allclose(painted[crown].mean((0, 1)), colour, atol=25)
    bald = picture(replace(person, bald=True), moment)[crown].mean((0, 1))
    forehead = picture(person, moment)[FOREHEAD].mean((0, 1))
    np.testing.assert_allclose(bald, forehead, atol=35)


def test_children_have_large_eyes_set_low_and_old_people_wrinkles(moment: Moment) -> None:
    rng = np.random.default_rng(0)
    heads = {
        age: [measure(draw_person(True, age, "White", rng)) for _ in range(200)]
        for age in (2.0, 30.0)
    }
    eyes = {age: np.mean([h.eye_height / h.chin for h in of]) for age, of in heads.items()}
    low = {age: np.mean([h.chin / (h.chin - h.top) for h in of]) for age, of in heads.items()}
    assert eyes[2] > 1.4 * eyes[30]
    assert low[2] < 0.9 * low[30]
    someone = draw_person(True, 25.0, "White", rng)
    someone = replace(someone, receding=0.0, bald=False)
    rough = [
        abs(np.diff(picture(replace(someone, age=age), moment)[FOREHEAD], axis=0)).mean()
        for age in (25.0, 50.0, 75.0)
    ]
    assert rough[0] < rough[1] < rough[2]


def test_a_turn_moves_the_nose_and_leaves_the_outline(person: Person, moment: Moment) -> None:
    straight = Canvas((178, 218), (89, 106), 48, moment)
    turned = Canvas((178, 218), (89, 106), 48, replace(moment, turn=0.4))
    nose, ear = np.array([[0.0, 0.5]]), np.array([[1.12, 0.2]])
    assert (turned.place(nose) - straight.place(nose))[0, 0] > 20
    assert abs(turned.place(ear) - straight.place(ear)).max() < 1e-6


def test_a_smooth_curve_goes_through_its_points() -> None:
    points = np.random.default_rng(0).normal(size=(7, 2))
    np.testing.assert_allclose(smooth(points)[::6], points, atol=1e-12)
    np.testing.assert_allclose(smooth(points, closed=False)[::6], points, atol=1e-12)
    straight = np.stack([np.arange(6.0), 2 * np.arange(6.0)], axis=1)
    curve = smooth(straight, closed=False)
    np.testing.assert_allclose(curve[:, 1], 2 * curve[:, 0], atol=1e-12)
