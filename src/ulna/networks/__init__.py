"""Every import of TensorFlow: from batches of cached images to prediction tables and maps."""

import importlib
import os
import shutil
import subprocess
import sys

from ulna.core.provenance import has_gpu_driver

# A setting of another project must not change what these networks compute.
os.environ["KERAS_BACKEND"] = "tensorflow"

# Read when TensorFlow is first imported: 0 shows all, 1 no info, 2 no warnings, 3 no errors. Where
# there is no GPU its search for one ends in "failed call to cuInit", as an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu_driver() else "3")

# Notes of TensorFlow 2.21 that the level does not silence: oneDNN is on, there is no CUDA.
NOTES = r"^(I[0-9]{4} |WARNING: All log messages before absl::InitializeLog)"


def _import_tensorflow() -> None:
    """Import TensorFlow without its notes; all else that it writes to stderr is passed on."""
    stderr = os.dup(2)
    # A process of its own, so that the last words of an import that crashes are passed on too.
    with subprocess.Popen(["grep", "-avE", NOTES], stdin=subprocess.PIPE, stdout=stderr) as grep:
        assert grep.stdin is not None
        os.dup2(grep.stdin.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


if "tensorflow" not in sys.modules and shutil.which("grep"):
    _import_tensorflow()
