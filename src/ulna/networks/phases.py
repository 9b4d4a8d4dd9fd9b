"""What each network learns, in which order: from scratch, or its head and then its backbone."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import keras
import pandas as pd

from ulna.data.cache import Cache
from ulna.files import check_space, sha256
from ulna.networks.checkpoints import KEPT, Checkpoints
from ulna.networks.dataset import (
    Examples,
    augmented_batches,
    examples,
    plain_batches,
    steps,
    training_batches,
)
from ulna.networks.devices import list_gpus, share
from ulna.networks.forward import forward, run_forward
from ulna.networks.frozen import cut, freeze_below, plain_features, shuffled_features
from ulna.networks.losses import build_loss, image_weights
from ulna.networks.models import (
    above_pooling,
    backbone_start,
    build_network,
    freeze_backbone,
    load_backbone,
    unfreeze_from,
)
from ulna.networks.resume import key
from ulna.networks.training import Fit, Phase, fit
from ulna.params import Augment, Cnn, DenseNet169, Focal, Train


def learn(
    network: Cnn | DenseNet169,
    pretrained: Path | None,
    cache: Cache,
    training: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    loss: Literal["bce", "weighted_bce", "focal"],
    class_weights: Literal["none", "balanced"],
    focal: Focal,
    train: Train,
    augment: Augment,
    seed: int,
    history: Path,
    checkpoints: Path,
) -> keras.Model:
    """Build a network and train it on cached images; go on with a training that was killed.

    Args:
        network: See `train_network`, as for every argument that is not named here.
        pretrained: Weights of the backbone.
        cache: The cached images.
        training: Rows to learn from, see `ulna.data.samples.join_samples`; their counts make the
            weights of both.
        validation: Rows to choose the epoch by.
        loss: See `ulna.networks.losses.build_loss`.
        class_weights: See `ulna.networks.losses.image_weights`.
        focal: gamma and alpha, for loss focal alone.
        train: Early stopping, reduction of the learning rate.
        augment: Ranges of the changes to training images.
        seed: Of the order of images and their changes.
        history: CSV file for the training curves.
        checkpoints: Folder that a killed training is taken up from; to be removed once what came of
            it is on disk.

    Returns:
        The model with the weights of its best epoch.

    Raises:
        InputError: See `image_weights` and `train_network`.
    """
    settings = {
        "network": network.model_dump(mode="json"),
        "pretrained": pretrained and sha256(pretrained),
        "precision": keras.mixed_precision.dtype_policy().name,
        "loss": loss,
        "class_weights": class_weights,
        "focal": focal.model_dump(mode="json"),
        "train": train.model_dump(mode="json"),
        "augment": augment.model_dump(mode="json"),
        "seed": seed,
    }
    data = [
        examples(cache, rows, image_weights(rows, training, loss, class_weights))
        for rows in (training, validation)
    ]
    return train_network(
        network,
        pretrained,
        *data,
        loss=build_loss(loss, focal),
        train=train,
        augment=augment,
        seed=seed,
        history=history,
        checkpoints=Checkpoints(checkpoints, key(settings, *data)),
    )


def train_network(
    network: Cnn | DenseNet169,
    pretrained: Path | None,
    training: Examples,
    validation: Examples,
    *,
    loss: keras.losses.Loss,
    train: Train,
    augment: Augment,
    seed: int,
    history: Path,
    checkpoints: Checkpoints | None = None,
) -> keras.Model:
    """Build a network and train it, on every GPU there is.

    Args:
        network: The section of the parameters that describes it.
        pretrained: Weights of DenseNet169's backbone, or None for random ones.
        training: Images to learn from.
        validation: Images to choose the epoch by.
        loss: Of labels and logits.
        train: Early stopping, reduction of the learning rate.
        augment: Ranges of the changes to training images.
        seed: Of the order of images and their changes; initial weights and dropout follow from
            `ulna.runtime.configure`.
        history: CSV file for the training curves.
        checkpoints: Where each epoch's end is kept, and may be from before.

    Returns:
        The model with the weights of its best epoch.

    Raises:
        InputError: The loss is not finite, the parameters do not fit the network or its file, the
            disk has no room for checkpoints, or see `ulna.networks.devices.share` and `spread`.
    """
    data = TrainingData(training, validation, network.batch_size, seed, augment)
    with share(list_gpus(), min(network.batch_size, len(training))):
        model = build_network(training.cache.size_px, network)
        if pretrained is not None:
            load_backbone(model, pretrained)
        if isinstance(network, Cnn):
            phases = cnn_phases(model, network, data)
        else:
            phases = densenet169_phases(model, network, data)
        if checkpoints is not None:
            # With each weight its best value and two averages of Adam's, in 4 bytes each; a new
            # file is whole before an old one goes.
            needed = (KEPT + 1) * 4 * 4 * model.count_params() - checkpoints.size_bytes()
            what = "what a killed training is taken up from"
            check_space(checkpoints.folder, needed, what, output=False)
        epoch = steps(len(training), network.batch_size)
        fit(model, phases, epoch, loss, train, history, checkpoints)
    return model


@dataclass(frozen=True)
class TrainingData:
    """Images for a network, and how it is to see them.

    Attributes:
        training: Images to learn from.
        validation: Images to choose the epoch by.
        batch_size: Images a batch.
        seed: Of the order of images and their changes.
        augment: Ranges of the changes to training images.
    """

    training: Examples
    validation: Examples
    batch_size: int
    seed: int
    augment: Augment


def cnn_phases(model: keras.Model, cnn: Cnn, data: TrainingData) -> list[Phase]:
    """One phase in which everything learns."""
    return [Phase("scratch", cnn.epochs, cnn.learning_rate, partial(_on_images, model, data))]


def densenet169_phases(
    model: keras.Model, densenet169: DenseNet169, data: TrainingData
) -> list[Phase]:
    """The head on a frozen backbone, then fine-tuning from a named layer.

    Raises:
        InputError: There is no such layer.
    """
    phases = []
    if densenet169.head_epochs:
        passes = min(densenet169.head_passes, densenet169.head_epochs)

        def head(epoch: int) -> Fit:
            return _on_features(model, data, passes, epoch)

        phases.append(
            Phase(
                "head",
                densenet169.head_epochs,
                densenet169.head_learning_rate,
                head,
                # What does not learn is cut off in `head`; the table of layers knows it by this.
                partial(freeze_backbone, model),
            )
        )
    if densenet169.finetune_epochs:
        start = backbone_start(model, densenet169.finetune_from)

        def finetune(epoch: int) -> Fit:
            return _on_images(freeze_below(model, start), data, epoch)

        phases.append(
            Phase(
                "finetune",
                densenet169.finetune_epochs,
                densenet169.finetune_learning_rate,
                finetune,
                partial(unfreeze_from, model, start, densenet169.batch_normalization),
            )
        )
    return phases


def _on_images(model: keras.Model, data: TrainingData, epoch: int) -> Fit:
    return Fit(
        model,
        training_batches(data.training, data.batch_size, data.seed, data.augment, epoch),
        plain_batches(data.validation, data.batch_size),
    )


def _on_features(model: keras.Model, data: TrainingData, passes: int, epoch: int) -> Fit:
    """The head alone, on what the backbone, which does not learn, has given beforehand."""
    backbone, head = cut(model, above_pooling(model))
    size = data.batch_size
    # One graph for all passes: tracing takes as long as 10 batches of 32 at 96 px.
    function = forward(backbone)

    train_features = [
        run_forward(
            function,
            augmented_batches(data.training, size, data.seed, data.augment, number),
            f"features, pass {number + 1} of {passes}",
        )
        for number in range(passes)
    ]
    val_features = run_forward(function, plain_batches(data.validation, size), "features, val")
    return Fit(
        head,
        shuffled_features(train_features, data.training, size, data.seed, epoch),
        plain_features(val_features, data.validation, size),
    )
