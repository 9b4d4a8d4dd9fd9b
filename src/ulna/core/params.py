"""params.yaml as a frozen, typed object, and `NETWORKS`, the one table of networks.

Every stage calls `load_params` before it does anything else: an unknown, missing, mistyped or
out-of-range key is named within a second, before TensorFlow is imported or an image is read.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from ulna.core import InputError, in_experiment_copy
from ulna.core.yaml12 import parse_yaml

# Of the audit; `ulna.checks.audit.FINDINGS` says what each means.
Finding = Literal[
    "inverted", "low_contrast", "saturated", "bright_border", "body_part_outlier", "extreme_aspect",
    "tiny", "colour", "single_view", "mixed_labels", "exact_duplicate", "near_duplicate",
    "duplicate_across_splits", "duplicate_label_conflict",
]  # fmt: skip

Fraction = Annotated[float, Field(ge=0, lt=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
# A sequence in YAML is a list, but a frozen object holds tuples.
AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Loss = Literal["bce", "weighted_bce", "focal"]
ClassWeights = Literal["none", "balanced"]


def _all_or_names(value: Any) -> Any:
    names = list(value) if isinstance(value, list | tuple) else []
    if value == "all":
        return value
    if names and all(isinstance(name, str) and re.match("[A-Z][A-Z0-9]*$", name) for name in names):
        return tuple(names)
    raise ValueError(f"expected all or a list such as [FOREARM, HUMERUS], received {value!r}")


# One message for every wrong form, where a union would give one for each of its members.
BodyParts = Annotated[Literal["all"] | tuple[str, ...], PlainValidator(_all_or_names)]


class Section(BaseModel):
    """A part of params.yaml: frozen, no unknown keys, no silent conversions, no defaults."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Network(Section):
    """The section of one network: all that it alone is built and trained from."""

    batch_size: Count

    @property
    def phase_epochs(self) -> Mapping[str, int]:
        """Phase of training -> the most epochs that it may have, in order."""
        raise NotImplementedError


class Cnn(Network):
    """The network trained from scratch."""

    filters: Annotated[tuple[Count, ...], AsTuple, Field(min_length=1, max_length=8)]
    dropout: Fraction
    learning_rate: Rate
    epochs: Count

    @property
    def phase_epochs(self) -> Mapping[str, int]:
        """One phase."""
        return {"scratch": self.epochs}


class FineTuned(Network):
    """A network of keras.applications under a head of its own."""

    weights: Annotated[str, Field(min_length=1)]
    weights_sha256: Sha256 | None
    head_units: Count
    dropout: Fraction
    head_epochs: Epochs
    head_passes: Count
    head_learning_rate: Rate
    finetune_from: Annotated[str, Field(min_length=1)]
    finetune_epochs: Epochs
    batch_normalization: Literal["inference", "training"]
    finetune_learning_rate: Rate

    @property
    def phase_epochs(self) -> Mapping[str, int]:
        """The head first, then the backbone too; without a phase of no epochs."""
        limits = {"head": self.head_epochs, "finetune": self.finetune_epochs}
        return {phase: epochs for phase, epochs in limits.items() if epochs}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head_epochs + self.finetune_epochs == 0:
            raise ValueError("head_epochs and finetune_epochs are both 0: one of them must train")
        return self


@dataclass(frozen=True)
class PretrainedFile:
    """Weights of ImageNet that keras.applications publishes for a backbone."""

    folder: str  # below `KERAS_APPLICATIONS`
    name: str
    # Pinned by keras.applications, if at all; no SHA-256 is published. `weights_sha256` in
    # params.yaml holds the file to that of the copy in use.
    md5: str | None

    @property
    def url(self) -> str:
        """Where the file is fetched from."""
        return f"{KERAS_APPLICATIONS}/{self.folder}/{self.name}"


@dataclass(frozen=True)
class NetworkSpec:
    """One row of the table of networks."""

    section: type[Network]  # of params.yaml, which has the network's name
    phases: Literal["scratch", "head_then_finetune"]  # see `ulna.networks.training.PHASES`
    title: str
    pretrained: PretrainedFile | None = None  # for its backbone


KERAS_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"
# `ulna.networks.models.BUILDERS` builds each.
NETWORKS: dict[str, NetworkSpec] = {
    "cnn": NetworkSpec(Cnn, "scratch", "CNN"),
    "densenet169": NetworkSpec(
        FineTuned, "head_then_finetune", "DenseNet169", PretrainedFile(
            "densenet", "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "b8c4d4c20dd625c148057b9ff1c1176b",
        ),
    ),
    "mobilenetv2": NetworkSpec(
        FineTuned, "head_then_finetune", "MobileNetV2", PretrainedFile(
            "mobilenet_v2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            None,
        ),
    ),
}  # fmt: skip


def _known_network(name: str) -> str:
    if name not in NETWORKS:
        known = " or ".join(NETWORKS)
        raise ValueError(f"{name!r} is not a network: expected {known}{_hint(name, NETWORKS)}")
    return name


def _hint(received: str, known: Iterable[str], otherwise: str = "") -> str:
    near = difflib.get_close_matches(received, list(known), n=1)
    return f": did you mean {near[0]}?" if near else otherwise


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)} names a network twice: name each once")
    return names


NetworkName = Annotated[str, AfterValidator(_known_network)]
NetworkNames = Annotated[
    tuple[NetworkName, ...], AsTuple, Field(min_length=2), AfterValidator(_unique)
]


class Data(Section):
    """The data set."""

    root: Annotated[str, Field(min_length=1)]
    body_parts: BodyParts


class Phantom(Section):
    """The synthetic data set."""

    seed: Annotated[int, Field(ge=0)]
    patients: Annotated[int, Field(ge=30, le=9000)]
    marker_shortcut: bool


class Split(Section):
    """Train and val, from the official train patients."""

    val_fraction: Annotated[float, Field(gt=0, le=0.5)]


class Image(Section):
    """Preprocessing of an image to a square of uint8."""

    size_px: Annotated[int, Field(ge=32, le=1024)]
    fit: Literal["pad", "stretch"]
    max_bad_fraction: Fraction
    max_megapixels: Annotated[float, Field(gt=0, le=1000)]


class Augment(Section):
    """Ranges of the random changes to a training image."""

    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    horizontal_flip: bool
    shift_fraction: Annotated[float, Field(ge=0, le=0.5)]
    zoom_fraction: Annotated[float, Field(ge=0, le=0.5)]
    brightness: Annotated[float, Field(ge=0, le=128)]
    contrast_fraction: Annotated[float, Field(ge=0, le=0.9)]


class Focal(Section):
    """Focal loss."""

    gamma: Annotated[float, Field(ge=0, le=10)]
    alpha: OpenFraction


class Train(Section):
    """Training, shared by all networks."""

    body_parts: BodyParts
    early_stopping_epochs: Count
    plateau_epochs: Count
    plateau_factor: OpenFraction
    min_learning_rate: Annotated[float, Field(ge=0, le=1)]
    mixed_precision: Literal["none", "bfloat16", "float16"]


class Evaluate(Section):
    """Aggregation of views, thresholds, confidence intervals."""

    aggregation: Literal["mean_probability", "mean_logit", "max", "noisy_or"]
    threshold: Literal["half", "youden", "kappa", "sensitivity"]
    min_sensitivity: Rate
    threshold_per: Literal["overall", "body_part"]
    shrinkage_studies: Annotated[float, Field(ge=0)]
    bootstrap_replicates: Annotated[int, Field(ge=100, le=100_000)]
    min_patients: Annotated[int, Field(ge=2)]


class Audit(Section):
    """Findings of the audit that stop the run."""

    fail_on: Annotated[tuple[Finding, ...], AsTuple]


class LearningCurve(Section):
    """Networks trained on nested subsets of the patients."""

    arch: NetworkName
    fractions: Annotated[tuple[OpenFraction, ...], AsTuple]


class Transfer(Section):
    """Train on some body parts, test on each."""

    arch: NetworkName
    train_on: BodyParts


@dataclass(frozen=True)
class TrainingConfig:
    """All parameters of a training; `name` is that of the network, `network` its section."""

    name: str
    network: Network
    loss: Loss
    class_weights: ClassWeights
    focal: Focal
    train: Train
    augment: Augment
    seed: int


class Params(Section):
    """The whole of params.yaml; the section of a network that is not trained may be absent."""

    networks: NetworkNames
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    loss: Loss
    class_weights: ClassWeights
    data: Data
    phantom: Phantom
    split: Split
    image: Image
    augment: Augment
    focal: Focal
    train: Train
    cnn: Cnn | None = None
    densenet169: FineTuned | None = None
    mobilenetv2: FineTuned | None = None
    evaluate: Evaluate
    audit: Audit
    learning_curve: LearningCurve
    transfer: Transfer

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.loss == "weighted_bce" and self.class_weights == "balanced":
            raise ValueError("weighted_bce already weighs the classes: set class_weights to none")
        if self.loss == "focal" and self.class_weights == "balanced":
            raise ValueError("focal.alpha already weighs the classes: set class_weights to none")
        asked = dict.fromkeys((*self.networks, self.transfer.arch, self.learning_curve.arch))
        for name in asked:
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing: add the section of this network")
        return self

    def training(self, arch: str) -> TrainingConfig:
        """Collect the parameters of a training; an InputError without such a section."""
        check_arch(arch)
        network = getattr(self, arch)
        if network is None:
            raise InputError(f"params.yaml: {arch} is missing: add the section of this network")
        shared = {field.name: getattr(self, field.name) for field in fields(TrainingConfig)[2:]}
        return TrainingConfig(name=arch, network=network, **shared)


def check_arch(arch: str) -> None:
    """Refuse the name of a network that does not exist."""
    try:
        _known_network(arch)
    except ValueError as error:
        raise InputError(str(error)) from None


def load_params(path: Path) -> Params:
    """Read and check a params file, see `ulna.core.yaml12`.

    Raises:
        InputError: The file is missing, is not YAML, or breaks the schema; every fault is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: restore it with `git checkout -- {path}`") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}): save it as such") from None
    try:
        return parse_params(parse_yaml(text, str(path)), source=str(path))
    except InputError as error:
        if "DVC_EXP_BASELINE_REV" not in os.environ or in_experiment_copy():
            raise
        # Not mended here: an edit by hand cannot be told from what -S has written. And not by `git
        # checkout`: DVC puts the file's new times into git's index, by which it seems unchanged.
        raise InputError(
            f"{error}\nWhat -S has set stays in {path}: set it again with -S, or take back all "
            f"that is not committed by `git show HEAD:{path} > {path}`"
        ) from None


def parse_params(raw: Any, source: str = "params.yaml") -> Params:
    """Check the content of a params file, nested dicts as YAML gives them.

    Raises:
        InputError: Something breaks the schema; every fault is named, a line each.

    Example:
        >>> parse_params({"seed": 1})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ulna.core.InputError: params.yaml: networks is missing: add it
        ...
    """
    if not isinstance(raw, dict):
        raise InputError(f"{source}: expected keys and values, received {type(raw).__name__}")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        faults = dict.fromkeys(_message(fault) for fault in error.errors(include_url=False))
        raise InputError("\n".join(f"{source}: {fault}" for fault in faults)) from None


def _message(fault: Any) -> str:
    location = fault["loc"]
    key = ".".join(str(part) for part in location)
    kind, received, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        return f"{key} is missing: add it"
    if kind == "extra_forbidden":
        return f"{key} is not a parameter{_suggestion(location)}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"{key} is {received!r}, expected {context['expected']}{_hint(str(received), known)}"
    if kind == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    return f"{key} is {received!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _suggestion(location: tuple[Any, ...]) -> str:
    model: Any = Params
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        # The section of a network may be absent: its type is in a union with None.
        model = next((kind for kind in get_args(annotation) if kind is not None), annotation)
    return _hint(str(location[-1]), model.model_fields, ": remove it")
