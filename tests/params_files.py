"""Parameter files for tests: those of tests/params.yaml with some values changed."""

from pathlib import Path
from typing import Any

from dvc.utils.serialize import modify_yaml

PARAMS = Path(__file__).parent / "params.yaml"


def write_params(path: Path, **sections: dict[str, Any]) -> None:
    """Write tests/params.yaml with some values of its sections changed, as DVC writes it."""
    path.write_bytes(PARAMS.read_bytes())
    with modify_yaml(path) as params:
        for section, values in sections.items():
            params[section].update(values)
