"""The reader of the Heritage Health Prize on made-up and broken files, and its stand-in."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from leakage.data.health import AGE_BANDS, Health
from leakage.data.health_files import AGES, CODES, TABLES
from leakage.data.health_records import WIDTHS
from leakage.data.module import ALL_SHARES
from leakage.data.standins import health_tables as tables
from leakage.data.standins.health import HEALTH
from leakage.errors import LeakageError
from leakage.population import SPLITS, Population

CLAIMS, MEMBERS, DRUGS, LABS = TABLES
MEMBER = 4
"""Members of the files that are written by hand are numbered from here."""


def load(root: Path, exclude: list[str] | None = None, **settings: float) -> Population:
    data = Health(str(root), exclude=exclude, **settings)
    data.prepare_data()
    data.setup("fit")
    return data.population


def sentence(root: Path, **settings: float) -> str:
    with pytest.raises(LeakageError) as error:
        load(root, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_identical(one: Population, other: Population) -> None:
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.units, other.units)
    assert all(torch.equal(one.splits[split], other.splits[split]) for split in SPLITS)
    for name, trait in one.traits.items():
        assert trait.values == other.traits[name].values
        assert torch.equal(trait.codes, other.traits[name].codes)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("health")
    HEALTH.write(folder, size=1500, seed=0)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("health")
    HEALTH.write(folder, size=5000, seed=0)
    return folder


@pytest.fixture(scope="module")
def whole(made: Path) -> Population:
    """All of the smaller one, which tests leave as it is."""
    return load(made)


def claim(member: int, **other: str) -> str:
    """A row of Claims.csv."""
    fields = {
        "MemberID": str(member), "ProviderID": "1", "Vendor": "2", "PCP": "3", "Year": "Y1",
        "Specialty": "Surgery", "PlaceSvc": "Office", "PayDelay": "10", "LengthOfStay": "",
        "DSFS": "0- 1 month", "PrimaryConditionGroup": "MSC2a3", "CharlsonIndex": "0",
        "ProcedureGroup": "EM", "SupLOS": "0",
    }  # fmt: skip
    return ",".join((fields | other).values())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A hundred members with a claim each; every tenth has a drug and a lab."""
    members = range(MEMBER, MEMBER + 100)
    rows = {
        CLAIMS: [claim(m) for m in members],
        MEMBERS: [f"{m},{AGES[m % 9]},{'FM'[m % 2]}" for m in members],
        DRUGS: [f"{m},Y1,0- 1 month,2" for m in members[::10]],
        LABS: [f"{m},Y1,0- 1 month,3" for m in members[::10]],
    }
    for name, lines in rows.items():
        (tmp_path / name).write_text("\n".join([",".join(TABLES[name]), *lines, ""]))
    return tmp_path


def replace_row(path: Path, row: int, *new: str) -> None:
    """Puts rows in the place of one; the header is row 1."""
    lines = path.read_text().split("\n")
    lines[row - 1 : row] = new
    path.write_text("\n".join(lines))


def block(population: Population, name: str) -> np.ndarray:
    """The columns of x that come from a column of the files."""
    start = sum(width for other, width in WIDTHS.items() if [*WIDTHS].index(other) <
                [*WIDTHS].index(name))  # fmt: skip
    return population.features[:, start : start + WIDTHS[name]].numpy()


# The population


DAYS = {"": 0, "1- 2 weeks": 10, "2- 4 weeks": 21, "4- 8 weeks": 42, "26+ weeks": 182}


def naive(root: Path) -> dict[tuple[int, str], dict[str, list[float]]]:
    """A plain twin of the reader: record by record, before numbers are standardised."""
    of: dict[tuple[int, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(root / CLAIMS):
        of[int(row["MemberID"]), row["Year"]].append(row)
    members = {int(row["MemberID"]): row for row in rows_of(root / MEMBERS)}
    counts: dict[str, dict[tuple[int, str], list[dict[str, str]]]] = {}
    for name, column in ((DRUGS, "DrugCount"), (LABS, "LabCount")):
        counts[column] = defaultdict(list)
        for row in rows_of(root / name):
            counts[column][int(row["MemberID"]), row["Year"]].append(row)
    records = {}
    for key in sorted(of):
        claims, member = of[key], members[key[0]]
        told: dict[str, list[float]] = {}
        for name, codes in CODES.items():
            seen = Counter(row[name] for row in claims)
            told[name] = [math.log1p(seen[code]) for code in (*codes, "")]
        told["Claims"] = [math.log1p(len(claims))]
        for name in ("ProviderID", "Vendor", "PCP"):
            told[name] = [math.log1p(len({row[name] for row in claims} - {""}))]
        delays = [int(row["PayDelay"].rstrip("+")) for row in claims]
        told["PayDelay"] = [sum(delays) / len(delays), max(delays)]
        days = [
            DAYS[row["LengthOfStay"]]
            if row["LengthOfStay"] in DAYS
            else int(row["LengthOfStay"][0])
            for row in claims
        ]
        told["LengthOfStay"] = [math.log1p(sum(days)), math.log1p(max(days))]
        told["DSFS"] = [
            max(int(row["DSFS"].split("-")[1].split()[0]) if row["DSFS"] else 0 for row in claims)
        ]
        told["SupLOS"] = [math.log1p(sum(row["SupLOS"] == "1" for row in claims))]
        for name, found in counts.items():
            numbers = [int(row[name].rstrip("+")) for row in found[key]]
            months = {row["DSFS"] for row in found[key]}
            told[name] = [math.log1p(v) for v in (
                sum(numbers), max(numbers, default=0), len(months))]  # fmt: skip
        told["Year"] = [float(key[1] == year) for year in ("Y1", "Y2", "Y3")]
        told["Sex"] = [float(member["Sex"] == sex) for sex in ("F", "M", "")]
        told["AgeAtFirstClaim"] = [float(member["AgeAtFirstClaim"] == age) for age in (*AGES, "")]
        told["label"] = [float(any(row["CharlsonIndex"] != "0" for row in claims))]
        records[key] = told
    return records


def test_x_and_the_labels_say_what_the_rows_say(made: Path, whole: Population) -> None:
    population, expected = whole, naive(made)
    assert len(expected) == len(population.labels) > 2500
    twins = list(expected.values())
    assert population.labels.tolist() == [twin["label"][0] for twin in twins]
    train = population.splits["train"].numpy()
    for name in WIDTHS:
        column = np.array([twin[name] for twin in twins])
        if name not in (*CODES, "Year", "Sex", "AgeAtFirstClaim"):
            column = (column - column[train].mean(0)) / column[train].std(0)
        np.testing.assert_allclose(block(population, name), column, atol=1e-5, rtol=1e-5)
    assert population.features.shape[1] == sum(WIDTHS.values()) == Health().in_features == 118
    # Units are members: equal where the records are of one, and nowhere else.
    ids = [member for member, _ in expected]
    assert len(set(zip(ids, population.units.tolist(), strict=True))) == len(set(ids))
    assert len(population.units.unique()) == len(set(ids)) == 1500
    again = population.records[7]
    assert torch.equal(again[0], population.features[7])
    assert again[1] == population.labels[7]
    assert (again[0].dtype, again[1].dtype) == (torch.float32, torch.int64)


def test_the_order_of_rows_line_ends_and_a_byte_order_mark_change_nothing(
    made: Path, whole: Population, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in TABLES:
        head, *lines = (made / name).read_text().splitlines()
        lines = [lines[i] for i in rng.permutation(len(lines))]
        text = "\r\n".join([head, *lines, "", ""])
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    other = load(tmp_path)
    assert (whole.standin, other.standin) == (True, False)
    assert_identical(whole, other)


def test_columns_in_another_order_with_quotes_and_beside_others_are_found_by_name(
    made: Path, whole: Population, tmp_path: Path
) -> None:
    for name in TABLES:
        rows = rows_of(made / name)
        with (tmp_path / name).open("w", newline="") as file:
            order = [*reversed(TABLES[name]), "more"]
            writer = csv.DictWriter(file, order, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows({**row, "more": "?"} for row in rows)
    assert_identical(whole, load(tmp_path))


def test_standardisation_looks_at_the_train_split_only(small: Path) -> None:
    before = load(small)
    row = int(before.splits["challenge"][0])
    replace_row(small / CLAIMS, row + 2, claim(MEMBER + row, PayDelay="150"))
    after = load(small)
    others = torch.arange(100) != row
    assert torch.equal(before.features[others], after.features[others])
    # All train records have the same delay: a constant column becomes finite.
    assert after.features.isfinite().all()
    assert (block(after, "PayDelay")[others] == 0).all()
    assert (block(after, "PayDelay")[row] == 140).all()


def test_columns_do_not_depend_on_the_values_that_occur(small: Path, whole: Population) -> None:
    assert load(small).features.shape[1] == whole.features.shape[1]


def test_the_label_is_the_highest_index_of_the_year_and_no_part_of_x(small: Path) -> None:
    before = load(small)
    assert before.labels.sum() == 0
    for row, index in ((2, "0"), (3, "1-2"), (4, "3-4"), (5, "5+"), (6, "1- 2")):
        replace_row(small / CLAIMS, row, claim(MEMBER + row - 2, CharlsonIndex=index))
    after = load(small)
    assert after.labels.nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert torch.equal(before.features, after.features)


@pytest.mark.parametrize(
    ("column", "texts", "expected"),
    [
        ("PayDelay", ["0", "161", "162+"], [0, 161, 162]),
        ("LengthOfStay", ["", "1 day", "6 days", "1- 2 weeks", "4- 8 weeks", "26+ weeks"],
         [0, 1, 6, 10, 42, 182]),
        ("DSFS", ["", "0- 1 month", "1- 2 months", "9-10 months", "11-12 months"],
         [0, 1, 2, 10, 12]),
    ],
)  # fmt: skip
def test_texts_become_the_numbers_that_they_stand_for(
    small: Path, column: str, texts: list[str], expected: list[int]
) -> None:
    """A record of two claims tells the scale, which the train records give."""
    for i, text in enumerate(texts):
        replace_row(small / CLAIMS, i + 2, claim(MEMBER + i, **{column: text}))
    found = block(load(small), column)[: len(texts), -1].astype(float)
    wanted = np.log1p(expected) if column == "LengthOfStay" else np.array(expected, dtype=float)
    slope = (found[-1] - found[0]) / (wanted[-1] - wanted[0]) or 1.0
    np.testing.assert_allclose(found - found[0], slope * (wanted - wanted[0]), atol=1e-4)


def test_counts_that_stop_have_a_plus_sign(small: Path) -> None:
    for name, most in ((DRUGS, "7+"), (LABS, "10+")):
        rows = (f"{MEMBER},Y1,0- 1 month,{most}", f"{MEMBER},Y1,,1", f"{MEMBER},Y1,0- 1 month,1")
        replace_row(small / name, 2, *rows, "1,Y1,,1")  # the last of nobody
        replace_row(small / name, 6, f"{MEMBER + 10},Y2,,1")  # a year without a claim
    population = load(small)
    train = population.splits["train"]
    for name, most in (("DrugCount", 7), ("LabCount", 10)):
        found = block(population, name)
        plain = np.zeros((100, 3))
        plain[::10] = np.log1p([2 + (name == "LabCount"), 2 + (name == "LabCount"), 1])
        plain[0] = np.log1p([most + 2, most, 2])
        plain[10] = 0
        spread = plain[train].std(0)
        expected = (plain - plain[train].mean(0)) / np.where(spread > 0, spread, 1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


# Traits and columns left out


def test_traits_are_aligned_with_their_columns(large: Path) -> None:
    population = load(large)
    assert set(population.traits) == {
        "sex", "age", "age-band", "year", "pregnancy", "cancer", "drugs", "labs"}  # fmt: skip
    for name, trait in population.traits.items():
        known = trait.codes >= 0
        assert sorted(trait.codes[known].unique().tolist()) == list(range(len(trait.values)))
        assert (~known).any() == (name in ("sex", "age", "age-band"))
        assert trait.in_x
        assert bool(trait.one_hot) == (name in ("sex", "age", "year"))
        if trait.one_hot:
            hot = population.features[:, list(trait.one_hot)]
            assert torch.equal(hot[known].argmax(1), trait.codes[known])
            assert (hot[known].sum(1) == 1).all()
            assert (hot[~known] == 0).all()
            assert set(trait.one_hot) <= set(trait.columns)
    assert population.traits["sex"].values == ("F", "M")
    assert population.traits["age"].values == AGES
    age, band = population.traits["age"].codes, population.traits["age-band"]
    assert band.values == ("under 20", "20 to 39", "40 to 59", "60 and over")
    for i, ages in enumerate(AGE_BANDS.values()):
        same = (age >= AGES.index(ages[0])) & (age <= AGES.index(ages[-1]))
        assert torch.equal(band.codes == i, same)
    counts = block(population, "PrimaryConditionGroup")
    groups = CODES["PrimaryConditionGroup"]
    pregnant = counts[:, groups.index("PRGNCY")] > 0
    assert population.traits["pregnancy"].codes.tolist() == pregnant.tolist()
    assert (population.traits["cancer"].codes == 1).sum() == (
        (counts[:, [groups.index(f"CANCR{kind}") for kind in "ABM"]] > 0).any(1).sum()
    )
    for name, column in (("drugs", "DrugCount"), ("labs", "LabCount")):
        total = block(population, column)[:, 0]
        none = population.traits[name].codes.numpy() == 0
        assert total[none].max() < total[~none].min()


@pytest.mark.parametrize("name", list(WIDTHS))
def test_an_excluded_column_is_out_of_x_and_the_others_keep_theirs(
    made: Path, whole: Population, name: str
) -> None:
    without = load(made, exclude=[name])
    start = whole.features.shape[1] - sum(
        width for other, width in list(WIDTHS.items())[[*WIDTHS].index(name) :]
    )
    kept = [j for j in range(whole.features.shape[1]) if not start <= j < start + WIDTHS[name]]
    assert torch.equal(without.features, whole.features[:, kept])
    assert Health(exclude=[name]).in_features == len(kept)
    for trait_name, trait in whole.traits.items():
        other = without.traits[trait_name]
        assert torch.equal(trait.codes, other.codes)
        if set(trait.columns) & set(kept):
            assert torch.equal(
                whole.features[:, list(trait.columns)], without.features[:, list(other.columns)]
            )
        else:
            assert (other.columns, other.one_hot) == ((), ())


def test_a_value_that_no_record_has_is_no_value_of_the_trait(small: Path) -> None:
    text = (small / MEMBERS).read_text()
    (small / MEMBERS).write_text(text.replace(",M", ",").replace("20-29", "10-19"))
    traits = load(small).traits
    assert traits["sex"].values == ("F",)
    assert (traits["sex"].codes == -1).sum() == 50
    assert traits["age"].values == (AGES[0], AGES[1], *AGES[3:])
    assert traits["year"].values == ("Y1",)
    assert traits["pregnancy"].values == ("no",)


def test_splits_are_shares_of_the_members_and_depend_on_the_seed_alone(
    made: Path, whole: Population
) -> None:
    one, again, other = whole, load(made), load(made, seed=1)
    assert_identical(one, again)
    assert not torch.equal(one.splits["train"], other.splits["train"])
    for split, share in ALL_SHARES.items():
        assert len(one.units[one.splits[split]].unique()) == pytest.approx(1500 * share, abs=2)
    assert sorted(torch.cat(list(one.splits.values())).tolist()) == list(range(len(one.labels)))


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        (["sex"], "data.exclude: x of Health has no column 'sex'; "),
        (["CharlsonIndex"], "data.exclude: x of Health has no column 'CharlsonIndex'; "),
        (list(WIDTHS), "data.exclude: found every column of Health, at least one must be left for"
         " x"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(exclude: list[str], expected: str) -> None:
    with pytest.raises(LeakageError, match=f"^{re.escape(expected)}"):
        Health(exclude=exclude)


def test_the_share_of_unreadable_rows_is_a_share() -> None:
    with pytest.raises(LeakageError, match=r"^data.max_unreadable: a share in 0..1, got 2$"):
        Health(max_unreadable=2)


# Bad input

TOO_MANY = "data.max_unreadable allows a share of 0.01, repair the files or raise it"
BAD_FIELDS = {
    "member": (CLAIMS, "MemberID", "x", "a number"),
    "member in floats": (MEMBERS, "MemberID", "1.5E+07", "a number"),
    "provider": (CLAIMS, "ProviderID", "?", "a number or empty"),
    "year": (CLAIMS, "Year", "Y4", "one of Y1, Y2, Y3"),
    "no year": (CLAIMS, "Year", "", "one of Y1, Y2, Y3"),
    "specialty": (CLAIMS, "Specialty", "internal", f"one of {', '.join(CODES['Specialty'])} or"
                  " empty"),
    "place": (CLAIMS, "PlaceSvc", "Shop", f"one of {', '.join(CODES['PlaceSvc'])} or empty"),
    "delay": (CLAIMS, "PayDelay", "162", "a number from 0 to 161 or 162+"),
    "no delay": (CLAIMS, "PayDelay", "", "a number from 0 to 161 or 162+"),
    "months": (CLAIMS, "DSFS", "12-13 months", "one of 0- 1 month, 1- 2 months, 2- 3 months, 3- 4"
               " months, 4- 5 months, 5- 6 months, 6- 7 months, 7- 8 months, 8- 9 months, 9-10"
               " months, 10-11 months, 11-12 months or empty"),
    "stay": (CLAIMS, "LengthOfStay", "7 days", "one of 1 day, 2 days, 3 days, 4 days, 5 days, 6"
             " days, 1- 2 weeks, 2- 4 weeks, 4- 8 weeks, 8-12 weeks, 12-26 weeks, 26+ weeks or"
             " empty"),
    "index": (CLAIMS, "CharlsonIndex", "", "one of 0, 1-2, 3-4, 5+"),
    "suppressed": (CLAIMS, "SupLOS", "2", "one of 0, 1"),
    "age": (MEMBERS, "AgeAtFirstClaim", "35", f"one of {', '.join(AGES)} or empty"),
    "sex": (MEMBERS, "Sex", "U", "one of F, M or empty"),
    "drugs": (DRUGS, "DrugCount", "8", "a number from 1 to 6 or 7+"),
    "labs": (LABS, "LabCount", "10", "a number from 1 to 9 or 10+"),
}  # fmt: skip


def break_field(path: Path, row: int, column: str, text: str) -> None:
    fields = path.read_text().split("\n")[row - 1].split(",")
    fields[list(TABLES[path.name]).index(column)] = text
    replace_row(path, row, ",".join(fields))


@pytest.mark.parametrize(("name", "column", "text", "told"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_too_many_malformed_values_are_refused_by_file_row_and_column(
    small: Path, name: str, column: str, text: str, told: str
) -> None:
    replace_row(small / name, 4, "", (small / name).read_text().split("\n")[3])  # a blank line
    for row in (7, 9):
        break_field(small / name, row, column, text)
    rows = 100 if name in (CLAIMS, MEMBERS) else 10
    assert sentence(small) == (
        f"{small / name}: 2 of {rows} rows left out: a {column} that is not {told} (the first: row"
        f" 7, column {column}: {text!r}); {TOO_MANY}"
    )


def test_few_malformed_rows_are_left_out_and_counted(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load(small)
    break_field(small / CLAIMS, 9, "Year", "Y9")
    break_field(small / CLAIMS, 9, "PayDelay", "")  # counted once, by its first column
    replace_row(small / CLAIMS, 60, claim(MEMBER + 58) + ",more")
    replace_row(small / CLAIMS, 61, claim(MEMBER + 59).rpartition(",")[0])
    caplog.clear()
    population = load(small, max_unreadable=0.03)
    assert len(population.labels) == 97
    fields = f"{small / CLAIMS}: 2 of 100 rows left out: fields that are not the 14 of the header"
    assert caplog.messages[:2] == [
        f"{fields} (the first: row 60: 15)",
        f"{small / CLAIMS}: 1 of 100 rows left out: a Year that is not one of Y1, Y2, Y3 (the"
        " first: row 9, column Year: 'Y9')",
    ]
    kept = [i for i in range(100) if i not in (7, 58, 59)]
    assert torch.equal(population.traits["sex"].codes, whole.traits["sex"].codes[kept])


def test_bytes_that_are_no_text_are_a_malformed_row(small: Path) -> None:
    content = (small / CLAIMS).read_bytes().replace(b"Surgery", b"Chirurg\xeda", 2)
    (small / CLAIMS).write_bytes(content)
    assert "(the first: row 2, column Specialty: 'Chirurg\ufffda'); " in sentence(small)


@pytest.mark.parametrize(
    ("name", "column", "text"),
    [
        (MEMBERS, "AgeAtFirstClaim", "19-Oct"),
        (MEMBERS, "AgeAtFirstClaim", "Oct-19"),
        (CLAIMS, "CharlsonIndex", "2-Jan"),
        (CLAIMS, "CharlsonIndex", "4-Mar"),
    ],
)
def test_the_dates_of_a_spreadsheet_are_refused_at_once(
    small: Path, name: str, column: str, text: str
) -> None:
    break_field(small / name, 5, column, text)
    assert sentence(small, max_unreadable=1) == (
        f"{small / name}, row 5, column {column}: found {text!r}, a date that a spreadsheet such"
        " as Excel makes of a range like 10-19; take the official file, which no spreadsheet has"
        " saved"
    )


def test_a_member_whom_members_lacks_is_left_out_and_counted(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace_row(small / MEMBERS, 3)
    caplog.clear()
    population = load(small)
    assert caplog.messages[0] == (
        f"{small / CLAIMS}: 1 of 100 members left out: no readable row in Members.csv (the first:"
        f" MemberID {MEMBER + 1})"
    )
    assert len(population.labels) == 99
    replace_row(small / MEMBERS, 3)
    assert sentence(small) == (
        f"{small / CLAIMS}: 2 of 100 members left out: no readable row in Members.csv (the first:"
        f" MemberID {MEMBER + 1}); {TOO_MANY}"
    )


def test_the_last_members_may_lack_too(small: Path) -> None:
    """Positions beyond the end of the table of members are no member."""
    replace_row(small / MEMBERS, 101)
    replace_row(small / DRUGS, 2, f"{MEMBER + 99},Y1,0- 1 month,1", "999999999999999999,Y1,,1")
    assert len(load(small).labels) == 99


def test_a_member_of_whom_two_things_are_said_is_left_out(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = (small / MEMBERS).read_text().split("\n")[4]
    replace_row(small / MEMBERS, 50, row, (small / MEMBERS).read_text().split("\n")[49])
    whole = load(small)
    assert len(whole.labels) == 100  # the same row twice says nothing new
    replace_row(small / MEMBERS, 50, f"{MEMBER + 3},80+,")
    caplog.clear()
    assert len(load(small).labels) == 99
    assert caplog.messages[:2] == [
        f"{small / MEMBERS}: 1 of 100 members left out: rows that differ in age or sex (the first:"
        f" MemberID {MEMBER + 3})",
        f"{small / CLAIMS}: 1 of 100 members left out: no readable row in Members.csv (the first:"
        f" MemberID {MEMBER + 3})",
    ]
    replace_row(small / MEMBERS, 50, f"{MEMBER + 3},80+,", f"{MEMBER + 4},80+,")
    assert sentence(small) == (
        f"{small / MEMBERS}: 2 of 100 members left out: rows that differ in age or sex (the first:"
        f" MemberID {MEMBER + 3}); {TOO_MANY}"
    )


@pytest.mark.parametrize("name", list(TABLES))
def test_a_file_that_is_missing_a_web_page_or_empty_is_refused(small: Path, name: str) -> None:
    path = small / name
    header = ",".join(TABLES[name])
    path.write_text("\n <!DOCTYPE html>\n<html>".lstrip())
    assert sentence(small) == (
        f"{path}: found a web page (a failed download), expected the header {header}"
    )
    path.write_text(header + "\n\n")
    count = len(TABLES[name])
    assert sentence(small) == (
        f"{path}: found no row of {count} fields below the header of as many"
    )
    path.write_text(header + "\n" + "1,2\n" * 5)
    assert sentence(small) == (
        f"{path}: found no row of {count} fields below the header of as many"
    )
    path.unlink()
    assert sentence(small) == (
        f"{path}: it is missing, while other files of Health are there; put it beside them, or"
        " point data.root at an empty folder"
    )


@pytest.mark.parametrize("name", list(TABLES))
def test_missing_columns_are_named(small: Path, name: str) -> None:
    path = small / name
    columns = list(TABLES[name])
    rest = path.read_text().split("\n", 1)[1]
    header = ",".join([*columns[:-1], "Other"])
    path.write_text(f"{header}\n{rest}")
    assert sentence(small) == (
        f"{path}, row 1: found no column {columns[-1]} in {header!r}, expected the header"
        f" {','.join(columns)}"
    )
    path.write_text(rest)
    assert f"{path}, row 1: found no column MemberID, " in sentence(small)


def test_too_few_members_are_refused(small: Path) -> None:
    for name in (CLAIMS, MEMBERS):
        lines = (small / name).read_text().split("\n")[:11]
        (small / name).write_text("\n".join(lines))
    assert sentence(small) == (
        f"{small / CLAIMS}: found 10 members with a row in Members.csv, at least 11 are needed to"
        f" divide them into {', '.join(ALL_SHARES)}"
    )


def test_an_empty_folder_names_the_ways_out(tmp_path: Path) -> None:
    assert sentence(tmp_path) == (
        f"{tmp_path}: found no {CLAIMS}, {MEMBERS}, {DRUGS} or {LABS}; point data.root at the"
        " folder of the official files of Health, or set data.standin=true to work with made-up"
        " records"
    )


def test_what_lies_beside_the_files_is_not_read(small: Path) -> None:
    before = load(small)
    for name in ("DaysInHospital_Y2.csv", "Target.csv", "Lookup PrimaryConditionGroup.csv"):
        (small / name).write_text("<html>")
    assert_identical(before, load(small))


# The stand-in


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others() -> None:
    one, again, other = (dict(HEALTH.files(40, seed)) for seed in (0, 0, 1))
    assert list(one) == list(TABLES)
    assert one == again
    assert all(one[name] != other[name] for name in TABLES)


@pytest.mark.parametrize("size", [HEALTH.least, 30])
def test_the_smallest_standins_can_be_read(tmp_path: Path, size: int) -> None:
    HEALTH.write(tmp_path, size=size, seed=3)
    assert len(load(tmp_path, max_unreadable=0).units.unique()) == size


def test_margins_are_those_of_the_official_files(large: Path) -> None:
    claims, members = rows_of(large / CLAIMS), rows_of(large / MEMBERS)
    assert len(members) == len({row["MemberID"] for row in members}) == 5000
    assert sum(row["Sex"] == "" for row in members) / 5000 == pytest.approx(0.155, abs=0.015)
    assert sum(row["AgeAtFirstClaim"] == "" for row in members) / 5000 == pytest.approx(
        0.051, abs=0.01
    )
    n = len(claims)
    years = {(row["MemberID"], row["Year"]) for row in claims}
    assert len({member for member, _ in years}) == 5000
    assert len(years) / 5000 == pytest.approx(218_415 / 113_000, abs=0.03)
    assert n / 5000 == pytest.approx(2_668_990 / 113_000, rel=0.05)
    for name, share in {**tables.MISSING, "LengthOfStay": 0.973}.items():
        empty = sum(row[name] == "" for row in claims)
        spread = 4 * math.sqrt(share * (1 - share) / n) + 0.002 * (name == "LengthOfStay")
        assert empty / n == pytest.approx(share, abs=spread), name
    for name in ("Specialty", "PrimaryConditionGroup", "ProcedureGroup", "PlaceSvc"):
        assert {row[name] for row in claims} == {*CODES[name], ""}
    assert {"162+", "0", "161"} <= {row["PayDelay"] for row in claims}
    assert {row["CharlsonIndex"] for row in claims} == {"0", "1-2", "3-4", "5+"}
    assert {row["DrugCount"] for row in rows_of(large / DRUGS)} == {*"123456", "7+"}
    assert {row["LabCount"] for row in rows_of(large / LABS)} == {*"123456789", "10+"}


def test_chronic_conditions_stay_and_others_come_and_go(large: Path) -> None:
    seen = defaultdict(set)
    for row in rows_of(large / CLAIMS):
        seen[row["MemberID"], row["Year"]].add(row["PrimaryConditionGroup"])

    def lift(code: str) -> float:
        """How much likelier the condition is in a year after one with it."""
        after = [(code in seen[m, "Y1"], code in seen[m, "Y2"]) for m, year in list(seen)
                 if year == "Y1" and (m, "Y2") in seen]  # fmt: skip
        before, now = np.array(after).T
        return float(now[before].mean() / now.mean())

    assert lift("METAB3") > 1.7
    assert lift("COPD") > 4
    assert 0.7 < lift("TRAUMA") < 1.6


def test_utility_is_above_the_majority_and_sex_is_neither_plain_nor_hidden(large: Path) -> None:
    """A linear model, and the best single column."""
    population = load(large, exclude=["Sex"])
    x, y = population.features.numpy(), population.labels.numpy()
    train = torch.cat([population.splits[s] for s in ("train", "shadow_fit")]).numpy()
    test = torch.cat([population.splits[s] for s in ("test", "challenge")]).numpy()
    majority = max(y[test].mean(), 1 - y[test].mean())
    assert majority < 0.72
    accuracy = RidgeClassifier(10.0).fit(x[train], y[train]).score(x[test], y[test])
    assert majority + 0.08 < accuracy < 0.9
    sex = population.traits["sex"].codes.numpy()
    train, test = (part[sex[part] >= 0] for part in (train, test))
    model = RidgeClassifier(10.0).fit(x[train], sex[train])
    assert 0.68 < roc_auc_score(sex[test], model.decision_function(x[test])) < 0.9
    for values, most in ((sex, 0.7), (y, 0.8)):
        known = values >= 0
        for column in x[known].T:
            area = roc_auc_score(values[known], column)
            assert max(area, 1 - area) < most
    pregnant = population.traits["pregnancy"].codes.numpy() == 1
    women, men = (pregnant[sex == code].mean() for code in (0, 1))
    assert 0.01 < women < 0.1
    assert 0 < men < women / 4


@pytest.mark.parametrize("name", ["Claims.csv", "Members.csv"])
@pytest.mark.parametrize(("end", "row"), [("\r\r\n", 7), ("\r1\n", 7)])
def test_a_carriage_return_within_a_row_is_named(
    small: Path, name: str, end: str, row: int
) -> None:
    lines = (small / name).read_text().split("\n")
    lines[row - 1] += end[:-1]
    (small / name).write_text("\n".join(lines), newline="")
    with pytest.raises(LeakageError) as error:
        load(small)
    assert str(error.value) == (
        f"{small / name}, row {row}: found a carriage return within the row, expected LF or CRLF at"
        " its end"
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid", "a Git-LFS pointer"),
        ("", "an empty file"),
        ("\n", "an empty file"),
    ],
)
def test_what_stands_in_place_of_a_table_is_said(small: Path, content: str, kind: str) -> None:
    (small / "Members.csv").write_text(content)
    with pytest.raises(LeakageError) as error:
        load(small)
    assert str(error.value) == (
        f"{small / 'Members.csv'}: found {kind}, expected the header MemberID,AgeAtFirstClaim,Sex"
    )


@pytest.mark.parametrize("date", ["19-oct.", "2025-01-02", "1/2/2025", "10.19.25", "Mai-19"])
def test_dates_of_other_countries_are_dates_too(small: Path, date: str) -> None:
    lines = (small / "Members.csv").read_text().split("\n")
    fields = lines[4].split(",")
    lines[4] = ",".join([fields[0], date, *fields[2:]])
    (small / "Members.csv").write_text("\n".join(lines))
    with pytest.raises(
        LeakageError, match=f"row 5, column AgeAtFirstClaim: found '{date}', a date"
    ):
        load(small)
