"""What several test files share."""

from pathlib import Path

import pytest

from ulna.params import Params, load_params

# Not the params.yaml of the repository: whoever changes that must still be able to run the tests.
PARAMS = Path(__file__).parent / "params.yaml"


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(PARAMS)
