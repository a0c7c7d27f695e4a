"""The official files of the Heritage Health Prize (2011): what their columns hold, and their rows.

The codes of conditions and procedures are those of the two official lookup files.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from leakage.data.files import is_pointer, is_web_page
from leakage.data.module import some
from leakage.data.unreadable import Unreadable
from leakage.errors import LeakageError

# fmt: off
CODES = {
    "Specialty": (
        "Internal", "Laboratory", "General Practice", "Surgery", "Diagnostic Imaging", "Emergency",
        "Other", "Pediatrics", "Rehabilitation", "Obstetrics and Gynecology", "Anesthesiology",
        "Pathology",
    ),
    "PlaceSvc": (
        "Office", "Independent Lab", "Urgent Care", "Outpatient Hospital", "Inpatient Hospital",
        "Ambulance", "Other", "Home",
    ),
    "PrimaryConditionGroup": (
        "AMI", "APPCHOL", "ARTHSPIN", "CANCRA", "CANCRB", "CANCRM", "CATAST", "CHF", "COPD",
        "FLaELEC", "FXDISLC", "GIBLEED", "GIOBSENT", "GYNEC1", "GYNECA", "HEART2", "HEART4",
        "HEMTOL", "HIPFX", "INFEC4", "LIVERDZ", "METAB1", "METAB3", "MISCHRT", "MISCL1", "MISCL5",
        "MSC2a3", "NEUMENT", "ODaBNCA", "PERINTL", "PERVALV", "PNCRDZ", "PNEUM", "PRGNCY",
        "RENAL1", "RENAL2", "RENAL3", "RESPR4", "ROAMI", "SEIZURE", "SEPSIS", "SKNAUT", "STROKE",
        "TRAUMA", "UTI",
    ),
    "ProcedureGroup": (
        "ANES", "EM", "MED", "PL", "RAD", "SAS", "SCS", "SDS", "SEOA", "SGS", "SIS", "SMCD", "SMS",
        "SNS", "SO", "SRS", "SUS",
    ),
}
"""The codes of a claim, of which each record has the counts."""
YEARS = ("Y1", "Y2", "Y3")
SEXES = ("F", "M")
AGES = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80+")
CHARLSON = ("0", "1-2", "3-4", "5+")
STAYS = {
    "1 day": 1, "2 days": 2, "3 days": 3, "4 days": 4, "5 days": 5, "6 days": 6, "1- 2 weeks": 10,
    "2- 4 weeks": 21, "4- 8 weeks": 42, "8-12 weeks": 70, "12-26 weeks": 133, "26+ weeks": 182,
}
"""A length of stay in days; a range counts as its middle, an open one as its lower end."""
MONTHS = (
    "0- 1 month", "1- 2 months", "2- 3 months", "3- 4 months", "4- 5 months", "5- 6 months",
    "6- 7 months", "7- 8 months", "8- 9 months", "9-10 months", "10-11 months", "11-12 months",
)
"""Since the first claim of the year."""
# fmt: on
LONGEST_DELAY, MOST_DRUGS, MOST_LABS = 162, 7, 10
"""Days and counts at which the official files stop to count: 162+, 7+, 10+."""

MISSING = -1
FIRST_ROW = 2
"""The line of a file that is the first below the header."""
_BAD = -2
_BLOCK = 1 << 22  # bytes of a file at a time
_IDENTIFIER = re.compile("[0-9]{1,18}")
_DATE = re.compile(
    r"[0-9]{1,2}-[^\W\d_]{3,4}\.?|[^\W\d_]{3,4}\.?-[0-9]{1,2}"  # 19-Oct, Oct-19, 19-oct.
    r"|[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}"  # 2025-10-19, 10/19/2025
)


@dataclass(frozen=True)
class Column:
    """What one column holds.

    Args:
        told: its values in words, as a part of a sentence.
        values: the number that each text stands for; none: the text is a number of 1 to 18 digits.
        missing: whether it may be empty, which reads as `MISSING`.
    """

    told: str
    values: Mapping[str, int] = field(default_factory=dict)
    missing: bool = False

    def parse(self, text: str) -> int:
        """The number that a text stands for, `_BAD` where there is none."""
        # The official files have "1- 2 weeks" beside "12-26 weeks": no blank decides anything.
        text = re.sub(" *- *", "-", text.strip(' "\t'))
        if not text:
            return MISSING if self.missing else _BAD
        if self.values:
            return self.values.get(text, _BAD)
        return int(text) if _IDENTIFIER.fullmatch(text) else _BAD


def _names(names: tuple[str, ...], missing: bool = False, first: int = 0) -> Column:
    values = {re.sub(" *- *", "-", name): first + i for i, name in enumerate(names)}
    return Column(f"one of {', '.join(names)}" + " or empty" * missing, values, missing)


def _count(least: int, most: int) -> Column:
    """A number that stops at `most`, which has a plus sign."""
    values = {str(number): number for number in range(least, most)} | {f"{most}+": most}
    return Column(f"a number from {least} to {most - 1} or {most}+", values)


_MEMBER = Column("a number")
_SOMEBODY = Column("a number or empty", missing=True)
_YEAR = _names(YEARS)
_SINCE = _names(MONTHS, missing=True, first=1)
TABLES: dict[str, dict[str, Column]] = {
    "Claims.csv": {
        "MemberID": _MEMBER,
        "ProviderID": _SOMEBODY,
        "Vendor": _SOMEBODY,
        "PCP": _SOMEBODY,
        "Year": _YEAR,
        "Specialty": _names(CODES["Specialty"], missing=True),
        "PlaceSvc": _names(CODES["PlaceSvc"], missing=True),
        "PayDelay": _count(0, LONGEST_DELAY),
        "LengthOfStay": Column(
            f"one of {', '.join(STAYS)} or empty",
            {text.replace("- ", "-"): days for text, days in STAYS.items()},
            missing=True,
        ),
        "DSFS": _SINCE,
        "PrimaryConditionGroup": _names(CODES["PrimaryConditionGroup"], missing=True),
        "CharlsonIndex": _names(CHARLSON),
        "ProcedureGroup": _names(CODES["ProcedureGroup"], missing=True),
        "SupLOS": _names(("0", "1")),
    },
    "Members.csv": {
        "MemberID": _MEMBER,
        "AgeAtFirstClaim": _names(AGES, missing=True),
        "Sex": _names(SEXES, missing=True),
    },
    "DrugCount.csv": {
        "MemberID": _MEMBER,
        "Year": _YEAR,
        "DSFS": _SINCE,
        "DrugCount": _count(1, MOST_DRUGS),
    },
    "LabCount.csv": {
        "MemberID": _MEMBER,
        "Year": _YEAR,
        "DSFS": _SINCE,
        "LabCount": _count(1, MOST_LABS),
    },
}
"""The official files and their columns, each in its official order."""

Table = dict[str, NDArray[np.signedinteger[Any]]]
"""Numbers by column: int64 where they are identifiers, int16 elsewhere."""


def read_table(path: Path, most: float) -> Table:
    """Reads and checks one official file; a row that cannot be read is left out and counted.

    Args:
        path: the file, one of `TABLES`.
        most: the share of its rows that may be unreadable, in 0..1.

    Returns:
        By column the number of each row, `MISSING` where it is empty.

    Raises:
        LeakageError: by file, row (the header is 1) and column, what is wrong.
    """
    columns = TABLES[path.name]
    header = _read_header(path, list(columns))
    fields = _count_fields(path)
    if not (fields == len(header)).any():
        raise LeakageError(
            f"{path}: found no row of {len(header)} fields below the header of as many"
        )
    # Text by its distinct values, so that each is looked at once and never kept for each row.
    text = pd.read_csv(
        path,
        header=None,
        skiprows=1,
        names=[str(j) for j in range(len(header))],
        usecols=[header.index(name) for name in columns],
        dtype="category",
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,  # so that a position tells the row
        encoding="utf-8-sig",
        encoding_errors="replace",
        low_memory=False,  # half of the time, for about 400 MiB more at full size
    )
    if len(text) != len(fields):
        row = re.split(rb"\r(?!\n)", path.read_bytes(), maxsplit=1)[0].count(b"\n") + 1
        raise LeakageError(
            f"{path}, row {row}: found a carriage return within the row, expected LF or CRLF at its"
            " end"
        )
    unreadable = Unreadable(path, "rows")
    good = fields == len(header)
    for i in np.flatnonzero(~good & (fields > 0)).tolist():
        unreadable.add(
            f"row {i + FIRST_ROW}: {fields[i]}",
            f"fields that are not the {len(header)} of the header",
        )
    table: Table = {}
    for name, column in columns.items():
        values = text.pop(str(header.index(name)))
        texts = [str(one) for one in values.cat.categories]
        codes = values.cat.codes.to_numpy()
        _refuse_dates(path, name, texts, codes)
        parsed = np.array([column.parse(one) for one in texts])
        table[name] = (parsed.astype(np.int16) if column.values else parsed)[codes]
        bad = good & (table[name] == _BAD)
        good &= ~bad
        for i in np.flatnonzero(bad).tolist():
            unreadable.add(
                f"row {i + FIRST_ROW}, column {name}: {texts[codes[i]]!r}",
                f"a {name} that is not {column.told}",
            )
    unreadable.settle(int((fields > 0).sum()), most)
    return table if good.all() else {name: values[good] for name, values in table.items()}


def _read_header(path: Path, columns: Sequence[str]) -> list[str]:
    """The names in the first row, which has all of the columns."""
    with path.open("rb") as file:
        line = file.readline(1 << 16)
    if is_web_page(line) or is_pointer(line) or not line.strip():
        kind = "a web page (a failed download)" if is_web_page(line) else "an empty file"
        kind = "a Git-LFS pointer" if is_pointer(line) else kind
        raise LeakageError(f"{path}: found {kind}, expected the header {','.join(columns)}")
    names = line.decode("utf-8-sig", "replace").split(",")
    header = [name.strip(' "\t\r\n') for name in names]
    missing = [name for name in columns if name not in header]
    if missing:
        found = ",".join(header)
        raise LeakageError(
            f"{path}, row 1: found no column {some(missing, 'or')} in {found[:200]!r}, expected the"
            f" header {','.join(columns)}"
        )
    return header


def _count_fields(path: Path) -> NDArray[np.int64]:
    """How many fields each line below the header has, 0 where it is blank."""
    with path.open("rb") as file:
        next(file)
        counts = [np.empty(0, dtype=np.int64)]
        while lines := file.readlines(_BLOCK):
            block = np.frombuffer(b"".join(lines), dtype=np.uint8)
            starts = np.cumsum([0, *map(len, lines[:-1])])
            told = np.logical_or.reduceat(block > ord(" "), starts)
            commas = np.add.reduceat(block == ord(","), starts, dtype=np.int64)
            counts.append(np.where(told, commas + 1, 0))
    return np.concatenate(counts)


def _refuse_dates(path: Path, name: str, texts: list[str], codes: NDArray[Any]) -> None:
    """Refuses what a spreadsheet makes of 10-19 or 1-2: it has changed other columns too."""
    dates = [code for code, text in enumerate(texts) if _DATE.fullmatch(text.strip(' "'))]
    if dates:
        first = int(np.isin(codes, dates).argmax())
        raise LeakageError(
            f"{path}, row {first + FIRST_ROW}, column {name}: found {texts[codes[first]]!r}, a date"
            " that a spreadsheet such as Excel makes of a range like 10-19; take the official file,"
            " which no spreadsheet has saved"
        )
