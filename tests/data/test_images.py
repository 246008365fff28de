"""Image files and folders of them: what is read, and what is said of those that cannot be."""

import io
import os
import re

import numpy as np
import pytest

from fastconv.data import image_folder, images, read_image
from fastconv.errors import ArgumentError, DataError

Image = pytest.importorskip("PIL.Image", reason="needs the extra 'images'")


@pytest.fixture
def picture(rng):
    return rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def png(array, **settings):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", **settings)
    return stream.getvalue()


def jpeg(array, **settings):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", **settings)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path, rng):
    """Three classes of two images each, the second name not in ASCII, among files that are none."""
    for number, name in enumerate(("cat", "Ñandú", "dog house")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(2):
            array = np.full((4, 5, 3), 40 * number + 10 * i, np.uint8)
            (tmp_path / "set" / name / f"{i}ü.{'PNG' if i else 'png'}").write_bytes(png(array))
    (tmp_path / "set" / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "set" / "cat" / "._0.png").write_bytes(b"x")
    (tmp_path / "set" / ".git").mkdir()
    (tmp_path / "set" / "README.txt").write_text("x")
    return tmp_path / "set"


def test_a_png_is_read_as_it_is(tmp_path, picture):
    (tmp_path / "x.png").write_bytes(png(picture))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), picture)


def test_a_jpeg_is_read_nearly_as_it_is(tmp_path):
    array = np.add.outer(np.arange(16) * 10, np.arange(16) * 5)[..., None].repeat(3, 2).astype(np.uint8)
    (tmp_path / "x.jpg").write_bytes(jpeg(array, quality=95))
    assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - array).max() < 8


def test_a_jpeg_is_turned_as_its_exif_data_says(tmp_path):
    array = np.zeros((16, 32, 3), np.uint8)
    array[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    (tmp_path / "x.jpg").write_bytes(jpeg(array, exif=exif))
    turned = read_image(tmp_path / "x.jpg")
    assert turned.shape == (32, 16, 3)
    assert turned[:12].min() > 200
    assert turned[20:].max() < 50


def test_grey_and_coloured_images_become_what_is_asked_for(tmp_path, picture):
    (tmp_path / "grey.png").write_bytes(png(picture[..., 0]))
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), picture[..., :1].repeat(3, 2))
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", channels=1), picture[..., :1])
    (tmp_path / "rgb.png").write_bytes(png(picture))
    luma = picture @ (0.299, 0.587, 0.114)
    assert np.abs(read_image(tmp_path / "rgb.png", channels=1)[..., 0] - luma).max() <= 1
    (tmp_path / "bits.png").write_bytes(png(picture[..., 0] > 99))
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png", channels=1)[..., 0], (picture[..., 0] > 99) * 255)


def test_what_is_transparent_shows_white(tmp_path, picture):
    alpha = np.full((6, 8, 1), 255, np.uint8)
    alpha[:3] = 0
    expected = np.where(alpha, picture, 255)
    (tmp_path / "rgba.png").write_bytes(png(np.concatenate([picture, alpha], 2)))
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), expected)
    (tmp_path / "la.png").write_bytes(png(np.concatenate([picture[..., :1], alpha], 2)))
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), expected[..., :1].repeat(3, 2))
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read_image(tmp_path / "p.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_crop_keeps_the_middle_and_resize_all(tmp_path):
    array = np.zeros((4, 12, 3), np.uint8)
    array[:, 4:8] = 100
    array[:, 8:] = 200
    (tmp_path / "x.png").write_bytes(png(array))
    assert (read_image(tmp_path / "x.png", (4, 4)) == 100).all()
    small = read_image(tmp_path / "x.png", (2, 3), fit="resize")
    assert small.shape == (2, 3, 3)
    assert (np.diff(small[0, :, 0].astype(int)) > 50).all()
    assert read_image(tmp_path / "x.png", (9, 5)).shape == (9, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": (0, 4)}, r"size: got \(0, 4\); allowed: \(height, width\)"),
        ({"size": (4,)}, r"size: got \(4,\)"),
        ({"size": 4}, r"size: got 4; allowed: \(height, width\)"),
        ({"size": (4, 2.5)}, "size: got"),
        ({"fit": "pad"}, "fit: got 'pad'; allowed: 'crop', 'resize'"),
        ({"channels": 4}, "channels: got 4; allowed: 3"),
    ],
)
def test_other_arguments_are_refused(folder, arguments, words):
    with pytest.raises(ArgumentError, match=words):
        image_folder(folder, **arguments)
    with pytest.raises(ArgumentError, match=words):
        read_image(folder / "cat" / "0ü.png", **arguments)


def broken_files(picture):
    whole, photo = png(picture), jpeg(np.resize(picture, (64, 64, 3)))
    noise = np.random.default_rng(0).integers(0, 65536, (4, 4), dtype=np.uint16)
    return {
        "empty": (b"", "got no image"),
        "cut-png": (whole[: len(whole) // 2], "broken image"),
        "cut-jpeg": (photo[: len(photo) // 2], "broken image"),
        "zero-tail-png": (whole[:60] + bytes(800), "ends with zeros"),
        "zero-tail-jpeg": (photo[:900] + bytes(800), "ends with zeros"),
        "bit": (whole[:50] + bytes([whole[50] ^ 4]) + whole[51:], "broken image"),
        "text": (b"<html>not found</html>", "got no image"),
        "gif": (b"GIF89a" + bytes(30), "got no image"),
        "16-bit": (png(noise), "mode I;16; allowed: 8 bits a channel"),
    }


BROKEN = ("empty", "cut-png", "cut-jpeg", "zero-tail-png", "zero-tail-jpeg", "bit", "text", "gif", "16-bit")


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_image_is_named_and_can_be_skipped(folder, picture, damage):
    data, words = broken_files(picture)[damage]
    path = folder / "dog house" / "00 bröken.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        image_folder(folder)
    assert str(caught.value).startswith(f"{path}: got ")
    assert words in str(caught.value)
    with pytest.warns(UserWarning, match=f"^skipped 1 of 7 images: {path}: got ") as warned:
        data_set = image_folder(folder, broken="skip")
    assert warned[0].filename == __file__
    assert data_set.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert path.read_bytes() == data


def test_zeros_behind_a_whole_image_do_no_harm(tmp_path, picture):
    for name, data in (("x.png", png(picture)), ("x.jpg", jpeg(picture))):
        (tmp_path / name).write_bytes(data + bytes(1000))
        assert read_image(tmp_path / name).shape == (6, 8, 3)


def test_a_folder_is_read_in_order(folder):
    data = image_folder(folder)
    assert (data.name, data.class_names) == ("set", ("cat", "dog house", "Ñandú"))
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.images[:, 0, 0, 0].tolist() == [0, 10, 80, 90, 40, 50]
    assert data.mean == pytest.approx((45 / 255,) * 3)
    assert image_folder(folder, size=(3, 2), channels=1).images.shape == (6, 3, 2, 1)


def test_what_is_passed_over_is_counted_by_its_kind(folder):
    for name in ("cat/a.gif", "cat/b.GIF", "dog house/c.webp", "dog house/notes", "d.bmp", "e.jpg"):
        (folder / name).write_bytes(b"x")
    text = f"{folder}: passed over 1 .bmp, 2 .gif, 1 .jpg, 1 .webp, 1 files without a suffix, which are not read"
    with pytest.warns(UserWarning, match=f"^{re.escape(text)}") as warned:
        assert image_folder(folder).labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [each.filename for each in warned] == [__file__]


def test_a_class_of_other_files_alone_is_named_with_them(folder):
    (folder / "mouse").mkdir()
    for name in ("a.gif", "b.gif", "c.bmp"):
        (folder / "mouse" / name).write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"mouse: got no images, but 1 \.bmp, 2 \.gif; allowed: one or more \.png, .jpg"
    ):
        image_folder(folder)


def test_a_link_that_leads_nowhere_is_a_broken_image(folder):
    (folder / "cat" / "gone.png").symlink_to(folder / "nothing.png")
    with pytest.raises(DataError, match=r"cat/gone.png: got No such file or directory"):
        image_folder(folder)


def test_parts_lie_in_folders(folder, tmp_path):
    (tmp_path / "both").mkdir()
    os.rename(folder, tmp_path / "both" / "train")
    (tmp_path / "both" / "test" / "dog house").mkdir(parents=True)
    (tmp_path / "both" / "test" / "dog house" / "x.png").write_bytes(png(np.zeros((4, 5, 3), np.uint8)))
    train = image_folder(tmp_path / "both", "train")
    test = image_folder(tmp_path / "both", "test", class_names=train.class_names)
    assert (train.name, test.name, test.labels.tolist()) == ("both/train", "both/test", [1])
    with pytest.raises(DataError, match="test/dog house: got a class that is not known; allowed: cat, dog"):
        image_folder(tmp_path / "both", "test", class_names=("cat", "dog"))


def test_images_in_folders_within_a_class_count_too(folder):
    (folder / "cat" / "more").mkdir()
    os.rename(folder / "cat" / "1ü.PNG", folder / "cat" / "more" / "a.png")
    assert image_folder(folder).labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_other_sizes_are_named_with_both_files(folder):
    path = folder / "dog house" / "5.png"
    path.write_bytes(png(np.zeros((7, 5, 3), np.uint8)))
    with pytest.raises(DataError, match=f"^{path}: got 7x5 pixels where {folder}/cat/0ü.png has 4x5; allowed: .* size"):
        image_folder(folder)
    assert image_folder(folder, size=(4, 5)).images.shape == (7, 4, 5, 3)


def test_a_class_without_images_is_named(folder, tmp_path):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=rf"^{folder}/empty: got no images; allowed: one or more .png, .jpg, .jpeg"):
        image_folder(folder)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"flat: got no folders in it; allowed: a folder with a folder for each class"):
        image_folder(tmp_path / "flat")
    with pytest.raises(DataError, match=r"none: got No such file or directory; allowed: a folder with"):
        image_folder(tmp_path / "none")
    with pytest.raises(ArgumentError, match=r"broken: got 'drop'; allowed: 'raise', 'skip'"):
        image_folder(folder, broken="drop")


def test_a_folder_larger_than_memory_is_mapped_from_a_file(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_AT_ONCE", 2)
    (folder / "cat" / "5.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="skipped 1 of 7 images"):
        mapped = image_folder(folder, broken="skip", file=tmp_path / "all.npy")
    (folder / "cat" / "5.png").unlink()
    here = image_folder(folder)
    assert isinstance(mapped.images, np.memmap)
    assert not isinstance(here.images, np.memmap)
    np.testing.assert_array_equal(mapped.images, here.images)
    np.testing.assert_array_equal(mapped.labels, here.labels)
    assert (mapped.mean, mapped.std, mapped.name) == (here.mean, here.std, here.name)
    np.testing.assert_array_equal(np.load(tmp_path / "all.npy"), here.images)


def test_what_the_file_held_stays_until_all_are_read(folder, tmp_path):
    (tmp_path / "all.npy").write_bytes(b"before")
    (folder / "cat" / "5.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="no image"):
        image_folder(folder, file=tmp_path / "all.npy")
    assert (tmp_path / "all.npy").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.npy", "set"]
    with pytest.raises(DataError, match=r"^file: got .*; allowed: a place with room"):
        image_folder(folder, broken="skip", file=tmp_path / "absent" / "all.npy")


def test_many_images_come_in_pieces(folder, monkeypatch):
    expected = image_folder(folder)
    monkeypatch.setattr(images, "_AT_ONCE", 4)
    np.testing.assert_array_equal(image_folder(folder).images, expected.images)


def test_without_pillow_it_is_said_what_to_install(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r"^Pillow: got .*; allowed: .*pip install 'fastconv\[images\]'"):
        image_folder(folder)


def test_an_image_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"x.png: got No such file or directory; allowed: an image that can be read"):
        read_image(tmp_path / "x.png")


def test_folders_are_read_through_links_each_once(folder):
    (folder.parent / "more").mkdir()
    (folder.parent / "more" / "9.png").write_bytes((folder / "cat" / "0ü.png").read_bytes())
    (folder / "cat" / "a").symlink_to("../../more")
    (folder / "cat" / "b").symlink_to("../../more")  # the same folder again
    (folder / "cat" / "up").symlink_to("..")
    (folder / "cat" / "self").symlink_to(".")
    assert np.bincount(image_folder(folder).labels).tolist() == [3, 2, 2]


@pytest.mark.parametrize("broken", ["raise", "skip"])
def test_a_pipe_is_no_image(folder, broken):
    os.mkfifo(folder / "cat" / "pipe.png")
    if broken == "raise":
        with pytest.raises(DataError, match=r"pipe.png: got a pipe or a device; allowed: an image file"):
            image_folder(folder)
    else:
        with pytest.warns(UserWarning, match=r"skipped 1 of 7 images: .*pipe.png: got a pipe"):
            assert len(image_folder(folder, broken="skip")) == 6


@pytest.mark.parametrize("names", ["cat", 5, [1, 2], {"cat"}], ids=repr)
def test_names_of_classes_are_several_texts(folder, names):
    with pytest.raises(DataError, match=r"^class_names: got .*; allowed: a name for each class"):
        image_folder(folder, class_names=names)
    with pytest.raises(DataError, match=r"^class_names: got 'cat' twice"):
        image_folder(folder, class_names=["cat", "dog house", "Ñandú", "cat"])


@pytest.mark.parametrize("channels", [3.0, True, "rgb", np.array([1, 3])], ids=repr)
def test_channels_are_one_or_three(folder, channels):
    with pytest.raises(ArgumentError, match=r"^channels: got .*; allowed: 3 "):
        image_folder(folder, channels=channels)
