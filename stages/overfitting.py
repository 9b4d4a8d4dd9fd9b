"""Compare train, val and test of each network, by epoch and by number of training patients."""

import sys

import pandas as pd

from ulna.core import paths
from ulna.core.io import read_json, read_table, write_csv, write_json
from ulna.core.params import NETWORKS, load_params
from ulna.core.predictions import read_predictions
from ulna.core.stage import run
from ulna.data.splits import SIZE_COLUMNS, SIZES, count_sizes
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
    """Evaluate the splits alike, and the networks trained on fewer patients; write."""
    params = load_params(paths.PARAMS)
    evaluate, parts, seed = params.evaluate, params.train.body_parts, params.seed
    summary, splits, gaps, train, held_out = {}, {}, {}, {}, {}
    for arch in params.networks:
        section = read_json(paths.trained(arch) / "model.json")["network"]
        limits = NETWORKS[arch].section(**section).phase_epochs
        history = read_table(paths.history(arch))
        course = summarize_history(arch, history, limits, params.train.early_stopping_epochs)
        gaps[arch] = gaps_by_epoch(arch, history)
        held_out[arch] = read_predictions(paths.predictions(arch))
        train[arch] = read_predictions(paths.extra_predictions(arch, "train"), ("train",))
        splits[arch] = evaluate_splits(arch, train[arch], held_out[arch], parts, evaluate, seed)
        summary[arch] = {"course": course} | summarize_splits(splits[arch])
        print(conclusions.history(course, arch), conclusions.overfitting(summary[arch], arch))

    arch = params.learning_curve.arch
    sizes = read_table(paths.LEARNING_CURVE / SIZES, SIZE_COLUMNS)
    tables = {f: read_predictions(paths.fraction_predictions(f)) for f in sizes["fraction"]}
    if tables:
        whole = count_sizes({1.0: filter_body_parts(train[arch], parts)})
        sizes, tables[1.0] = pd.concat([sizes, whole], ignore_index=True), held_out[arch]
    curve, step = evaluate_learning_curve(tables, sizes, parts, evaluate, seed)
    last = {"conclusion": conclude_learning_curve(step), "arch": arch, "step": step}
    print(conclusions.learning_curve(last))

    write_json(paths.details("overfitting"), summary | {"learning_curve": last})
    write_csv(paths.table("overfitting"), pd.concat(splits.values(), ignore_index=True))
    write_csv(paths.table("gaps"), pd.concat(gaps.values(), ignore_index=True))
    write_csv(paths.table("learning_curve"), curve)


if __name__ == "__main__":
    run(overfitting, *sys.argv[1:])
