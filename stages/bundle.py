"""Write the bundle of a network or of the ensemble: what `ulna predict` takes."""

import sys
from typing import Any

from ulna.core import paths
from ulna.core.io import read_json, read_table, storable
from ulna.core.params import check_arch, load_params
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.data.images import content_boxes
from ulna.data.samples import join_measurements, load_samples, select_samples
from ulna.inference.bundle import write_bundle
from ulna.inference.bundle_files import CARD
from ulna.inference.reference import fit_reference
from ulna.report.bundle_record import count_body_parts, describe_bundle, describe_network
from ulna.report.card import model_card


def bundle(name: str) -> None:
    """Gather ONNX files, thresholds, scores and counts, write them as one folder."""
    params = load_params(paths.PARAMS)
    members = params.networks if name == paths.ENSEMBLE else (name,)
    for arch in members:
        check_arch(arch)
    cache = load_cache(paths.CACHE)
    samples = join_measurements(load_samples(paths.IMAGES, paths.SPLITS, cache), cache)
    train = select_samples(samples, "train", params.train.body_parts)
    boxes = content_boxes(train, cache.size_px, params.image.fit)
    described = describe_bundle(
        name,
        [_describe_member(arch, len(members) == 1) for arch in members],
        read_json(paths.details(name)),
        read_table(paths.scores(name, "by_body_part")),
        count_body_parts(train, samples[samples["split"] == "test"]),
        fit_reference(cache.squares(train), boxes),
        params.image,
        params.evaluate,
        params.data.root,
        params.data.root == paths.PHANTOM_ROOT.as_posix(),
    )
    record = storable(described)
    files = {CARD: model_card(record).encode()}
    for arch, network in zip(members, record["networks"], strict=True):
        for kind in ("model", "maps"):
            if network[kind]:
                files[network[kind]] = (paths.onnx(arch) / f"{kind}.onnx").read_bytes()
    write_bundle(paths.bundle(name), record, files)
    print(f"{name}: {sum(map(len, files.values())) / 1e6:.1f} MB in {paths.bundle(name)}")


def _describe_member(arch: str, alone: bool) -> dict[str, Any]:
    conversion = read_json(paths.onnx(arch) / "convert.json")
    return describe_network(arch, conversion, read_json(paths.details(f"saliency_{arch}")), alone)


if __name__ == "__main__":
    run(bundle, *sys.argv[1:])
