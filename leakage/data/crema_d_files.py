"""The official files of CREMA-D (Cao et al. 2014): names of clips, demographics, traits."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from leakage.data.files import text_of
from leakage.data.traits import make_trait
from leakage.data.unreadable import Unreadable
from leakage.errors import LeakageError
from leakage.population import Trait

AUDIO, DEMOGRAPHICS = FILES = ("AudioWAV", "VideoDemographics.csv")
CLIPS = 7442
ACTORS = range(1001, 1092)
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
"""Anger, disgust, fear, happiness, none and sadness: the labels in their order."""
# fmt: off
STATEMENTS = (
    "IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI",
)
# fmt: on
INTENSITIES = ("LO", "MD", "HI")
"""Asked for with the statement IEO alone; XX in the name of any other clip."""
UNKNOWN = "Unknown"
PEOPLE = {
    "Sex": ("Female", "Male"),
    "Race": ("African American", "Asian", "Caucasian"),
    "Ethnicity": ("Hispanic", "Not Hispanic"),
}
"""The columns of the demographics that list values; each may be unknown too."""
COLUMNS = ("ActorID", "Age", *PEOPLE)
OLDEST = 120
AGE_BANDS = ("under 30", "30 to 44", "45 and over")
AGE_BAND_STARTS = (30, 45)

_NAME = re.compile(
    rf"([0-9]{{4}})_({'|'.join(STATEMENTS)})_({'|'.join(EMOTIONS)})_({'|'.join(INTENSITIES)}|XX)\.wav"
)


@dataclass(frozen=True)
class Clip:
    """What the name of a file says, such as 1001_IEO_ANG_HI.wav."""

    path: Path
    actor: int
    statement: str
    emotion: str
    intensity: str


@dataclass(frozen=True)
class Actor:
    """A row of the demographics: years, and the value of each of `PEOPLE`."""

    age: int
    values: dict[str, str]


def read_clips(root: Path, unreadable: Unreadable) -> list[Clip]:
    """Finds the clips by their names, in the order of these.

    Args:
        root: the folder of AudioWAV, in which files of other kinds do not matter.
        unreadable: is told of each other name that ends in .wav.

    Raises:
        LeakageError: AudioWAV is no folder, or no clip is in it.
    """
    folder = root / AUDIO
    if not folder.is_dir():
        raise LeakageError(f"{folder}: found a file, expected the folder of the clips")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".wav" and not path.name.startswith(".")
    )
    clips = []
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if (
            match is None
            or int(match[1]) not in ACTORS
            or (match[4] in INTENSITIES and match[2] != "IEO")
        ):
            unreadable.add(path.name, "a name that no clip of CREMA-D has")
        elif not path.is_file():
            unreadable.add(path.name, "a folder, or a link to a file that is not there")
        else:
            clips.append(Clip(path, int(match[1]), match[2], match[3], match[4]))
    if not clips:
        raise LeakageError(
            f"{folder}: found no clip, and {len(paths)} other names that end in .wav; expected"
            " names such as 1001_DFA_ANG_XX.wav"
        )
    return clips


def read_actors(root: Path, speakers: Collection[int]) -> dict[int, Actor]:
    """Reads the demographics.

    Args:
        root: the folder of VideoDemographics.csv.
        speakers: the actors that must have a row.

    Raises:
        LeakageError: by row (the first line is 1) and column, what is wrong.
    """
    path = root / DEMOGRAPHICS
    actors: dict[int, Actor] = {}
    rows: dict[int, int] = {}
    (_, header), *body = _read_rows(path)
    for row, fields in body:
        if len(fields) != len(header):
            raise LeakageError(
                f"{path}, row {row}: found {len(fields)} fields, expected {len(header)} with a"
                " comma between them"
            )
        found = dict(zip(header, fields, strict=True))
        actor = _whole(found["ActorID"])
        if actor not in ACTORS:
            raise LeakageError(
                f"{path}, row {row}, column ActorID: found {found['ActorID']!r}, expected a number"
                f" from {ACTORS[0]} to {ACTORS[-1]}"
            )
        if actor in rows:
            raise LeakageError(
                f"{path}, row {row}, column ActorID: found {actor} again, which is in row"
                f" {rows[actor]} too; expected one row an actor"
            )
        age = _whole(found["Age"])
        if not 1 <= age <= OLDEST:
            raise LeakageError(
                f"{path}, row {row}, column Age: found {found['Age']!r}, expected a number of years"
                f" from 1 to {OLDEST}"
            )
        for name, values in PEOPLE.items():
            if found[name] not in (*values, UNKNOWN):
                raise LeakageError(
                    f"{path}, row {row}, column {name}: found {found[name]!r}, expected one of"
                    f" {', '.join((*values, UNKNOWN))}"
                )
        rows[actor] = row
        actors[actor] = Actor(age, {name: found[name] for name in PEOPLE})
    if strangers := sorted(set(speakers) - actors.keys()):
        raise LeakageError(
            f"{path}: found no row of actor {strangers[0]}, whose clips are in {root / AUDIO}"
            f" ({len(strangers)} such actors); take the official file, which has"
            f" {len(ACTORS)} actors"
        )
    return actors


def make_traits(clips: Sequence[Clip], actors: dict[int, Actor]) -> dict[str, Trait]:
    """What is known of the speaker of each clip, and of how and what was said; no part of x."""
    speakers = [actors[clip.actor] for clip in clips]
    ages = np.digitize([speaker.age for speaker in speakers], AGE_BAND_STARTS)
    return {
        trait.name: trait
        for trait in (
            *(
                _trait(name.lower(), [speaker.values[name] for speaker in speakers], values)
                for name, values in PEOPLE.items()
            ),
            _trait("age-band", [AGE_BANDS[band] for band in ages], AGE_BANDS),
            _trait("statement", [clip.statement for clip in clips], STATEMENTS),
            _trait("intensity", [clip.intensity for clip in clips], INTENSITIES),
        )
    }


def _trait(name: str, found: Sequence[str], values: Sequence[str]) -> Trait:
    """What is not among the values is unknown."""
    position = {value: code for code, value in enumerate(values)}
    return make_trait(name, values, torch.tensor([position.get(value, -1) for value in found]))


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of the demographics that are not blank, by their number; the header first."""
    text = text_of(path, "the rows of the actors")
    if text.split("\n")[0].count(";") >= len(COLUMNS) - 1:
        raise LeakageError(
            f"{path}, row 1: found semicolons between the fields, as Excel writes them in some"
            " countries; expected commas"
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, [f.strip() for f in fields]) for fields in reader if fields]
    except csv.Error as error:
        raise LeakageError(
            f"{path}, row {reader.line_num}: found no row of a CSV file ({error})"
        ) from None
    row, header = rows[0] if rows else (1, [])
    if missing := [name for name in COLUMNS if name not in header]:
        raise LeakageError(
            f"{path}, row {row}: found no column {missing[0]}, expected {', '.join(COLUMNS)}"
        )
    return rows


def _whole(text: str) -> int:
    """The number in a field, -1 where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
