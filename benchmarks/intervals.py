"""Patient-clustered intervals at MURA's test size, against a scikit-learn loop.

    python -m benchmarks.intervals

Both compute accuracy, precision, recall, specificity, F1, kappa, AUROC and average precision, per
study and per image, over all and for seven body parts; ours 10,000 times, the loop a few times (it
is linear in the replicates). The two alternate for several rounds, in one thread.
"""

import time
import warnings

import numpy as np
import pandas as pd
from sklearn import metrics as skm
from threadpoolctl import threadpool_limits

from benchmarks.timing import Row, command_line, in_turns, ratio, spread
from ulna.evaluation.bootstrap import bootstrap_metrics, bootstrap_weights

PATIENTS, STUDIES, IMAGES, PARTS = 783, 1199, 3197, 7
REPLICATES, LOOP_REPLICATES, ROUNDS, AIM = 10_000, 10, 5, 200


def test_set(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables of MURA's test size: patients, studies, images and body parts; scores of AUROC 0.8."""
    draw = np.random.default_rng(seed)
    owner, labels, parts = (draw.integers(0, top, STUDIES) for top in (PATIENTS, 2, PARTS))
    study = np.sort(draw.integers(0, STUDIES, IMAGES))
    images = pd.DataFrame(
        {
            "study": study,
            "patient": [f"patient{number:05}" for number in owner[study]],
            "body_part": parts[study],
            "label": labels[study],
            "probability": 1 / (1 + np.exp(-1.2 * labels[study] - draw.normal(size=IMAGES))),
            "threshold": 0.6,
        }
    )
    keep = {name: (name, "first") for name in ("patient", "body_part", "label", "threshold")}
    studies = images.groupby("study", as_index=False).agg(
        **keep, probability=("probability", "mean")
    )
    return {"study": studies, "image": images}


def groups(tables: dict[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """All rows and each body part's, of both levels."""
    return [
        group
        for table in tables.values()
        for group in [table, *(part for _, part in table.groupby("body_part"))]
    ]


def ours(tables: dict[str, pd.DataFrame]) -> float:
    """Seconds for `REPLICATES` replicates."""
    start = time.perf_counter()
    replicates = bootstrap_weights(tables["image"]["patient"], REPLICATES, seed=1)
    for group in groups(tables):
        bootstrap_metrics(group, replicates)
    return time.perf_counter() - start


def loop(tables: dict[str, pd.DataFrame]) -> float:
    """Seconds for `REPLICATES` replicates, from `LOOP_REPLICATES` of them."""
    draw = np.random.default_rng(1)
    # Rows of each patient are looked up beforehand: the loop is given its best chance.
    prepared = []
    for group in groups(tables):
        labels, probabilities = group["label"].to_numpy(), group["probability"].to_numpy()
        rows = [np.asarray(index) for index in group.groupby("patient").indices.values()]
        prepared.append((labels, probabilities, rows))
    start = time.perf_counter()
    for _ in range(LOOP_REPLICATES):
        for labels, probabilities, rows in prepared:
            chosen = np.concatenate([rows[k] for k in draw.integers(0, len(rows), len(rows))])
            truth, scores = labels[chosen], probabilities[chosen]
            positive = scores > 0.6
            skm.accuracy_score(truth, positive)
            skm.precision_score(truth, positive)
            skm.recall_score(truth, positive)
            skm.recall_score(truth, positive, pos_label=0)
            skm.f1_score(truth, positive)
            skm.cohen_kappa_score(truth, positive)
            skm.roc_auc_score(truth, scores)
            skm.average_precision_score(truth, scores)
    return (time.perf_counter() - start) * REPLICATES / LOOP_REPLICATES


def run() -> list[Row]:
    """Alternate both."""
    warnings.simplefilter("ignore")
    tables = test_set()
    with threadpool_limits(1):
        taken = in_turns({"ours": lambda: ours(tables), "loop": lambda: loop(tables)}, ROUNDS)
    times = ratio(taken["loop"], taken["ours"])
    return [
        Row(
            what=f"{REPLICATES:,} replicates of {PATIENTS} patients, {STUDIES:,} studies, "
            f"{IMAGES:,} images",
            ours=spread(taken["ours"]),
            other=f"{spread(taken['loop'], 0)} by a scikit-learn loop, from {LOOP_REPLICATES}",
            ratio=f"{times:,.0f}",
            aim=f"at least {AIM}",
            met=times >= AIM,
        )
    ]


if __name__ == "__main__":
    command_line(run)
