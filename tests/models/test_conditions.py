"""Named attributes and their vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.conditions import Boolean, Categorical, ConditionSchema, Continuous
from models.errors import InvalidCondition

SCHEMA = ConditionSchema(
    attributes=(
        Boolean(name="hat"),
        Categorical(name="hair", values=("black", "blond", "red"), default="blond"),
        Continuous(name="age", minimum=20, maximum=60, default=30),
    )
)


def test_a_vector_is_a_flag_a_one_hot_and_a_position():
    assert SCHEMA.encode({"hat": True, "hair": "red", "age": 50}) == [1, 0, 0, 1, 0.75]


def test_what_is_left_out_takes_its_default():
    assert SCHEMA.encode({}) == [0, 0, 1, 0, 0.25]


@given(
    st.fixed_dictionaries(
        {
            "hat": st.booleans(),
            "hair": st.sampled_from(["black", "blond", "red"]),
            "age": st.floats(20, 60),
        }
    )
)
def test_decoding_undoes_encoding(values):
    decoded = SCHEMA.decode(np.array(SCHEMA.encode(values), np.float32))
    assert decoded.pop("age") == pytest.approx(values.pop("age"), abs=1e-4)
    assert decoded == values


def test_columns_of_a_data_set_encode_like_named_values():
    columns = np.array([[1, 2, 50], [0, 0, 20]], np.float32)
    expected = [
        SCHEMA.encode({"hat": True, "hair": "red", "age": 50}),
        SCHEMA.encode({"hat": False, "hair": "black", "age": 20}),
    ]
    assert np.allclose(SCHEMA.encode_columns(columns), expected)


@pytest.mark.parametrize(
    ("condition", "message", "param"),
    [
        ({"hait": True}, "did you mean 'hat'", "condition"),
        ({"hat": 1}, "true or false", "condition.hat"),
        ({"hair": "blonde"}, "did you mean 'blond'", "condition.hair"),
        ({"hair": True}, "one of black, blond, red", "condition.hair"),
        ({"age": 19.9}, "from 20 to 60", "condition.age"),
        ({"age": float("nan")}, "from 20 to 60", "condition.age"),
        ({"age": True}, "from 20 to 60", "condition.age"),
    ],
)
def test_a_wrong_condition_is_refused_and_named(condition, message, param):
    with pytest.raises(InvalidCondition, match=message) as caught:
        SCHEMA.encode(condition)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "attribute",
    [
        lambda: Continuous(name="x", minimum=1, maximum=1),
        lambda: Continuous(name="x", minimum=0, maximum=float("inf")),
        lambda: Continuous(name="x", default=2),
        lambda: Categorical(name="x", values=("a", "a")),
        lambda: Categorical(name="x", values=("a", "b"), default="c"),
        lambda: Boolean(name="Not A Name"),
        lambda: ConditionSchema(attributes=(Boolean(name="x"), Boolean(name="x"))),
    ],
)
def test_a_schema_that_means_nothing_is_refused(attribute):
    with pytest.raises(ValidationError):
        attribute()
