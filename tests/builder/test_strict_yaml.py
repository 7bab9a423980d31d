import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lmnet.builder.problems import SpecError
from lmnet.builder.strict_yaml import parse_yaml, read_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5e6", 5e6),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("~", None),
        ("null", None),
        ("", None),
        (".5", 0.5),
        ("-7", -7),
        ("2026-11-23", "2026-11-23"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1_000", "1_000"),
        ("9" * 60, "9" * 60),
    ],
)
def test_plain_scalars_are_read_by_yaml_1_2(text, value):
    read = parse_yaml(f"key: {text}\n").data["key"]
    assert read == value
    assert type(read) is type(value)


def test_quoted_scalars_stay_text():
    assert parse_yaml("a: \"1\"\nb: 'true'\n").data == {"a": "1", "b": "true"}


def test_places_of_keys_and_values_are_kept():
    document = parse_yaml("a:\n  - b: 1\n    c: [2, 3]\n")
    assert document.values[("a", 0, "c", 1)] == (3, 12)
    assert document.keys[("a", 0, "c")] == (3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "<text>:2:1: `a` is defined twice"),
        ("a: &x 1\n", "<text>:1:4: anchors are not allowed, got &x"),
        ("a: &x [1]\nb: *x\n", "<text>:2:4: aliases are not allowed"),
        ("a: {<<: {b: 1}}\n", "merges are not allowed"),
        ("a: !!binary aGk=\n", "tags are not allowed"),
        ("a: !own 3\n", "tags are not allowed, got !own"),
        ("1: 2\n", "a key must be a name, got 1"),
        ("? [a]\n: b\n", "a key must be a name, got a collection"),
        ("a: 1\n---\nb: 2\n", "one document"),
        ("a: [1\n", "the file must be YAML"),
        ("a: x\n" * 70_000, "at most 262144 bytes"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_place(text, message):
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("depth", [17, 300, 1_000, 50_000])
@pytest.mark.parametrize("bracket", ["[", "{a: "])
def test_deep_nesting_is_refused_by_our_rule_whatever_pyyaml_refuses(depth, bracket):
    with pytest.raises(SpecError, match=r"values must be nested at most 16 deep, got more\. Flatten them\."):
        parse_yaml("a: " + bracket * depth)


def test_brackets_in_quotes_and_comments_are_not_depth():
    quoted = "a: '" + "[" * 20 + "'\nb: \"" + "{" * 20 + '\\""\n# ' + "[" * 20
    with pytest.raises(SpecError, match="the file must be YAML"):
        parse_yaml(quoted + "\nc: [1\n")


@given(st.text(max_size=200))
def test_any_text_is_read_or_gives_a_spec_error(text):
    with contextlib.suppress(SpecError):
        parse_yaml(text)


@given(st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_what_python_prints_is_read_back(value):
    read = read_scalar(yaml.safe_dump(value).splitlines()[0])
    assert read == value or math.isclose(read, value)
