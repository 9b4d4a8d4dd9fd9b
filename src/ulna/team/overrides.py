"""Parameters as `-S` sets them, in DVC's own syntax, checked before anything is started."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ulna import paths
from ulna.errors import InputError
from ulna.params import Params, load_params, parse_params

# How to write one, for the sentences that refuse another.
EXAMPLES = "expected key=value, such as loss=focal or 'train.body_parts=[WRIST]'"


def write_overridden(words: Sequence[str], target: Path) -> Params:
    """Write the params.yaml that `dvc exp run -S` would write, elsewhere.

    Args:
        words: What stands after each `-S`, such as `loss=focal`; none of them a sweep.
        target: The file to write.

    Returns:
        Its content, checked.

    Raises:
        InputError: A word is not an override, sweeps, is of another file, or asks for what
            `ulna.params` refuses.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides
    from omegaconf.errors import OmegaConfBaseException

    load_params(paths.PARAMS)
    overrides = _of_params(words)
    if sweeping := [word for word in overrides if _sweeps(word)]:
        raise InputError(
            f"-S {sweeping[0]} names several values: one plan is of one; `ulna grid` tries them all"
        )
    shutil.copyfile(paths.PARAMS, target)
    try:
        if overrides:
            # Without any it would still write the file anew, in its own form.
            apply_overrides(target, overrides)
    except InvalidArgumentError:
        # A key that is not there, to DVC. Added by force, it is a fault that ulna.params names.
        shutil.copyfile(paths.PARAMS, target)
        try:
            apply_overrides(target, [f"++{word.lstrip('+')}" for word in overrides])
        except (InvalidArgumentError, OmegaConfBaseException):
            raise InputError(f"-S {' -S '.join(overrides)} cannot be set: {EXAMPLES}") from None
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"-S {' -S '.join(overrides)} cannot be set: {reason}") from None
    return parse_params(
        read_raw(target.read_text(encoding="utf-8"), str(paths.PARAMS)), source=str(paths.PARAMS)
    )


def check_overrides(words: Sequence[str]) -> Params:
    """What params.yaml would hold, see `write_overridden`."""
    with tempfile.TemporaryDirectory() as folder:
        return write_overridden(words, Path(folder) / paths.PARAMS.name)


def points(words: Sequence[str]) -> list[list[str]]:
    """All combinations of the values that sweeps name, as `dvc exp run --queue` would queue them.

    Args:
        words: What stands after each `-S`, such as `loss=bce,focal`.

    Returns:
        The words of each combination, none of which sweeps.

    Raises:
        InputError: See `write_overridden`; globs are refused too.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException

    try:
        sweeps = get_hydra_sweeps({str(paths.PARAMS): _of_params(words)})
    except (InvalidArgumentError, HydraException) as error:
        raise InputError(f"-S {' -S '.join(words)}: {error}") from None
    return [list(sweep[str(paths.PARAMS)]) for sweep in sweeps]


def read_raw(text: str, source: str) -> Any:
    """Nested values of a YAML file as DVC reads it, unchecked; an empty one has none.

    Args:
        text: Its content.
        source: What to call it in an error.

    Raises:
        InputError: It is not YAML, such as after a merge with conflicts.
    """
    try:
        return YAML(typ="safe").load(text) or {}
    except YAMLError as error:
        raise InputError(
            f"{source} is not valid YAML ({' '.join(str(error).split())}): after a merge, settle "
            "its conflicts"
        ) from None


def flatten(values: Any, above: str = "") -> dict[str, Any]:
    """Nested parameters by their dotted names.

    Example:
        >>> flatten({"loss": "bce", "cnn": {"filters": [8, 16]}})
        {'loss': 'bce', 'cnn.filters': [8, 16]}
    """
    if not isinstance(values, Mapping):
        return {above: values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flatten(value, f"{above}.{name}" if above else str(name))
    return found


def _of_params(words: Sequence[str]) -> list[str]:
    from dvc.utils.cli_parse import to_path_overrides

    by_file: dict[str, list[str]] = to_path_overrides(words)
    overrides = by_file.pop(str(paths.PARAMS), [])
    for file, others in by_file.items():
        raise InputError(
            f"-S {file}:{others[0]} is of {file}: parameters are in {paths.PARAMS} alone"
        )
    for word in overrides:
        _sweeps(word)
    return overrides


def _sweeps(word: str) -> bool:
    from dvc.utils.hydra import to_hydra_overrides
    from hydra.errors import OverrideParseException

    try:
        return any(override.is_sweep_override() for override in to_hydra_overrides([word]))
    except OverrideParseException:
        raise InputError(f"-S {word} is not an override: {EXAMPLES}") from None
