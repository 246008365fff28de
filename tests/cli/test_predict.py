"""``fastconv predict``: names for images of the test part or of a file."""

from pathlib import Path

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.data import shapes10

from .commands import fails
from .test_evaluate import change_about


def rows(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_predict_names_classes(trained, capsys):
    assert main(["predict", trained, "--index", "3", "12", "--top", "2", "--backend", "numpy"]) == 0
    third, twelfth = rows(capsys)
    assert third[:2] == ["3", "triangle"]
    assert twelfth[:2] == ["12", "square"]
    assert sum(word.count("%") for word in third) == 2


def test_predict_shows_the_first_ten_and_three_classes_each_by_default(trained, capsys):
    assert main(["predict", trained, "--backend", "numpy"]) == 0
    shown = rows(capsys)
    assert [row[0] for row in shown] == [str(i) for i in range(10)]
    assert {sum(word.count("%") for word in row) for row in shown} == {3}


def test_the_limit_arrives(trained, capsys):
    assert main(["predict", trained, "--limit", "4", "--backend", "numpy"]) == 0
    assert len(rows(capsys)) == 4
    error = fails(capsys, "predict", trained, "--limit", "4", "--index", "4", "--backend", "numpy")
    assert "--index: got 4; allowed: 0 to 3" in error


def test_predict_reads_images(trained, capsys):
    np.save("images.npy", shapes10("test", size=3).images)
    assert main(["predict", trained, "images.npy", "--top", "10", "--backend", "numpy"]) == 0
    from_file = [row[1:] for row in rows(capsys)]
    assert main(["predict", trained, "--index", "0", "1", "2", "--top", "10", "--backend", "numpy"]) == 0
    from_set = [row[2:] for row in rows(capsys)]
    assert from_file == from_set
    shares = [float(word.rstrip("%,")) for word in from_file[0] if "%" in word]
    assert len(shares) == 10
    assert abs(sum(shares) - 100) < 1
    assert shares == sorted(shares, reverse=True)


def test_predict_reads_one_image(trained, capsys):
    np.save("image.npy", shapes10("test", size=1).images[0])
    assert main(["predict", trained, "image.npy", "--backend", "numpy"]) == 0
    assert len(rows(capsys)) == 1


def test_the_normalisation_is_that_of_the_file(trained, capsys):
    shown = []
    np.save("images.npy", shapes10("test", size=3).images)
    for mean in ((0.329, 0.329, 0.329), (0.9, 0.0, 0.5)):
        change_about(trained, mean=mean)
        for source in (["images.npy"], ["--index", "0", "1", "2"]):
            assert main(["predict", trained, *source, "--top", "10", "--backend", "numpy"]) == 0
            shown.append([" ".join(row[-20:]) for row in rows(capsys)])
    assert shown[0] == shown[1] != shown[2] == shown[3]


@pytest.fixture
def other_files(trained):
    """Files that are no .npy file of images, by name."""
    np.save("floats.npy", np.zeros((2, 32, 32, 3), np.float32))
    np.save("small.npy", np.zeros((2, 28, 28, 3), np.uint8))
    np.save("number.npy", np.uint8(3))
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez("archive.npz", a=np.zeros(3))
    whole = Path("floats.npy").read_bytes()
    for name, data in {
        "photo.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "photo.jpg": b"\xff\xd8\xff\xe0" + bytes(100),
        "empty.npy": b"",
        "cut.npy": whole[:-1],
        "cut-head.npy": whole[:20],
        "header.npy": whole.replace(b"}", b"(", 1),
        "pickle.npy": b"\x80\x04N.",
        "huge.npy": whole[:10] + whole[10:128].replace(b"(2, 32, 32, 3)", b"(2**9,3, 32,) ") + whole[128:],
    }.items():
        Path(name).write_bytes(data)
    return ["missing.npy", ".", trained]


def test_other_files_are_refused_and_nobody_is_told_to_unpickle(trained, other_files, capsys):
    names = ["floats.npy", "small.npy", "number.npy", "objects.npy", "archive.npz", "photo.png", "photo.jpg"]
    names += ["empty.npy", "cut.npy", "cut-head.npy", "header.npy", "pickle.npy", "huge.npy", *other_files]
    for name in names:
        error = fails(capsys, "predict", trained, name, "--backend", "numpy")
        assert f"image: got {name}" in error
        assert "allowed: " in error
        assert "pickle" not in error.replace("pickle.npy", "")


@pytest.mark.parametrize("option", ["--index=1", "--dataset=shapes10", "--data-dir=x", "--images=x", "--limit=1"])
def test_options_of_the_test_part_are_refused_beside_a_file(trained, capsys, option):
    np.save("images.npy", shapes10("test", size=3).images)
    error = fails(capsys, "predict", trained, "images.npy", option, "--backend", "numpy")
    assert error.startswith(f"error: {option.partition('=')[0]}: got it beside files")


def test_nothing_is_skipped_but_in_an_own_folder(trained, capsys):
    np.save("images.npy", shapes10("test", size=3).images)
    for words in (("predict", trained, "images.npy"), ("predict", "run"), ("evaluate", trained), ("evaluate", "run")):
        error = fails(capsys, *words, "--skip-broken", "--backend", "numpy")
        assert error.startswith("error: --skip-broken: got it without --images; allowed: ")


def test_an_index_out_of_range_is_refused(trained, capsys):
    assert "--index: got 2000" in fails(capsys, "predict", trained, "--index", "2000", "--backend", "numpy")


@pytest.mark.parametrize("name", ["photo.png", "[red]", "images.npy"])
def test_a_file_in_the_place_of_a_folder_is_told_where_files_go(trained, capsys, name):
    Path(name).write_bytes(b"0")
    error = fails(capsys, "predict", trained, "--images", name, "--backend", "numpy")
    assert error.startswith(
        f"error: --images: got {name}, a file; allowed: a folder with a folder for each class (files"
    )
    assert "'fastconv predict RUN FILE'" in error
