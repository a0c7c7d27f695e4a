"""The population of anyone's own records, by a table with a row for each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pandas as pd
import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from leakage.errors import LeakageError, nearest
from leakage.population import Population, Trait, split_by_unit
from leakage.randomness import derived_seed, torch_generator
from leakage.table.columns import codes_of, label_codes, texts_of, trait_of, values_of
from leakage.table.records import LABEL_KEYS, read_records

SHARES = {"shadow_fit": 0.4, "shadow_calibrate": 0.2, "challenge": 0.4}
_log = logging.getLogger("leakage.data")


def population_of(
    records: Dataset[Any],
    table: pd.DataFrame,
    *,
    name: str,
    labels: str | None = None,
    units: str | None = None,
    seed: int = 0,
    trained_on: bool,
    source: str = "attack.attributes",
    key: str = "attack",
) -> Population:
    """The population of N records and what a table knows of them.

    Every other column with at most 50 values is a trait. Its values are text in numeric or else
    alphabetical order, whole numbers without a point, unknown where empty, missing or `?`. A trait
    is in x where a column of the features tells it.

    Args:
        records: a map-style data set of N records, each as the training loader gives it.
        table: row i is about record i; of a `Subset`, also about record i of the whole.
        name: the data set, for logs and reports.
        labels: the column of the labels. Where left out, the label is the second part of a record,
            or under the first key of `LABEL_KEYS`. Numbers with a fraction, and whole ones with
            more than 1,000 values, count by quarter; unknown is a label of its own.
        units: the column of who or what a record belongs to; where left out, to itself.
        seed: of the splits, and of what the data set draws while its records are read.
        trained_on: whether the model trains on these records.
        source: what an error calls the table.
        key: the part of the config whose keys an error names.

    Raises:
        LeakageError: why the table cannot be one of these records.
    """
    if isinstance(records, IterableDataset) or not (
        hasattr(records, "__len__") and hasattr(records, "__getitem__")
    ):
        raise LeakageError(
            f"{source}: the data set {name} is a {type(records).__name__}, whose records have no"
            " numbers that the rows of a table could go by; give one with __len__ and __getitem__"
        )
    rows = _rows_of(records, table, name, source)
    names = [str(column) for column in table.columns]
    for i, column in enumerate(names):
        if column in names[:i]:
            raise LeakageError(
                f"{source}: two columns of the table have the name {column!r}; rename one"
            )
    for part, wanted in (("labels", labels), ("units", units)):
        if wanted is not None and wanted not in names:
            raise LeakageError(
                f"{key}.{part}: the table has no column {wanted!r}; {nearest(wanted, names)}"
            )

    def texts(column: str) -> list[str | None]:
        return texts_of(table.iloc[rows, names.index(column)])

    found, x = read_records(records, labels is None, derived_seed(seed, "table", "records"))
    if not x.shape[1]:
        _log.info(
            "%s: not every record begins with a float vector x, so the baseline `imputation` knows"
            " the labels alone",
            name,
        )
    if labels is not None:
        y = label_codes(texts(labels), labels, key)
    elif found is not None:
        y = label_codes(texts_of(pd.Series(found, dtype=object)), "label", key)
    else:
        y = torch.zeros(len(rows), dtype=torch.int64)
        _log.warning(
            "%s: not every record has a number for a label (its second part, or under the key %s),"
            " so the baseline `labels` knows nothing; name a column of the table with %s.labels",
            name,
            " or ".join(LABEL_KEYS),
            key,
        )
    owners = torch.arange(len(rows))
    if units is not None:
        named = texts(units)
        if None in named:
            row = rows[named.index(None)] + 1
            raise LeakageError(
                f"{key}.units: row {row} of the table has no {units!r}; give each record a unit"
            )
        owners = codes_of(named, values_of(named))
    traits: dict[str, Trait] = {}
    unusable: dict[str, str] = {}
    for column in names:
        if column in (labels, units):
            naming = f"{key}.labels" if column == labels else f"{key}.units"
            unusable[column] = f"is what {naming} names; give the table a copy under another name"
        elif isinstance(trait := trait_of(column, texts(column), x), Trait):
            traits[column] = trait
        else:
            unusable[column] = trait
    return Population(
        name=name,
        records=records,
        labels=y,
        features=x,
        traits=traits,
        units=owners,
        splits=split_by_unit(owners, SHARES, torch_generator(seed, "table", "splits")),
        standin=False,
        trained_on=trained_on,
        unusable=unusable,
    )


def _rows_of(records: Dataset[Any], table: pd.DataFrame, name: str, source: str) -> list[int]:
    """The row of the table for each record, N of them; through a Subset from that of the whole."""
    n = size = len(cast("Sequence[Any]", records))
    rows, whole = list(range(n)), records
    while size != len(table) and isinstance(whole, Subset):
        indices, whole = whole.indices, whole.dataset
        size = len(cast("Sequence[Any]", whole))
        rows = [int(indices[row]) % size for row in rows]  # -1 is the last record
    if size != len(table):
        part = "" if whole is records else f" (a Subset of {size})"
        raise LeakageError(
            f"{source}: the table has {len(table)} rows, but the data set {name} has {n}"
            f" records{part}; give one row for each record, in the order of the data set"
        )
    return rows
