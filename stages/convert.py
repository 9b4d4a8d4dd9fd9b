"""Write a trained network, and its maps, as files that need no TensorFlow."""

import sys

from ulna.core import paths
from ulna.core.io import atomic_directory, write_json
from ulna.core.params import check_arch
from ulna.core.predictions import read_predictions
from ulna.core.provenance import read_provenance
from ulna.core.stage import run
from ulna.data.cache import load_cache
from ulna.evaluation import parity
from ulna.evaluation.localization import find_rows, read_maps


def convert(arch: str) -> None:
    """Write the ONNX files of `arch`, once they have computed what Keras had."""
    check_arch(arch)
    cache = load_cache(paths.CACHE)
    images = find_rows(read_predictions(paths.predictions(arch)), cache)
    mapped = parity.choose_evenly(images[images["split"] == "test"], parity.MAX_MAPS)
    images = parity.choose_evenly(images, parity.MAX_IMAGES)
    maps, test = read_maps(paths.maps(arch), mapped["image"])

    # TensorFlow takes 5 s to import: bad input has been refused by here.
    from ulna.networks import onnx_gradient, onnx_layers, runtime, saliency
    from ulna.networks.trained import load_trained, read_metadata

    metadata = read_metadata(paths.trained(arch))
    mixed_precision = metadata["mixed_precision"]
    limits = parity.choose_limits(mixed_precision, read_provenance(paths.provenance(arch)))
    # In single precision, as the files, whatever the network was trained in.
    runtime.configure(seed=0)
    model = load_trained(paths.trained(arch))
    files = {"model.onnx": onnx_layers.export_network(model)}
    outputs = parity.run_model(files["model.onnx"], cache, images, f"run {arch}")
    logit_gap = parity.check_logits(outputs["logit"], images, limits, f"{arch}/model.onnx")
    map_gap = None
    if test["randomization"]["passed"]:
        files["maps.onnx"] = onnx_gradient.export_maps(model, saliency.target_layer(model))
        outputs = parity.run_model(files["maps.onnx"], cache, mapped, f"run {arch}, maps")
        parity.check_logits(outputs["logit"], mapped, limits, f"{arch}/maps.onnx")
        map_gap = parity.check_maps(outputs["map"], maps, mapped, limits, f"{arch}/maps.onnx")
    result = {
        "images": len(images),
        "max_logit_difference": logit_gap,
        "max_map_difference": map_gap,
        "model_sha256": metadata["weights_sha256"],
        "mixed_precision": mixed_precision,
    }
    with atomic_directory(paths.onnx(arch)) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        write_json(folder / "convert.json", result)
    print(f"{arch}: {', '.join(files)} give the logits of Keras to {logit_gap:.1g}")


if __name__ == "__main__":
    run(convert, *sys.argv[1:])
