"""Sound files as log-mel spectrograms of one size (Davis & Mermelstein 1980)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample
from torchaudio.transforms import MelSpectrogram
from typing_extensions import override

from leakage.data.decoded import Decoder
from leakage.data.files import content_of
from leakage.data.unreadable import UnreadableError

_UNTOLD = 0xFFFFFFFF
"""The size of the samples in the header of a WAV file that was written as a stream."""
_STEPS = 1_000_000
"""Two rates may be this far apart, as the product of their parts without the common divisor."""


@dataclass(frozen=True)
class LogMel(Decoder):
    """The spectrogram log max(M |STFT(s)|^2, floor) of a WAV file, float32 (1, mels, frames).

    s is the mean of the channels at `rate`, as long as it is, with n_fft / 2 zeros at either end;
    STFT has a periodic Hann window of n_fft samples, and M is a bank of triangles that stand
    equally far apart on the scale 2595 log10(1 + Hz / 700) from 0 to rate / 2. The middle of the
    clip is the middle of the frames: a long one is cropped, a short one padded with log floor.

    Args:
        mels: rows, the low pitches first.
        frames: columns, hop / rate seconds each.
        rate: samples a second that a file is brought to.
        n_fft: samples of a window.
        hop: samples from one window to the next.
        floor: the least power, a little below the noise of a quiet room in front of a microphone.
        shortest: seconds, below which a file is no clip.
        quietest: the least amplitude of a sound, as a share of full scale.
    """

    mels: int = 64
    frames: int = 128
    rate: int = 16000
    n_fft: int = 1024
    hop: int = 400
    floor: float = 1e-4
    shortest: float = 0.5
    quietest: float = 1e-3

    @override
    def decode(self, path: Path) -> tuple[Tensor, str]:
        channels, rate = _samples(path)
        if not channels.isfinite().all():
            raise UnreadableError("samples that are no finite numbers")
        if channels.shape[1] < self.shortest * rate:
            raise UnreadableError(f"shorter than {self.shortest:g} s")
        with _one_thread():
            sound = channels.mean(0, keepdim=True)  # (1, samples)
            if (sound - sound.mean()).abs().max() < self.quietest:
                raise UnreadableError("silent")
            remarks = []
            if len(channels) > 1:
                remarks.append(f"mixed down from {len(channels)} channels")
            if rate != self.rate:
                sound = resample(sound, *_comparable(rate, self.rate))
                remarks.append(f"resampled from {rate} Hz")
            power = self._mel_power(sound)  # (1, mels, any number of frames)
        return self._centred(power.clamp_min(self.floor).log()), " and ".join(remarks)

    @cached_property
    def _mel_power(self) -> MelSpectrogram:
        return MelSpectrogram(
            self.rate, self.n_fft, hop_length=self.hop, n_mels=self.mels, pad_mode="constant"
        )

    def _centred(self, image: Tensor) -> Tensor:
        """Crops or pads (1, mels, any) to (1, mels, frames)."""
        excess = image.shape[2] - self.frames
        if excess >= 0:
            return image[:, :, excess // 2 :][:, :, : self.frames].clone()
        left = -excess // 2
        x = image.new_full((1, self.mels, self.frames), math.log(self.floor))
        x[:, :, left : left + image.shape[2]] = image
        return x


def _samples(path: Path) -> tuple[Tensor, int]:
    """The sound in a WAV file, float32 (channels, samples), and its samples a second."""
    content = content_of(path, "sound")
    if content[:4] != b"RIFF"[: len(content)] or content[8:12] != b"WAVE"[: len(content[8:12])]:
        raise UnreadableError("no WAV file")
    if _is_cut_short(content):
        raise UnreadableError("cut short, it ends before its sound does; get it again")
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UnreadableError(f"a WAV file of another kind ({error.error_string})") from None
    return torch.from_numpy(samples).T, rate


def _is_cut_short(content: bytes) -> bool:
    """Whether a WAV file ends before the samples that its header speaks of do.

    soundfile takes the end of the file for the end of the sound and says nothing.
    """
    start = 12  # behind RIFF, size and WAVE, chunk after chunk: name, size, content, an even number
    while start + 8 <= len(content):
        size = int.from_bytes(content[start + 4 : start + 8], "little")
        if content[start : start + 4] == b"data":
            return size != _UNTOLD and start + 8 + size > len(content)
        start += 8 + size + size % 2
    return True


def _comparable(rate: int, wanted: int) -> tuple[int, int]:
    """Refuses rates like 44101 Hz, between which a filter would need gigabytes."""
    if rate * wanted > _STEPS * math.gcd(rate, wanted) ** 2:
        raise UnreadableError(f"{rate} samples a second, which cannot be made {wanted}")
    return rate, wanted


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums run in one order, so that a worker and a process with many threads agree to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
