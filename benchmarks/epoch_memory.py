"""One epoch of the input pipeline with a tiny network, in a process of its own; used by `scale`.

    python -m benchmarks.epoch_memory CACHE

Prints the number of images and the largest anonymous resident memory in MiB while it ran. Pages of
the memory-mapped cache are not in it: they are the file's, and the system takes them back at need.
"""

import re
import sys
import threading
from pathlib import Path

MEASURED_EVERY_S = 0.05


def anonymous_mib(status: str) -> float:
    r"""Resident memory that no file stands behind.

    Args:
        status: The text of /proc/self/status.

    Example:
        >>> anonymous_mib("VmRSS:   9000 kB\nRssAnon:   2048 kB\n")
        2.0
    """
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError("this system does not tell anonymous memory: it needs Linux 4.5")
    return int(found[1]) / 1024


class Peak(threading.Thread):
    """Remembers the largest anonymous memory until it is told to stop."""

    def __init__(self) -> None:
        """Begin at nothing."""
        super().__init__(daemon=True)
        self.mib = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        """Look every `MEASURED_EVERY_S`."""
        while not self.ended.wait(MEASURED_EVERY_S):
            now = anonymous_mib(Path("/proc/self/status").read_text(encoding="ascii"))
            self.mib = max(self.mib, now)


def main() -> None:
    """Show every image once to a network of 30 weights or so."""
    import keras
    import numpy as np

    from ulna.core import paths
    from ulna.core.params import load_params
    from ulna.data.cache import load_cache
    from ulna.networks import runtime
    from ulna.networks.dataset import examples, steps, training_batches

    params = load_params(paths.PARAMS)
    runtime.configure(params.seed)
    cache = load_cache(Path(sys.argv[1]))
    count = len(cache.images)
    rows = cache.images.assign(label=np.arange(count) % 2)
    source = examples(cache, rows, np.ones(count, np.float32))
    batches = training_batches(source, params.cnn.batch_size, params.seed, params.augment)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((cache.size_px, cache.size_px, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=8),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    peak = Peak()
    peak.start()
    number = steps(count, params.cnn.batch_size)
    model.fit(batches, steps_per_epoch=number, epochs=1, verbose=0)
    peak.ended.set()
    print(f"{count} {peak.mib:.1f}")


if __name__ == "__main__":
    main()
