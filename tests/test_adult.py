"""The reader of Adult on real, made-up and broken files."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from leakage.data import adult, adult_files
from leakage.data.adult import SHA256, Adult
from leakage.data.adult_files import AGE_BANDS, COLUMNS, read_rows
from leakage.data.standins.adult import ADULT
from leakage.data.standins.marker import MARKER
from leakage.errors import LeakageError
from leakage.origin import origin
from leakage.population import SPLITS, Population

ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male,"
    " 2174, 0, 40, United-States, <=50K"
)


def load(root: Path, exclude: list[str] | None = None, seed: int = 0) -> Population:
    data = Adult(str(root), exclude=exclude, seed=seed)
    data.prepare_data()
    data.setup("fit")
    return data.population


def assert_identical(one: Population, other: Population) -> None:
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.units, other.units)
    assert all(torch.equal(one.splits[split], other.splits[split]) for split in SPLITS)
    for name, trait in one.traits.items():
        assert trait.values == other.traits[name].values
        assert torch.equal(trait.codes, other.traits[name].codes)


def sentence(root: Path) -> str:
    with pytest.raises(LeakageError) as error:
        load(root)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def copied(adult_root: Path, tmp_path: Path) -> Path:
    """The stand-in without its marker, to be broken."""
    for name in SHA256:
        shutil.copy(adult_root / name, tmp_path)
    return tmp_path


def replace_row(path: Path, row: int, new: str) -> None:
    lines = path.read_text().split("\n")
    lines[row - 1] = new
    path.write_text("\n".join(lines))


# The real files


def test_the_real_files_hold_what_the_documentation_counts(real_adult: Path) -> None:
    data, test = (read_rows(real_adult / name) for name in SHA256)
    assert (len(data), len(test)) == (32561, 16281)
    assert (data[:, -1].sum(), test[:, -1].sum()) == (7841, 3846)
    assert ((data < 0).any(1).sum(), (test < 0).any(1).sum()) == (2399, 1221)


def test_the_real_files_make_a_population_of_both_files(
    real_adult: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = load(real_adult)
    assert not population.standin
    assert population.features.shape == (48842, Adult().in_features)
    assert len(population.splits["test"]) == 16281 - 23
    assert len(population.units.unique()) == 48842 - 52
    assert len(population.traits["native-country"].values) == 41
    assert caplog.messages == [
        "23 of adult.test left out as copies of records of adult.data",
        f"Adult in {real_adult} (records as given): train 13024, validation 3258, shadow_fit 6510,"
        " shadow_calibrate 3256, challenge 6513, test 16258 records",
    ]


def test_crlf_copies_of_the_real_files_give_the_identical_population(
    real_adult: Path, tmp_path: Path
) -> None:
    for name in SHA256:
        content = (real_adult / name).read_bytes()
        (tmp_path / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert_identical(load(real_adult), load(tmp_path))


# The population


def test_x_and_the_labels_say_what_the_rows_say(adult_root: Path) -> None:
    """A plain twin of the encoder, value by value."""
    population = load(adult_root)
    lines = (adult_root / "adult.data").read_text().split()
    rows = [line.rstrip(",") for line in lines]
    table = [rows[i : i + 15] for i in range(0, len(rows), 15)]
    assert len(table) == 6000
    assert population.labels[:6000].tolist() == [int(row[14] == ">50K") for row in table]
    train = population.splits["train"].tolist()
    start = 0
    for j, (name, values) in enumerate(COLUMNS.items()):
        if values:
            names = [*values, "?"] if name in adult_files.MAY_BE_UNKNOWN else [*values]
            expected = np.array([[float(row[j] == value) for value in names] for row in table])
        else:
            numbers = np.array([[float(row[j])] for row in table])
            expected = (numbers - numbers[train].mean()) / numbers[train].std()
        stop = start + expected.shape[1]
        np.testing.assert_allclose(
            population.features[:6000, start:stop].numpy(), expected, atol=1e-5, rtol=1e-5
        )
        start = stop
    assert start == population.features.shape[1] == Adult().in_features


def test_standardisation_looks_at_the_train_split_only(copied: Path) -> None:
    before = load(copied)
    row = int(before.splits["challenge"][0])
    lines = (copied / "adult.data").read_text().split("\n")
    fields = lines[row].split(", ")
    fields[10] = "999999"
    replace_row(copied / "adult.data", row + 1, ", ".join(fields))
    after = load(copied)
    others = torch.arange(len(before.labels)) != row
    assert torch.equal(before.features[others], after.features[others])
    train = after.features[after.splits["train"], 0].double()
    assert abs(train.mean()) < 1e-6
    assert abs(train.std(correction=0) - 1) < 1e-6


def test_a_constant_column_becomes_zero_and_not_nan(copied: Path) -> None:
    for name in SHA256:
        lines = (copied / name).read_text().split("\n")
        rows = [line.split(", ") for line in lines]
        for row in rows:
            if len(row) == 15:
                row[11] = "0"
        (copied / name).write_text("\n".join(", ".join(row) for row in rows))
    features = load(copied).features
    assert features.isfinite().all()
    column = sum(
        1 if not v else len(v) + (n in adult_files.MAY_BE_UNKNOWN)
        for n, v in list(COLUMNS.items())[:11]
    )
    assert (features[:, column] == 0).all()


def test_both_files_give_the_same_columns(adult_root: Path, tmp_path: Path) -> None:
    for name, source in {"adult.data": "adult.test", "adult.test": "adult.data"}.items():
        shutil.copy(adult_root / source, tmp_path / name)
    there, swapped = load(adult_root), load(tmp_path)
    n = len(there.labels)
    m = 6000
    # One-hot columns do not depend on the split; the numbers do, through their mean.
    for name in ("sex", "native-country", "education"):
        columns = list(there.traits[name].columns)[: len(COLUMNS[name])]
        assert torch.equal(there.features[:m, columns], swapped.features[n - m :, columns])
        assert torch.equal(there.features[m:, columns], swapped.features[: n - m, columns])


def test_traits_are_aligned_with_their_columns(adult_root: Path) -> None:
    population = load(adult_root)
    assert set(population.traits) == {n for n, v in COLUMNS.items() if v} | {"age-band"}
    for name, trait in population.traits.items():
        known = trait.codes >= 0
        assert sorted(trait.codes[known].unique().tolist()) == list(range(len(trait.values)))
        if name == "age-band":
            assert (trait.columns, trait.one_hot, trait.values) == ((0,), (), AGE_BANDS)
            continue
        block = population.features[:, list(trait.one_hot)]
        assert torch.equal(block[known].argmax(1), trait.codes[known])
        assert (block[known].sum(1) == 1).all()
        assert (block[~known] == 0).all()
        assert set(trait.one_hot) <= set(trait.columns)
        may = name in ("workclass", "occupation", "native-country")
        assert (~known).any() == may
        extra = may + (name == "education")  # education-num tells the education too
        assert len(trait.columns) == len(COLUMNS[name]) + extra


def test_a_value_that_no_record_has_is_no_value_of_the_trait(copied: Path) -> None:
    for name in SHA256:
        text = (copied / name).read_text()
        (copied / name).write_text(text.replace("Amer-Indian-Eskimo", "White"))
    population = load(copied)
    race = population.traits["race"]
    assert race.values == ("White", "Asian-Pac-Islander", "Other", "Black")
    assert len(race.columns) == 5
    block = population.features[:, list(race.one_hot)]
    assert torch.equal(block.argmax(1), race.codes)


@pytest.mark.parametrize("band", range(4))
def test_age_bands_begin_where_their_names_say(copied: Path, band: int) -> None:
    first, last = [("0", "29"), ("30", "44"), ("45", "59"), ("60", "90")][band]
    for row, age in ((1, first), (2, last)):
        replace_row(copied / "adult.data", row, age + ROW[2:])
    assert load(copied).traits["age-band"].codes[:2].tolist() == [band, band]


@pytest.mark.parametrize("name", [name for name, values in COLUMNS.items() if values])
def test_an_excluded_trait_has_no_column_of_its_own_and_the_others_keep_theirs(
    adult_root: Path, name: str
) -> None:
    whole, without = load(adult_root), load(adult_root, exclude=[name])
    trait = without.traits[name]
    assert trait.one_hot == ()
    # Education-num stays and tells the education, as the trait must say.
    assert trait.in_x == (name == "education")
    kept = [j for j in range(whole.features.shape[1]) if j not in whole.traits[name].columns]
    if name == "education":
        kept = sorted([*kept, whole.traits[name].columns[-1]])
    assert torch.equal(without.features, whole.features[:, kept])
    assert torch.equal(trait.codes, whole.traits[name].codes)
    for other in set(whole.traits) - {name}:
        one, two = whole.traits[other], without.traits[other]
        assert torch.equal(
            whole.features[:, list(one.columns)], without.features[:, list(two.columns)]
        )
    assert Adult(exclude=[name]).in_features == without.features.shape[1]


def test_education_is_out_of_x_once_education_num_is_excluded_too(adult_root: Path) -> None:
    population = load(adult_root, exclude=["education", "education-num", "age"])
    assert not population.traits["education"].in_x
    assert not population.traits["age-band"].in_x


def test_copies_of_a_record_share_a_unit_and_never_part(copied: Path) -> None:
    first = (copied / "adult.data").read_text().split("\n")[0]
    replace_row(copied / "adult.data", 3000, first)
    replace_row(copied / "adult.data", 5000, first.replace(", ", " ,"))
    replace_row(copied / "adult.test", 10, f"{first}.")
    population = load(copied)
    units = population.units
    assert units[0] == units[2999] == units[4999] == units[6000 + 8] == 0
    homes = [n for n, indices in population.splits.items() if {0, 2999, 4999} & {*indices.tolist()}]
    assert len(homes) == 1
    assert 6008 not in population.splits["test"]
    alone = units.unique(return_counts=True)[1] == 1
    assert alone.sum() > 8900  # all others stay a unit of their own


def test_splits_are_shares_of_the_units_and_depend_on_the_seed_alone(adult_root: Path) -> None:
    one, again, other = load(adult_root), load(adult_root), load(adult_root, seed=1)
    assert_identical(one, again)
    assert not torch.equal(one.splits["train"], other.splits["train"])
    assert torch.equal(one.splits["test"], other.splits["test"])
    for split, share in adult.SHARES.items():
        assert len(one.splits[split]) == pytest.approx(6000 * share, abs=15)
        assert one.splits[split].max() < 6000


def test_loaders_give_float_features_and_integer_labels(adult_root: Path) -> None:
    data = Adult(str(adult_root), batch_size=100)
    data.prepare_data()
    data.setup("fit")
    population = data.population
    data.setup("test")
    assert data.population is population
    x, y = next(iter(data.val_dataloader()))
    assert (x.dtype, y.dtype, x.shape, y.shape) == (
        torch.float32, torch.int64, (100, data.in_features), (100,))  # fmt: skip
    assert torch.equal(x, population.features[population.splits["validation"][:100]])
    assert torch.equal(y, population.labels[population.splits["validation"][:100]])
    sizes = [sum(len(y) for _, y in loader) for loader in (
        data.train_dataloader(), data.val_dataloader(), data.test_dataloader())]  # fmt: skip
    assert sizes == [len(population.splits[s]) for s in ("train", "validation", "test")]
    torch.manual_seed(0)
    orders = [next(iter(data.train_dataloader()))[0] for _ in range(2)]
    assert not torch.equal(*orders)


def test_the_population_is_refused_before_setup() -> None:
    with pytest.raises(LeakageError, match=r"^Adult.population is known after prepare_data"):
        _ = Adult().population


# Shadow records of another folder


@pytest.fixture
def other_root(tmp_path: Path) -> Path:
    """A stand-in of another seed: 3,000 rows of adult.data, 1,500 of adult.test."""
    ADULT.write(tmp_path / "other", size=3000, seed=1)
    return tmp_path / "other"


def load_with(root: Path, shadow_root: Path, exclude: list[str] | None = None) -> Population:
    data = Adult(str(root), exclude=exclude, shadow_root=str(shadow_root))
    data.prepare_data()
    data.setup("fit")
    return data.population


def names_of(population: Population, trait: str, records: slice) -> list[str]:
    names = [*population.traits[trait].values, "unknown"]
    return [names[code] for code in population.traits[trait].codes[records]]


def test_shadow_records_come_from_another_folder_and_the_rest_stays_as_it_was(
    adult_root: Path, other_root: Path
) -> None:
    alone, other = load(adult_root), load(other_root)
    both = load_with(adult_root, other_root)
    own, all_ = len(alone.labels), len(alone.labels) + len(other.labels)
    assert (own, all_, len(both.labels)) == (9000, 13500, 13500)
    assert torch.equal(both.features[:own], alone.features)
    assert torch.equal(both.labels, torch.cat([alone.labels, other.labels]))
    assert torch.equal(both.units[:own], alone.units)
    for split in ("train", "validation", "test", "challenge"):
        assert torch.equal(both.splits[split], alone.splits[split])
    shadow = torch.cat([both.splits["shadow_fit"], both.splits["shadow_calibrate"]])
    assert sorted(shadow.tolist()) == list(range(own, all_))
    units = [len(both.units[both.splits[s]].unique()) for s in ("shadow_fit", "shadow_calibrate")]
    assert units[0] == pytest.approx(2 * units[1], abs=2)
    for name, trait in both.traits.items():
        assert names_of(both, name, slice(own)) == names_of(alone, name, slice(None))
        assert names_of(both, name, slice(own, None)) == names_of(other, name, slice(None))
        assert trait.columns == alone.traits[name].columns
        if trait.one_hot:
            block = both.features[:, list(trait.one_hot)]
            known = trait.codes >= 0
            assert torch.equal(block[known].argmax(1), trait.codes[known])
    x, y = both.records[int(shadow[0])]
    assert torch.equal(x, both.features[shadow[0]])
    assert y == both.labels[shadow[0]]


def test_shadow_records_are_standardised_like_those_that_the_model_trains_on(
    adult_root: Path, other_root: Path
) -> None:
    both = load_with(adult_root, other_root)
    ages = read_rows(adult_root / "adult.data")[both.splits["train"].numpy(), 0]
    theirs = np.concatenate([read_rows(other_root / name)[:, 0] for name in SHA256])
    expected = (theirs - ages.mean()) / ages.std()
    np.testing.assert_allclose(both.features[9000:, 0].numpy(), expected, atol=1e-5, rtol=1e-5)
    data = Adult(shadow_root=str(other_root), exclude=["age"])
    assert data.in_features == load_with(adult_root, other_root, ["age"]).features.shape[1]


def test_copies_of_records_of_the_root_are_no_shadow_records(
    adult_root: Path, other_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (other_root / MARKER).unlink()
    ours = (adult_root / "adult.data").read_text().split("\n")
    theirs = (other_root / "adult.data").read_text().split("\n")
    shadow = load(adult_root).splits["shadow_fit"].tolist()
    replace_row(other_root / "adult.data", 1, ours[0])
    replace_row(other_root / "adult.data", 2, ours[shadow[0]])
    tested = (adult_root / "adult.test").read_text().split("\n")[1]
    replace_row(other_root / "adult.test", 2, tested)
    replace_row(other_root / "adult.test", 3, f"{theirs[2]}.")  # a copy within the folder
    caplog.clear()
    with caplog.at_level(logging.INFO, "leakage.data"):
        both = load_with(adult_root, other_root)
    splits = (both.splits["shadow_fit"], both.splits["shadow_calibrate"])
    missing = {*range(9000, 13500)} - {*torch.cat(splits).tolist()}
    assert missing == {9000, 9001, 12000}
    assert both.units[9002] == both.units[12001] == 9002
    assert sum(9002 in split.tolist() for split in splits) == 1
    assert caplog.messages[2] == (
        f"3 of the 4500 records in {other_root} left out as copies of records in {adult_root}"
    )


@pytest.mark.parametrize("real", ["neither", "root", "shadow_root"])
def test_a_standin_on_either_side_makes_a_standin_and_the_log_says_which(
    adult_root: Path, copied: Path, other_root: Path, real: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = copied if real == "root" else adult_root
    if real == "shadow_root":
        (other_root / MARKER).unlink()
    with caplog.at_level(logging.INFO, "leakage.data"):
        assert load_with(root, other_root).standin
    said = {name: origin(standin=name != real) for name in ("root", "shadow_root")}
    assert caplog.messages[-1].startswith(f"Adult in {root} ({said['root']}): train ")
    assert f"shadow records in {other_root} ({said['shadow_root']})" in caplog.messages


def test_real_records_on_both_sides_are_no_standin(copied: Path, other_root: Path) -> None:
    (other_root / MARKER).unlink()
    assert not load_with(copied, other_root).standin


def test_shadow_records_may_lack_a_test_file(adult_root: Path, other_root: Path) -> None:
    (other_root / "adult.test").unlink()
    both = load_with(adult_root, other_root)
    assert len(both.labels) == 12000
    assert len(both.splits["shadow_fit"]) + len(both.splits["shadow_calibrate"]) == 3000


def test_shadow_splits_depend_on_the_seed_alone(adult_root: Path, other_root: Path) -> None:
    one, again = (load_with(adult_root, other_root) for _ in range(2))
    assert_identical(one, again)
    data = Adult(str(adult_root), shadow_root=str(other_root), seed=1)
    data.setup("fit")
    assert not torch.equal(one.splits["shadow_fit"], data.population.splits["shadow_fit"])


def test_a_value_that_the_root_lacks_joins_the_others_by_its_name(
    copied: Path, other_root: Path
) -> None:
    for name in SHA256:
        text = (copied / name).read_text()
        (copied / name).write_text(text.replace("Amer-Indian-Eskimo", "White"))
    alone, both = load(copied), load_with(copied, other_root)
    assert alone.traits["race"].values == ("White", "Asian-Pac-Islander", "Other", "Black")
    assert both.traits["race"].values == COLUMNS["race"]
    assert names_of(both, "race", slice(9000)) == names_of(alone, "race", slice(None))
    assert "Amer-Indian-Eskimo" in names_of(both, "race", slice(9000, None))


def test_a_checkpoint_goes_with_any_adversary_of_its_training_and_with_no_other_training(
    adult_root: Path, other_root: Path
) -> None:
    alone, other = Adult(str(adult_root)), Adult(str(adult_root), seed=1)
    both = Adult(str(adult_root), shadow_root=str(other_root))
    for data in (alone, both, other):
        data.setup("fit")
    alone.load_state_dict(both.state_dict())
    both.load_state_dict(alone.state_dict())
    with pytest.raises(LeakageError, match=r"^ckpt_path: the checkpoint was trained on other"):
        other.load_state_dict(both.state_dict())


def shadow_refusal(root: Path, shadow_root: Path) -> str:
    """The sentence of prepare_data, which setup gives too: other processes begin with that."""
    sentences = []
    for begin in (Adult.prepare_data, Adult.setup):
        with pytest.raises(LeakageError) as error:
            begin(Adult(str(root), shadow_root=str(shadow_root)))
        sentences.append(str(error.value))
    assert sentences[0] == sentences[1]
    return sentences[0]


def test_a_shadow_folder_that_is_missing_or_empty_is_refused(
    adult_root: Path, tmp_path: Path
) -> None:
    out = "point it at a folder with adult.data, and adult.test if there is one, in the official"
    empty = tmp_path / "empty"
    assert shadow_refusal(adult_root, empty) == (
        f"data.shadow_root: {empty}: found no such folder; {out} layout"
    )
    empty.mkdir()
    shutil.copy(adult_root / "adult.test", empty)
    assert shadow_refusal(adult_root, empty) == (
        f"data.shadow_root: {empty}: found no adult.data in it; {out} layout"
    )


def test_the_root_is_no_other_folder(adult_root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(adult_root)
    for same in (adult_root, adult_root / ".." / adult_root.name, link):
        assert shadow_refusal(adult_root, same) == (
            f"data.shadow_root: found the folder of data.root, {same}; name another one, or leave"
            " data.shadow_root out to take the shadow records from data.root"
        )


@pytest.mark.parametrize("new", [0, 1])
def test_a_shadow_folder_without_records_of_its_own_is_refused(
    adult_root: Path, copied: Path, new: int
) -> None:
    if new:
        replace_row(copied / "adult.data", 7, ROW)
        replace_row(copied / "adult.data", 8, ROW)
    data = Adult(str(adult_root), shadow_root=str(copied))
    data.prepare_data()
    with pytest.raises(LeakageError) as error:
        data.setup("fit")
    assert str(error.value) == (
        f"data.shadow_root: {copied}: found {2 * new} records that are not in {adult_root} too; at"
        " least 2 different ones are needed"
    )


def test_a_bad_row_of_the_shadow_folder_is_named(adult_root: Path, copied: Path) -> None:
    replace_row(copied / "adult.data", 9, ROW.replace("Male", "M"))
    with pytest.raises(LeakageError) as error:
        load_with(adult_root, copied)
    assert str(error.value).startswith(f"{copied / 'adult.data'}, row 9, column sex: found 'M'")


def test_the_real_records_are_attacked_with_made_up_ones(
    real_adult: Path, adult_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = load(real_adult)
    with caplog.at_level(logging.INFO, "leakage.data"):
        both = load_with(real_adult, adult_root)
    assert both.standin
    assert f"shadow records in {adult_root} (a stand-in: made-up records)" in caplog.messages
    assert f"Adult in {real_adult} (records as given): train " in caplog.text
    assert torch.equal(both.features[: len(alone.labels)], alone.features)
    for split in ("train", "validation", "test", "challenge"):
        assert torch.equal(both.splits[split], alone.splits[split])
    assert len(both.splits["shadow_fit"]) + len(both.splits["shadow_calibrate"]) == 9000
    for name, trait in alone.traits.items():
        assert both.traits[name].values == trait.values


# Bad input


def test_a_folder_without_files_names_three_ways_out(tmp_path: Path) -> None:
    assert sentence(tmp_path) == (
        f"{tmp_path}: found no adult.data or adult.test; point data.root at the folder of the"
        " official files of Adult, set data.download=true to fetch them, or set data.standin=true"
        " to work with made-up records"
    )


@pytest.mark.parametrize("standin", [False, True])
@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("missing", list(SHA256))
def test_one_file_alone_is_refused_and_stays(
    copied: Path, missing: str, standin: bool, download: bool
) -> None:
    (copied / missing).unlink()
    (there,) = list(copied.iterdir())
    content = there.read_bytes()
    with pytest.raises(LeakageError) as error:
        Adult(str(copied), standin=standin, download=download).prepare_data()
    assert str(error.value) == (
        f"{copied / missing}: it is missing, while other files of Adult are there; put it beside"
        " them, or point data.root at an empty folder"
    )
    assert list(copied.iterdir()) == [there]
    assert there.read_bytes() == content


NUMBER = "expected a number from 0 to 1000000000"
BROKEN = {
    "14 fields": (ROW.replace(" 2174,", ""), "found 14 fields, expected 15 with a comma between"
                  " them"),
    "16 fields": (ROW + ", 1", "found 16 fields, expected 15 with a comma between them"),
    "nan": ("nan" + ROW[2:], f"column age: found 'nan', {NUMBER}"),
    "inf": (ROW.replace("77516", "inf"), f"column fnlwgt: found 'inf', {NUMBER}"),
    "negative": (ROW.replace(" 40,", " -1,"), f"column hours-per-week: found '-1', {NUMBER}"),
    "huge": (ROW.replace("2174", "1e300"), f"column capital-gain: found '1e300', {NUMBER}"),
    "empty": (ROW.replace(" 13,", ","), f"column education-num: found '', {NUMBER}"),
    "unknown age": ("?" + ROW[2:], f"column age: found '?', {NUMBER}"),
    "category": (ROW.replace("Male", "male"), "column sex: found 'male', expected one of Female,"
                 " Male"),
    "unknown sex": (ROW.replace("Male", "?"), "column sex: found '?', expected one of Female,"
                    " Male"),
    "unknown work": (ROW.replace("State-gov", "Gov"), "column workclass: found 'Gov', expected one"
                     " of Private, Self-emp-not-inc, Self-emp-inc, Federal-gov, Local-gov,"
                     " State-gov, Without-pay, Never-worked, ?"),
    "label": (ROW.replace("<=50K", "50K"), "column label: found '50K', expected one of <=50K,"
              " >50K"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SHA256))
@pytest.mark.parametrize(("row", "problem"), BROKEN.values(), ids=list(BROKEN))
def test_a_bad_row_is_named_by_file_row_and_column(
    copied: Path, name: str, row: str, problem: str
) -> None:
    replace_row(copied / name, 77, row)
    replace_row(copied / name, 999, row)

    separator = ":" if problem.startswith("found") else ","
    assert sentence(copied) == f"{copied / name}, row 77{separator} {problem}"


def test_a_blank_line_does_not_shift_the_row_of_an_error(copied: Path) -> None:
    replace_row(copied / "adult.data", 5, "")
    replace_row(copied / "adult.data", 9, ROW.replace("Male", "M"))
    assert ", row 9, column sex: found 'M'" in sentence(copied)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"|1x3 Cross validator\n\n"])
def test_a_file_without_rows_is_refused(copied: Path, content: bytes) -> None:
    (copied / "adult.test").write_bytes(content)
    assert sentence(copied) == (
        f"{copied / 'adult.test'}: found no row, expected at least one with 15 fields"
    )


def test_a_web_page_in_place_of_a_file_is_called_one(copied: Path) -> None:
    (copied / "adult.data").write_text("<!DOCTYPE html>\n<html>no such file</html>\n")
    assert sentence(copied) == (
        f"{copied / 'adult.data'}: found a web page (a failed download), expected the rows of Adult"
    )


def test_bytes_that_are_no_text_are_named_by_row(copied: Path) -> None:
    content = (copied / "adult.data").read_bytes().split(b"\n")
    content[41] = b"\xff" + content[41]
    (copied / "adult.data").write_bytes(b"\n".join(content))
    assert sentence(copied) == (
        f"{copied / 'adult.data'}, row 42: found the byte 0xff, expected plain text"
    )


def test_an_unknown_column_to_exclude_is_refused_with_the_nearest() -> None:
    with pytest.raises(LeakageError) as error:
        Adult(exclude=["sex", "marital_status"])
    assert str(error.value) == (
        "data.exclude: Adult has no column 'marital_status'; did you mean 'marital-status'? Known:"
        f" {', '.join(COLUMNS)}"
    )


def test_a_model_without_features_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        Adult(exclude=list(COLUMNS))
    assert str(error.value) == (
        "data.exclude: found every column of Adult, at least one must be left for x"
    )


# The stand-in


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.iterdir())}


def standin(root: Path, size: int = 500, seed: int = 0) -> Adult:
    return Adult(str(root), standin=True, standin_size=size, standin_seed=seed)


def test_a_standin_has_the_official_layout_and_says_what_it_is(tmp_path: Path) -> None:
    standin(tmp_path / "made").prepare_data()
    assert sorted(contents(tmp_path / "made")) == ["adult.data", "adult.test", MARKER]
    data = (tmp_path / "made" / "adult.data").read_text().split("\n")
    test = (tmp_path / "made" / "adult.test").read_text().split("\n")
    assert (len(data), data[-2:]) == (502, ["", ""])
    assert (len(test), test[0], test[-2:]) == (253, "|1x3 Cross validator", ["", ""])
    assert all(line.endswith("50K") for line in data[:-2])
    assert all(line.endswith("50K.") for line in test[1:-2])
    assert load(tmp_path / "made").standin  # also where nobody asks for a stand-in


def test_a_standin_is_decided_by_its_seed(tmp_path: Path) -> None:
    for name, seed in {"one": 0, "again": 0, "other": 1}.items():
        ADULT.write(tmp_path / name, size=500, seed=seed)
    one, again, other = (contents(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert all(one[name] != other[name] for name in SHA256)


def test_the_log_calls_a_standin_a_standin(
    adult_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage.data"):
        load(adult_root)
    assert f"Adult in {adult_root} (a stand-in: made-up records): train " in caplog.text


def test_a_standin_is_written_again_only_for_other_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    standin(tmp_path).prepare_data()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    standin(tmp_path).prepare_data()
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert "again" not in caplog.text
    with caplog.at_level("INFO"):
        standin(tmp_path, seed=1).prepare_data()
    assert "data.standin_size and data.standin_seed decide" in caplog.text
    ADULT.write(tmp_path / "expected", size=500, seed=1)
    assert (
        contents(tmp_path / "expected").items()
        <= {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}.items()
    )


def test_real_files_are_never_overwritten(copied: Path) -> None:
    before = contents(copied)
    standin(copied).prepare_data()
    assert contents(copied) == before
    assert not load(copied).standin
    with pytest.raises(LeakageError) as error:
        ADULT.write(copied, size=10, seed=0)
    assert str(error.value) == (
        f"{copied}: adult.data in it has no standin.json beside it and counts as real, so no"
        " stand-in was written; choose another folder"
    )


def test_real_files_put_over_a_standin_are_neither_flagged_nor_overwritten(
    adult_root: Path, tmp_path: Path
) -> None:
    standin(tmp_path).prepare_data()
    shutil.copy(adult_root / "adult.data", tmp_path)
    before = contents(tmp_path)
    for data in (Adult(str(tmp_path)), standin(tmp_path), standin(tmp_path, seed=1)):
        with pytest.raises(LeakageError) as error:
            data.prepare_data()
        assert str(error.value) == (
            f"{tmp_path / 'adult.data'}: this is not the stand-in that standin.json beside it"
            " describes; delete standin.json if the files are real, else delete both and have them"
            " written again"
        )
    assert contents(tmp_path) == before


@pytest.mark.parametrize("before", [None, 1], ids=["fresh", "over another stand-in"])
@pytest.mark.parametrize("survives", [0, 1, 2])
def test_an_interrupted_standin_is_never_taken_for_real_and_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int | None, survives: int
) -> None:
    """The process dies at each of the three renames."""
    root = tmp_path / "made"
    if before is not None:
        ADULT.write(root, size=500, seed=before)
    renames = iter(range(survives))
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(renames, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            standin(root).prepare_data()
    if before is None and survives == 0:
        assert sentence(root).startswith(f"{root}: found no adult.data or adult.test")
    else:
        missing = "adult.test" if survives == 2 else "adult.data and adult.test"
        assert sentence(root) == (
            f"{root}: the stand-in was interrupted and lacks {missing}; set data.standin=true to"
            " write it again, or delete standin.json and put the official files there"
        )
    standin(root).prepare_data()
    ADULT.write(tmp_path / "expected", size=500, seed=0)
    assert all(
        (root / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
        for name in (*SHA256, MARKER)
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 1, "settings": {}}'])
def test_a_marker_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    standin(tmp_path).prepare_data()
    (tmp_path / MARKER).write_text(content)
    assert sentence(tmp_path) == (
        f"{tmp_path / MARKER}: found a file that is not the marker of a stand-in; delete the"
        " folder to have the stand-in written again"
    )


def test_a_standin_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeakageError) as error:
        standin(tmp_path, size=0).prepare_data()
    assert str(error.value) == (
        "data.standin_size: a stand-in of Adult has at least 1 rows of adult.data, got 0"
    )


def test_the_marker_keeps_the_settings(adult_root: Path) -> None:
    marker = json.loads((adult_root / MARKER).read_text())
    assert marker["settings"] == {"size": 6000, "seed": 0, "version": 1}
    assert set(marker["sha256"]) == set(SHA256)


def test_the_standin_has_the_margins_of_adult(adult_root: Path) -> None:
    population = load(adult_root)
    sex, status = population.traits["sex"], population.traits["marital-status"]
    female = sex.codes == sex.values.index("Female")
    rich = population.labels.double()
    assert female.double().mean() == pytest.approx(0.331, abs=0.02)
    assert rich.mean() == pytest.approx(0.241, abs=0.02)
    assert rich[female].mean() == pytest.approx(0.11, abs=0.025)
    assert rich[~female].mean() == pytest.approx(0.306, abs=0.025)
    work, job = population.traits["workclass"], population.traits["occupation"]
    assert (work.codes < 0).double().mean() == pytest.approx(0.056, abs=0.012)
    assert (job.codes[work.codes < 0] < 0).all()  # unknown together
    country = population.traits["native-country"]
    assert (country.codes < 0).double().mean() == pytest.approx(0.018, abs=0.007)
    relation = population.traits["relationship"]
    married = status.codes == status.values.index("Married-civ-spouse")
    husband = relation.codes == relation.values.index("Husband")
    wife = relation.codes == relation.values.index("Wife")
    assert not (husband & female).any()
    assert not (wife & ~female).any()
    assert married[husband].double().mean() > 0.98
    assert married[wife].double().mean() > 0.95
    names = COLUMNS["education"]
    levels = {row[3]: row[4] for row in read_rows(adult_root / "adult.data").tolist()}
    assert levels[names.index("Preschool")] == 1
    assert levels[names.index("HS-grad")] == 9
    assert levels[names.index("Doctorate")] == 16
    rows = read_rows(adult_root / "adult.data")
    assert all(levels[row[3]] == row[4] for row in rows)


def test_a_model_learns_the_income_and_the_sex_of_the_standin(adult_root: Path) -> None:
    population = load(adult_root, exclude=["relationship"])
    train, test = population.splits["train"], population.splits["test"]
    x, y = population.features.numpy(), population.labels.numpy()
    income = LogisticRegression(max_iter=500).fit(x[train], y[train])
    majority = max(y[test].mean(), 1 - y[test].mean())
    assert income.score(x[test], y[test]) >= majority + 0.03
    sex = population.traits["sex"]
    rest = [j for j in range(x.shape[1]) if j not in sex.columns]
    scores = LogisticRegression(max_iter=500).fit(x[train][:, rest], sex.codes[train])
    auroc = roc_auc_score(sex.codes[test], scores.predict_proba(x[test][:, rest])[:, 1])
    assert 0.6 <= auroc <= 0.98


# The download


def test_the_official_files_are_downloaded_where_there_are_none(
    adult_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SHA256:
        digest = hashlib.sha256((adult_root / name).read_bytes()).hexdigest()
        monkeypatch.setitem(SHA256, name, digest)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(adult_root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        data = Adult(
            str(tmp_path), download=True, download_url=f"http://127.0.0.1:{server.server_port}/"
        )
        data.prepare_data()
        data.setup("fit")
        assert not data.population.standin
        assert contents(tmp_path) == {name: (adult_root / name).read_bytes() for name in SHA256}
        # A download that ended between the two files goes on with the second one.
        (tmp_path / "adult.test").unlink()
        data.prepare_data()
        data.prepare_data()
        assert sorted(contents(tmp_path)) == list(SHA256)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert sorted(asked) == ["/adult.data", "/adult.test", "/adult.test"]
