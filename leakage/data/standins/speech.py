"""Speech by a source-filter model (Fant 1960): a glottis, a vocal tract, hiss, and a room."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import convolve1d

from leakage.data.standins.phones import PHONES, SENTENCES
from leakage.data.standins.voices import Voice

Array: TypeAlias = NDArray[np.float32]

RATE = 16_000  # Hz
STEP = 64  # samples between two targets, 4 ms
HOP = 256  # samples between two states of the filters, 16 ms
FFT = 768  # a window of 2 * HOP, and half as much again for the filters to ring
LONGEST = 5.0  # seconds

_FREQUENCIES = (np.arange(FFT // 2 + 1) * (RATE / FFT)).astype(np.float32)  # Hz
_DELAY = np.exp(-2j * np.pi * _FREQUENCIES / RATE).astype(np.complex64)  # z^-1
_WINDOW = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)  # with itself HOP later it sums to 1
_RAMP = np.arange(STEP, dtype=np.float32) / STEP  # from a target to the next one
_BANDWIDTHS = np.array([90.0, 120.0, 190.0], dtype=np.float32)  # Hz


def speak(sentence: str, voice: Voice, rng: np.random.Generator) -> NDArray[np.int16]:
    """A recording of a sentence, 16 kHz, 1.3 to 5 s.

    Args:
        sentence: a name of `SENTENCES`.
        voice: how it is said.
        rng: of this clip alone.
    """
    targets, stress = _targets(sentence, voice, rng)
    pitch = _pitch(stress, voice, rng)
    return _record(_sound(targets, pitch, voice, rng), voice, rng)


def _targets(sentence: str, voice: Voice, rng: np.random.Generator) -> tuple[Array, Array]:
    """The targets of a sentence in steps of 4 ms (t, 8), as `Segment` lists them, and stress (t,).

    The formants glide, as tongue and lips have mass, and louder sounds fade in and out.
    """
    rows, lengths, stresses = [], [], []
    for word in SENTENCES[sentence].split():
        for segment in PHONES[word.rstrip("*")]:
            stressed = word.endswith("*")
            pause = rng.exponential(1.0) if word == "_" else 1.0
            length = segment.ms * (1.25 if stressed else 1.0) * pause
            rows.append((*segment.formants, *segment[2:]))
            lengths.append(length * voice.pace * np.exp(0.12 * rng.standard_normal()))
            stresses.append(stressed)
    lengths[-3:] = [1.3 * length for length in lengths[-3:]]  # the last sounds are drawn out
    ends = np.cumsum(lengths) / 1000 * RATE / STEP
    ends *= min(1.0, (LONGEST - 0.6) * RATE / STEP / ends[-1])
    counts = np.diff(np.round(ends).astype(int), prepend=0)
    edge = 25  # steps of rest, in which the voice fades
    counts[0] += edge
    counts[-1] += edge
    targets = np.repeat(np.array(rows, dtype=np.float32), counts, axis=0)
    targets[:edge, 3:6] = targets[-edge:, 3:6] = 0
    targets[:, :3] = convolve1d(targets[:, :3], _bump(15), axis=0, mode="nearest")
    targets[:, 3:] = convolve1d(targets[:, 3:], _bump(5), axis=0, mode="nearest")
    stress = convolve1d(np.repeat(np.array(stresses, dtype=np.float32), counts), _bump(41))
    targets[:, 3] *= 0.75 + 0.5 * stress
    return targets, stress


def _bump(width: int) -> Array:
    bump = np.hanning(width + 2)[1:-1]
    weights: Array = (bump / bump.sum()).astype(np.float32)
    return weights


def _pitch(stress: Array, voice: Voice, rng: np.random.Generator) -> Array:
    """The pitch in Hz (t,): it rises on stress, sinks to the end, and wavers."""
    t = len(stress)
    wander = convolve1d(rng.standard_normal(t, dtype=np.float32), _bump(61)) * 5
    course = 0.5 * (stress - 0.3) + 0.35 * np.linspace(0.4, -0.6, t) + 0.08 * wander
    jitter = (0.005 + 0.08 * voice.rough) * rng.standard_normal(t, dtype=np.float32)
    return (voice.pitch * np.exp(voice.melody * course + jitter)).astype(np.float32)


def _glottis(pitch: Array, voice: Voice, rng: np.random.Generator) -> tuple[Array, Array]:
    """The change of the glottal flow (s,), about 1, and the flow (s,), 0 to 1 (Rosenberg 1971)."""
    phase = np.cumsum(pitch / RATE, dtype=np.float64)
    cycle = phase.astype(np.int64)
    moment = (phase - cycle).astype(np.float32)
    opening, closing = 0.42, 0.2
    rise = 0.5 - 0.5 * np.cos(np.pi / opening * np.minimum(moment, opening))
    fall = np.cos(np.pi / 2 / closing * np.clip(moment - opening, 0, closing))
    flow = rise * fall
    # Neighbouring pulses differ, and each second one is weaker in a rough voice.
    weights = 1 + 0.5 * voice.rough * rng.standard_normal(cycle[-1] + 1, dtype=np.float32)
    weights[::2] *= 1 - 0.7 * voice.rough
    change = np.diff(flow, prepend=flow[0]) * weights[cycle] * (RATE / 8 / voice.pitch)
    return change, flow


def _tract(formants: Array, voice: Voice) -> NDArray[np.complex64]:
    """The response of the tract (f, FFT // 2 + 1) to formants (f, 3), 1 at 0 Hz.

    It is a row of resonators; those above the third stay where a tube of this length has them.
    """
    scales = (voice.tract * np.array(voice.shape)).astype(np.float32)
    upper = np.arange(3500, RATE / 2, 1000, dtype=np.float32) * scales[3]
    upper = upper[upper < RATE / 2 - 100]
    poles = _poles(upper[:, None], 0.06 * upper[:, None]).prod(axis=0)
    for i, width in enumerate(_BANDWIDTHS):
        poles = poles * _poles(formants[:, i, None] * scales[i], width)
    response: NDArray[np.complex64] = poles[..., :1].real / poles
    return response


def _poles(centres: Array, widths: Array) -> NDArray[np.complex64]:
    """The polynomials (f, FFT // 2 + 1) of two poles each, at centres (f, 1) in Hz."""
    radius = np.exp(-np.pi / RATE * widths)
    first = 2 * radius * np.cos(2 * np.pi / RATE * centres)
    poles: NDArray[np.complex64] = 1 - first * _DELAY + radius * radius * (_DELAY * _DELAY)
    return poles


def _sound(targets: Array, pitch: Array, voice: Voice, rng: np.random.Generator) -> Array:
    """What comes out of the mouth (s,): sources, filters that change each 16 ms, overlap-add."""
    steps = (len(targets) - 1) // (HOP // STEP) * (HOP // STEP)
    count = steps * STEP
    ends = np.column_stack([targets[:, 3:6], pitch])[: steps + 1].T[..., None]  # (4, steps + 1, 1)
    between = ends[:, :-1] + np.diff(ends, axis=1) * _RAMP
    heard, breath, hiss, curve = between.astype(np.float32).reshape(4, count)
    change, flow = _glottis(curve, voice, rng)
    noise = rng.standard_normal((2, count), dtype=np.float32)
    breath = 0.25 * breath + voice.breath * heard * (0.3 + flow)
    glottal = heard * change + breath * noise[0]
    filters = np.arange(0, steps + 1, HOP // STEP)
    centre, width = targets[filters, 6:7], targets[filters, 7:8]
    slope = (np.maximum(_FREQUENCIES, 300) / 300) ** (voice.tilt / 6.02)
    mouth = np.exp(-0.5 * ((_FREQUENCIES - centre * voice.tract**0.5) / width) ** 2)
    spectrum = _spectra(glottal) * (_tract(targets[filters, :3], voice) * slope.astype(np.float32))
    spectrum += _spectra(0.12 * hiss * noise[1]) * mouth.astype(np.float32)
    return _overlap_add(spectrum)


def _spectra(source: Array) -> NDArray[np.complex64]:
    """The spectra (f, FFT // 2 + 1) of windows, HOP apart, of a source (s,)."""
    padded = np.pad(source, HOP)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP]
    spectra: NDArray[np.complex64] = rfft(windows * _WINDOW, FFT, axis=1)
    return spectra


def _overlap_add(spectra: NDArray[np.complex64]) -> Array:
    """The sum of windows, given by their spectra (f, FFT // 2 + 1); it begins HOP too early."""
    pieces = irfft(spectra, FFT, axis=1).reshape(len(spectra), FFT // HOP, HOP)
    sound = np.zeros((len(spectra) + FFT // HOP, HOP), dtype=np.float32)
    for part in range(FFT // HOP):
        sound[part : part + len(spectra)] += pieces[:, part]
    return sound.reshape(-1)


def _record(sound: Array, voice: Voice, rng: np.random.Generator) -> NDArray[np.int16]:
    """What a microphone in a room keeps of it: rest before and after, echo, noise and a level."""
    before, after = rng.uniform(0.15, 0.5, 2)
    length = len(sound) + int((before + after) * RATE)
    length = int(np.clip(length, 1.3 * RATE, LONGEST * RATE))
    start = min(int(before * RATE), length - len(sound))
    echoes = int(0.25 * RATE)
    size = next_fast_len(length + echoes, real=True)
    speech = np.zeros(size, dtype=np.float32)
    speech[start : start + len(sound)] = sound
    speech *= 0.03 * 10 ** (voice.level / 20) / np.sqrt((sound**2).mean())
    decay = np.exp(np.arange(echoes, dtype=np.float32) / (-RATE * rng.uniform(0.02, 0.07)))
    echo = rng.standard_normal(echoes, dtype=np.float32) * decay
    echo *= rng.uniform(0.15, 0.5) / np.sqrt((echo**2).sum())
    echo[0] += 1
    frequencies = np.arange(size // 2 + 1, dtype=np.float32) * np.float32(RATE / size)
    hum = rng.standard_normal(2 * len(frequencies), dtype=np.float32).view(np.complex64)
    hum *= 10 ** rng.uniform(-3.3, -2.7) * np.sqrt(size / 2)  # white, of this deviation
    hum *= (np.maximum(frequencies, 50) / 1000) ** -rng.uniform(0.6, 1.0)
    hum *= 1 + 2.5 * np.exp(-(((frequencies - 190) / 120) ** 2))
    low_cut = 1 / (1 + (70 / np.maximum(frequencies, 1)) ** 4)
    heard: Array = irfft((rfft(speech) * rfft(echo, size) + hum) * low_cut, size)[:length]
    samples: NDArray[np.int16] = np.round(0.95 * 32767 * np.tanh(heard / 0.95)).astype(np.int16)
    return samples  # as loud as may be, and none is clipped
