"""The reader of UTKFace on small files, whose names and copies are broken as the official ones."""

from __future__ import annotations

import io
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leakage.data.images import Picture
from leakage.data.module import ALL_SHARES
from leakage.data.utkface import AGE_BANDS, GENDERS, RACES, UTKFace, parse
from leakage.errors import LeakageError
from leakage.population import SPLITS, Population

N = 80
MALFORMED = (
    "a name that is not age_gender_race_time, with an age of 0 to 116, the gender 0 or 1, the race"
    " 0 to 4 and 14 to 17 digits of time"
)


def pixels(seed: int, side: int = 50) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def png(seed: int, side: int = 50) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed, side)).save(file, "PNG")
    return file.getvalue()


def name_of(i: int) -> str:
    return f"{(7 * i) % 117}_{i % 2}_{i % 5}_201701{16174525000 + i}.jpg.chip.jpg"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read and left as it is."""
    folder = tmp_path_factory.mktemp("utkface") / "UTKFace"
    folder.mkdir()
    for i in range(N):
        (folder / name_of(i)).write_bytes(png(i))
    return folder.parent


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """To be broken; the images lie in it directly."""
    ignored = shutil.ignore_patterns(".decoded")
    return Path(shutil.copytree(whole / "UTKFace", tmp_path / "faces", ignore=ignored))


def load(root: Path, **settings: object) -> Population:
    data = UTKFace(str(root), **{"size": 16, **settings})  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    return data.population


def sentence(root: Path, **settings: object) -> str:
    with pytest.raises(LeakageError) as error:
        load(root, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def band(age: int) -> str:
    for last, name in ((17, "under 18"), (29, "18 to 29"), (44, "30 to 44"), (59, "45 to 59")):
        if age <= last:
            return name
    return "60 and over"


# Names


@given(
    age=st.integers(0, 116),
    gender=st.integers(0, 1),
    race=st.integers(0, 4),
    time=st.integers(10**13, 10**17 - 1),
    end=st.sampled_from([".jpg.chip.jpg", ".jpg", "jpg", " .jpg", ".pg", ".jpg (1).chip.jpg"]),
)
def test_a_name_tells_age_gender_and_race(
    age: int, gender: int, race: int, time: int, end: str
) -> None:
    assert parse(f"{age}_{gender}_{race}_{time}{end}") == (age, gender, race)
    # The same without the race, and without the gender, as in the official set.
    assert parse(f"{age}_{gender}_{time}{end}") is None
    assert parse(f"{age}_{race}_{time}{end}") is None
    assert parse(f"{age}__{race}_{time}{end}") is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("24_0_1_20170116232725357jpg", (24, 0, 1)),  # no dot
        ("24_0_1_20170116232725357 .jpg", (24, 0, 1)),  # a blank
        ("24_0_1_20170116232725357.pg", (24, 0, 1)),
        ("24_0_1_2017011623272535.jpg.chip.jpg", (24, 0, 1)),  # 16 digits
        ("61_1_20170109142408075.jpg.chip.jpg", None),
        ("61_3_20170109150557335.jpg.chip.jpg", None),
        ("39_1_20170116174525125.jpg.chip.jpg", None),
        ("53__0_20170116184028385.jpg.chip.jpg", None),
        ("117_0_1_20170116232725357.jpg", None),
        ("24_2_1_20170116232725357.jpg", None),
        ("24_0_5_20170116232725357.jpg", None),
        ("-1_0_1_20170116232725357.jpg", None),
        ("24_0_1_201701162327253570.jpg", None),
        ("²4_0_1_20170116232725357.jpg", None),
        ("24_0_1_.jpg", None),
        ("24_0_1.jpg", None),
    ],
)
def test_malformed_names_of_the_official_set(name: str, told: tuple[int, ...] | None) -> None:
    assert parse(name) == told


def test_malformed_names_are_counted_with_the_first(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = (
        "39_1_20170116174525125.jpg.chip.jpg",
        "53__0_20170116184028385.jpg.chip.jpg",
        "61_3_20170109150557335.jpg.chip.jpg",
        "face.PNG",
    )
    for i, name in enumerate(broken):
        (root / name).write_bytes(png(1000 + i))
    (root / "7_0_1_20170116232725357jpg").write_bytes(png(2000))  # its labels can be read
    (root / "notes.txt").write_text("no image, and none asked for")
    (root / ".DS_Store").write_bytes(b"")
    told = f"4 of 85 images left out: {MALFORMED} (the first: {broken[0]})"
    assert sentence(root) == (
        f"{root}: {told}; data.max_unreadable allows a share of 0.01, repair the files or raise it"
    )
    with caplog.at_level(logging.WARNING, "leakage.data"):
        population = load(root, max_unreadable=0.05)
    assert caplog.messages == [f"{root}: {told}"]
    assert len(population.records) == N + 1


# The population


def test_x_labels_and_traits_say_what_the_files_say(whole: Path) -> None:
    population = load(whole)
    assert (population.name, population.standin, len(population.records)) == ("UTKFace", False, N)
    assert population.traits.keys() == {"gender", "race"}
    order = sorted(range(N), key=name_of)
    for position, i in enumerate(order):
        age, gender, race = ((7 * i) % 117, i % 2, i % 5)
        x, y = population.records[position]
        assert AGE_BANDS[int(y)] == band(age)
        assert y == population.labels[position]
        for trait, value in (("gender", GENDERS[gender]), ("race", RACES[race])):
            known = population.traits[trait]
            assert known.values[int(known.codes[position])] == value
            assert not known.in_x
        assert (x.dtype, x.shape) == (torch.float32, (3, 16, 16))
        assert -1 <= x.min() < x.max() <= 1
        colors = torch.from_numpy(pixels(i).mean((0, 1)) / 127.5 - 1)
        assert (x.mean((1, 2)) - colors).abs().max() < 0.03
        fields = x.view(3, 8, 2, 8, 2).mean((2, 4)).flatten()
        assert torch.allclose(population.features[position], fields, atol=1e-6)
    assert UTKFace.classes == len(AGE_BANDS) == 5


@pytest.mark.parametrize("age", [0, 17, 18, 29, 30, 44, 45, 59, 60, 116])
def test_age_bands_begin_where_their_names_say(root: Path, age: int) -> None:
    name = f"{age}_0_0_19990101000000000.jpg"
    (root / name).write_bytes(png(5000))
    position = sorted(path.name for path in root.glob("*.jpg")).index(name)
    assert AGE_BANDS[int(load(root).labels[position])] == band(age)


def test_a_value_that_nobody_has_is_no_value_of_the_trait(root: Path) -> None:
    for path in root.iterdir():
        if path.name.split("_")[2] == "1":
            path.unlink()
    race = load(root).traits["race"]
    assert race.values == ("White", "Asian", "Indian", "Other")
    expected = [RACES[int(path.name.split("_")[2])] for path in sorted(root.glob("*.jpg"))]
    assert [race.values[code] for code in race.codes] == expected


def test_a_record_is_a_unit_and_the_splits_depend_on_the_seed_alone(whole: Path) -> None:
    population, again, other = load(whole), load(whole), load(whole, seed=1)
    assert population.units.tolist() == list(range(N))
    assert all(torch.equal(population.splits[s], again.splits[s]) for s in SPLITS)
    assert not torch.equal(population.splits["train"], other.splits["train"])
    for split, share in ALL_SHARES.items():
        assert len(population.splits[split]) == pytest.approx(N * share, abs=1)
    assert sorted(torch.cat(list(population.splits.values())).tolist()) == list(range(N))


def test_the_images_lie_in_the_root_or_in_one_folder_in_it(whole: Path, root: Path) -> None:
    inside, directly = load(whole), load(root)
    assert torch.equal(inside.features, directly.features)
    assert torch.equal(inside.labels, directly.labels)
    for place in ("crop_part1", "empty"):
        (root / place).mkdir()
    (root / "crop_part1" / name_of(0)).write_bytes(png(0))
    assert sentence(root) == (
        f"{root}: found images in {root} and {root / 'crop_part1'}, which may be the same people;"
        " point data.root at one of them"
    )


def test_of_byte_identical_images_one_stays_and_none_of_those_in_doubt(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = sorted(path.name for path in root.iterdir())
    twice, thrice, doubtful = names[3], names[10], names[20]
    for original, seconds in ((twice, 1), (thrice, 2)):
        for i in range(seconds):  # the time in the name may differ, and does not matter
            copy = "_".join(original.split("_")[:3]) + f"_2099010100000000{i}.jpg"
            (root / copy).write_bytes((root / original).read_bytes())
    age = int(doubtful.split("_")[0])
    copy = doubtful.replace(f"{age}_", f"{(age + 1) % 100}_", 1)
    (root / copy.replace("2017", "2016")).write_bytes((root / doubtful).read_bytes())
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = load(root)
    assert len(population.records) == N + 4 - 3 - 2
    x = torch.stack([population.records[i][0].flatten() for i in range(len(population.labels))])
    assert len(x.unique(dim=0)) == len(x)
    lost = load_one(root / doubtful)
    assert not (x == lost).all(1).any()
    both = sorted(path.name for path in root.iterdir() if path.name[0] != ".")
    doubt = next(name for name in both if name in (doubtful, copy.replace("2017", "2016")))
    told = [line for line in caplog.messages if "left out" in line]
    assert told[0].startswith(f"{root}: 3 of 84 images left out: byte-identical copies of others")
    assert told[1:] == [
        f"{root}: 2 of 84 images left out: byte-identical while their names differ in age, gender"
        f" or race (the first: {doubt})"
    ]


def load_one(path: Path) -> torch.Tensor:
    """x of the image in a file, (768,)."""
    return (Picture(16).decode(path)[0].float() / 127.5 - 1).flatten()


def test_unreadable_images_are_named_and_counted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = sorted(path.name for path in root.iterdir())
    (root / names[4]).write_bytes(b"")
    (root / names[5]).write_bytes(b"")  # two empty files are no copies of one image
    (root / names[9]).write_bytes(png(9)[:-200])
    told = (
        f"2 of 80 images left out: an empty file, get it again (the first: {names[4]})",
        "1 of 80 images left out: an image that is cut short or damaged, get it again (the first:"
        f" {names[9]})",
    )
    assert sentence(root) == (
        f"{root}: {'; '.join(told)}; data.max_unreadable allows a share of 0.01, repair the files"
        " or raise it"
    )
    with caplog.at_level(logging.WARNING, "leakage.data"):
        population = load(root, max_unreadable=0.1)
    assert caplog.messages == [f"{root}: {line}" for line in told]
    kept = [name for i, name in enumerate(names) if i not in (4, 5, 9)]
    genders = [GENDERS[int(name.split("_")[1])] for name in kept]
    trait = population.traits["gender"]
    assert [trait.values[code] for code in trait.codes] == genders


def test_too_few_images_are_refused(root: Path) -> None:
    for path in sorted(root.iterdir())[10:]:
        path.unlink()
    assert sentence(root) == (
        f"{root}: found 10 images that can be read, at least 11 are needed to divide them into"
        " train, validation, test, shadow_fit, shadow_calibrate, challenge"
    )


def test_a_folder_without_images_says_the_ways_in(tmp_path: Path) -> None:
    named = "images named like 25_0_1_20170116174525125.jpg.chip.jpg"
    assert sentence(tmp_path) == (
        f"{tmp_path}: found no {named}; point data.root at the folder of the official files of"
        " UTKFace, or set data.standin=true to work with made-up records"
    )
    (tmp_path / "archive.zip").write_bytes(b"PK")
    assert sentence(tmp_path) == (
        f"{tmp_path / 'archive.zip'}: found an archive; unpack it, so that {tmp_path} has {named}"
    )
    (tmp_path / "archive.zip").write_bytes(b"<html>Quota exceeded")
    assert sentence(tmp_path) == (
        f"{tmp_path / 'archive.zip'}: found a web page (a failed download), expected an archive"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 513}, "data.size: 8 to 512 pixels, got 513"),
        ({"max_unreadable": -1}, "data.max_unreadable: a share in 0..1, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(LeakageError) as error:
        UTKFace(**settings)  # type: ignore[arg-type]
    assert str(error.value) == words


def test_loaders_give_batches_and_do_not_depend_on_the_number_of_workers(whole: Path) -> None:
    epochs = []
    for workers in (0, 2):
        data = UTKFace(str(whole), size=16, batch_size=10, num_workers=workers)
        data.prepare_data()
        data.setup("fit")
        torch.manual_seed(0)
        epochs.append(list(data.train_dataloader()))
    assert [len(y) for _, y in epochs[0]] == [10, 10, 8]
    for (x, y), (x2, y2) in zip(*epochs, strict=True):
        assert x.shape[1:] == (3, 16, 16)
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_a_link_to_nothing_and_a_long_strip_are_counted(tmp_path: Path) -> None:
    """The strip would take gigabytes as soon as its shorter side were brought to the size."""
    folder = tmp_path / "strips"
    folder.mkdir()
    names = [f"{age}_0_1_20170116174525{age:03}.jpg" for age in range(10, 40)]
    rng = np.random.default_rng(0)
    for name in names:
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / names[3]).unlink()
    (folder / names[3]).symlink_to(folder / "nothing")
    Image.new("RGB", (1, 30000)).save(folder / names[5], format="PNG")
    data = UTKFace(str(folder), max_unreadable=0)
    with pytest.raises(LeakageError) as error:
        data.setup()
    assert str(error.value) == (
        f"{folder}: 1 of 30 images left out: it cannot be opened (No such file or directory) (the"
        f" first: {names[3]}); 1 of 30 images left out: an image whose one side is over 10 times"
        f" the other (the first: {names[5]}); data.max_unreadable allows a share of 0, repair the"
        " files or raise it"
    )
