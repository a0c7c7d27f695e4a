"""The reader of CelebA and the pictures that it shares with UTKFace, on small and broken files."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from leakage.data import images
from leakage.data.celeba import CelebA
from leakage.data.celeba_files import ATTRIBUTES
from leakage.data.images import Picture, duplicates
from leakage.data.module import SHARES
from leakage.data.unreadable import Unreadable, UnreadableError
from leakage.errors import LeakageError
from leakage.population import SPLITS, Population

N = 120
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PAGE = b"<!DOCTYPE html><html>Quota exceeded</html>"
LISTS = ("list_attr_celeba", "identity_CelebA", "list_eval_partition")


def drawn(seed: int, width: int = 178, height: int = 218) -> Image.Image:
    """Smooth colors and some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    noisy = smooth + rng.normal(0, 8, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def jpeg(seed: int, width: int = 178, height: int = 218) -> bytes:
    file = io.BytesIO()
    drawn(seed, width, height).save(file, "JPEG", quality=85)
    return file.getvalue()


@dataclass
class Made:
    """What the files in a folder say."""

    root: Path
    attributes: NDArray[np.int64]  # (n, 40), 1 or -1
    identity: NDArray[np.int64]
    partition: NDArray[np.int64]

    @property
    def images(self) -> Path:
        return self.root / "img_align_celeba"

    def write(self, end: str = "\r\n") -> None:
        """The lists, in the official form."""
        n = len(self.identity)
        names = [f"{i + 1:06d}.jpg" for i in range(n)]
        rows = [
            f"{name} {' '.join(f'{value:2d}' for value in row)}"
            for name, row in zip(names, self.attributes.tolist(), strict=True)
        ]
        self._write("list_attr_celeba", [str(n), " ".join(ATTRIBUTES) + " ", *rows], end)
        for name, column in zip(LISTS[1:], (self.identity, self.partition), strict=True):
            self._write(name, [f"{a} {b}" for a, b in zip(names, column, strict=True)], end)

    def _write(self, name: str, lines: Sequence[str], end: str) -> None:
        (self.root / f"{name}.txt").write_text("".join(line + end for line in lines), newline="")


def make(root: Path, n: int = N) -> Made:
    """Images of about 4 to an identity; the last two tenths are the partitions 1 and 2."""
    rng = np.random.default_rng(0)
    identity = np.arange(n) // 4 + 7
    partition = np.where(identity < 7 + 0.8 * n / 4, 0, 1 + (identity >= 7 + 0.9 * n / 4))
    made = Made(root, rng.choice([-1, 1], (n, 40)), identity, partition)
    made.images.mkdir(parents=True)
    for i in range(n):
        (made.images / f"{i + 1:06d}.jpg").write_bytes(jpeg(i))
    made.write()
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """To be read and left as it is."""
    return make(tmp_path_factory.mktemp("whole") / "celeba")


@pytest.fixture
def made(whole: Made, tmp_path: Path) -> Made:
    """To be broken."""
    root = tmp_path / "celeba"
    shutil.copytree(whole.root, root, ignore=shutil.ignore_patterns(".decoded"))
    return replace(whole, root=root, attributes=whole.attributes.copy())


def reader(root: Path, **settings: object) -> CelebA:
    return CelebA(str(root), **{"size": 16, **settings})  # type: ignore[arg-type]


def load(root: Path, **settings: object) -> Population:
    data = reader(root, **settings)
    data.prepare_data()
    data.setup("fit")
    return data.population


def sentence(root: Path, **settings: object) -> str:
    with pytest.raises(LeakageError) as error:
        load(root, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def replace_row(path: Path, row: int, new: Callable[[str], str] | str) -> None:
    lines = path.read_text().split("\n")
    lines[row - 1] = new if isinstance(new, str) else new(lines[row - 1])
    path.write_text("\n".join(lines))


def same(one: Population, other: Population) -> bool:
    return (
        torch.equal(one.features, other.features)
        and torch.equal(one.labels, other.labels)
        and torch.equal(one.units, other.units)
        and all(torch.equal(one.splits[s], other.splits[s]) for s in SPLITS)
        and all(torch.equal(t.codes, other.traits[n].codes) for n, t in one.traits.items())
        and all(
            torch.equal(one.records[i][0], other.records[i][0])
            for i in range(0, len(one.labels), 7)
        )
    )


# Pictures


def twin(image: Image.Image, size: int) -> NDArray[np.float64]:
    """Triangle filter over each axis, then the middle: the resize with antialias, plainly."""
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    height, width, _ = pixels.shape
    shorter = min(height, width)
    for axis, old in enumerate((height, width)):
        new = int(size * old / shorter)
        scale = old / new
        reach = max(scale, 1)
        weights = np.zeros((new, old))
        for i in range(new):
            distance = np.abs((i + 0.5) * scale - (np.arange(old) + 0.5))
            weights[i] = np.maximum(0, 1 - distance / reach)
            weights[i] /= weights[i].sum()
        pixels = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    top, left = (round((length - size) / 2) for length in pixels.shape[:2])
    return pixels[top : top + size, left : left + size].transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(178, 218, 64), (178, 218, 16), (60, 40, 64), (200, 200, 64), (37, 90, 8)],
)
def test_a_picture_is_what_a_plain_twin_makes_of_the_pixels(
    tmp_path: Path, width: int, height: int, size: int
) -> None:
    path = tmp_path / "a.png"
    drawn(3, width, height).save(path)
    x, remark = Picture(size).decode(path)
    assert (x.shape, x.dtype, remark) == ((3, size, size), torch.uint8, "")
    assert np.abs(x.numpy() - twin(drawn(3, width, height), size)).max() < 1.6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_any_color_mode_become_red_green_and_blue(tmp_path: Path, mode: str) -> None:
    image = drawn(1).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(40)  # which plays no part
    path = tmp_path / "a.jpg"
    image.save(path, "TIFF" if mode == "CMYK" else "PNG")
    x, _ = Picture(32).decode(path)
    assert np.abs(x.numpy() - twin(image.convert("RGB"), 32)).max() < 1.6


def test_a_cmyk_jpeg_is_read_like_the_rgb_one(tmp_path: Path) -> None:
    for name, mode in (("a.jpg", "CMYK"), ("b.jpg", "RGB")):
        drawn(1).convert(mode).save(tmp_path / name, "JPEG", quality=98)
    x, y = (Picture(8).decode(tmp_path / name)[0].float() for name in ("a.jpg", "b.jpg"))
    assert (x - y).abs().mean() < 4


def test_the_orientation_in_exif_plays_no_part(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn(1).save(tmp_path / "a.png")
    drawn(1).save(tmp_path / "b.png", exif=exif)
    assert torch.equal(*(Picture().decode(tmp_path / name)[0] for name in ("a.png", "b.png")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file, get it again"),
        (PAGE, "a web page (a failed download), get it again"),
        (
            POINTER,
            "a Git-LFS pointer in place of the image; run `git lfs pull` where it was cloned, or"
            " download it with git-lfs",
        ),
        (b"these are no pixels", "no image"),
        (jpeg(0)[:3], "no image"),
        *(
            (jpeg(0)[:cut], "an image that is cut short or damaged, get it again")
            for cut in (1000, 3000, len(jpeg(0)) // 2, len(jpeg(0)) - 200, len(jpeg(0)) - 3)
        ),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableError) as error:
        Picture().decode(tmp_path / "a.jpg")
    assert str(error.value) == reason


def test_a_jpeg_cut_anywhere_is_never_filled_up(tmp_path: Path) -> None:
    """But for its last two bytes, which are its end mark and no pixels."""
    content, path = jpeg(5, 30, 36), tmp_path / "a.jpg"
    for cut in (*range(0, len(content) - 60, 11), *range(len(content) - 60, len(content) - 2)):
        path.write_bytes(content[:cut])
        with pytest.raises(UnreadableError):
            Picture(8).decode(path)


def test_sixteen_bits_are_refused_as_pil_would_cut_them_off(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UnreadableError, match=r"^more than 8 bits a color, save it with 8$"):
        Picture().decode(tmp_path / "a.png")


def test_damaged_bytes_give_a_picture_or_a_reason_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
        file = io.BytesIO()
        drawn(0, 30, 36).save(file, kind)
        for _ in range(60):
            content = np.frombuffer(file.getvalue(), np.uint8).copy()
            content[rng.integers(0, min(300, len(content)), 4)] = rng.integers(0, 256, 4)
            (tmp_path / "a.jpg").write_bytes(content.tobytes())
            try:
                x, _ = Picture(8).decode(tmp_path / "a.jpg")
            except UnreadableError:
                continue
            assert x.shape == (3, 8, 8)


def test_duplicates_are_the_files_with_the_very_same_bytes(tmp_path: Path) -> None:
    contents = [b"aa", b"bb", b"aa", b"c", b"bb", b"aa", b"dd", b"eee"]
    files = [tmp_path / str(i) for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    found = partial(duplicates, root=tmp_path, unreadable=Unreadable(tmp_path, "images"))
    assert found(files) == [[0, 2, 5], [1, 4]]
    assert found(files) == [[0, 2, 5], [1, 4]]
    assert found(files[6:]) == []
    files[0].write_bytes(b"dd")  # a digest that was kept of a file that changed is not believed
    assert found(files) == [[0, 6], [1, 4], [2, 5]]


# The population


def test_x_labels_traits_and_units_say_what_the_files_say(whole: Made) -> None:
    population = load(whole.root, size=32)
    assert (population.name, len(population.records), population.standin) == ("CelebA", N, False)
    assert torch.equal(population.units, torch.from_numpy(whole.identity))
    assert population.traits.keys() == set(ATTRIBUTES) - {"Smiling"}
    for j, name in enumerate(ATTRIBUTES):
        has = (whole.attributes[:, j] == 1).astype(int).tolist()
        if name == "Smiling":
            assert population.labels.tolist() == has
        elif name != "Male":
            assert population.traits[name].codes.tolist() == has
            assert population.traits[name].values == ("no", "yes")
            assert not population.traits[name].in_x
    for i in (0, 50, N - 1):
        x, y = population.records[i]
        assert (x.dtype, x.shape, y.dtype, y.shape) == (torch.float32, (3, 32, 32), torch.int64, ())
        with Image.open(whole.images / f"{i + 1:06d}.jpg") as image:
            expected = twin(image, 32) / 127.5 - 1
        assert np.abs(x.numpy() - expected).max() < 1.6 / 127.5
        assert -1 <= x.min() < x.max() <= 1
        assert y == population.labels[i]
        fields = x.view(3, 8, 4, 8, 4).mean((2, 4)).flatten()
        assert torch.allclose(population.features[i], fields, atol=1e-6)
    assert population.features.shape == (N, 192)


def test_items_come_in_batches_as_they_come_alone(whole: Made) -> None:
    records = load(whole.root).records
    batch = records.__getitems__([3, 119, 3, 0])
    for (x, y), i in zip(batch, [3, 119, 3, 0], strict=True):
        assert torch.equal(x, records[i][0])
        assert torch.equal(y, records[i][1])


def test_another_attribute_may_be_the_label(whole: Made) -> None:
    population = load(whole.root, target="Male")
    male = whole.attributes[:, ATTRIBUTES.index("Male")] == 1
    assert population.labels.tolist() == male.astype(int).tolist()
    assert population.traits.keys() == set(ATTRIBUTES) - {"Male"}


def test_male_is_what_most_images_of_an_identity_say(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    column = made.attributes[:, ATTRIBUTES.index("Male")]
    column[:] = -1
    column[[0, 1, 2]] = 1  # 3 of 4: the fourth is changed
    column[[4]] = 1  # 1 of 4: the first is changed
    column[[8, 9]] = 1  # 2 of 4: unknown
    made.write()
    with caplog.at_level(logging.INFO, "leakage.data"):
        codes = load(made.root).traits["Male"].codes.tolist()
    assert codes == [1] * 4 + [0] * 4 + [-1] * 4 + [0] * (N - 12)
    assert (
        "Male of an identity is what most of its images say: changed in 6 images of 3 identities,"
        " 4 of these images unknown as equally many say either"
    ) in caplog.messages
    (made.images / "000001.jpg").unlink()  # absent images still count
    (made.images / "000002.jpg").unlink()
    assert load(made.root).traits["Male"].codes[:2].tolist() == [1, 1]


def test_a_value_that_no_image_has_is_no_value_of_the_trait(made: Made) -> None:
    made.attributes[:, ATTRIBUTES.index("Bald")] = -1
    made.attributes[:, ATTRIBUTES.index("Young")] = 1
    made.write()
    traits = load(made.root).traits
    assert (traits["Bald"].values, traits["Young"].values) == (("no",), ("yes",))
    assert set(traits["Young"].codes.tolist()) == {0}


def test_the_partitions_are_the_splits_and_the_first_is_divided_by_identity(whole: Made) -> None:
    population, again, other = load(whole.root), load(whole.root), load(whole.root, seed=1)
    assert same(population, again)
    assert not torch.equal(population.splits["train"], other.splits["train"])
    for split, partition in (("validation", 1), ("test", 2)):
        assert (
            population.splits[split].tolist()
            == np.flatnonzero(whole.partition == partition).tolist()
        )
        assert torch.equal(population.splits[split], other.splits[split])
    rest = torch.cat([population.splits[s] for s in SHARES if s != "validation"])
    assert sorted(rest.tolist()) == np.flatnonzero(whole.partition == 0).tolist()
    for split, share in SHARES.items():
        if split != "validation":
            units = len(population.units[population.splits[split]].unique())
            assert units == pytest.approx(24 * share / 0.9, abs=1)


def test_a_folder_of_the_first_images_alone_has_all_splits(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(80, N):
        (made.images / f"{i + 1:06d}.jpg").unlink()
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = load(made.root)
    assert all(len(population.splits[split]) for split in SPLITS)
    assert len(population.records) == 80
    assert f"{made.images}: 40 of 120 images are absent" in caplog.messages
    for split in ("validation", "test"):
        told = f"no image of the official {split} split, partition 0 gives one"
        assert f"{made.images}: {told}" in caplog.messages


def test_lists_in_every_common_form_say_the_same(whole: Made, tmp_path: Path) -> None:
    expected = load(whole.root)
    forms = [tmp_path / name for name in ("lf", "headers", "csv", "zeros", "drive", "nested")]
    for root in forms:
        (root / "img_align_celeba").mkdir(parents=True)
        for file in whole.images.iterdir():
            os.link(file, root / "img_align_celeba" / file.name)
    texts = {name: (whole.root / f"{name}.txt").read_text() for name in LISTS}
    for root in forms:
        for name, text in texts.items():
            rows = text.split("\n")
            heads = {"identity_CelebA": "image_id,identity", "list_eval_partition": "image_id,partition"}  # fmt: skip  # noqa: E501
            folder, suffix = root, "txt"
            if root.name == "headers":
                rows = [heads[name].replace(",", " "), *rows] if name in heads else rows
            if root.name in ("csv", "zeros"):
                suffix = "csv"
                rows = rows[1:] if name == "list_attr_celeba" else rows
                rows = [",".join(row.split()) for row in rows]
                if name in heads:
                    rows = [heads[name], *rows]
                else:
                    rows[0] = f"image_id,{rows[0]}"
                    if root.name == "zeros":
                        rows = [row.replace(",-1", ",0") for row in rows]
            if root.name == "drive":
                folder = root / ("Eval" if name == "list_eval_partition" else "Anno")
                folder.mkdir(exist_ok=True)
            (folder / f"{name}.{suffix}").write_text("\n".join(rows), newline="")
    for form in ("drive", "nested"):
        old = tmp_path / form / "img_align_celeba"
        old.rename(tmp_path / form / "held")
        parent = tmp_path / form / ("Img" if form == "drive" else "img_align_celeba")
        parent.mkdir()
        (tmp_path / form / "held").rename(parent / "img_align_celeba")
    assert len(forms) == 6
    for root in forms:
        assert same(load(root), expected), root.name


def test_byte_identical_images_stay_once(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("000005.jpg", "000119.jpg"):
        (made.images / name).write_bytes((made.images / "000001.jpg").read_bytes())
    with caplog.at_level(logging.INFO, "leakage.data"):
        population = load(made.root)
    assert len(population.records) == N - 2
    kept = np.delete(np.arange(N), [4, 118])
    assert torch.equal(population.units, torch.from_numpy(made.identity[kept]))
    with Image.open(made.images / "000006.jpg") as image:  # the fifth that is left
        expected = twin(image, 16) / 127.5 - 1
    for x, _ in (population.records[4], population.records.__getitems__([4])[0]):
        assert np.abs(x.numpy() - expected).max() < 1.6 / 127.5
    assert (
        f"{made.images}: 2 of 120 images left out: byte-identical copies of others (the first:"
        " 000005.jpg)"
    ) in caplog.messages


def test_images_of_another_size_are_told_once(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    for i in (3, 6):
        (made.images / f"{i:06d}.jpg").write_bytes(jpeg(i, 100, 120))
    with caplog.at_level(logging.INFO, "leakage.data"):
        load(made.root)
    assert [line for line in caplog.messages if "official size" in line] == [
        f"{made.images}: 2 of 120 images are not of the official size, 178 x 218 pixels (the first:"
        " 000003.jpg)"
    ]


def test_unreadable_images_are_named_and_counted_and_many_refused(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    (made.images / "000002.jpg").write_bytes(PAGE)
    (made.images / "000003.jpg").write_bytes(PAGE)
    (made.images / "extra.JPG").write_bytes(jpeg(999))
    (made.images / "notes.txt").write_text("no image, and none asked for")
    (made.images / ".hidden.jpg").write_bytes(b"")
    told = (
        "2 of 121 images left out: a web page (a failed download), get it again (the first:"
        " 000002.jpg)",
        "1 of 121 images left out: no row in the list of attributes (the first: extra.JPG)",
    )
    assert sentence(made.root) == (
        f"{made.images}: {'; '.join(told)}; data.max_unreadable allows a share of 0.01, repair the"
        " files or raise it"
    )
    with caplog.at_level(logging.WARNING, "leakage.data"):
        population = load(made.root, max_unreadable=0.03)
    assert caplog.messages == [f"{made.images}: {line}" for line in told]
    assert torch.equal(population.units[:2], torch.tensor([7, 7]))
    assert len(population.records) == N - 2
    whole = np.delete(np.arange(N), [1, 2])
    smiles = made.attributes[whole, ATTRIBUTES.index("Smiling")] == 1
    assert population.labels.tolist() == smiles.astype(int).tolist()


def test_images_none_of_which_can_be_read_are_refused_in_a_sentence(made: Made) -> None:
    for file in made.images.iterdir():
        file.write_bytes(POINTER)
    assert sentence(made.root, max_unreadable=1) == (
        f"{made.images}: found 0 identities of partition 0, at least 11 are needed to divide them"
        " into train, validation, test, shadow_fit, shadow_calibrate, challenge"
    )


# The loaders and the cache


def test_the_figures_do_not_depend_on_the_number_of_workers(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakage.data.decoded._ALONE", 10)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    many = load(made.root)
    for file in (made.root / ".decoded").iterdir():
        file.unlink()
    monkeypatch.setattr("leakage.data.decoded._ALONE", 10**6)
    assert same(load(made.root), many)
    epochs = []
    for workers in (0, 2):
        data = reader(made.root, num_workers=workers, batch_size=8)
        data.prepare_data()
        data.setup("fit")
        torch.manual_seed(0)
        epochs.append(list(data.train_dataloader()))
    assert len(epochs[0]) > 4
    for (x, y), (x2, y2) in zip(*epochs, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_the_cache_is_used_until_a_file_or_a_setting_changes(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(made.root)
    decode, opened = images._open, []

    def counted(path: Path) -> Image.Image:
        opened.append(path.name)
        return decode(path)

    monkeypatch.setattr(images, "_open", counted)
    assert same(load(made.root), first)
    assert opened == []
    path = made.images / "000010.jpg"
    path.write_bytes(jpeg(777))
    changed = load(made.root)
    assert len(opened) == N
    with Image.open(path) as image:
        expected = twin(image, 16) / 127.5 - 1
    assert np.abs(changed.records[9][0].numpy() - expected).max() < 1.6 / 127.5
    assert not torch.equal(changed.records[9][0], first.records[9][0])
    assert load(made.root, size=24).records[0][0].shape == (3, 24, 24)


# Broken lists


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("content", [PAGE, POINTER, b"", b"000001.jpg 1\n\xff"])
def test_a_list_that_is_something_else_is_named(made: Made, name: str, content: bytes) -> None:
    path = made.root / f"{name}.txt"
    path.write_bytes(content)
    expected = "expected a list of the images of CelebA"
    assert sentence(made.root) == f"{path}" + {
        PAGE: f": found a web page (a failed download), {expected}",
        POINTER: f": found a Git-LFS pointer, {expected}",
        b"": f": found an empty file, {expected}",
    }.get(content, ", row 2: found the byte 0xff, expected plain text")


def test_a_wrong_count_in_the_first_line_is_told(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    path = made.root / "list_attr_celeba.txt"
    replace_row(path, 1, "202599")
    assert len(load(made.root).records) == N
    assert (
        f"{path}, row 1: found the number 202599, while 120 rows of images follow; all of these are"
        " read"
    ) in caplog.messages


def test_missing_attributes_are_named(made: Made) -> None:
    path = made.root / "list_attr_celeba.txt"
    replace_row(path, 2, lambda row: row.replace("Smiling", "Smile"))
    assert sentence(made.root) == (
        f"{path}, row 2: found no attribute Smiling; expected the names of the 40 attributes of"
        " CelebA"
    )
    replace_row(path, 2, lambda row: row.replace("Smile", "Smiling Smile"))
    assert sentence(made.root) == (
        f"{path}, row 2: found the attribute 'Smile' too many; expected the names of the 40"
        " attributes of CelebA"
    )
    path.write_text("120\n")
    assert sentence(made.root).startswith(
        f"{path}, row 2: found no attribute 5_o_Clock_Shadow, Arched_Eyebrows, Attractive,"
        " Bags_Under_Eyes or 36 more; expected"
    )


ROW = "000003.jpg " + " ".join(["1"] * 40)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROW[:-2], "row 5: found 39 values behind the name of the image, expected 40"),
        (f"{ROW} -1", "row 5: found 41 values behind the name of the image, expected 40"),
        (
            f"{ROW[:-1]}2",
            "row 5, column Young: found '2', expected a whole number from -1 to 1",
        ),
        (
            f"{ROW[:-1]}yes",
            "row 5, column Young: found 'yes', expected a whole number from -1 to 1",
        ),
        (
            f"{ROW[:-1]}0.5",
            "row 5, column Young: found '0.5', expected a whole number from -1 to 1",
        ),
        (
            ROW.replace("000003", "3"),
            "row 5: found the name '3.jpg', expected six digits and .jpg, such as 000001.jpg",
        ),
        (
            ROW.replace("000003", "000002"),
            "row 5: found 000002.jpg again, which is in row 4 too; expected one row an image",
        ),
    ],
)
def test_a_broken_row_of_attributes_is_named(made: Made, row: str, words: str) -> None:
    path = made.root / "list_attr_celeba.txt"
    replace_row(path, 5, row)
    assert sentence(made.root) == f"{path}, {words}"
    replace_row(path, 2, lambda header: f"{header}\n\n")  # blank lines count as rows
    assert f"{path}, {words}".replace("row 5", "row 7").replace("row 4", "row 6") == sentence(
        made.root
    )


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        (LISTS[1], "000003.jpg x", "row 3, column identity: found 'x', expected a whole number"),
        (LISTS[1], "000003.jpg 0", "row 3, column identity: found '0', expected a whole number"),
        (LISTS[1], "000003.jpg 1 2", "row 3: found 2 values behind the name of the image"),
        (LISTS[2], "000003.jpg 3", "row 3, column partition: found '3', expected a whole number"),
        (LISTS[2], "a/../3.jpg 0", "row 3: found the name 'a/../3.jpg', expected six digits"),
    ],
)
def test_a_broken_row_of_the_other_lists_is_named(
    made: Made, name: str, row: str, words: str
) -> None:
    path = made.root / f"{name}.txt"
    replace_row(path, 3, row)
    assert sentence(made.root).startswith(f"{path}, {words}")


@pytest.mark.parametrize("name", LISTS[1:])
def test_an_image_without_a_row_in_another_list_is_named(made: Made, name: str) -> None:
    path = made.root / f"{name}.txt"
    replace_row(path, 4, "")
    attributes = made.root / "list_attr_celeba.txt"
    assert sentence(made.root) == (
        f"{attributes}, row 6: found 000004.jpg, which has no row in {path} (1 such images); take"
        " the official files"
    )
    (made.images / "000004.jpg").unlink()  # nothing is asked of an image that is absent
    assert len(load(made.root).records) == N - 1


def test_an_identity_in_two_partitions_is_refused(made: Made) -> None:
    path = made.root / "list_eval_partition.txt"
    replace_row(path, 3, "000003.jpg 2")
    assert sentence(made.root) == (
        f"{path}, row 3: found 000003.jpg in the partition 2 and 000001.jpg of the same identity 7"
        " in another (1 such identities); expected each identity in one partition, as in the"
        " official file"
    )


def test_missing_files_and_images_are_named(made: Made) -> None:
    (made.root / "identity_CelebA.txt").rename(made.root / "held")
    assert sentence(made.root) == (
        f"{made.root / 'identity_CelebA.txt'}: it is missing, while other files of CelebA are"
        " there; put it beside them, or point data.root at an empty folder"
    )
    (made.root / "held").rename(made.root / "identity_CelebA.txt")
    for file in made.images.iterdir():
        file.unlink()
    assert sentence(made.root) == (
        f"{made.images}: found none of the 120 images that the list of attributes names; unpack"
        f" img_align_celeba.zip, so that {made.images} has images such as 000001.jpg"
    )
    made.images.rmdir()
    (made.root / "img_align_celeba.zip").write_bytes(PAGE)
    assert sentence(made.root) == (
        f"{made.root / 'img_align_celeba.zip'}: found a web page (a failed download), expected an"
        " archive"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "Smile"}, "data.target: CelebA has no attribute 'Smile'; did you mean 'Smil"),
        ({"size": 4}, "data.size: 8 to 512 pixels, got 4"),
        ({"max_unreadable": 2}, "data.max_unreadable: a share in 0..1, got 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(LeakageError) as error:
        reader(Path("data/celeba"), **settings)
    assert str(error.value).startswith(words)
