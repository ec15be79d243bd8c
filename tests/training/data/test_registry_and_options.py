import logging

import pytest

from models.errors import InvalidConfig, UnknownName
from training.data import load, load_data, names
from training.data.sets import digits, shapes


def test_the_folder_is_the_list_of_names():
    assert {"digits", "faces", "shapes", "points2d", "mnist", "fashion-mnist"} <= set(names())
    assert {"cifar10", "celeba", "folder", "hf"} <= set(names())


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'faces'"):
        load_data("fases")


def test_a_name_with_an_argument_needs_a_data_set_that_takes_one():
    with pytest.raises(UnknownName, match="nothing after a colon"):
        load_data("digits:big")


def test_a_name_and_its_option_may_not_differ():
    with pytest.raises(InvalidConfig, match="differ"):
        load_data("hf:one", {"name": "two"})


@pytest.mark.parametrize("options", [{"count": 0}, {"count": "many"}, {"seed": -1}, {"size": 33}])
def test_a_wrong_value_is_told_with_its_option(options):
    key, value = next(iter(options.items()))
    with pytest.raises(InvalidConfig, match=f"'{key}'.*{value}") as caught:
        load_data("shapes", options)
    assert caught.value.param == key


def test_fractions_must_leave_something_to_train_on():
    with pytest.raises(InvalidConfig, match="nothing to train on"):
        load_data("digits", {"validation_fraction": 0.5, "test_fraction": 0.5})


def test_load_takes_checked_options():
    assert load("digits", digits.Options()).digest == load_data("digits").digest


def test_load_refuses_the_options_of_another_data_set():
    with pytest.raises(InvalidConfig, match=r"digits\.Options"):
        load("digits", shapes.Options())


def test_problems_are_told_in_the_log(tmp_path, caplog):
    from .conftest import write_class_folder

    (write_class_folder(tmp_path) / "cats" / "note.txt").write_text("no picture")
    with caplog.at_level(logging.WARNING, "latentd.data"):
        load_data("folder", {}, tmp_path)
    assert "cats/note.txt: not a picture" in caplog.text
