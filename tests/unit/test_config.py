"""Files and settings written by people, hostile ones included: plain typed data comes out, or a ConfigError."""

import copy
import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxt.config import (
    check_keys,
    dump_yaml,
    flat,
    from_mapping,
    merged,
    parse_settings,
    parse_yaml,
    read_yaml,
    require,
    to_mapping,
)
from nxt.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Example:
    epochs: int
    rate: float = 0.1
    name: str = "a"
    fast: bool = False
    limit: int | None = None
    decay: float | None = None
    sizes: tuple[int, ...] = (1, 2)
    ratios: tuple[float, ...] = dataclasses.field(default_factory=tuple)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Example
    label: str = "x"


def build(**data):
    return from_mapping(Example, {"epochs": 1, **data}, "here")


# Reading


def test_plain_data_is_read_as_it_stands():
    text = "a: 1\nb: [1.5, true, null, word]\nc: {d: 'x y'}\n"
    assert parse_yaml(text, "here") == {"a": 1, "b": [1.5, True, None, "word"], "c": {"d": "x y"}}


def bomb():
    rows = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(rows)


HOSTILE = {
    "a tag that runs code": ("a: !!python/object/apply:os.system [exit]", "is not allowed"),
    "a tag that imports": ("a: !!python/name:os.system ''", "is not allowed"),
    "a tag of its own": ("a: !mine 1", "is not allowed"),
    "an alias bomb": (bomb(), "aliases are not allowed"),
    "one alias": ("a: &x 1\nb: *x", "aliases are not allowed"),
    "a recursive alias": ("a: &x [*x]", "aliases are not allowed"),
    "a key twice": ("a: 1\nb: 2\na: 3", "'a' is given twice"),
    "a nested key twice": ("a: {b: 1, b: 2}", "'b' is given twice"),
    "a key twice, quoted once": ("a: 1\n'a': 2", "'a' is given twice"),
    "deep nesting": ("a: " + "[" * 20_000, "nested too deeply"),
    "deep nesting, closed": ("a: " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
    "deep nesting of mappings": ("{a: " * 20_000, "nested too deeply"),
    "nothing": ("", "empty"),
    "a comment only": ("# nothing\n", "empty"),
    "an explicit null": ("null", "empty"),
    "a list": ("- 1\n- 2", "a mapping"),
    "a word": ("word", "a mapping"),
    "a number as key": ("1: a", "a mapping"),
    "a list as key": ("? [1, 2]\n: 3", "unhashable"),
    "a list cut off": ("a: [1, 2", "not readable"),
    "a string cut off": ("a: 'x", "not readable"),
    "a mapping cut off": ("a: {b: 1,", "not readable"),
    "two documents": ("a: 1\n---\na: 2", "not readable"),
    "a tab": ("a:\n\t- 1", "not readable"),
    "a control character": ("a: \x07", "not readable"),
    "an impossible date": ("a: 2020-13-45", "not readable"),
    "an endless number": ("a: " + "9" * 5000, "not readable"),
    "a lone equals sign": ("a: =", "not readable"),
}


@pytest.mark.parametrize(("text", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused_with_its_origin_and_the_problem(text, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_yaml(text, "spaces/mine.yaml")
    assert str(caught.value).startswith("spaces/mine.yaml:")
    assert "\n" not in str(caught.value)


def test_the_line_of_a_syntax_error_is_named():
    with pytest.raises(ConfigError, match="line 3"):
        parse_yaml("a: 1\nb: 2\nc: [1", "here")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int ''",
        "a: !!int '3'",
        "a: !!float ''",
        "a: !!bool maybe",
        "a: !!timestamp x",
        "a: !!binary aGk=",
        "a: !!set {x}",
    ],
)
def test_standard_tags_are_refused_like_any_other_tag(text):
    with pytest.raises(ConfigError):
        parse_yaml(text, "here")


@given(st.text(max_size=40))
def test_any_text_gives_a_mapping_or_a_config_error(text):
    try:
        data = parse_yaml(text, "here")
    except ConfigError:
        return
    assert isinstance(data, dict)
    assert all(isinstance(key, str) for key in data)


@given(st.text(alphabet="ab1:-[]{}!&*?|>'\"\n ,.%@=<#", max_size=30))
def test_any_yaml_punctuation_gives_a_mapping_or_a_config_error(text):
    try:
        data = parse_yaml(text, "here")
    except ConfigError:
        return
    assert isinstance(data, dict)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: caf\u00e9\n", encoding="utf-8")
    assert read_yaml(path) == read_yaml(str(path)) == {"a": 1, "b": "caf\u00e9"}


UNREADABLE = {
    "binary": (bytes(range(256)), "not a text file"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "not a text file"),
    "zero bytes": (b"a: \x00\x00", "not readable"),
    "empty": (b"", "empty"),
    "truncated": (b"a: {b: [1, 2", "not readable"),
    "half a character": ("a: \u00e9".encode()[:-1], "not a text file"),
    "too large": (b"# " + b"x" * (1 << 20), "larger than 1 MiB"),
}


@pytest.mark.parametrize(("content", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unusable_file_is_refused_by_name(tmp_path, content, problem):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_of_exactly_one_mebibyte_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\n#".ljust(1 << 20, b"x"))
    assert read_yaml(path) == {"a": 1}


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file"):
        read_yaml(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="a folder"):
        read_yaml(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "file" / "a.yaml")


def test_a_name_too_long_for_the_file_system_is_a_config_error():
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml("x" * 300 + ".yaml")


# Keys and types


@pytest.mark.parametrize(("key", "near"), [("epoch", "epochs"), ("rat", "rate"), ("nam", "name"), ("Sizes", "sizes")])
def test_an_unknown_key_names_the_nearest_one(key, near):
    with pytest.raises(ConfigError, match=re.escape(f"here: unknown key {key!r}; did you mean {near!r}?")):
        build(**{key: 1})


def test_an_unknown_key_that_is_near_to_none_lists_all():
    with pytest.raises(ConfigError, match="unknown key 'zzz'; known keys: a, b"):
        check_keys({"a": 1, "zzz": 2}, ("a", "b"), "here")


def test_an_unknown_key_that_is_no_word_is_a_config_error():
    with pytest.raises(ConfigError, match="unknown key 1"):
        check_keys({1: 2}, ("a", "b"), "here")


def test_known_keys_pass():
    assert check_keys({"a": 1}, iter(("a", "b")), "here") is None


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="here: key 'epochs' is missing"):
        from_mapping(Example, {}, "here")


def test_defaults_fill_what_is_not_given():
    assert from_mapping(Example, {"epochs": 3}, "here") == Example(3)


GOOD = [
    ("rate", "1e-4", 1e-4),  # YAML 1.1 reads 1e-4 as a word
    ("rate", "1E3", 1000.0),
    ("rate", 1, 1.0),
    ("rate", 0.5, 0.5),
    ("decay", None, None),
    ("decay", "5e-5", 5e-5),
    ("decay", 2, 2.0),
    ("limit", None, None),
    ("limit", 4, 4),
    ("fast", True, True),
    ("name", "b", "b"),
    ("sizes", [], ()),
    ("sizes", [3, 4], (3, 4)),
    ("sizes", (3,), (3,)),
    ("ratios", [1, "1e-4", 0.5], (1.0, 1e-4, 0.5)),
]


@pytest.mark.parametrize(("key", "value", "expected"), GOOD)
def test_a_value_is_converted_by_its_annotation(key, value, expected):
    result = getattr(build(**{key: value}), key)
    assert result == expected
    assert type(result) is type(expected)
    if isinstance(expected, tuple):
        assert list(map(type, result)) == list(map(type, expected))


def test_a_small_float_survives_the_way_through_yaml():
    assert from_mapping(Example, parse_yaml("epochs: 1\nrate: 1e-4", "here"), "here").rate == 1e-4


BAD = [
    ("epochs", True, "a whole number was expected, not True"),
    ("epochs", 1.0, "a whole number was expected, not 1.0"),
    ("epochs", "1", "a whole number was expected, not '1'"),
    ("epochs", None, "a whole number was expected, not None"),
    ("epochs", [1], "a whole number was expected"),
    ("rate", True, "a number was expected, not True"),
    ("rate", "fast", "a number was expected, not 'fast'"),
    ("rate", None, "a number was expected, not None"),
    ("fast", 1, "true or false was expected, not 1"),
    ("fast", "yes", "true or false was expected"),
    ("name", 1, "a word was expected, not 1"),
    ("name", None, "a word was expected"),
    ("limit", True, "a whole number was expected"),
    ("limit", "x", "a whole number was expected"),
    ("decay", False, "a number was expected"),
    ("sizes", 3, "a list was expected, not 3"),
    ("sizes", "12", "a list was expected, not '12'"),
    ("sizes", {"a": 1}, "a list was expected"),
    ("sizes", None, "a list was expected"),
    ("sizes", [1, True], "a whole number was expected, not True"),
    ("sizes", [[1]], "a whole number was expected"),
]


@pytest.mark.parametrize(("key", "value", "problem"), BAD)
def test_a_value_of_another_type_is_refused_with_its_key(key, value, problem):
    with pytest.raises(ConfigError, match=re.escape(f"here: {key}: {problem}")):
        build(**{key: value})


def test_require_raises_only_where_the_condition_fails():
    assert require(True, "here", "no") is None
    with pytest.raises(ConfigError, match=r"^here: no$"):
        require(False, "here", "no")


# Writing


def test_a_dataclass_survives_the_way_through_yaml():
    value = Example(3, 1e-7, "x: y", True, None, 0.1, (4, 5, 6), (0.25,))
    text = dump_yaml(to_mapping(value))
    assert from_mapping(Example, parse_yaml(text, "here"), "here") == value


def test_a_written_file_keeps_the_order_and_puts_short_lists_on_one_line():
    assert dump_yaml({"b": 1, "a": [1, 2], "c": "caf\u00e9"}) == "b: 1\na: [1, 2]\nc: caf\u00e9\n"


def test_a_nested_dataclass_is_read_checked_and_written_back():
    value = Outer(Example(3, sizes=(7,)), "y")
    assert from_mapping(Outer, parse_yaml(dump_yaml(to_mapping(value)), "here"), "here") == value
    with pytest.raises(ConfigError, match="here: inner: epochs: a whole number was expected"):
        from_mapping(Outer, {"inner": {"epochs": "x"}}, "here")
    with pytest.raises(ConfigError, match="here: inner: unknown key 'epoch'; did you mean 'epochs'"):
        from_mapping(Outer, {"inner": {"epoch": 1}}, "here")
    with pytest.raises(ConfigError, match="here: inner: a mapping was expected, not 3"):
        from_mapping(Outer, {"inner": 3}, "here")


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    ],
)
def test_changes_are_laid_over_a_base_that_stays_as_it_was(base, changes, expected):
    before = copy.deepcopy(base)
    assert merged(base, changes) == expected
    assert base == before


# Settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {}),
        (["lr=0.05"], {"lr": 0.05}),
        (["proxy.epochs=3"], {"proxy": {"epochs": 3}}),
        ([" proxy.epochs = 3"], {"proxy": {"epochs": 3}}),
        (["a.b=1", "a.c=[1, 2]", "d.e=true"], {"a": {"b": 1, "c": [1, 2]}, "d": {"e": True}}),
        (["a.b.c=1", "a.b.d=2"], {"a": {"b": {"c": 1, "d": 2}}}),
        (["a.b=1", "a.b=2"], {"a": {"b": 2}}),
        (["a.b=null"], {"a": {"b": None}}),
        (["a.b=x=y"], {"a": {"b": "x=y"}}),
        (["a.b='2'"], {"a": {"b": "2"}}),
        (["a.b={c: 1}"], {"a": {"b": {"c": 1}}}),
    ],
)
def test_settings_are_read_as_yaml_values_in_nested_mappings(settings, expected):
    assert parse_settings(settings) == expected


def test_a_small_float_in_a_setting_becomes_a_number():
    values = parse_settings(["train.rate=1e-4", "train.epochs=2"])["train"]
    assert from_mapping(Example, values, "`settings`").rate == 1e-4


@pytest.mark.parametrize("setting", ["", "=", "a", "a.b", "a=", "a.b= ", ".b=1", "a.=1", "a..b=1", "=1", ".=1"])
def test_a_setting_of_another_form_is_refused_with_an_example(setting):
    with pytest.raises(ConfigError, match=re.escape(f"`settings` {setting!r}: write ") + ".*such as"):
        parse_settings([setting])


@pytest.mark.parametrize("value", ["{", "[1", "x: y", "*x", "!!python/name:os.system ''", "1\nvalue: 2", "!!int ''"])
def test_a_setting_with_an_unreadable_value_is_refused(value):
    with pytest.raises(ConfigError, match=re.escape("`settings` a.b=")):
        parse_settings([f"a.b={value}"])


@pytest.mark.parametrize(
    ("text", "base"), [("010", 8), ("-07", 8), ("0_7", 8), ("1:30", 60), ("1:30.5", 60), ("-1:00", 60)]
)
def test_numbers_that_yaml_1_1_reads_in_another_base_are_refused(text, base):
    for written in (f"batch: {text}", f"depths: [1, {text}]"):
        with pytest.raises(ConfigError, match=rf"line 1: .*'{text}' would be read as a number of base {base}; write"):
            parse_yaml(written, "recipe.yaml")
    assert parse_yaml(f"batch: '{text}'", "recipe.yaml") == {"batch": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-5", -5), ("10", 10), ("1_000", 1000), ("0x1F", 31), ("0.5", 0.5), ("01.5", 1.5), (".5", 0.5)],
)
def test_numbers_that_everybody_reads_alike_stay(text, value):
    assert parse_yaml(f"x: {text}", "a.yaml") == {"x": value}


def test_nested_values_become_one_level():
    assert flat({"a": {"b": {"c": 0}}, "d": None, "e": "", "f": [], "g": False}) == {"a.b.c": 0, "g": False}
