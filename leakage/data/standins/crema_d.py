"""A stand-in for CREMA-D: made-up persons speak its sentences with its emotions.

Counts and margins are those of the official set (Cao et al. 2014, ODbL); persons and sound are made
up. Race and ethnicity are drawn by themselves and change nothing in the sound.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from leakage.data.standins.marker import StandIn
from leakage.data.standins.phones import SENTENCES
from leakage.data.standins.speech import RATE, speak
from leakage.data.standins.voices import EMOTIONS, draw_voice, express
from leakage.randomness import numpy_generator

ACTORS = range(1001, 1092)
MOST = 7442
STREAM = ("standin", "crema_d")
LEVELLED, LEVELS = "IEO", ["LO", "MD", "HI"]  # the sentence said at three strengths
# The official set lacks 20 of 91 * 82 clips, of these actors; which sentence is made up.
ABSENT_SENTENCE = "TAI"
ABSENT = {actor: set(EMOTIONS) for actor in (1008, 1009, 1019)}
ABSENT |= {actor: {"NEU"} for actor in (1002, 1076)}

SEX = {"Male": 48, "Female": 43}
RACE = {"Caucasian": 61, "African American": 22, "Asian": 7, "Unknown": 1}
ETHNICITY = {"Not Hispanic": 81, "Hispanic": 10}


@dataclass(frozen=True)
class Person:
    """A row of VideoDemographics.csv."""

    actor: int
    age: int
    sex: str
    race: str
    ethnicity: str


def _persons(seed: int) -> list[Person]:
    """91 persons with the official margins, each trait dealt by itself; ages crowd in the 20s."""
    rng = numpy_generator(seed, *STREAM, "persons")
    ages = np.round(20 + 54 * np.linspace(0, 1, len(ACTORS)) ** 2.2).astype(int)
    dealt = [
        rng.permutation(np.repeat(list(margin), list(margin.values()))).tolist()
        for margin in (SEX, RACE, ETHNICITY)
    ]
    columns = zip(ACTORS, rng.permutation(ages).tolist(), *dealt, strict=True)
    return [Person(*row) for row in columns]


def _clips(actor: int, first: int, rng: np.random.Generator) -> list[str]:
    """The names of all clips of an actor, so ordered that the emotions take turns.

    Args:
        actor: the number.
        first: which emotion is the first one.
        rng: of this actor alone.
    """
    turns = []
    for emotion in np.roll(list(EMOTIONS), -first).tolist():
        said = [(sentence, "XX") for sentence in SENTENCES if sentence != LEVELLED]
        said += [(LEVELLED, level) for level in (["XX"] if emotion == "NEU" else LEVELS)]
        if emotion in ABSENT.get(actor, ()):
            said.remove((ABSENT_SENTENCE, "XX"))
        names = [f"{actor}_{sentence}_{emotion}_{level}.wav" for sentence, level in said]
        turns.append(rng.permutation(names).tolist())
    return [name for turn in zip_longest(*turns) for name in turn if name is not None]


def _names(size: int, seed: int) -> list[str]:
    """`size` names of clips, as many of each actor as can be, in the order of a folder."""
    rng = numpy_generator(seed, *STREAM, "names")
    order = rng.permutation(list(ACTORS)).tolist()
    clips = [_clips(actor, i % len(EMOTIONS), rng) for i, actor in enumerate(order)]
    dealt = [name for turn in zip_longest(*clips) for name in turn if name is not None]
    return sorted(dealt[:size])


def _wav(samples: NDArray[np.int16]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _files(size: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """VideoDemographics.csv and `size` clips, each from a random stream of its own."""
    persons = _persons(seed)
    rows = [f'{p.actor},{p.age},"{p.sex}","{p.race}","{p.ethnicity}"\n' for p in persons]
    header = '"ActorID","Age","Sex","Race","Ethnicity"\n'
    yield "VideoDemographics.csv", (header + "".join(rows)).encode()
    voices = {
        p.actor: draw_voice(p.sex, p.age, numpy_generator(seed, *STREAM, "voice", p.actor))
        for p in persons
    }
    for name in _names(size, seed):
        actor, sentence, emotion, strength = name.removesuffix(".wav").split("_")
        rng = numpy_generator(seed, *STREAM, name)
        voice = express(voices[int(actor)], emotion, strength, rng)
        yield f"AudioWAV/{name}", _wav(speak(sentence, voice, rng))


CREMA_D = StandIn("CREMA-D", "clips", len(ACTORS), 1, _files, MOST)
