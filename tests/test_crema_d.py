"""The reader of CREMA-D on real, made-up and broken files."""

from __future__ import annotations

import io
import logging
import os
import shutil
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from leakage.data import decoded
from leakage.data.crema_d import CremaD
from leakage.data.crema_d_files import (
    ACTORS,
    CLIPS,
    DEMOGRAPHICS,
    EMOTIONS,
    INTENSITIES,
    STATEMENTS,
    Actor,
    Clip,
    make_traits,
    read_actors,
    read_clips,
)
from leakage.data.decoded import decode
from leakage.data.module import ALL_SHARES
from leakage.data.sounds import LogMel
from leakage.data.standins.crema_d import CREMA_D
from leakage.data.unreadable import Unreadable, UnreadableError
from leakage.errors import LeakageError
from leakage.population import SPLITS, Population, split_by_unit

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 72862\n"
)
PAGE = b"<!DOCTYPE html>\n<html>no such file</html>\n"
FLOOR = np.float32(np.log(1e-4))
SPEAKERS = list(ACTORS)[:: len(ACTORS) // 12][:12]


# Folders


def wav(samples: NDArray[np.float64], rate: int = 16000) -> bytes:
    """A PCM_16 file of the samples in -1..1, (n,) or (n, channels)."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()


def noise(seed: int, seconds: float = 0.6) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-0.2, 0.2, round(seconds * 16000))


def row_of(actor: int) -> str:
    age, sex = 20 + actor % 50, ("Male", "Female")[actor % 2]
    race = ("Caucasian", "African American", "Asian", "Unknown")[actor % 4]
    return f'{actor},{age},"{sex}","{race}","{"Not Hispanic" if actor % 3 else "Hispanic"}"'


HEADER = '"ActorID","Age","Sex","Race","Ethnicity"'
ROWS = [HEADER, *map(row_of, ACTORS)]


@pytest.fixture(scope="session")
def crema_d_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 clips of noise: each of 12 actors speaks with each emotion once."""
    root = tmp_path_factory.mktemp("crema_d")
    (root / "AudioWAV").mkdir()
    (root / DEMOGRAPHICS).write_text("\n".join(ROWS) + "\n")
    for a, actor in enumerate(SPEAKERS):
        for e, emotion in enumerate(EMOTIONS):
            said = f"IEO_{emotion}_{INTENSITIES[a % 3]}" if e == a % 6 else f"DFA_{emotion}_XX"
            (root / "AudioWAV" / f"{actor}_{said}.wav").write_bytes(wav(noise(6 * a + e)))
    return root


@pytest.fixture
def copied(crema_d_root: Path, tmp_path: Path) -> Path:
    """The folder, to be broken."""
    shutil.copytree(crema_d_root, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    return tmp_path / "copy"


def clip(root: Path, position: int = 0) -> Path:
    return sorted((root / "AudioWAV").glob("*.wav"))[position]


def load(root: Path, **keys: float) -> Population:
    data = CremaD(str(root), **keys)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    return data.population


def sentence(root: Path, **keys: float) -> str:
    with pytest.raises(LeakageError) as error:
        load(root, **keys)
    assert "\n" not in str(error.value)
    return str(error.value)


def stacked(population: Population) -> Tensor:
    return torch.stack([population.records[i][0] for i in range(len(population.labels))])


def assert_each_is_its_clip(population: Population, paths: list[Path]) -> None:
    names = [path.stem.split("_") for path in paths]
    assert population.units.tolist() == [int(actor) for actor, *_ in names]
    assert [EMOTIONS[label] for label in population.labels] == [name[2] for name in names]
    raw = torch.stack([LogMel().decode(path)[0] for path in paths]).squeeze(1)
    spread, mean = torch.std_mean(raw[population.splits["train"]], dim=(0, 2), correction=0)
    expected = (raw - mean[:, None]) / spread[:, None]
    torch.testing.assert_close(stacked(population).squeeze(1), expected, atol=1e-3, rtol=1e-3)


# The real clips


@pytest.fixture(scope="session")
def real_crema_d() -> Path:
    """A folder with some of the official files of CREMA-D."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "crema_d"
    folder = Path(os.environ.get("LEAKAGE_CREMA_D", beside))
    for name in ("AudioWAV/1001_DFA_ANG_XX.wav", DEMOGRAPHICS):
        if not (folder / name).exists():
            pytest.skip(
                f"NOT TESTED ON THE REAL CREMA-D: {folder / name} is missing; set LEAKAGE_CREMA_D"
                " to the folder of the official files"
            )
    return folder


REAL = {  # the samples of each, as `soxi` and a hex editor show them
    "1001_DFA_ANG_XX.wav": 36409,
    "1001_IOM_ANG_XX.wav": 34167,
    "1001_IOM_DIS_XX.wav": 36303,
    "1001_IOM_FEA_XX.wav": 45379,
    "1001_IOM_HAP_XX.wav": 32032,
    "1001_IOM_NEU_XX.wav": 39506,
    "1050_TIE_SAD_XX.wav": 45912,
}


def test_the_real_clips_are_what_their_names_and_the_demographics_say(real_crema_d: Path) -> None:
    unreadable = Unreadable(real_crema_d, "clips")
    clips = [c for c in read_clips(real_crema_d, unreadable) if c.path.name in REAL]
    traits = make_traits(clips, read_actors(real_crema_d, {1001, 1050}))

    assert [c.path.name for c in clips] == list(REAL)
    assert [c.actor for c in clips] == [1001] * 6 + [1050]
    assert [c.emotion for c in clips] == ["ANG", "ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]
    told = {
        name: [trait.values[code] if code >= 0 else None for code in trait.codes.tolist()]
        for name, trait in traits.items()
    }
    assert told == {
        "sex": ["Male"] * 7,
        "race": ["Caucasian"] * 6 + ["African American"],
        "ethnicity": ["Not Hispanic"] * 7,
        "age-band": ["45 and over"] * 7,
        "statement": ["DFA", "IOM", "IOM", "IOM", "IOM", "IOM", "TIE"],
        "intensity": [None] * 7,
    }


def test_the_real_demographics_have_the_counts_of_the_paper(real_crema_d: Path) -> None:
    actors = read_actors(real_crema_d, ACTORS)
    sexes = [actor.values["Sex"] for actor in actors.values()]
    ages = [actor.age for actor in actors.values()]
    races = [actor.values["Race"] for actor in actors.values()]
    assert (sexes.count("Male"), sexes.count("Female")) == (48, 43)
    assert (min(ages), max(ages), races.count("Unknown")) == (20, 74, 1)


def test_the_real_clips_decode_to_speech_of_their_length(real_crema_d: Path) -> None:
    for name, samples in REAL.items():
        x, remark = LogMel().decode(real_crema_d / "AudioWAV" / name)
        assert (x.shape, x.dtype, remark) == ((1, 64, 128), torch.float32, "")
        sounding = (x[0] > FLOOR + 1).any(0)  # (frames,)
        assert sounding.sum() > 40  # a second of speech at least
        # Nothing sounds outside of the clip, which stands in the middle.
        frames = 1 + samples // 400
        left = (128 - frames) // 2
        assert not sounding[:left].any()
        assert not sounding[left + frames :].any()
        assert x.max() > FLOOR + 8


def test_the_same_clips_as_pointers_are_called_pointers(real_crema_d: Path, tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").mkdir()
    shutil.copyfile(real_crema_d / DEMOGRAPHICS, tmp_path / DEMOGRAPHICS)
    for name in REAL:
        (tmp_path / "AudioWAV" / name).write_bytes(POINTER)
    assert sentence(tmp_path) == (
        f"{tmp_path / 'AudioWAV'}: 7 of 7 clips left out: a Git-LFS pointer in place of the sound;"
        " run `git lfs pull` where it was cloned, or download it with git-lfs (the first:"
        " 1001_DFA_ANG_XX.wav); data.max_unreadable allows a share of 0.01, repair the files or"
        " raise it"
    )


def test_two_actors_are_too_few(real_crema_d: Path, tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").mkdir()
    for name in (DEMOGRAPHICS, *(f"AudioWAV/{name}" for name in REAL)):
        shutil.copyfile(real_crema_d / name, tmp_path / name)
    assert sentence(tmp_path) == (
        f"{tmp_path / 'AudioWAV'}: found 2 actors, at least 11 are needed to divide"
        " them into train, validation, test, shadow_fit, shadow_calibrate, challenge"
    )


# The spectrogram


def plain_log_mel(
    sound: NDArray[np.float64], mels: int = 64, frames: int = 128, floor: float = 1e-4
) -> NDArray[np.float64]:
    """Window by window and triangle by triangle, in double precision."""
    padded = np.concatenate([np.zeros(512), sound, np.zeros(512)])
    window = scipy.signal.get_window("hann", 1024)
    starts = range(0, len(padded) - 1023, 400)
    power = np.stack([abs(np.fft.rfft(padded[s : s + 1024] * window)) ** 2 for s in starts], 1)
    top = 2595 * np.log10(1 + 8000 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    hertz = np.arange(513) * 16000 / 1024
    bank = np.stack(
        [np.interp(hertz, corners[m : m + 3], [0, 1, 0]) for m in range(mels)]  # (mels, 513)
    )
    image = np.log(np.maximum(bank @ power, floor))
    while image.shape[1] > frames:  # one column less at the right, then one at the left, ...
        image = image[:, :-1] if (image.shape[1] - frames) % 2 else image[:, 1:]
    while image.shape[1] < frames:
        at_left = (frames - image.shape[1]) % 2 == 0
        image = np.pad(
            image, ((0, 0), (1, 0) if at_left else (0, 1)), constant_values=np.log(floor)
        )
    return image


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    samples=st.integers(8000, 60000),
    mels=st.sampled_from([8, 40, 64, 128]),
    frames=st.sampled_from([8, 63, 128]),
)
def test_the_spectrogram_is_the_plain_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, samples: int, mels: int, frames: int
) -> None:
    """To 0.001, where the logarithms go from -9.2 to 7."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(size=samples) * np.linspace(0, 0.1, samples) ** 2
    sound += 0.3 * np.sin(2 * np.pi * rng.uniform(50, 4000) * np.arange(samples) / 16000)
    path = tmp_path_factory.getbasetemp() / "plain.wav"
    path.write_bytes(wav(sound))
    stored = (sound * 32767).round() / 32768
    x, remark = LogMel(mels=mels, frames=frames).decode(path)
    expected = plain_log_mel(stored, mels, frames)
    assert remark == ""
    assert x.shape == (1, mels, frames)
    np.testing.assert_allclose(x[0].numpy(), expected, atol=1e-3)


def test_the_real_clips_have_the_plain_spectrogram(real_crema_d: Path) -> None:
    for name in REAL:
        with wave.open(str(real_crema_d / "AudioWAV" / name)) as file:
            stored = np.frombuffer(file.readframes(-1), "<i2") / 32768
        x, _ = LogMel().decode(real_crema_d / "AudioWAV" / name)
        np.testing.assert_allclose(x[0].numpy(), plain_log_mel(stored), atol=1e-3)


def test_a_tone_stands_in_its_row_and_a_click_in_its_column(tmp_path: Path) -> None:
    t = np.arange(3.2 * 16000) / 16000
    (tmp_path / "tone.wav").write_bytes(wav(0.5 * np.sin(2 * np.pi * 1000 * t)))
    tone, _ = LogMel().decode(tmp_path / "tone.wav")
    mel = 2595 * np.log10(1 + 1000 / 700)
    row = mel / (2595 * np.log10(1 + 8000 / 700)) * 65 - 1
    assert abs(int(tone[0, :, 64].argmax()) - row) <= 0.6
    click = np.zeros(51200)
    click[400 * 30] = 0.9
    (tmp_path / "click.wav").write_bytes(wav(click))
    clicked, _ = LogMel().decode(tmp_path / "click.wav")
    assert clicked[0].mean(0).argmax() == 30  # 129 frames, of which the last is cropped


@pytest.mark.parametrize(
    ("rate", "channels", "remark"),
    [
        (16000, 2, "mixed down from 2 channels"),
        (48000, 1, "resampled from 48000 Hz"),
        (44100, 2, "mixed down from 2 channels and resampled from 44100 Hz"),
    ],
)
def test_other_channels_and_rates_give_the_same_spectrogram(
    tmp_path: Path, rate: int, channels: int, remark: str
) -> None:
    """Of five tones, to 0.05 where one sounds."""

    def tones(rate: int) -> NDArray[np.float64]:
        t = np.arange(2 * rate) / rate
        return sum(0.1 * np.sin(2 * np.pi * f * t) for f in (200, 700, 1500, 3000, 6000))

    (tmp_path / "plain.wav").write_bytes(wav(tones(16000)))
    balance = np.array([1.5, 0.5])[:channels] if channels > 1 else np.ones(1)
    (tmp_path / "other.wav").write_bytes(wav(np.outer(tones(rate), balance), rate))
    plain, _ = LogMel().decode(tmp_path / "plain.wav")
    other, said = LogMel().decode(tmp_path / "other.wav")
    assert said == remark
    loud = plain > 0
    assert loud[0].any(1).sum() >= 5
    inner = slice(30, 98)  # away from the clip's ends, where each tone begins at once
    gap = (plain - other)[:, :, inner][loud[:, :, inner]]
    assert gap.abs().max() < 0.05


def test_the_figures_depend_on_no_number_of_threads_or_workers(
    crema_d_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process_state: None
) -> None:
    paths = sorted((crema_d_root / "AudioWAV").glob("*.wav"))
    found = []
    for threads, alone in ((1, 500), (4, 500), (2, 0)):
        torch.set_num_threads(threads)
        monkeypatch.setattr(decoded, "_ALONE", alone)
        (tmp_path / str(len(found))).mkdir()
        found.append(
            decode(paths, LogMel(), tmp_path / str(len(found)), Unreadable(tmp_path, "clips")).x
        )
        assert torch.get_num_threads() == threads
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# Files that are no sound


def with_header(size: int) -> bytes:
    content = wav(noise(0))
    return content[:40] + struct.pack("<I", size) + content[44:]


def as_float(value: float) -> bytes:
    samples = np.append(noise(0), value).astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(samples)) + b"WAVE" + chunks + samples


WHOLE = wav(noise(0))
CUT = "cut short, it ends before its sound does; get it again"
NO_SOUND = {
    "empty": (b"", "an empty file, get it again"),
    "pointer": (POINTER, "a Git-LFS pointer in place of the sound; run `git lfs pull` where it was"
                " cloned, or download it with git-lfs"),
    "web page": (PAGE, "a web page (a failed download), get it again"),
    "text": (b"no such clip " * 9, "no WAV file"),
    "noise": (np.random.default_rng(0).bytes(9000), "no WAV file"),
    "other RIFF": (WHOLE.replace(b"WAVE", b"AVI "), "no WAV file"),
    "one byte": (WHOLE[:1], CUT),
    "cut in the name": (WHOLE[:10], CUT),
    "cut in the header": (WHOLE[:30], CUT),
    "cut before the size": (WHOLE[:42], CUT),
    "cut before the sound": (WHOLE[:44], CUT),
    "cut in the sound": (WHOLE[:9000], CUT),
    "last byte missing": (WHOLE[:-1], CUT),
    "cut behind another chunk": (WHOLE[:12] + b"LIST\x03\0\0\0abc\0" + WHOLE[12:-9], CUT),
    "bad codec": (WHOLE[:20] + b"\x99\x77" + WHOLE[22:], "a WAV file of another kind (Error in"
                  " WAV/W64/RF64 file. Malformed 'fmt ' chunk.)"),
    "NaN": (as_float(np.nan), "samples that are no finite numbers"),
    "infinite": (as_float(np.inf), "samples that are no finite numbers"),
    "short": (wav(noise(0, 0.4)), "shorter than 0.5 s"),
    "no samples": (with_header(0), "shorter than 0.5 s"),
    "zeros": (wav(np.zeros(30000)), "silent"),
    "hiss": (wav(noise(0, 2) / 250), "silent"),
    "offset": (wav(np.full(30000, 0.3)), "silent"),
    "odd rate": (wav(noise(0, 3), 44101), "44101 samples a second, which cannot be made 16000"),
    "even rate": (wav(noise(0, 3), 44110), "44110 samples a second, which cannot be made 16000"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), NO_SOUND.values(), ids=list(NO_SOUND))
def test_what_is_no_sound_is_called_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "clip.wav").write_bytes(content)
    with pytest.raises(UnreadableError) as error:
        LogMel().decode(tmp_path / "clip.wav")
    assert str(error.value) == reason


@pytest.mark.parametrize(
    "content",
    [
        with_header(0xFFFFFFFF),  # written as a stream
        WHOLE + b"LIST\x04\0\0\0abcd",
        WHOLE[:12] + b"LIST\x03\0\0\0abc\0" + WHOLE[12:],
        WHOLE[:4] + b"\0\0\0\0" + WHOLE[8:],
        as_float(0.0),
    ],
    ids=["stream", "chunk behind", "chunk before", "no size", "float"],
)
def test_unusual_headers_of_a_whole_clip_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.wav").write_bytes(content)
    x, _ = LogMel().decode(tmp_path / "clip.wav")
    (tmp_path / "clip.wav").write_bytes(WHOLE)
    expected, _ = LogMel().decode(tmp_path / "clip.wav")
    torch.testing.assert_close(x, expected, atol=0.01, rtol=0)


def test_a_quiet_clip_is_a_sound(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(wav(noise(0, 2) / 100))
    assert (LogMel().decode(tmp_path / "clip.wav")[0] > FLOOR).any()


def test_few_unreadable_clips_are_named_and_left_out(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = sorted((copied / "AudioWAV").iterdir())
    paths = [whole.pop(i) for i in (30, 20, 10)]
    paths[0].write_bytes(wav(np.zeros(30000)))
    paths[1].write_bytes(wav(np.zeros(30000)))
    paths[2].write_bytes(WHOLE[:9000])
    (copied / "AudioWAV" / "1040_ITH_SAD_X.wav").write_bytes(WHOLE)
    (copied / "AudioWAV" / "1099_DFA_ANG_XX.wav").write_bytes(WHOLE)
    allowed = load(copied, max_unreadable=0.1)
    assert_each_is_its_clip(allowed, whole)
    folder = copied / "AudioWAV"
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
        f"{folder}: 2 of 74 clips left out: a name that no clip of CREMA-D has (the first:"
        " 1040_ITH_SAD_X.wav)",
        f"{folder}: 2 of 74 clips left out: silent (the first: {paths[1].name})",
        f"{folder}: 1 of 74 clips left out: {CUT} (the first: {paths[2].name})",
    ]
    assert sentence(copied).startswith(f"{folder}: 2 of 74 clips left out: a name that no clip of")


def test_one_of_two_copies_stays(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Or they would leak between the splits."""
    kept = sorted((copied / "AudioWAV").iterdir())
    other = kept.pop(40)
    other.write_bytes(kept[0].read_bytes())
    assert_each_is_its_clip(load(copied, max_unreadable=0.1), kept)
    assert (
        f"{copied / 'AudioWAV'}: 1 of 72 clips left out: a copy of another clip (the first:"
        f" {other.name})"
    ) in caplog.messages


def test_what_was_converted_is_said_once(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    stereo = np.outer(noise(999, 1.8), [1, 1])
    for i in (5, 6, 7):
        clip(copied, i).write_bytes(wav(stereo[i:], 48000))
    for _ in range(2):  # decoded, then from what was kept
        caplog.clear()
        with caplog.at_level(logging.INFO, "leakage.data"):
            load(copied)
        assert [message for message in caplog.messages if "mixed" in message] == [
            f"{copied / 'AudioWAV'}: 3 of 72 clips mixed down from 2 channels and resampled from"
            f" 48000 Hz (the first: {clip(copied, 5).name})"
        ]


# Names


BAD_NAMES = [
    "1040_ITH_SAD_X.wav",
    "1000_DFA_ANG_XX.wav",
    "1092_DFA_ANG_XX.wav",
    "1001_ABC_ANG_XX.wav",
    "1001_DFA_JOY_XX.wav",
    "1001_DFA_ANG_HI.wav",
    "1001_DFA_ANG_XX (1).wav",
    "1001_DFA_ANG_XX.WAV",
    "1001_dfa_ang_xx.wav",
    "01001_DFA_ANG_XX.wav",
    "1001_DFA_ANG_XX.wav.wav",
    "\u0661\u0660\u0660\u0661_DFA_ANG_XX.wav",
]


def test_names_that_are_none_are_counted_and_other_kinds_of_files_ignored(tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").mkdir()
    good = ["1001_IEO_ANG_HI.wav", "1001_IEO_NEU_XX.wav", "1091_WSI_SAD_XX.wav"]
    ignored = [".DS_Store", "1001_DFA_ANG_XX.mp3", "._1001_DFA_ANG_XX.wav", "Thumbs.db", "wav"]
    for name in (*good, *ignored, *BAD_NAMES):
        (tmp_path / "AudioWAV" / name).write_bytes(WHOLE)
    (tmp_path / "AudioWAV" / "1002_DFA_ANG_XX.wav").mkdir()
    (tmp_path / "AudioWAV" / "1003_DFA_ANG_XX.wav").symlink_to("nowhere")
    unreadable = Unreadable(tmp_path, "clips")
    assert [c.path.name for c in read_clips(tmp_path, unreadable)] == good
    assert len(unreadable) == len(BAD_NAMES) + 2
    with pytest.raises(LeakageError) as error:
        unreadable.settle(17, 0)
    assert str(error.value) == (
        f"{tmp_path}: 12 of 17 clips left out: a name that no clip of CREMA-D has (the first:"
        " 01001_DFA_ANG_XX.wav); 2 of 17 clips left out: a folder, or a link to a file that is not"
        " there (the first: 1002_DFA_ANG_XX.wav); data.max_unreadable allows a share of 0, repair"
        " the files or raise it"
    )


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["1040_ITH_SAD_X.wav", "a.wav"]])
def test_a_folder_without_clips_is_refused(copied: Path, names: list[str]) -> None:
    shutil.rmtree(copied / "AudioWAV")
    (copied / "AudioWAV").mkdir()
    for name in names:
        (copied / "AudioWAV" / name).write_bytes(WHOLE)
    others = sum(name.endswith(".wav") for name in names)
    assert sentence(copied) == (
        f"{copied / 'AudioWAV'}: found no clip, and {others} other names that end in .wav;"
        " expected names such as 1001_DFA_ANG_XX.wav"
    )


def test_a_file_in_place_of_the_folder_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "AudioWAV")
    (copied / "AudioWAV").write_bytes(b"")
    assert sentence(copied) == (
        f"{copied / 'AudioWAV'}: found a file, expected the folder of the clips"
    )


# The demographics


def changed(row: int, new: str) -> str:
    return "\n".join([*ROWS[: row - 1], new, *ROWS[row:]])


DEMOGRAPHICS_BROKEN: dict[str, tuple[str, str]] = {
    "no column": (ROWS[0].replace("Sex", "Gender") + "\n" + "\n".join(ROWS[1:]), ", row 1: found no"
                  " column Sex, expected ActorID, Age, Sex, Race, Ethnicity"),
    "empty": ("", ", row 1: found no column ActorID, expected ActorID, Age, Sex, Race, Ethnicity"),
    "no header": ("\n" + "\n".join(ROWS[1:]), ", row 2: found no column ActorID, expected ActorID,"
                  " Age, Sex, Race, Ethnicity"),
    "fields": (changed(7, '1006,58,"Male"'), ", row 7: found 3 fields, expected 5 with a comma"
               " between them"),
    "age": (changed(7, row_of(1006).replace("26", '"26-Jan"', 1)), ", row 7, column Age: found"
            " '26-Jan', expected a number of years from 1 to 120"),
    "old": (changed(7, row_of(1006).replace("26", "226", 1)), ", row 7, column Age: found '226',"
            " expected a number of years from 1 to 120"),
    "sex": (changed(7, row_of(1006).replace("Male", "M")), ", row 7, column Sex: found 'M',"
            " expected one of Female, Male, Unknown"),
    "race": (changed(9, row_of(1008).replace("Caucasian", "")), ", row 9, column Race: found '',"
             " expected one of African American, Asian, Caucasian, Unknown"),
    "ethnicity": (changed(9, row_of(1008).replace("Hispanic", "H")), ", row 9, column Ethnicity:"
                  " found 'H', expected one of Hispanic, Not Hispanic, Unknown"),
    "twice": (changed(92, row_of(1003)), ", row 92, column ActorID: found 1003 again, which is in"
              " row 4 too; expected one row an actor"),
    "stranger": (changed(2, row_of(1001).replace("1001", "1")), ", row 2, column ActorID: found"
                 " '1', expected a number from 1001 to 1091"),
    "semicolons": ("\n".join(ROWS).replace(",", ";"), ", row 1: found semicolons between the"
                   " fields, as Excel writes them in some countries; expected commas"),
    "quote": (changed(5, '1004,42,"Fe"male,"Asian","Hispanic"'), ", row 5: found no row of a CSV"
              " file (',' expected after '\"')"),
    "open quote": ("\n".join(ROWS[:-1]) + '\n1091,29,"Male', ", row 92: found no row of a CSV file"
                   " (unexpected end of data)"),
    "page": (PAGE.decode(), ": found a web page (a failed download), expected the rows of the"
             " actors"),
    "pointer": (POINTER.decode(), ": found a Git-LFS pointer, expected the rows of the actors"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "problem"), DEMOGRAPHICS_BROKEN.values(), ids=list(DEMOGRAPHICS_BROKEN)
)
def test_bad_demographics_are_named_by_row_and_column(
    copied: Path, content: str, problem: str
) -> None:
    (copied / DEMOGRAPHICS).write_text(content)
    assert sentence(copied) == f"{copied / DEMOGRAPHICS}{problem}"


def test_an_actor_without_a_row_is_named(copied: Path) -> None:
    left = [row for row in ROWS if not row.startswith((str(SPEAKERS[3]), str(SPEAKERS[8]), "1002"))]
    (copied / DEMOGRAPHICS).write_text("\n".join(left))
    assert sentence(copied) == (
        f"{copied / DEMOGRAPHICS}: found no row of actor {SPEAKERS[3]}, whose clips are in"
        f" {copied / 'AudioWAV'} (2 such actors); take the official file, which has 91 actors"
    )


def test_bytes_that_are_no_text_are_named_by_row(copied: Path) -> None:
    (copied / DEMOGRAPHICS).write_bytes("\n".join(ROWS).encode().replace(b"\n1004", b"\n\xff1004"))
    assert sentence(copied) == (
        f"{copied / DEMOGRAPHICS}, row 5: found the byte 0xff, expected plain text"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace('"', ""),
        lambda text: text.replace(",", " , ").replace('"', ""),
        lambda text: "\n".join(f'x,{row[::1]},"a, b"' for row in text.splitlines()),
        lambda text: "\n".join([ROWS[0], *reversed(ROWS[1:])]),
    ],
    ids=["CRLF", "blank lines", "mark", "no quotes", "blanks", "more columns", "other order"],
)
def test_other_forms_of_the_same_demographics_are_read(
    copied: Path, change: Callable[[str], str]
) -> None:
    expected = read_actors(copied, ACTORS)
    (copied / DEMOGRAPHICS).write_text(change("\n".join(ROWS)), newline="")
    assert read_actors(copied, ACTORS) == expected
    assert len(expected) == 91


# The population


def test_a_record_is_its_clip(crema_d_root: Path) -> None:
    population = load(crema_d_root)
    x = stacked(population)
    clips = read_clips(crema_d_root, Unreadable(crema_d_root, "clips"))
    assert [EMOTIONS[label] for label in population.labels] == [c.emotion for c in clips]
    assert population.units.tolist() == [c.actor for c in clips]
    raw = torch.stack([LogMel().decode(c.path)[0] for c in clips]).double()
    train = raw[population.splits["train"]]
    mean, spread = train.mean((0, 1, 3)), train.transpose(0, 2).flatten(1).std(1, correction=0)
    expected = (raw - mean[:, None]) / spread[:, None]
    torch.testing.assert_close(x.double(), expected, atol=1e-4, rtol=1e-4)
    assert (x.dtype, population.records[0][1].dtype) == (torch.float32, torch.int64)
    assert [int(population.records[i][1]) for i in range(72)] == population.labels.tolist()


def test_standardisation_knows_the_train_records_alone(copied: Path) -> None:
    population = load(copied)
    loud = next(i for i in population.splits["challenge"].tolist())
    clip(copied, loud).write_bytes(wav(noise(loud) * 4))
    changed = load(copied)
    others = [i for i in range(72) if i != loud]
    assert torch.equal(stacked(population)[others], stacked(changed)[others])
    assert not torch.equal(stacked(population)[loud], stacked(changed)[loud])


def test_features_are_mean_and_spread_over_time(crema_d_root: Path) -> None:
    population = load(crema_d_root)
    x = stacked(population).squeeze(1).numpy()
    assert population.features.shape == (72, 128)
    np.testing.assert_allclose(population.features[:, :64], x.mean(2), atol=1e-5)
    np.testing.assert_allclose(population.features[:, 64:], x.std(2), atol=1e-5)


def test_traits_are_those_of_the_speaker_and_no_part_of_x(crema_d_root: Path) -> None:
    population = load(crema_d_root)
    assert list(population.traits) == [
        "sex", "race", "ethnicity", "age-band", "statement", "intensity",
    ]  # fmt: skip
    values = {name: trait.values for name, trait in population.traits.items()}
    assert values == {
        "sex": ("Female", "Male"),
        "race": ("African American", "Asian", "Caucasian"),
        "ethnicity": ("Hispanic", "Not Hispanic"),
        "age-band": ("under 30", "30 to 44", "45 and over"),
        "statement": ("IEO", "DFA"),
        "intensity": ("LO", "MD", "HI"),
    }
    assert not any(trait.in_x for trait in population.traits.values())
    for i, actor in enumerate(population.units.tolist()):
        told = {n: t.values[t.codes[i]] for n, t in population.traits.items() if t.codes[i] >= 0}
        _, age, sex, race, ethnicity = row_of(actor).replace('"', "").split(",")
        band = "under 30" if int(age) < 30 else "30 to 44" if int(age) < 45 else "45 and over"
        expected = {"sex": sex, "race": race, "ethnicity": ethnicity, "age-band": band}
        _, statement, _, intensity = clip(crema_d_root, i).stem.split("_")
        expected |= {"statement": statement, "intensity": intensity}
        assert told == {n: v for n, v in expected.items() if v not in ("Unknown", "XX")}


def test_the_age_bands_begin_at_30_and_45() -> None:
    people = {1000 + age: Actor(age, {"Sex": "Male", "Race": "Asian", "Ethnicity": "Unknown"})
              for age in (29, 30, 44, 45)}  # fmt: skip
    traits = make_traits([Clip(Path(), actor, "DFA", "ANG", "XX") for actor in people], people)
    assert traits["age-band"].codes.tolist() == [0, 1, 1, 2]


def test_splits_are_by_actor_and_hold_some_each(crema_d_root: Path) -> None:
    population = load(crema_d_root)
    assert set(population.splits) == set(SPLITS)
    assert torch.cat(list(population.splits.values())).sort().values.tolist() == list(range(72))
    sizes = {name: len(population.units[i].unique()) for name, i in population.splits.items()}
    assert sizes == {name: len(i) / 6 for name, i in population.splits.items()}
    assert min(sizes.values()) >= 1
    other = load(crema_d_root, seed=1)
    assert any(not torch.equal(population.splits[s], other.splits[s]) for s in SPLITS)


@pytest.mark.parametrize("actors", [*range(11, 40), 91])
def test_enough_actors_leave_no_split_empty(actors: int) -> None:
    splits = split_by_unit(torch.arange(actors), ALL_SHARES, torch.Generator())
    assert all(len(split) for split in splits.values())


def test_ten_actors_are_refused_and_eleven_not(copied: Path) -> None:
    for path in (copied / "AudioWAV").glob(f"{SPEAKERS[0]}_*"):
        path.unlink()
    assert len(load(copied).labels) == 66
    for path in (copied / "AudioWAV").glob(f"{SPEAKERS[1]}_*"):
        path.unlink()
    assert sentence(copied) == (
        f"{copied / 'AudioWAV'}: found 10 actors, at least 11 are needed to divide"
        " them into train, validation, test, shadow_fit, shadow_calibrate, challenge"
    )


def test_no_sound_at_all_is_refused_even_where_all_may_be_unreadable(copied: Path) -> None:
    for path in (copied / "AudioWAV").iterdir():
        path.write_bytes(POINTER)
    assert sentence(copied, max_unreadable=1) == (
        f"{copied / 'AudioWAV'}: found 0 actors, at least 11 are needed to divide"
        " them into train, validation, test, shadow_fit, shadow_calibrate, challenge"
    )


def test_a_subset_says_how_much_of_the_set_it_is(
    crema_d_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = load(crema_d_root)
    sizes = ", ".join(f"{name} {len(i)}" for name, i in population.splits.items())
    assert caplog.messages == [
        f"{crema_d_root / 'AudioWAV'}: 72 of the {CLIPS} clips of CREMA-D, of 12 of its 91 actors",
        f"CREMA-D in {crema_d_root} (records as given): {sizes} records",
    ]


def test_made_up_clips_are_read_and_called_made_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = load(tmp_path, standin=True, standin_size=CREMA_D.least)
    assert population.standin
    assert len(population.labels) == CREMA_D.least
    assert len(population.units.unique()) >= 11
    (said,) = caplog.messages
    assert said.startswith(f"CREMA-D in {tmp_path} (a stand-in: made-up records): train ")


def test_the_size_of_x_is_a_setting(copied: Path) -> None:
    population = load(copied, mels=20, frames=32)
    assert stacked(population).shape == (72, 1, 20, 32)
    assert population.features.shape == (72, 40)
    assert stacked(load(copied)).shape == (72, 1, 64, 128)  # not what was kept for the others


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("mels", 7, "8 to 128"),
        ("mels", 129, "8 to 128"),
        ("frames", 0, "8 to 512"),
        ("frames", 513, "8 to 512"),
        ("max_unreadable", 1.5, "a share in 0..1"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(key: str, value: float, allowed: str) -> None:
    with pytest.raises(LeakageError) as error:
        CremaD(**{key: value})  # type: ignore[arg-type]
    assert str(error.value) == f"data.{key}: {allowed}, got {value}"


def test_no_row_of_x_lies_between_two_frequencies() -> None:
    for mels in range(8, 129):
        assert (LogMel(mels=mels)._mel_power.mel_scale.fb.amax(0) > 0.1).all()


def test_every_statement_has_a_code() -> None:
    assert len(set(STATEMENTS)) == 12
    assert CremaD.classes == len(EMOTIONS) == 6
