"""The input pipeline at 224 px, rotation and flip, against what notebooks on MURA use.

    python -m benchmarks.input_pipeline

Ours reads the cache that preprocess wrote once; the peers decode every PNG file every epoch, as
they do wherever they are used. Then our batches again, handed over by other means than tf.data.
About a minute.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image

from benchmarks.made import cached
from benchmarks.timing import Row, command_line, in_turns, ratio, spread
from ulna.core.params import Augment
from ulna.networks import runtime
from ulna.networks.dataset import Examples, plain_batches, steps, training_batch, training_batches

SIZE_PX, BATCH, SEED, ROUNDS = 224, 32, 1, 7
IMAGES = 512  # of the peers' files; ours are taken from as many in the cache
WIDTH_PX, HEIGHT_PX = 512, 400
DEGREES = 15.0
EPOCHS = 100
AIM = 20
AUGMENT = Augment(
    rotation_degrees=DEGREES,
    horizontal_flip=True,
    shift_fraction=0.0,
    zoom_fraction=0.0,
    brightness=0.0,
    contrast_fraction=0.0,
)


def write_pictures(folder: Path) -> pd.DataFrame:
    """PNG files of MURA's usual size in two folders, one a label: noise over a smooth picture."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(IMAGES):
        label = number % 2
        coarse = draw.integers(0, 255, (HEIGHT_PX // 16, WIDTH_PX // 16), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH_PX, HEIGHT_PX)), np.int16)
        grey = np.clip(smooth + draw.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / f"{label}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)
        rows.append({"filename": str(path), "class": str(label)})
    return pd.DataFrame(rows)


def generator(files: pd.DataFrame) -> Iterator[Any]:
    """Keras' ImageDataGenerator, which most public notebooks use."""
    changes = ImageDataGenerator(rotation_range=DEGREES, horizontal_flip=True, rescale=1 / 255)
    return changes.flow_from_dataframe(
        files,
        target_size=(SIZE_PX, SIZE_PX),
        color_mode="grayscale",
        class_mode="binary",
        batch_size=BATCH,
        seed=SEED,
        verbose=0,
    )


def directory(folder: Path) -> tf.data.Dataset:
    """The pipeline that Keras recommends instead: decoding in tf.data, augmentation by layers."""
    change = keras.Sequential(
        [
            keras.layers.RandomRotation(DEGREES / 360, fill_mode="constant", seed=SEED),
            keras.layers.RandomFlip("horizontal", seed=SEED),
        ]
    )
    files = keras.utils.image_dataset_from_directory(
        folder,
        color_mode="grayscale",
        image_size=(SIZE_PX, SIZE_PX),
        batch_size=BATCH,
        seed=SEED,
        verbose=False,
    )
    changed = files.map(
        lambda images, labels: (change(images, training=True), labels),
        num_parallel_calls=runtime.THREADS,
        deterministic=True,
    )
    return changed.repeat().prefetch(2)


class Batches(keras.utils.PyDataset):
    """Our batches as Keras' own class hands them over."""

    def __init__(self, source: Examples) -> None:
        """Take as many threads and batches ahead as ours."""
        super().__init__(workers=2, max_queue_size=4)
        self.source = source

    def __len__(self) -> int:
        """Batches of as many epochs as are never asked for."""
        return EPOCHS * steps(len(self.source), BATCH)

    def __getitem__(self, index: int) -> Any:
        """A batch."""
        return training_batch(self.source, index, BATCH, SEED, AUGMENT)


def by_keras(source: Examples) -> tf.data.Dataset:
    """PyDataset, as `fit` reads it."""
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    adapter = PyDatasetAdapter(Batches(source), shuffle=False)
    adapter.on_epoch_begin()
    return adapter.get_tf_dataset()


def by_grain(source: Examples) -> Iterator[Any]:
    """Grain, with as many threads and batches ahead as ours."""
    numbers = grain.MapDataset.range(EPOCHS * steps(len(source), BATCH))
    made = numbers.map(lambda step: training_batch(source, int(step), BATCH, SEED, AUGMENT))
    return iter(made.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))


def timed(batches: Callable[[], Iterator[Any]], images: int) -> Callable[[], float]:
    """Seconds that so many images take, after a first batch that sets things up."""

    def seconds() -> float:
        source = batches()
        next(source)
        start = time.perf_counter()
        for _ in range(images // BATCH):
            next(source)
        return (time.perf_counter() - start) * IMAGES / images

    return seconds


def run() -> list[Row]:
    """Alternate all."""
    runtime.configure(SEED)
    source = cached(IMAGES, SIZE_PX)
    with tempfile.TemporaryDirectory() as name:
        files = write_pictures(Path(name))
        flow, folder = generator(files), directory(Path(name))
        # Ours are so fast that 512 images would be over before the batches made ahead were used up.
        many = 8 * IMAGES
        once = IMAGES - BATCH
        taken = in_turns(
            {
                "ours": timed(lambda: iter(training_batches(source, BATCH, SEED, AUGMENT)), many),
                "generator": timed(lambda: flow, once),
                "directory": timed(lambda: iter(folder), once),
                "keras": timed(lambda: iter(by_keras(source)), many),
                "grain": timed(lambda: by_grain(source), many),
                "plain": timed(lambda: iter(plain_batches(source, BATCH).repeat()), many),
            },
            ROUNDS,
        )
    rates = {name: [IMAGES / taken for taken in times] for name, times in taken.items()}
    ours = spread(rates["ours"], 0, "images/s")
    others = {
        "generator": "Keras' ImageDataGenerator.flow_from_dataframe",
        "directory": "keras.utils.image_dataset_from_directory and Keras' layers",
        "keras": "our batches through keras.utils.PyDataset",
        "grain": "our batches through Grain",
    }
    rows = []
    for name, words in others.items():
        times = ratio(rates["ours"], rates[name])
        aimed = name == "generator"
        rows.append(
            Row(
                what=f"{SIZE_PX} px, rotation and flip, against {words}",
                ours=ours,
                other=spread(rates[name], 0, "images/s"),
                ratio=f"{times:.1f}",
                aim=f"at least {AIM}" if aimed else "",
                met=times >= AIM if aimed else None,
            )
        )
    plain = ratio(rates["plain"], rates["ours"])
    rows.append(
        Row(
            what=f"{SIZE_PX} px, not augmented (validation, prediction)",
            ours=spread(rates["plain"], 0, "images/s"),
            other=ours,
            ratio=f"{plain:.1f}",
        )
    )
    return rows


if __name__ == "__main__":
    command_line(run)
