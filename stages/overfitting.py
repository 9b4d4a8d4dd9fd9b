"""Compare how a network does on train, val and test, by epoch and by number of patients."""

import sys

import pandas as pd

from ulna import paths
from ulna.console import run
from ulna.data.splits import SIZES, count_sizes, read_sizes
from ulna.files import read_json, read_table, write_csv, write_json
from ulna.judging import conclusions
from ulna.judging.epochs import describe_course, gaps_by_epoch
from ulna.judging.overfitting import judge_splits, of_parts, summarize
from ulna.judging.size_curve import conclude_learning_curve, judge_sizes
from ulna.params import NETWORKS, load_params
from ulna.predictions import read_predictions


def overfitting() -> None:
    """Judge the splits alike, take the gaps, judge the networks of fewer patients."""
    params = load_params(paths.PARAMS)
    evaluate, parts, seed = params.evaluate, params.train.body_parts, params.seed
    patience = params.train.early_stopping_epochs
    found, splits, gaps, learnt, judged = {}, {}, {}, {}, {}
    for arch in params.networks:
        section = read_json(paths.bundle(arch) / "model.json")["network"]
        limits = NETWORKS[arch].section(**section).phase_epochs
        history = read_table(paths.history(arch))
        course = describe_course(arch, history, limits, patience)
        gaps[arch] = gaps_by_epoch(arch, history)
        judged[arch] = read_predictions(paths.predictions(arch))
        learnt[arch] = read_predictions(paths.scored(arch, "train"), ("train",))
        splits[arch] = judge_splits(arch, learnt[arch], judged[arch], parts, evaluate, seed)
        found[arch] = {"course": course} | summarize(splits[arch])
        print(conclusions.history(course, arch))
        print(conclusions.overfitting(found[arch], arch))

    arch = params.learning_curve.arch
    sizes = read_sizes(paths.LEARNING_CURVE / SIZES)
    tables = {f: read_predictions(paths.scored_by_fraction(f)) for f in sizes["fraction"]}
    if tables:
        whole = of_parts(learnt[arch], parts)
        sizes = pd.concat([sizes, count_sizes({1.0: whole})], ignore_index=True)
        tables[1.0] = judged[arch]
    curve, step = judge_sizes(tables, sizes, parts, evaluate, seed)
    size_curve = {"conclusion": conclude_learning_curve(step), "arch": arch, "step": step}
    print(conclusions.learning_curve(size_curve))

    table = pd.concat(splits.values(), ignore_index=True)
    by_epoch = pd.concat(gaps.values(), ignore_index=True)
    write_json(paths.METRICS / "overfitting.json", found | {"learning_curve": size_curve})
    for name, rows in (("overfitting", table), ("gaps", by_epoch), ("learning_curve", curve)):
        write_csv(paths.table(name), rows)


if __name__ == "__main__":
    run(overfitting, *sys.argv[1:])
