"""Does a network look at bone? Its scores with the frame or the centre of pictures hidden."""

import sys

from ulna import paths
from ulna.checks.occlusion import SHOWN, judge_hidden, show_example, tabulate, verdict
from ulna.console import run
from ulna.data.cache import load_cache
from ulna.figures.occlusion import halves
from ulna.figures.style import write_png
from ulna.files import write_csv, write_json
from ulna.params import load_params
from ulna.predictions import read_predictions


def occlusion() -> None:
    """Judge each network by whole pictures of test and by each half of them, write and draw."""
    params = load_params(paths.PARAMS)
    cache = load_cache(paths.CACHE)
    judged = {}
    for arch in params.networks:
        whole = read_predictions(paths.predictions(arch))
        hidden = {
            name: read_predictions(paths.scored(arch, name), ("test",))
            for name in SHOWN
            if name != "whole"
        }
        judged[arch] = judge_hidden({"whole": whole} | hidden, params.evaluate, params.seed)
    scores, words = tabulate(judged), verdict(judged)
    example = show_example(whole[whole["split"] == "test"], cache, params.image.fit)

    flag = any(found["flag"] for found in judged.values())
    write_json(paths.metrics("occlusion"), {"verdict": words, "flag": flag} | judged)
    write_csv(paths.table("occlusion"), scores)
    write_png(paths.PLOTS / "occlusion.png", halves(scores, example, words))
    print(f"occlusion: {words}")


if __name__ == "__main__":
    run(occlusion, *sys.argv[1:])
