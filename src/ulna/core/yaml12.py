"""YAML as DVC reads it, with PyYAML's parser in C.

DVC's own parser keeps to YAML 1.2 and writes what it reads: `dvc exp run -S cnn.dropout=0.00001`
leaves 1e-05 in params.yaml, a string to PyYAML, which keeps to YAML 1.1. So the words and numbers
of 1.1 that mean something else in 1.2 are replaced: `1e-4` is a number, `no` and `1:30` are words,
017 is seventeen.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from ulna.core import InputError

TAG = "tag:yaml.org,2002:"
# First characters and form of a plain scalar, as in ruamel.yaml 0.19, which DVC has: YAML 1.2 with
# the underscores and binary numbers of 1.1.
FORMS = {
    "bool": ("tTfF", "true|True|TRUE|false|False|FALSE"),
    "float": (
        "-+.0123456789",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    ),
    "int": ("-+0123456789", "[-+]?(0b[01_]+|0o?[0-7_]+|[0-9_]+|0x[0-9a-fA-F_]+)"),
}


# Without libyaml, as on a platform without a wheel, PyYAML has its parser in Python alone.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in resolvers if tag.removeprefix(TAG) not in FORMS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_yaml_int(self, node: Any) -> int:
        text = self.construct_scalar(node).replace("_", "")
        return int(text, 0 if re.match("[-+]?0[box]", text) else 10)

    def flatten_mapping(self, node: Any) -> None:
        """Refuse a repeated key, before `<<` brings in keys that may be repeated."""
        keys = set()
        for key_node, _ in [] if hasattr(node, "checked") else node.value:
            if key_node.tag in (f"{TAG}merge", f"{TAG}value"):
                key = key_node.value
            else:
                key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # which PyYAML refuses
            if key in keys:
                raise ConstructorError(None, None, f"key {key!r} is repeated", key_node.start_mark)
            keys.add(key)
        node.checked = True
        super().flatten_mapping(node)


for _name, (_first, _form) in FORMS.items():
    _Loader.add_implicit_resolver(TAG + _name, re.compile(f"(?:{_form})$"), list(_first))
_Loader.add_constructor(f"{TAG}int", _Loader.construct_yaml_int)


def parse_yaml(text: str, source: str) -> Any:
    """Parse one document of YAML 1.2; no tag makes an object of Python; source names the file.

    Returns:
        Dicts, lists, strings, numbers, booleans, dates; None of an empty document.

    Raises:
        InputError: The text is not YAML, or repeats a key; the line is named.
    """
    try:
        # yaml.load with a safe loader, spelled out: a reader need not look whether it is safe.
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{source}{line} is not valid YAML: {error.problem or error.context}: correct it"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: the form of a number or of a date, but none, such as 2001-02-30.
        fault = " ".join(str(error).split())
        raise InputError(f"{source} is not valid YAML: {fault}: correct it") from None
