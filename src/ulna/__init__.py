"""Ulna: a reproducible pipeline that tells abnormal from normal bone radiographs.

Modules are flat, and each imports only from those upstream of it in the flow of the data; the order
stands in tests/test_structure.py and in the README.
"""

import os

# A setting of another project must not change what these networks compute.
os.environ["KERAS_BACKEND"] = "tensorflow"

# Read when TensorFlow is first imported: 0 shows all, 1 no info, 2 no warnings, 3 no errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
