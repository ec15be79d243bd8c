import numpy as np
import pytest
from PIL import Image

from models.conditions import Boolean, Categorical, Continuous
from models.errors import InvalidConfig, InvalidPicture
from training.data import load_data
from training.data.attribute_columns import attribute_name, read_column
from training.data.errors import DataNotFound

from .conftest import save_picture, write_class_folder

ALL = {"size": 12, "validation_fraction": 0, "test_fraction": 0}


def test_first_sub_folders_are_classes(tmp_path):
    save_picture(tmp_path / "b" / "deep" / "er" / "1.png", 0)
    save_picture(tmp_path / "a" / "2.jpg", 1)
    data = load_data("folder", ALL, tmp_path)
    assert data.classes == ("a", "b")
    assert data.train.labels.tolist() == [0, 1]
    assert data.problems == ()


def test_pictures_keep_their_pixels(tmp_path):
    with Image.open(save_picture(tmp_path / "1.png", 3)) as picture:
        expected = np.asarray(picture).transpose(2, 0, 1)
    assert np.array_equal(load_data("folder", ALL, tmp_path).train.values[0], expected)


def test_the_path_is_taken_below_the_data_root(tmp_path):
    write_class_folder(tmp_path / "pets")
    below = load_data("folder", {"path": "pets"}, tmp_path)
    assert below.digest == load_data("folder", {"path": str(tmp_path / "pets")}).digest


def test_a_picture_keeps_its_split_when_others_come(tmp_path):
    write_class_folder(tmp_path, 40)
    before = load_data("folder", {"size": 12}, tmp_path)
    for index in range(40, 60):
        save_picture(tmp_path / "cats" / f"a{index}.png", index)
    after = load_data("folder", {"size": 12}, tmp_path)
    for name, split in before.splits.items():
        old = {row.tobytes() for row in split.values}
        assert old <= {row.tobytes() for row in after.splits[name].values}


@pytest.fixture
def messy(tmp_path):
    """Two good pictures among everything that can be wrong with a file."""
    save_picture(tmp_path / "good.png", 0)
    save_picture(tmp_path / "grey.png", 1, mode="L")
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = save_picture(tmp_path / "cut.jpg", 2, 64, 64).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    save_picture(tmp_path / "big.png", 3, 60, 60)
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    (tmp_path / ".hidden").write_text("not looked at")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    return tmp_path


def test_bad_files_are_left_out_by_name(messy):
    data = load_data("folder", ALL | {"maximum_pixels": 2000}, messy)
    assert len(data.train) == 1 + 1
    named = {problem.partition(":")[0] for problem in data.problems}
    assert named == {"note.txt", "empty.png", "cut.jpg", "big.png", "moving.gif", "gone.png"} | (
        set()
    )


def test_bad_files_are_refused_together(messy):
    with pytest.raises(InvalidPicture) as caught:
        load_data("folder", ALL | {"on_error": "refuse"}, messy)
    assert all(name in str(caught.value) for name in ("note.txt", "cut.jpg", "moving.gif"))
    assert caught.value.param == "on_error"


def test_mixed_sizes_are_refused_where_asked(tmp_path):
    save_picture(tmp_path / "right.png", 0)
    save_picture(tmp_path / "wide.png", 1, 20, 12)
    data = load_data("folder", ALL | {"fit": "refuse"}, tmp_path)
    assert data.problems == ("wide.png: 20x12 pixels instead of 12x12",)


def test_a_picture_beside_class_folders_is_a_problem(tmp_path):
    write_class_folder(tmp_path)
    save_picture(tmp_path / "stray.png", 99)
    data = load_data("folder", ALL, tmp_path)
    assert len(data.train) == 20
    assert data.problems[0].startswith("stray.png: stands beside")


def test_a_folder_without_pictures_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InvalidPicture, match=r"no picture.*\n.*a\.txt"):
        load_data("folder", {}, tmp_path)


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DataNotFound, match="is no folder"):
        load_data("folder", {"path": "nowhere"}, tmp_path)
    with pytest.raises(InvalidConfig, match="'path'"):
        load_data("folder", {})


# Attributes


def write_csv(folder, *lines: str):
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return ALL | {"attributes_csv": "a.csv"}


def test_attributes_come_from_the_csv_file(tmp_path):
    for index in range(3):
        save_picture(tmp_path / f"{index}.png", index)
    options = write_csv(
        tmp_path,
        "Has hat,file,colour,age",
        "yes,2.png,red,10",
        "no,0.png,blue,30",
        "no,1.png,red,20",
    )
    data = load_data("folder", options, tmp_path)
    assert data.schema.names == ("has_hat", "colour", "age")
    assert data.train.attributes.tolist() == [[0, 0, 30], [0, 1, 20], [1, 1, 10]]
    assert data.problems == ()


def test_pictures_and_rows_without_each_other_are_problems(tmp_path):
    for index in range(3):
        save_picture(tmp_path / f"{index}.png", index)
    options = write_csv(tmp_path, "file,hat", "0.png,1", "1.png,0", "9.png,1")
    data = load_data("folder", options, tmp_path)
    assert data.problems == ("9.png: in the CSV file only", "2.png: not in the CSV file")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,hat", "0.png,1"], "expected a column 'file'"),
        (["file,hat", "0.png"], "row 2: not as many fields"),
        (["file,hat", "0.png,1,2"], "row 2: not as many fields"),
        (["file,hat", "0.png,1", "0.png,0"], "row 3: '0.png' stands there twice"),
        (["file,Hat,hat", "0.png,1,0"], "the same attribute: hat"),
        (["file,age", "0.png,3"], "'age' is 3 everywhere"),
        (["file,colour", "0.png,red"], "1 different texts"),
    ],
)
def test_a_wrong_csv_file_is_told(tmp_path, lines, message):
    save_picture(tmp_path / "0.png", 0)
    with pytest.raises(InvalidConfig, match=message):
        load_data("folder", write_csv(tmp_path, *lines), tmp_path)


def test_columns_have_the_kind_their_texts_show():
    assert read_column("a", ["True", "0", "no"])[0] == Boolean(name="a")
    assert read_column("a", ["1", "2.5"])[0] == Continuous(
        name="a", minimum=1, maximum=2.5, default=1.75
    )
    assert read_column("a", ["b", "1", "b"])[0] == Categorical(name="a", values=("1", "b"))
    assert isinstance(read_column("a", ["nan", "1"])[0], Categorical)


def test_headings_become_names():
    assert attribute_name(" Skin-Tone (0..1) ") == "skin_tone_0_1"
    with pytest.raises(InvalidConfig):
        attribute_name("!")
