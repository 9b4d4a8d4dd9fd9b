"""Settings and fixtures of all tests."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from ulna.core.params import Params, load_params

# Not the params.yaml of the repository: whoever changes that must still be able to run the tests.
PARAMS = Path(__file__).parent / "params.yaml"
# Runs the pipeline: as long as all other files together.
LONGEST = "test_stages.py"
THREADS = ("OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def pytest_configure(config: pytest.Config) -> None:
    """Before the workers start and NumPy is imported."""
    # xdist hands out files in the order of `pytest_collection_modifyitems`, not the largest first.
    config.option.loadscopereorder = False
    # Every worker has a core of its own: threads of BLAS that waited for another's core took a
    # third of the time of checks/test_shortcuts, TensorFlow's a tenth of networks/test_training.
    for name in THREADS:
        os.environ.setdefault(name, "1")
    # As `ulna.networks` sets it, if a test imports Keras first.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # DVC in this process and in others: every command would start `dvc daemon analytics`, and a
    # remote of the user's own would be one of every repository.
    os.environ["DVC_NO_ANALYTICS"] = "1"
    for level in ("GLOBAL", "SYSTEM"):
        os.environ[f"DVC_{level}_CONFIG_DIR"] = str(PARAMS.parent / "no_config_of_dvc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file, so that no worker is left alone with it in the end."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(PARAMS)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The whole pipeline on a tiny phantom, run once for all test processes and committed.

    Never to be changed: `tiny_pipeline.copy_of` gives one that may be.
    """
    from tiny_pipeline import checkout, commit, dvc

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each test process has a folder of its own below one that they share.
        shared = shared.parent
    folder = shared / "built" / "ulna"
    with FileLock(shared / "built.lock"):
        if not (shared / "built.done").exists():
            checkout(folder)
            dvc(folder, "repro")
            commit(folder)
            (shared / "built.done").touch()
    return folder
