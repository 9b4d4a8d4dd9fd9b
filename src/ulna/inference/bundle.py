"""The bundle: networks as ONNX files, and in `bundle.json` all that a decision needs.

A folder, or a zip of its files. Nothing of it is used before its schema, its list of files and
every SHA-256 have been checked.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema

from ulna.core import InputError, first_ten
from ulna.core.aggregation import Aggregation
from ulna.core.io import atomic_directory, write_json
from ulna.data import Fit
from ulna.inference.bundle_files import CARD, RECORD, REMAKE, read_files

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).with_name("bundle.schema.json")
# In an ONNX file, the key of weights in another file: ONNX Runtime would read them from the working
# directory. No name of the exporter holds it, and by chance one of 10^11 files of 100 MB.
EXTERNAL_WEIGHTS = b"location"
# The bundle that comes with the package.
DEFAULT = Path(__file__).with_name("default")


@dataclass(frozen=True)
class Member:
    """One network of a bundle: its ONNX files in memory, maps None where it has none to show."""

    name: str
    model: bytes
    maps: bytes | None


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check of `load_bundle`."""

    record: Mapping[str, Any]  # bundle.json
    members: tuple[Member, ...]
    sha256: str  # of bundle.json, which holds the hashes of all other files
    source: str  # the path as given, for messages

    @property
    def name(self) -> str:
        """Name of the network, or ensemble."""
        return str(self.record["name"])

    @property
    def size_px(self) -> int:
        """Side of the square that the networks see."""
        return int(self.record["image"]["size_px"])

    @property
    def fit(self) -> Fit:
        """`pad` or `stretch`: of an image into the square."""
        fit: Fit = self.record["image"]["fit"]
        return fit

    @property
    def max_megapixels(self) -> float:
        """Larger images are refused."""
        return float(self.record["image"]["max_megapixels"])

    @property
    def aggregation(self) -> Aggregation:
        """The rule by which the views of a study become one probability."""
        aggregation: Aggregation = self.record["aggregation"]
        return aggregation

    @property
    def body_parts(self) -> tuple[str, ...]:
        """The body parts that the networks were trained on, such as ("HAND", "WRIST")."""
        return tuple(self.record["body_parts"])

    @property
    def has_maps(self) -> bool:
        """Whether each of its networks has maps that passed their test."""
        return all(member.maps is not None for member in self.members)

    def threshold(self, body_part: str | None) -> float:
        """The threshold of a study; the overall one if the part has none or is unknown (None)."""
        chosen = self.record["threshold"]
        return float(chosen["by_body_part"].get(body_part, chosen["study"]))


def load_bundle(path: Path) -> Bundle:
    """Load a bundle from its folder or zip.

    Raises:
        InputError: See `read_bundle`.
    """
    files = read_bundle(path)
    record = _parse(files[RECORD], path)
    return Bundle(
        record=record,
        members=tuple(
            Member(network["name"], files[network["model"]], files.get(network["maps"] or ""))
            for network in record["networks"]
        ),
        sha256=hashlib.sha256(files[RECORD]).hexdigest(),
        source=str(path),
    )


def read_bundle(path: Path) -> dict[str, bytes]:
    """Read and check every file of a bundle: name -> bytes, `bundle.json` too.

    Raises:
        InputError: It is not there, is no bundle, is damaged, of a newer version, lacks a file or
            has one too many, or a SHA-256 is off; the path, the fault and the fix are named.
            Or its networks would read other files.
    """
    files = read_files(path)
    _check_hashes(_parse(files[RECORD], path)["files"], files, path)
    for name, data in files.items():
        if name.endswith(".onnx") and EXTERNAL_WEIGHTS in data:
            raise InputError(f"{path} is no bundle: {name} keeps weights in another file: {REMAKE}")
    return files


def write_bundle(folder: Path, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a bundle as a folder, whole or not at all.

    record is `bundle.json` without `schema_version` and `files`, which are filled in; its floats
    are rounded to 10 digits. files are the ONNX files that it names, and MODEL_CARD.md.

    Raises:
        InputError: The record breaks the schema, or names other files than these.
    """
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    complete = {"schema_version": SCHEMA_VERSION, **record, "files": hashes}
    # Thousands of lines that nobody reads: after all others.
    complete["reference"] = complete.pop("reference")
    with atomic_directory(folder) as partial:
        for name, data in files.items():
            (partial / name).write_bytes(data)
        write_json(partial / RECORD, complete)
        # As it will be read: undefined numbers are null only now.
        _parse((partial / RECORD).read_bytes(), folder)


def find_bundle(given: str | None, root: Path) -> tuple[Path, str]:
    """Find the bundle to predict with.

    Args:
        given: The path that the user gave, or the name of a bundle of the repository; if any.
        root: The repository.

    Returns:
        The path given; else, of the bundles of the repository, the first by name; else the one of
        the package. And a phrase that says which it is, and whether the repository has trained or
        evaluated the network anew since.

    Raises:
        InputError: There is none.
    """
    if given is not None:
        named = root / "bundles" / given
        if not Path(given).exists() and (named / RECORD).is_file():
            return named, _describe_own(named, root)
        return Path(given), f"the bundle {given}"
    for record in sorted((root / "bundles").glob(f"[a-z]*/{RECORD}")):
        return record.parent, _describe_own(record.parent, root)
    if (DEFAULT / RECORD).is_file():
        return DEFAULT, "the bundle that comes with the package"
    raise InputError(
        f"there is no bundle in {root / 'bundles'}: make one with `dvc repro bundle@cnn`, fetch "
        "one with `dvc pull bundle@cnn`, or name one with --bundle"
    )


def _describe_own(folder: Path, root: Path) -> str:
    name = folder.name
    stage = "bundle_ensemble" if name == "ensemble" else f"bundle@{name}"
    behind = f", behind its last training or evaluation (`dvc repro {stage}`)"
    return f"this repository's bundle {name}{behind * _is_behind(folder, root)}"


def _is_behind(folder: Path, root: Path) -> bool:
    """Whether the repository has other weights or thresholds by now.

    `dvc exp run -S loss=focal evaluate@cnn` makes no bundle. Not where a file is missing or odd:
    others tell.
    """
    try:
        record = _read_json(folder / RECORD)
        details = _read_json(root / f"metrics/details/{folder.name}.json")
        thresholds, used = details["thresholds"], record["threshold"]
        if [thresholds["overall"], thresholds["by_body_part"]] != [
            used["study"], used["by_body_part"],
        ]:  # fmt: skip
            return True
        trained = (root / f"models/{network['name']}" for network in record["networks"])
        weights = [_read_json(folder / "model.json")["weights_sha256"] for folder in trained]
        return weights != [network["model_sha256_keras"] for network in record["networks"]]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    """Parse and check `bundle.json`."""
    try:
        record = json.loads(
            raw, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_finite_int
        )
    except (ValueError, RecursionError):
        raise InputError(f"{path}: {RECORD} is not JSON, damaged or cut off: {REMAKE}") from None
    version = record.get("schema_version") if isinstance(record, dict) else None
    if type(version) is not int:
        raise InputError(f"{path}: {RECORD} is none of ulna, it has no schema_version: {REMAKE}")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} was made by a newer ulna (bundles of version {version}, this one reads "
            f"{SCHEMA_VERSION}): update ulna"
        )
    try:
        checked: dict[str, Any] = _validator()(record)
    except fastjsonschema.JsonSchemaValueException as error:
        raise InputError(f"{path}: {RECORD} breaks its schema, {error.message}: {REMAKE}") from None
    named = [network["name"] for network in record["networks"]]
    if len(set(named)) < len(named):
        raise InputError(f"{path}: {RECORD} names a network twice: {REMAKE}")
    used = {network[key] for network in record["networks"] for key in ("model", "maps")} - {None}
    if used | {CARD} != set(record["files"]):
        odd = sorted((used | {CARD}) ^ set(record["files"]))
        raise InputError(
            f"{path}: networks and files of {RECORD} disagree on {first_ten(odd, ', ')}: {REMAKE}"
        )
    return checked


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    """A float; 1e999 would be read as infinite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond all floats")
    return value


def _finite_int(text: str) -> int:
    _finite(text)
    return int(text)


@cache
def _validator() -> Callable[[Any], Any]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return fastjsonschema.compile(schema)


def _check_hashes(listed: Mapping[str, str], files: Mapping[str, bytes], path: Path) -> None:
    present = files.keys() - {RECORD}
    lacking, besides = listed.keys() - present, present - listed.keys()
    for names, fault in ((lacking, "lacks"), (besides, "has besides")):
        if names:
            raise InputError(
                f"{path} {fault} {first_ten(sorted(names), ', ')}, by the list in {RECORD}: "
                f"{REMAKE}"
            )
    for name, expected in listed.items():
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise InputError(
                f"{path}: {name} does not have the SHA-256 in {RECORD}, it was changed or damaged: "
                f"{REMAKE}"
            )
