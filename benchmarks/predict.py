"""Predict with a bundle: its rate against decoding and the network alone, and its first answer.

    python -m benchmarks.predict

The limit does on as many threads what cannot be left out: read, decode, letterbox, run the network.
Keras' way decodes on the same threads and predicts in batches of 32 with the network of the same
layers. Grey PNG files of 512 x 400 pixels and 82 KB, as MURA's, and the CNN that comes with the
package; DenseNet169 with random weights. Rates are of CPU seconds, which neighbours on the machine
disturb less. About three minutes.
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from benchmarks.mura_sized import write_folder, write_pictures
from benchmarks.timing import Row, command_line, in_turns, ratio, run_process, spread
from ulna.core import cores, paths
from ulna.core.params import load_params
from ulna.data.images import decode, letterbox
from ulna.inference.bundle import DEFAULT, load_bundle, write_bundle
from ulna.inference.predictor import Predictor
from ulna.inference.sessions import Networks
from ulna.inference.studies import group_paths

PICTURES, IMAGES = 100, 600
ROUNDS = 5
START_ROUNDS = 5
BATCH = 32
AIM = 0.9
ULNA = "import sys, ulna; print(ulna.Predictor(sys.argv[1]).study(sys.argv[2]).probability)"
KERAS = """
import sys
from pathlib import Path
import numpy as np
from ulna.core import paths
from ulna.core.params import load_params
from ulna.data.images import decode, letterbox
from ulna.networks.models import build_network

arch, size, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
model = build_network(arch, size, load_params(paths.PARAMS).training(arch).network)
square = letterbox(decode(file.read_bytes(), 50).pixels, size, "pad")
print(model.predict(square[None, :, :, None], verbose=0))
"""


def limit(files: Sequence[Path]) -> float:
    """CPU seconds of decoding and the network alone."""
    bundle = load_bundle(DEFAULT)
    networks = Networks(bundle)

    def work(file: Path) -> float:
        pixels = decode(file.read_bytes(), bundle.max_megapixels).pixels
        return networks.logit(letterbox(pixels, bundle.size_px, bundle.fit))

    start = time.process_time()
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(work, files))
    return time.process_time() - start


def ours(root: Path) -> float:
    """CPU seconds of all studies of a folder."""
    predictor = Predictor(DEFAULT)
    start = time.process_time()
    for _ in predictor.studies(group_paths([root])):
        pass
    return time.process_time() - start


def keras_way(files: Sequence[Path]) -> float:
    """CPU seconds of decoding and a Keras network of the same layers, in batches."""
    import numpy as np

    from ulna.networks.models import build_network

    bundle = load_bundle(DEFAULT)
    network = load_params(paths.PARAMS).training("cnn").network
    model = build_network("cnn", bundle.size_px, network)

    def work(file: Path) -> np.ndarray:
        return letterbox(decode(file.read_bytes(), 50).pixels, bundle.size_px, bundle.fit)

    def predict(squares: Sequence[np.ndarray]) -> None:
        model.predict_on_batch(np.stack(squares)[..., np.newaxis])

    predict([work(file) for file in files[:BATCH]])  # traced here
    start = time.process_time()
    with ThreadPoolExecutor(cores()) as pool:
        squares = list(pool.map(work, files))
    for place in range(0, len(squares), BATCH):
        predict(squares[place : place + BATCH])
    return time.process_time() - start


def own_process() -> ProcessPoolExecutor:
    """A process that waits for work; it shares no memory allocator with the other contenders."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def rate_rows(root: Path) -> list[Row]:
    """Images a CPU second: ours, the limit, and Keras' way."""
    files = sorted(root.rglob("*.png"))
    with own_process() as first, own_process() as second, own_process() as third:
        contenders: dict[str, Callable[[], float]] = {
            "limit": lambda: first.submit(limit, files).result(),
            "ours": lambda: second.submit(ours, root).result(),
            "keras": lambda: third.submit(keras_way, files).result(),
        }
        in_turns(contenders, 1)  # imports
        taken = in_turns(contenders, ROUNDS)
    rates = {name: [len(files) / seconds for seconds in all_] for name, all_ in taken.items()}
    share, times = ratio(taken["limit"], taken["ours"]), ratio(taken["keras"], taken["ours"])
    return [
        Row(
            what=f"Predict, images a CPU second, {len(files)} files of 512 x 400, CNN at 96 px",
            ours=spread(rates["ours"], 0, "images/s"),
            other=spread(rates["limit"], 0, "images/s") + " (decode and network alone)",
            ratio=f"{share:.0%}",
            aim=f"{AIM:.0%} of the limit",
            met=share >= AIM,
            note="What predict adds is mostly the distance of each image from the training images: "
            "0.1 ms an image.",
        ),
        Row(
            what="The same, against Keras in batches of 32",
            ours=spread(rates["ours"], 0, "images/s"),
            other=spread(rates["keras"], 0, "images/s") + " (decode and Keras)",
            ratio=f"{times:.2f} times",
            note="Keras' way gives no warnings, and its answers wait for a batch.",
        ),
    ]


def write_densenet(folder: Path) -> Path:
    """A bundle of DenseNet169 with random weights, in a process that may import TensorFlow."""
    from ulna.networks.models import build_network
    from ulna.networks.onnx_layers import export_network

    bundle = load_bundle(DEFAULT)
    network = load_params(paths.PARAMS).training("densenet169").network
    model = export_network(build_network("densenet169", bundle.size_px, network))
    named = {**bundle.record["networks"][0], "name": "densenet169", "title": "DenseNet169",
             "maps": None}  # fmt: skip
    record = {**bundle.record, "name": "densenet169", "networks": [named]}
    write_bundle(folder, record, {named["model"]: model, "MODEL_CARD.md": b"# Random\n"})
    return folder


def start_rows(folder: Path, file: Path) -> list[Row]:
    """Seconds of a process from its start to its first answer and its end."""
    with own_process() as tensorflow:
        densenet = tensorflow.submit(write_densenet, folder / "densenet169").result()
    size = str(json.loads((DEFAULT / "bundle.json").read_text())["image"]["size_px"])
    rows = []
    for arch, bundle, aim in (("cnn", DEFAULT, 1.0), ("densenet169", densenet, 2.0)):
        commands = {
            "ours": ["python", "-c", ULNA, str(bundle), str(file)],
            "keras": ["python", "-c", KERAS, arch, size, str(file)],
        }
        taken = in_turns(
            {
                name: lambda command=command: (
                    run_process(
                        command, paths.PARAMS.absolute().parent, {"PYTHONPATH": "src"}
                    ).seconds
                )
                for name, command in commands.items()
            },
            START_ROUNDS,
        )
        slowest = max(taken["ours"])
        rows.append(
            Row(
                what=f"First answer of a fresh process, {arch} at {size} px",
                ours=spread(taken["ours"]),
                other=spread(taken["keras"]) + " (Keras, without loading weights)",
                ratio=f"{ratio(taken['keras'], taken['ours']):.0f} times",
                aim=f"under {aim:g} s",
                met=slowest < aim,
            )
        )
    return rows


def run() -> list[Row]:
    """Make the files, time all."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = write_pictures(folder / "pictures", PICTURES)
        root = write_folder(folder / "MURA", IMAGES, pictures)
        return [*rate_rows(root), *start_rows(folder, pictures[0])]


if __name__ == "__main__":
    command_line(run)
