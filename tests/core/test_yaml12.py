"""params.yaml is read as DVC's own parser reads it."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml as dvc_parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ulna.core import InputError
from ulna.core.yaml12 import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
TRAPS = (
    # Numbers that YAML 1.1 takes for strings, and the other way round.
    "1e-4 1E5 1.e3 5e-05 -2e+3 1.5e3 6.02E23 .5 .5e-3 .5e3 -.5 +.5 1. 1.0 +1 -0 0 00 017 0o17 0o8 "
    "08 09 0x1F 0X1F -0x1f 0b101 0b2 1_000 1_000.5 1_ 0_7 0x_F 1__0 "
    "1:30 1:30:00 190:20:30.15 .inf -.inf +.inf .Inf .INF .nan .NaN inf nan Infinity "
    # Words.
    "yes Yes YES no No NO on On ON off Off OFF y Y n N true True TRUE tRUE false False FALSE "
    "null Null NULL ~ nULL none None "
    # Dates, and what looks like one.
    "2001-01-01 2001-1-1 2001-12-14T21:59:43Z 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43 "
    "2001-01 12:30:45 "
    # Others.
    "'no' \"no\" '1e-4' !!str|1e-4 !!int|3 !!float|1 !!bool|yes !!null|null << = - -- . .. ... + "
    "1,000 1e 1e+ e5 0x 0o 0b -. +. 1.2.3 127.0.0.1 1a a1 100% $1 /tmp C:\\x "
    "[no,1e-4] {a:|1e-4} [] {}"
).split()


def outcome(parse: Any, text: str) -> Any:
    """What a parser makes of a text, so that types and NaN can be compared; None if it refuses."""

    def typed(value: Any) -> Any:
        if isinstance(value, dict):
            return [(typed(key), typed(item)) for key, item in value.items()]
        if isinstance(value, list):
            return [typed(item) for item in value]
        if isinstance(value, float) and math.isnan(value):
            return float, "nan"
        return type(value).__name__, value

    try:
        return typed(parse(text, "params.yaml") or {})
    except Exception:
        return None


@pytest.mark.parametrize("scalar", [trap.replace("|", " ") for trap in TRAPS])
def test_a_value_is_read_as_dvc_reads_it(scalar: str) -> None:
    texts = [f"key: {scalar}\n", f"- {scalar}\n- 1\n"]
    if scalar[0] not in "[{":
        texts.append(f"{scalar}: 1\n")
        # In brackets, DVC's parser refuses some words with a colon.
        flow = f"a: [{scalar}, 1]\n"
        texts += [flow] if outcome(dvc_parse_yaml, flow) is not None else []
    for text in texts:
        assert outcome(parse_yaml, text) == outcome(dvc_parse_yaml, text), text


def test_traps_are_what_yaml_1_2_says() -> None:
    text = "[1e-4, 5e-05, no, on, 0o17, 017, 0x1F, 1_000, 1.5e3, '1e-4', true, ~]"
    values = [1e-4, 5e-05, "no", "on", 15, 17, 31, 1000, 1500.0, "1e-4", True, None]
    assert outcome(lambda t, _: parse_yaml(t, "")[:], text) == outcome(lambda *_: values, "")
    assert parse_yaml("a: 1:30\nb: .inf", "") == {"a": "1:30", "b": math.inf}


NUMBERLIKE = st.text("0123456789+-._eExobXaf", min_size=1, max_size=8)
WORDS = st.sampled_from(TRAPS).filter(lambda word: word[0] not in "[{") | NUMBERLIKE
SCALARS = WORDS.map(lambda word: word.replace("|", " "))
KEYS = st.text("abcdefgh_", min_size=1, max_size=6)


def document(value: Any, indent: str = "") -> str:
    """A block of YAML; strings are written as they are, so that they are plain scalars."""
    if isinstance(value, str):
        return f" {value}\n"
    if isinstance(value, dict):
        lines = (f"{indent}{key}:{document(item, indent + '  ')}" for key, item in value.items())
    else:
        lines = (f"{indent}-{document(item, indent + '  ')}" for item in value)
    return "\n" + "".join(lines)


BLOCKS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(KEYS, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, BLOCKS, min_size=1, max_size=4))
def test_any_document_is_read_as_dvc_reads_it(value: dict[str, Any]) -> None:
    text = document(value)
    assert outcome(parse_yaml, text) == outcome(dvc_parse_yaml, text), text


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *ROOT.glob("recipes/*.yaml")])
def test_the_parameters_are_read_as_dvc_reads_them(path: Path) -> None:
    text = path.read_text()
    assert outcome(parse_yaml, text) == outcome(dvc_parse_yaml, text) is not None


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("seed: 1\nloss: bce\nseed: 2\n", 3, "'seed'"),
        ("cnn:\n  dropout: 0.1\n  dropout: 0.2\n", 3, "'dropout'"),
        ("a: {b: 1, b: 1}\n", 1, "'b'"),
        ("a: 1\n'a': 1\n", 2, "'a'"),
        ("1: a\n0x1: b\n", 2, "1"),
        ("a: &a {k: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, "'<<'"),
    ],
)
def test_a_repeated_key_is_refused_by_name_and_line(text: str, line: int, key: str) -> None:
    assert outcome(dvc_parse_yaml, text) is None
    with pytest.raises(InputError, match=rf"params\.yaml line {line}\b.*{re.escape(key)}"):
        parse_yaml(text, "params.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {k: 1, l: 2}\nb:\n  <<: *a\n  k: 3\n",
        "a: &a {k: 1}\nx: {y: &b {<<: *a, k: 2}}\nz: {<<: *b, k: 3}\n",
        "a: &a {k: 1}\nb: &b {k: 2}\nc: {<<: [*a, *b]}\n",
    ],
)
def test_what_is_merged_may_be_overridden(text: str) -> None:
    assert outcome(parse_yaml, text) == outcome(dvc_parse_yaml, text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\n b: 2\n",
        "a: \x00",
        "a: !!python/object/apply:os.getcwd []\n",
        "a: 1\n---\nb: 2\n",
        "a: 2001-02-30\n",
        "a: 0x_\n",
        "? [a]\n: 1\n",
    ],
)
def test_what_is_no_yaml_is_refused_by_the_name_of_the_file(text: str) -> None:
    with pytest.raises(InputError, match=r"params\.yaml"):
        parse_yaml(text, "params.yaml")
