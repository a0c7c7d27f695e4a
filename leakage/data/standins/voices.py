"""Made-up speakers, and how an emotion changes the way in which they speak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Voice:
    """What stays the same in all that a person says, or what an emotion has made of it.

    Args:
        pitch: the middle of the pitch, in Hz.
        tract: formants as a multiple of those of a tract of ordinary length; 1.15 is a short one.
        shape: the first, second, third and higher formants beside that, about 1.
        pace: length of sounds as a multiple of the ordinary one.
        melody: the range of the pitch as a multiple of the ordinary one.
        tilt: how the spectrum of the source falls beyond that of its pulses, in dB an octave.
        breath: noise at the glottis as a share of its voice.
        rough: how much the pulses of the glottis differ, 0 to 1.
        level: of the recording, in dB beside that of an ordinary one.
    """

    pitch: float
    tract: float
    shape: tuple[float, float, float, float]
    pace: float
    melody: float
    tilt: float
    breath: float
    rough: float
    level: float


def draw_voice(sex: str, age: int, rng: np.random.Generator) -> Voice:
    """A person of this sex and age; the pitch and tract of the sexes overlap.

    Args:
        sex: "Male" or "Female".
        age: in years; the old speak a little lower, slower and rougher.
        rng: of this person alone.
    """
    z = rng.standard_normal(8)
    old = (age - 36) / 20  # about -1 to 2
    female = sex == "Female"
    return Voice(
        pitch=(205 if female else 121) * float(np.exp(0.16 * z[0] - 0.03 * old)),
        tract=(1.13 if female else 1.0) * float(np.exp(0.045 * z[1])),
        shape=tuple(np.exp(0.06 * rng.standard_normal(4)).tolist()),
        pace=float(np.exp(0.10 * z[2] + 0.06 * old)),
        melody=float(np.exp(0.2 * z[3])) * (1.1 if female else 1.0),
        tilt=-1.0 - 0.6 * old + 0.9 * z[4],
        breath=float(np.exp(0.2 * old + 0.4 * z[5])) * (0.06 if female else 0.04),
        rough=float(np.clip(0.12 + 0.07 * old + 0.06 * z[6], 0.02, 0.5)),
        level=2.5 * z[7],
    )


@dataclass(frozen=True)
class Emotion:
    """What an emotion of ordinary strength adds to a voice.

    Pitch, melody, pace, breath and tract are logarithms of factors; the rest is as in `Voice`.
    """

    pitch: float
    melody: float
    pace: float
    level: float
    tilt: float
    breath: float
    rough: float
    tract: float


EMOTIONS = {
    "ANG": Emotion(0.22, 0.35, -0.12, 9.0, 3.2, -0.5, 0.16, 0.03),
    "DIS": Emotion(-0.08, 0.05, 0.18, -1.0, 0.4, 0.0, 0.24, -0.07),
    "FEA": Emotion(0.38, -0.35, -0.14, 2.0, -1.0, 1.1, 0.04, 0.01),
    "HAP": Emotion(0.30, 0.50, -0.04, 5.0, 1.4, 0.2, -0.04, 0.07),
    "NEU": Emotion(0.0, -0.15, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "SAD": Emotion(-0.04, -0.50, 0.20, -6.0, -2.4, 0.8, 0.0, -0.02),
}
STRENGTHS = {"LO": 0.6, "MD": 0.95, "HI": 1.4, "XX": 1.0}


def express(voice: Voice, emotion: str, strength: str, rng: np.random.Generator) -> Voice:
    """The voice in one clip: the emotion acts with a strength that varies, beside moods.

    Args:
        voice: of the person.
        emotion: a name of `EMOTIONS`.
        strength: a name of `STRENGTHS`.
        rng: of this clip alone.
    """
    felt = EMOTIONS[emotion]
    much = STRENGTHS[strength] * float(np.exp(0.2 * rng.standard_normal()))
    z = rng.standard_normal(8)
    return Voice(
        pitch=voice.pitch * float(np.exp(much * felt.pitch + 0.05 * z[0])),
        tract=voice.tract * float(np.exp(much * felt.tract + 0.01 * z[1])),
        shape=voice.shape,
        pace=voice.pace * float(np.exp(much * felt.pace + 0.05 * z[2])),
        melody=voice.melody * float(np.exp(much * felt.melody + 0.15 * z[3])),
        tilt=voice.tilt + much * felt.tilt + 0.4 * z[4],
        breath=voice.breath * float(np.exp(much * felt.breath + 0.2 * z[5])),
        rough=float(np.clip(voice.rough + much * felt.rough + 0.03 * z[6], 0.01, 0.7)),
        level=voice.level + much * felt.level + 1.5 * z[7],
    )
