"""Every import of TensorFlow: from batches of cached images to prediction tables and maps."""

import os

# A setting of another project must not change what these networks compute.
os.environ["KERAS_BACKEND"] = "tensorflow"

# Read when TensorFlow is first imported: 0 shows all, 1 no info, 2 no warnings, 3 no errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
