"""What a test needs of the machine: without it the test is skipped and says why; in CI it fails."""

import os
import shutil

import pytest


def require(met: object, reason: str) -> None:
    """Skip the test, or fail it where the environment has CI: there nothing may go untested."""
    if met:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and in CI no test may be skipped", pytrace=False)
    pytest.skip(reason)


def program(name: str) -> str:
    """The path of a program, also of one that only root has on its PATH."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    require(found, f"{name} is not installed")
    return str(found)
