"""YAML files are read as plain data with places, and nothing in them can do harm."""

import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmark.document import MAX_BYTES, Place, Problems, core_scalar, dump, parse, path_text, read_text
from benchmark.errors import InputError


def read(text: str):
    problems = Problems()
    node = parse(text, Place("x.yaml"), problems)
    problems.raise_if_any()
    return node


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("-12", -12),
        ("+12", 12),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("no", "no"),
        ("On", "On"),
        ("yes", "yes"),
        ("8/255", "8/255"),
        ("none", "none"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("=", "="),
        ("TRUE", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1'", "1"),
        ('"null"', "null"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(written, value):
    found = read(f"a: {written}").plain()["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_node_knows_its_line():
    root = read("a: 1\nb:\n  - 2\n  - c:\n      3\n")
    b = root.value["b"]
    assert (root.value["a"].where.line, b.where.line) == (1, 2)
    assert [item.where.line for item in b.value] == [3, 4]
    assert str(b.value[1].value["c"].where) == "x.yaml:4"  # where its key is, though the value is on line 5


def test_equal_keys_are_refused_with_both_lines_and_all_problems_come_at_once():
    message = refusal("a: 1\nb: !foo 2\n'a': 3\nc: .inf\n")
    assert message.splitlines() == [
        "x.yaml:2: the tag '!foo' is refused: this file holds plain data. Remove the tag.",
        "x.yaml:3: the key 'a' is there twice: first on line 1.",
        "x.yaml:4: .inf is not a finite number.",
    ]


def test_a_python_tag_is_refused_and_not_obeyed(tmp_path):
    trace = tmp_path / "trace"
    message = refusal(f"a: 1\nb: !!python/object/apply:os.mkdir [{trace}]\n")
    assert message.startswith("x.yaml:2: the tag '!!python/object/apply:os.mkdir' is refused: it asks for a Python")
    assert not trace.exists()


@pytest.mark.parametrize("tagged", ["!!str 8", "! 8", "!!binary aGk=", "!<tag:example.org,2000:x> 8", "!!set {a}"])
def test_any_other_tag_is_refused_too(tagged):
    assert "x.yaml:1: the tag" in refusal(f"a: {tagged}")


def test_aliases_and_merge_keys():
    text = "base: &b {steps: 5, eps: 1}\nother: &o {eps: 2, norm: l2}\na: *b\nb: {<<: [*b, *o], steps: 7}\n'<<': 1\n"
    root = read(text)
    assert root.plain() == {
        "base": {"steps": 5, "eps": 1},
        "other": {"eps": 2, "norm": "l2"},
        "a": {"steps": 5, "eps": 1},
        "b": {"steps": 7, "eps": 1, "norm": "l2"},  # own keys win, then the first mapping
        "<<": 1,
    }
    assert root.value["a"].where.line == 3
    assert root.value["b"].value["eps"].where.line == 1


def test_aliases_that_multiply_are_stopped_at_once():
    lines = ["a0: &a0 [" + "x, " * 9 + "x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    started = time.monotonic()
    assert refusal("\n".join(lines)) == "x.yaml:5: holds more than 20000 values once its aliases are followed."
    assert time.monotonic() - started < 5


def test_an_alias_without_a_finished_anchor_is_refused():
    assert refusal("a: &base 1\nb: *bse") == (
        "x.yaml:2: the alias *bse has no finished anchor &bse above it. Did you mean 'base'?"
    )
    assert "no finished anchor" in refusal("&a [*a]")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 5_000, "- " * 3_000, "a: &x\n" + "? " * 3_000])
def test_deep_nesting_is_refused_in_words(text):
    assert "nests deeper than 50 levels" in refusal(text)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1\nb: 2\n", 2, "that began on line 1"),
        ("a:\n\t- 1\n", 2, "spaces, not with tabs"),
        ("a: 1\nb: c: d\n", 2, "Quote a text that holds ': '"),
        ("a: 1\nb: 'c\n", 3, "while scanning a quoted scalar that began on line 2"),
        ("a: 1\nb: @x\n", 2, "Quote a text that begins with this character"),
        ("a: 1\n--- \nb: 1\n", 2, "a second document begins here"),
        ("a: 1\nb: \x00\n", 2, "the character U+0000 is not allowed"),
        ("a: 1\r\nb: \x07", 2, "the character U+0007 is not allowed"),
        ('a: 1\nb: "\\x1b[31m"\n', 2, "the control character U+001B"),
        ('a: 1\nb: "\\ud83d"\n', 2, "half a surrogate pair"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "broken YAML"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key must be a text, found a list"),
        ("a: 1\n<<: 3\n", 2, "merges mappings, found the number 3"),
        ("a: 1\nb: " + "9" * 101, 2, "a number of 101 characters is too long"),
        ("%YAML 2.0\n---\na: 1", 1, "version 1.* is required"),
    ],
)
def test_broken_yaml_is_explained_with_its_line(text, line, words):
    message = refusal(text)
    assert message.startswith(f"x.yaml:{line}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_is_refused(text):
    assert refusal(text) == "x.yaml: the file is empty."


def test_json_with_an_escaped_emoji_is_yaml():
    assert read('{"a": "\\ud83d\\ude00"}').plain() == {"a": "😀"}


# Files


def read_file(path) -> str:
    return read_text(str(path), Problems())


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read(read_file(tmp_path / "a.yaml")).plain() == {"a": 1}


def test_a_missing_file_names_near_ones(tmp_path):
    (tmp_path / "quickstart.yaml").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError) as caught:
        read_file(tmp_path / "quickstrat.yml")
    assert str(caught.value) == (
        f"{tmp_path}/quickstrat.yml: no such file. Did you mean 'quickstart.yaml'? Files of that kind there: "
        "quickstart.yaml."
    )
    with pytest.raises(InputError, match="its folder does not exist"):
        read_file(tmp_path / "no" / "a.yaml")


def test_a_folder_is_refused_and_its_suites_are_listed(tmp_path):
    (tmp_path / "b.yaml").touch()
    (tmp_path / "a.yml").touch()
    with pytest.raises(InputError, match=r"is a folder, a file is needed. YAML files in it: a.yml, b.yaml."):
        read_file(tmp_path)


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path):
    (tmp_path / "a.yaml").write_bytes("a: 1\nb: größer\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"a.yaml:2: not UTF-8: byte 0xf6"):
        read_file(tmp_path / "a.yaml")


def test_a_huge_file_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="is larger than 1024 KiB"):
        read_file(tmp_path / "a.yaml")


# Properties

yaml_like = st.text(
    st.sampled_from(list(" \n\t-:?,[]{}&*!|>'\"%@`#~<=.0123abx\\uU\u2028\ufeff\x85\x07é😀")), max_size=60
)


@given(st.text() | yaml_like | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_read_or_refused_with_an_input_error(text):
    message = ""
    try:
        read(text).plain()
    except InputError as error:
        message = str(error)
    assert message == "" or message.startswith("x.yaml")


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
words = st.sampled_from(
    ["no", "1e-3", "0o7", "08", "null", "~", "<<", "=", "1_0", "1:2", ".inf", "- a", "a: b", " ", ""]
)
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
data = st.recursive(
    texts | words | numbers | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | words, inner, max_size=4),
)


@given(data)
def test_dumped_data_is_read_as_the_same_data_here_and_by_readers_of_yaml_1_1(value):
    text = dump({"value": value})
    assert read(text).plain() == {"value": value}
    assert yaml.safe_load(text) == {"value": value}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_as_python_prints_it_is_read_as_that_float(number):
    assert core_scalar(repr(number)) == number


@given(st.text("0123456789.eE+-_xo:infa", min_size=1, max_size=8))
def test_what_is_not_a_number_of_the_core_schema_stays_a_text(text):
    value = core_scalar(text)
    if isinstance(value, float) and math.isfinite(value):
        assert value == float(text)
    elif isinstance(value, int):
        assert value == int(text, 8 if "o" in text else 16 if "x" in text else 10)


def test_a_path_is_written_as_set_takes_it():
    assert path_text(["attacks", "a.b", "x", 0]) == 'attacks."a.b".x.0'
    assert path_text(['say "hi"', "\u202eabc"]) == '"say ""hi"""."\\u202eabc"'
