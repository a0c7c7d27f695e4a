"""The stand-in of CREMA-D: the form of its files, and what is to be heard in its made-up speech."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leakage.data.standins import speech
from leakage.data.standins.crema_d import CREMA_D, MOST, _names
from leakage.data.standins.phones import PHONES, SENTENCES
from leakage.data.standins.speech import FFT, HOP, RATE, STEP, speak
from leakage.data.standins.voices import EMOTIONS, Voice, draw_voice, express
from leakage.errors import LeakageError

NAME = re.compile(r"AudioWAV/(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX)\.wav")
PLAIN = Voice(
    pitch=120,
    tract=1,
    shape=(1, 1, 1, 1),
    pace=1,
    melody=1,
    tilt=0,
    breath=0.03,
    rough=0.05,
    level=0,
)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A stand-in of three clips an actor."""
    return dict(CREMA_D.files(3 * 91, 0))


@pytest.fixture(scope="module")
def clips(files: dict[str, bytes]) -> dict[str, NDArray[np.float64]]:
    """The samples of each clip by the name of its file."""
    wavs = {name: content for name, content in files.items() if name.endswith(".wav")}
    return {name: soundfile.read(io.BytesIO(content))[0] for name, content in wavs.items()}


def rows(files: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["VideoDemographics.csv"].decode())))


def said(
    voice: Voice, sentence: str = "IWW", seed: int = 0, emotion: str = "NEU", strength: str = "XX"
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return speak(sentence, express(voice, emotion, strength, rng), rng) / 32768


def frames(x: NDArray[np.float64], length: int = 640, step: int = 320) -> NDArray[np.float64]:
    return np.lib.stride_tricks.sliding_window_view(x, length)[::step]


def pitches(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pitch in Hz of each voiced frame of 64 ms, at the first high peak of autocorrelation."""
    windows = frames(x, 1024)
    windows = windows[windows.std(axis=1) > 0.12 * windows.std(axis=1).max()]
    power = np.abs(np.fft.rfft(windows * np.hanning(1024), 4096)) ** 2
    power[:, 260:] = 0  # above 1 kHz the formants would win
    lags = np.fft.irfft(power)[:, :400]
    lags /= np.fft.irfft(np.abs(np.fft.rfft(np.hanning(1024), 4096)) ** 2)[:400]  # of the window
    lags = (lags / lags[:, :1])[:, 30:270]
    found = []
    for frame in lags[lags.max(axis=1) > 0.6]:
        inner = (frame[1:-1] >= frame[:-2]) & (frame[1:-1] > frame[2:])
        high = np.flatnonzero(inner & (frame[1:-1] > 0.85 * frame.max()))
        found += [RATE / (31 + high[0])] if len(high) else []
    return np.array(found)


def log_spectrum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean power in dB of the loud frames, in 257 bins up to 8 kHz."""
    windows = frames(x, 512)
    windows = windows[windows.std(axis=1) > 0.3 * windows.std(axis=1).max()]
    return 10 * np.log10((np.abs(np.fft.rfft(windows * np.hanning(512))) ** 2).mean(axis=0))


# The form of the files


def test_the_demographics_have_the_official_form_and_margins(files: dict[str, bytes]) -> None:
    lines = files["VideoDemographics.csv"].decode().split("\n")
    assert lines[0] == '"ActorID","Age","Sex","Race","Ethnicity"'
    assert lines[-1] == ""
    assert len(lines) == 93
    for line in lines[1:-1]:
        assert re.fullmatch(r'\d{4},\d\d,"(Fem|M)ale","[A-Za-z ]+","(Not )?Hispanic"', line), line
    table = rows(files)
    assert [int(row["ActorID"]) for row in table] == list(range(1001, 1092))
    assert Counter(row["Sex"] for row in table) == {"Male": 48, "Female": 43}
    assert Counter(row["Race"] for row in table) == {
        "Caucasian": 61, "African American": 22, "Asian": 7, "Unknown": 1
    }  # fmt: skip
    assert Counter(row["Ethnicity"] for row in table) == {"Not Hispanic": 81, "Hispanic": 10}
    ages = np.array([int(row["Age"]) for row in table])
    assert (ages.min(), ages.max()) == (20, 74)
    assert 30 <= np.median(ages) <= 36
    assert 35 <= ages.mean() <= 38


def test_the_persons_are_made_up(files: dict[str, bytes]) -> None:
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "crema_d"
    real = Path(os.environ.get("LEAKAGE_CREMA_D", beside)) / "VideoDemographics.csv"
    if not real.exists():
        pytest.skip(
            f"NOT COMPARED WITH THE REAL CREMA-D: {real} is missing; set LEAKAGE_CREMA_D to the"
            " folder of the official files"
        )
    official = real.read_text().split("\n")
    made = files["VideoDemographics.csv"].decode().split("\n")
    assert len(official) == len(made)
    assert official[0] == made[0]
    assert sum(a == b for a, b in zip(official[1:-1], made[1:-1], strict=True)) < 10


def test_at_full_size_it_has_the_official_clips() -> None:
    names = _names(MOST, 0)
    parts = [NAME.fullmatch(f"AudioWAV/{name}").groups() for name in names]
    assert len(set(names)) == len(names) == 7442
    assert Counter(part[2] for part in parts) == dict.fromkeys(EMOTIONS, 1271) | {"NEU": 1087}
    actors = Counter(int(part[0]) for part in parts)
    fewer = {1002: 81, 1076: 81, 1008: 76, 1009: 76, 1019: 76}
    assert actors == dict.fromkeys(range(1001, 1092), 82) | fewer
    assert {part[1] for part in parts} == set(SENTENCES)
    levels = Counter((part[1] == "IEO" and part[2] != "NEU", part[3] != "XX") for part in parts)
    assert levels == {(True, True): 91 * 15, (False, False): 7442 - 91 * 15}


@pytest.mark.parametrize("size", [91, 100, 364, 2000])
def test_a_smaller_one_is_even_over_actors_and_emotions(size: int) -> None:
    names = _names(size, 3)
    assert len(set(names)) == size
    actors = Counter(name[:4] for name in names)
    assert len(actors) == 91
    assert max(actors.values()) - min(actors.values()) <= 1
    emotions = Counter(name[9:12] for name in names)
    assert len(emotions) == 6
    assert max(emotions.values()) - min(emotions.values()) <= 0.02 * size + 2
    for actor in actors:
        own = Counter(name[9:12] for name in names if name.startswith(actor))
        assert max(own.values()) <= actors[actor] // 6 + 1


def test_the_clips_are_16_khz_mono_of_16_bits(files: dict[str, bytes]) -> None:
    names = [name for name in files if name != "VideoDemographics.csv"]
    assert len(names) == 273
    for name in names:
        assert NAME.fullmatch(name), name
        info = soundfile.info(io.BytesIO(files[name]))
        form = (info.format, info.subtype, info.samplerate, info.channels)
        assert form == ("WAV", "PCM_16", 16000, 1)
        assert len(files[name]) == 44 + 2 * info.frames
        assert 1.27 <= info.duration <= 5.01, name


def test_the_slowest_voice_stays_below_the_longest_clip_and_the_fastest_above_the_shortest() -> (
    None
):
    for pace, seed in ((3.0, 0), (3.0, 1), (0.3, 0), (0.3, 1)):
        lengths = [
            len(speak(sentence, replace(PLAIN, pace=pace), np.random.default_rng(seed))) / RATE
            for sentence in SENTENCES
        ]
        assert min(lengths) >= 1.3
        assert max(lengths) <= 5.0
        assert (max(lengths) > 4.5) == (pace == 3.0)


def test_no_clip_is_silent_or_clipped_and_each_rises_above_its_noise(
    clips: dict[str, NDArray[np.float64]],
) -> None:
    for name, x in clips.items():
        assert 0.01 < np.abs(x).max() <= 0.951, name
        assert np.isfinite(x).all()
        assert abs(x.mean()) < 0.001, name
        level = 20 * np.log10(frames(x).std(axis=1) + 1e-9)
        assert np.percentile(level, 95) - np.percentile(level, 5) > 8, name


def test_even_the_loudest_voice_is_not_clipped() -> None:
    x = speak("IOM", replace(PLAIN, level=20), np.random.default_rng(0))
    assert 0.9 * 32767 < np.abs(x.astype(int)).max() <= 0.95 * 32767


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(files: dict[str, bytes]) -> None:
    again = dict(islice(CREMA_D.files(3 * 91, 0), 12))
    assert all(files[name] == content for name, content in again.items())
    other = dict(islice(CREMA_D.files(3 * 91, 1), 50))
    shared = [name for name in other if name in files]
    assert len(shared) >= 1
    assert all(files[name] != other[name] for name in shared)


def test_a_clip_is_the_same_at_each_size(files: dict[str, bytes]) -> None:
    fewer = dict(islice(CREMA_D.files(2 * 91, 0), 12))
    assert set(fewer) < set(files)
    assert all(files[name] == content for name, content in fewer.items())


def test_a_size_that_the_set_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LeakageError) as error:
        CREMA_D.write(tmp_path / "few", size=90, seed=0)
    assert str(error.value) == (
        "data.standin_size: a stand-in of CREMA-D has at least 91 clips, got 90"
    )
    with pytest.raises(LeakageError) as error:
        CREMA_D.write(tmp_path / "many", size=7443, seed=0)
    assert str(error.value) == (
        "data.standin_size: a stand-in of CREMA-D has at most 7442 clips, got 7443"
    )
    assert not (tmp_path / "many").exists()


def test_the_sentences_use_each_sound_and_no_other() -> None:
    words = {word.rstrip("*") for sentence in SENTENCES.values() for word in sentence.split()}
    assert words == set(PHONES)


# The parts of the model


def test_the_windows_add_up_to_a_plain_filter() -> None:
    """With one filter all along, the overlap-add is the recursion that its poles describe."""
    source = np.random.default_rng(0).standard_normal(40 * HOP).astype(np.float32)
    radius, angle = np.exp(-np.pi * 300 / RATE), 2 * np.pi * 1200 / RATE
    poles = [1, -2 * radius * np.cos(angle), radius**2]
    response = 1 / speech._poles(np.float32([[1200]]), np.float32([[300]]))
    added = speech._overlap_add(speech._spectra(source) * response)[HOP:]
    plain = lfilter([1], poles, source)
    np.testing.assert_allclose(added[: len(plain)], plain, atol=1e-3 * plain.std())


def test_the_tract_resonates_at_the_formants_times_its_scale() -> None:
    formants = np.float32([[300, 2200, 3000], [700, 1100, 2400]])
    voice = replace(PLAIN, tract=1.1, shape=(1.05, 0.95, 1.0, 1.0))
    response = np.abs(speech._tract(formants, voice))
    assert response.shape == (2, FFT // 2 + 1)
    np.testing.assert_allclose(response[:, 0], 1, rtol=1e-5)
    frequencies = np.arange(FFT // 2 + 1) * RATE / FFT
    for row, own in zip(response, formants, strict=True):
        peaks = frequencies[1:-1][(row[1:-1] > row[:-2]) & (row[1:-1] > row[2:])]
        expected = own * 1.1 * np.array([1.05, 0.95, 1.0])
        np.testing.assert_allclose(peaks[:3], expected, atol=40)
        np.testing.assert_allclose(peaks[3], 3500 * 1.1, atol=60)


def test_the_glottis_pulses_at_the_pitch_and_rests_in_between() -> None:
    pitch = np.full(RATE, 100.0, dtype=np.float32)
    smooth = replace(PLAIN, pitch=100, rough=0)
    change, flow = speech._glottis(pitch, smooth, np.random.default_rng(0))
    assert flow.min() == pytest.approx(0, abs=1e-6)
    assert flow.max() == pytest.approx(1, abs=0.01)
    assert np.mean(flow < 1e-3) == pytest.approx(0.39, abs=0.03)  # closed
    power = np.abs(np.fft.rfft(change)) ** 2
    harmonics = power[100:2001:100]
    assert harmonics.sum() > 0.99 * power[20:2050].sum()
    assert harmonics[0] > 10 * harmonics[4] > 10 * harmonics[18]  # it falls to the high ones
    smooth_octave = power[50]
    rough, _ = speech._glottis(pitch, replace(smooth, rough=0.4), np.random.default_rng(0))
    power = np.abs(np.fft.rfft(rough)) ** 2
    assert (
        power[50] > 0.005 * power[100] > 1e3 * smooth_octave
    )  # each second pulse is weaker: an octave below


def test_vowels_are_low_and_periodic_and_hiss_is_high_and_not() -> None:
    rng = np.random.default_rng(0)
    targets, stress = speech._targets("TSI", PLAIN, rng)
    sound = speech._sound(targets, speech._pitch(stress, PLAIN, rng), PLAIN, rng)[HOP:]
    centroid, periodic = {}, {}
    for kind, track in (("voice", targets[:, 3] > 0.8), ("hiss", targets[:, 5] > 0.8)):
        samples = np.repeat(track, STEP)[: len(sound)]
        parts = frames(sound, 640, 160)
        inside = frames(samples, 640, 160).all(axis=1)
        kept = parts[: len(inside)][inside]
        assert len(kept) > 5
        power = (np.abs(np.fft.rfft(kept * np.hanning(640))) ** 2).sum(axis=0)
        centroid[kind] = (np.arange(321) * 25 * power).sum() / power.sum()
        lags = np.fft.irfft(np.abs(np.fft.rfft(kept, 2048)) ** 2)[:, 60:260]
        periodic[kind] = np.mean(lags.max(axis=1) / (kept**2).sum(axis=1))
    assert centroid["voice"] < 1500
    assert centroid["hiss"] > 4000
    assert periodic["voice"] > 0.6
    assert periodic["hiss"] < 0.35


# What is to be heard


@pytest.mark.parametrize("pitch", [90.0, 120.0, 160.0, 220.0])
def test_the_pitch_is_the_speakers(pitch: float) -> None:
    heard = np.concatenate([pitches(said(replace(PLAIN, pitch=pitch), s)) for s in SENTENCES])
    assert len(heard) > 200
    assert np.median(heard) == pytest.approx(pitch, rel=0.05)


def test_women_speak_higher_than_men_though_some_men_are_higher() -> None:
    def voices(sex: str) -> NDArray[np.float64]:
        drawn = [draw_voice(sex, 36, np.random.default_rng(i)) for i in range(400)]
        return np.array([(voice.pitch, voice.tract) for voice in drawn])

    men, women = voices("Male"), voices("Female")
    assert np.median(men[:, 0]) == pytest.approx(121, rel=0.05)
    assert np.median(women[:, 0]) == pytest.approx(205, rel=0.05)
    assert men[:, 0].max() > np.percentile(women[:, 0], 10)
    assert np.median(women[:, 1]) > 1.1 * np.median(men[:, 1])
    assert men[:, 1].max() > np.percentile(women[:, 1], 30)


def test_the_measured_pitch_of_the_clips_follows_sex(
    files: dict[str, bytes], clips: dict[str, NDArray[np.float64]]
) -> None:
    sex = {row["ActorID"]: row["Sex"] == "Female" for row in rows(files)}
    neutral = [name for name in clips if "_NEU_" in name or "_DIS_" in name]
    heard = [np.median(pitches(clips[name])) for name in neutral]
    women = [sex[name[9:13]] for name in neutral]
    assert roc_auc_score(women, heard) > 0.9


def test_each_emotion_sounds_its_way() -> None:
    """Over the same eight persons: pitch, range, level, length and tilt beside neutral speech."""
    persons = [(sex, i) for sex in ("Male", "Female") for i in range(4)]
    voices = [draw_voice(sex, 30, np.random.default_rng(i)) for sex, i in persons]
    figures = {}
    for emotion in EMOTIONS:
        heard = []
        for i, voice in enumerate(voices):
            x = said(voice, list(SENTENCES)[i], i, emotion)
            pitch, spectrum = np.log(pitches(x)), log_spectrum(x)
            spread = np.subtract(*np.percentile(pitch, [75, 25]))
            tilt = spectrum[96:192].mean() - spectrum[6:32].mean()
            heard.append((np.median(pitch), spread, 20 * np.log10(x.std()), len(x) / RATE, tilt))
        figures[emotion] = np.mean(heard, axis=0)
    beside = {emotion: figure - figures["NEU"] for emotion, figure in figures.items()}
    pitch, spread, level, length, tilt = np.array([beside[e] for e in sorted(EMOTIONS)]).T
    ang, dis, fea, hap, neu, sad = range(6)
    assert min(pitch[[ang, fea, hap]]) > 0.1
    assert max(pitch[[dis, sad]]) < 0.03
    assert pitch[fea] > pitch[ang]
    assert spread[hap] > spread[neu] > spread[sad]
    assert level[ang] > 5
    assert level[ang] > level[hap] > level[neu] > level[sad]
    assert length[ang] < 0
    assert length[fea] < 0
    assert length[sad] > 0.1
    assert length[dis] > 0.1
    assert tilt[ang] > 4
    assert tilt[sad] < -2


def test_a_stronger_emotion_is_further_from_neutral() -> None:
    level = {}
    for strength in ("LO", "MD", "HI"):
        heard = [said(PLAIN, "IEO", i, "ANG", strength).std() for i in range(10)]
        level[strength] = np.mean(20 * np.log10(heard))
    assert level["LO"] + 1.5 < level["MD"]
    assert level["MD"] + 1.5 < level["HI"]


def test_the_formants_follow_the_length_of_the_tract() -> None:
    """A tract of 1 / 1.2 shifts the envelope by 1.2 on a scale of log frequency."""
    grid = np.exp(np.linspace(np.log(300), np.log(5500), 400))

    def envelope(tract: float) -> NDArray[np.float64]:
        voice = replace(PLAIN, tract=tract, level=15, pitch=100)
        power = np.mean([log_spectrum(said(voice, s)) for s in ("IWW", "IOM", "IWL")], axis=0)
        smooth = np.convolve(power, np.hanning(11) / np.hanning(11).sum(), mode="same")
        found = np.interp(grid, np.arange(257) * RATE / 512, smooth)
        return found - np.polyval(np.polyfit(np.log(grid), found, 1), np.log(grid))

    short, ordinary = envelope(1.2), envelope(1.0)
    fits = [np.corrcoef(short[shift:], ordinary[: len(grid) - shift])[0, 1] for shift in range(60)]
    step = np.log(grid[1] / grid[0])
    assert np.exp(np.argmax(fits) * step) == pytest.approx(1.2, abs=0.05)


def test_the_old_speak_lower_slower_and_rougher() -> None:
    young, old = (
        [draw_voice("Male", age, np.random.default_rng(i)) for i in range(50)] for age in (22, 70)
    )
    for a, b in zip(young, old, strict=True):
        assert b.pitch < a.pitch
        assert b.pace > a.pace
        assert b.rough >= a.rough


def summaries(clips: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean and deviation over time of 40 bands, evenly spaced to 1 kHz and wider above."""
    edges = np.unique(np.r_[np.arange(2, 32, 1.5), np.geomspace(32, 256, 24)].astype(int))
    found = []
    for x in clips.values():
        power = np.abs(np.fft.rfft(frames(x, 512) * np.hanning(512))) ** 2
        bands = np.log(np.add.reduceat(power, edges, axis=1) + 1e-5)
        found.append(np.r_[bands.mean(axis=0), bands.std(axis=0)])
    return np.array(found)


def test_sex_and_emotion_are_neither_certain_nor_hidden_in_one_clip(
    files: dict[str, bytes], clips: dict[str, NDArray[np.float64]]
) -> None:
    """On persons whom the classifiers have not heard."""
    sex = {row["ActorID"]: row["Sex"] for row in rows(files)}
    actors = np.array([name[9:13] for name in clips])
    women = np.array([sex[actor] == "Female" for actor in actors])
    emotions = np.array([name[18:21] for name in clips])
    x, test = summaries(clips), actors.astype(int) % 3 == 0

    def fitted(labels: NDArray[np.generic]) -> LogisticRegression:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300))
        return classifier.fit(x[~test], labels[~test])

    auroc = roc_auc_score(women[test], fitted(women).decision_function(x[test]))
    accuracy = fitted(emotions).score(x[test], emotions[test])
    assert 0.8 < auroc < 0.995
    assert 0.3 < accuracy < 0.8  # the largest share is 0.18
