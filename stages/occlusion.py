"""Does a network look at bone? Its scores with the frame or the centre of pictures hidden."""

import sys

from ulna import paths
from ulna.checks.occlusion import SHOWN, judge_hidden, summarize, tabulate
from ulna.console import run
from ulna.files import write_csv, write_json
from ulna.judging import conclusions
from ulna.params import load_params
from ulna.predictions import read_predictions


def occlusion() -> None:
    """Judge each network by whole pictures of test and by each half of them, write."""
    params = load_params(paths.PARAMS)
    judged = {}
    for arch in params.networks:
        whole = read_predictions(paths.predictions(arch))
        hidden = {
            name: read_predictions(paths.scored(arch, name), ("test",))
            for name in SHOWN
            if name != "whole"
        }
        judged[arch] = judge_hidden({"whole": whole} | hidden, params.evaluate, params.seed)
    summary = summarize(judged)
    write_json(paths.metrics("occlusion"), summary)
    write_csv(paths.table("occlusion"), tabulate(judged))
    print(f"occlusion: {conclusions.occlusion(summary)}")


if __name__ == "__main__":
    run(occlusion, *sys.argv[1:])
