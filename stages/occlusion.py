"""Evaluate the networks with the border or the centre of images hidden."""

import sys

from ulna.checks.shortcuts import SHOWN, evaluate_occlusion, summarize_occlusion, tabulate_occlusion
from ulna.core import paths
from ulna.core.io import write_csv, write_json
from ulna.core.params import load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.evaluation import conclusions


def occlusion() -> None:
    """Evaluate each network on whole images of test and on either half of them, write."""
    params = load_params(paths.PARAMS)
    results = {}
    for arch in params.networks:
        whole = read_predictions(paths.predictions(arch))
        hidden = {
            name: read_predictions(paths.extra_predictions(arch, name), ("test",))
            for name in SHOWN
            if name != "whole"
        }
        results[arch] = evaluate_occlusion({"whole": whole} | hidden, params.evaluate, params.seed)
    summary = summarize_occlusion(results)
    write_json(paths.details("occlusion"), summary)
    write_csv(paths.table("occlusion"), tabulate_occlusion(results))
    print(f"occlusion: {conclusions.occlusion(summary)}")


if __name__ == "__main__":
    run(occlusion, *sys.argv[1:])
