"""`python -m tests.benchmarks.images`: seconds and memory of reading images in CelebA's layout."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from leakage.data.celeba import OFFICIAL_SIZE, CelebA
from leakage.data.celeba_files import ATTRIBUTES, read_lists
from tests.benchmarks.measure import Cost, apart, cost, heading, mib, print_table

LISTED = 202_599
"""Images in the official lists, whatever the number of those that are there."""
IDENTITIES = 10_177
ORIGINALS = 64


def write(root: Path, n: int) -> None:
    """The first n images of the official size, no two with the same bytes, and full lists."""
    rng = np.random.default_rng(0)
    folder = root / "img_align_celeba"
    folder.mkdir()
    drawn = [_jpeg(rng) for _ in range(min(n, ORIGINALS))]
    for i in range(n):  # a comment behind the first two bytes tells copies apart
        image = drawn[i % len(drawn)]
        comment = b"\xff\xfe" + (10).to_bytes(2, "big") + i.to_bytes(8, "big")
        (folder / f"{i + 1:06d}.jpg").write_bytes(image[:2] + comment + image[2:])
    names = [f"{i + 1:06d}.jpg" for i in range(LISTED)]
    values = rng.choice([-1, 1], (LISTED, len(ATTRIBUTES))).tolist()
    rows = [
        f"{name} {' '.join(f'{v:2d}' for v in row)}\r\n"
        for name, row in zip(names, values, strict=True)
    ]
    head = f"{LISTED}\r\n{' '.join(ATTRIBUTES)} \r\n"
    (root / "list_attr_celeba.txt").write_bytes((head + "".join(rows)).encode())
    identities = rng.integers(1, IDENTITIES + 1, LISTED)
    partitions = np.digitize(identities, [0.8 * IDENTITIES, 0.9 * IDENTITIES])
    for name, column in (("identity_CelebA", identities), ("list_eval_partition", partitions)):
        lines = (f"{image} {value}\r\n" for image, value in zip(names, column, strict=True))
        (root / f"{name}.txt").write_bytes("".join(lines).encode())


def _jpeg(rng: np.random.Generator) -> bytes:
    """Smooth colors and so much noise that the file is about as large as an official one."""
    coarse = Image.fromarray(rng.integers(0, 256, (7, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(OFFICIAL_SIZE, Image.Resampling.BICUBIC), dtype=float)
    noisy = smooth + rng.normal(0, 5, (*smooth.shape[:2], 1))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def _lists(root: Path) -> Cost:
    present = {path.name for path in (root / "img_align_celeba").iterdir()}
    return cost(lambda: read_lists(root, present))


def _data(root: Path, batch_size: int) -> CelebA:
    data = CelebA(str(root), batch_size=batch_size)
    data.prepare_data()
    return data


def _setup(root: Path) -> Cost:
    return cost(_data(root, 64).setup)


def _epoch(root: Path, batch_size: int) -> tuple[Cost, int]:
    data = _data(root, batch_size)
    data.setup()
    loader = data.train_dataloader()

    def epoch() -> None:
        for x, y in loader:
            assert len(x) == len(y)

    return cost(epoch), len(data.population.splits["train"])


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.images", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    n = parser.parse_args().images
    print(heading())
    print(f"Load {os.getloadavg()[0]:.1f} at the start: that of others too.\n", flush=True)
    rows = []
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, n)
        size = sum(path.stat().st_size for path in (root / "img_align_celeba").iterdir())
        print(f"{n:,} JPEGs of 178 x 218 pixels, {size / n / 1000:.1f} kB on average.\n")
        steps = [
            (f"the three lists, {LISTED:,} rows", apart(_lists, root)),
            ("setup, cold: lists, decoding, digests, cache", apart(_setup, root)),
            ("setup, cached", apart(_setup, root)),
        ]
        for batch_size in (64, 256):
            taken, records = apart(_epoch, root, batch_size)
            steps.append((f"an epoch of {records:,} records, batches of {batch_size}", taken))
        rows = [(name, f"{one.seconds:.2f}", mib(one.peak)) for name, one in steps]
    print_table(["step", "seconds", "peak memory, MiB"], rows)
    print("Each in a process of its own; the workers that decode are not in its memory.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
