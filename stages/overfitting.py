"""Compare how a network does on train, val and test, by epoch and by number of patients."""

import sys

import pandas as pd

from ulna.core import paths
from ulna.core.io import read_json, read_table, write_csv, write_json
from ulna.core.params import NETWORKS, load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.data.splits import SIZES, count_sizes, read_sizes
from ulna.evaluation import conclusions
from ulna.evaluation.overfitting import (
    conclude_learning_curve,
    evaluate_learning_curve,
    evaluate_splits,
    filter_body_parts,
    gaps_by_epoch,
    summarize_history,
    summarize_splits,
)


def overfitting() -> None:
    """Judge the splits alike, take the gaps, judge the networks of fewer patients."""
    params = load_params(paths.PARAMS)
    evaluate, parts, seed = params.evaluate, params.train.body_parts, params.seed
    patience = params.train.early_stopping_epochs
    found, splits, gaps, learnt, judged = {}, {}, {}, {}, {}
    for arch in params.networks:
        section = read_json(paths.trained(arch) / "model.json")["network"]
        limits = NETWORKS[arch].section(**section).phase_epochs
        history = read_table(paths.history(arch))
        course = summarize_history(arch, history, limits, patience)
        gaps[arch] = gaps_by_epoch(arch, history)
        judged[arch] = read_predictions(paths.predictions(arch))
        learnt[arch] = read_predictions(paths.extra_predictions(arch, "train"), ("train",))
        splits[arch] = evaluate_splits(arch, learnt[arch], judged[arch], parts, evaluate, seed)
        found[arch] = {"course": course} | summarize_splits(splits[arch])
        print(conclusions.history(course, arch))
        print(conclusions.overfitting(found[arch], arch))

    arch = params.learning_curve.arch
    sizes = read_sizes(paths.LEARNING_CURVE / SIZES)
    tables = {f: read_predictions(paths.fraction_predictions(f)) for f in sizes["fraction"]}
    if tables:
        whole = filter_body_parts(learnt[arch], parts)
        sizes = pd.concat([sizes, count_sizes({1.0: whole})], ignore_index=True)
        tables[1.0] = judged[arch]
    curve, step = evaluate_learning_curve(tables, sizes, parts, evaluate, seed)
    size_curve = {"conclusion": conclude_learning_curve(step), "arch": arch, "step": step}
    print(conclusions.learning_curve(size_curve))

    table = pd.concat(splits.values(), ignore_index=True)
    by_epoch = pd.concat(gaps.values(), ignore_index=True)
    write_json(paths.METRICS / "overfitting.json", found | {"learning_curve": size_curve})
    for name, rows in (("overfitting", table), ("gaps", by_epoch), ("learning_curve", curve)):
        write_csv(paths.table(name), rows)


if __name__ == "__main__":
    run(overfitting, *sys.argv[1:])
