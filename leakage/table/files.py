"""The file of attributes, read such that row i stays about record i."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from leakage.errors import LeakageError
from leakage.table.columns import UNKNOWN


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads attributes, one row a record.

    Args:
        path: a `.csv` file with a header line, whose fields stay the text that they are and are
            unknown where they are empty or `?`; or a `.parquet` file.

    Raises:
        LeakageError: what is wrong with the file.
    """
    path = Path(path).expanduser()
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise _refusal(path, "is neither a .csv nor a .parquet file")
    if not path.exists():
        raise _refusal(path, "does not exist")
    try:
        table = _read_csv(path) if kind == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:
        raise _refusal(path, f"cannot be read ({' '.join(str(error).split())})") from None
    if not table.size:
        raise _refusal(path, "holds no row")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    # Not pandas.read_csv: it drops a blank line, fills up a short row and takes the first field of
    # a long one for an index, after which row i is no longer about record i.
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, skipinitialspace=True, strict=True))
    while rows and not rows[-1]:
        rows.pop()
    header, *rows = rows or [[]]
    if len(header) == 1:
        rows = [row or [""] for row in rows]  # here a blank line is an unknown value
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise _refusal(path, f"has {len(row)} fields in row {number} and {len(header)} names")
    known = [[None if field.strip() in UNKNOWN else field for field in row] for row in rows]
    return pd.DataFrame(known, columns=header, dtype="str")


def _refusal(path: Path, found: str) -> LeakageError:
    return LeakageError(
        f"attack.attributes: {path} {found}; give a .csv file with a header line, or a .parquet"
        " file, with one row a record"
    )
