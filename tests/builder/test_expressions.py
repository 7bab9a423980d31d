import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmnet.builder.expressions import ExpressionError, evaluate, names_in, round_to

VARIABLES = {"width": 14, "depth": [1, 2, 3], "ratio": 1.5, "name": "x"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${width}", 14),
        ("${2 * width + 1}", 29),
        ("${-width // 4}", -4),
        ("${width % 4}", 2),
        ("${depth[0 + 1]}", 2),
        ("${depth}", [1, 2, 3]),
        ("${min(width, 3)}", 3),
        ("${max(width, 3, 99)}", 99),
        ("${round_to(width * ratio, 8)}", 24),
        ("${(width + 2) * 3}", 48),
        ("${width / 4}", 3.5),
    ],
)
def test_arithmetic_on_variables(text, value):
    assert evaluate(text, VARIABLES) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${wid}", "vars has no `wid`. Did you mean width?"),
        ("${width ** 9}", "must be arithmetic on vars, got `width \\*\\* 9`"),
        ("${__import__('os')}", "a function must be min, max or round_to, got __import__"),
        ("${width.real}", "must be arithmetic on vars"),
        ("${[x for x in depth]}", "must be arithmetic on vars"),
        ("${lambda: 1}", "must be arithmetic on vars"),
        ("${'a' * 9}", "must be arithmetic on vars"),
        ("${True}", "must be arithmetic on vars"),
        ("${depth * 9}", "arithmetic needs numbers, got \\[1, 2, 3\\]"),
        ("${depth[3]}", "from 0 to 2, got 3"),
        ("${depth[-1]}", "from 0 to 2, got -1"),
        ("${depth[1.0]}", "from 0 to 2, got 1.0"),
        ("${width[0]}", "only a list can be indexed, got 14"),
        ("${width // 0}", "must have a value, got integer division or modulo by zero"),
        ("${min(width)}", "min must have two values, got 1"),
        ("${round_to(1, 2, 3)}", "round_to must have two values, got 3"),
        ("${99999999999999999999}", "a number must be below 2\\^53"),
        ("${9007199254740992 * 9007199254740992}", "a value must be below 2\\^53"),
        ("${width", "must be the whole value"),
        ("a${width}", "must be the whole value"),
        ("${width}${width}", "must be the whole value"),
        ("${width +}", "must be arithmetic on vars, got \\${width \\+}"),
        ("${" + "1+" * 150 + "1}", "at most 200 characters, got 301"),
        ("${name + 1}", "arithmetic needs numbers, got 'x'"),
    ],
)
def test_everything_else_is_refused(text, message):
    with pytest.raises(ExpressionError, match=message):
        evaluate(text, VARIABLES)


@given(st.text(max_size=60))
def test_any_text_gives_a_value_or_an_expression_error(text):
    with contextlib.suppress(ExpressionError):
        evaluate("${" + text + "}", VARIABLES)


@given(st.integers(1, 10**6), st.integers(1, 512))
def test_round_to_gives_the_nearest_multiple(value, multiple):
    rounded = round_to(value, multiple)
    assert rounded % multiple == 0
    assert rounded >= multiple
    assert abs(rounded - value) <= multiple / 2 or rounded == multiple


def test_names_are_found_inside_lists():
    assert names_in(["${width}", ["${depth[0] + ratio}"], 3]) == {"width", "depth", "ratio"}
