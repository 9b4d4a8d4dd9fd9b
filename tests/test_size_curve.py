import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from test_overfitting import images

from ulna.data.splits import SIZE_COLUMNS
from ulna.errors import InputError
from ulna.judging.evaluation import evaluate_table
from ulna.judging.size_curve import COLUMNS, conclude_learning_curve, judge_sizes


def table(shift: float, seed: int = 1) -> pd.DataFrame:
    """Val and test of the same images whatever the shift."""
    return pd.concat([images("val", shift, 10 + seed), images("test", shift, 20 + seed)],
                     ignore_index=True)  # fmt: skip


def sizes(*fractions: float) -> pd.DataFrame:
    rows = [(f, int(100 * f), int(120 * f), int(300 * f)) for f in fractions]
    return pd.DataFrame(rows, columns=list(SIZE_COLUMNS))


@pytest.fixture(scope="module")
def evaluate(params):
    return params.evaluate.model_copy(update={"bootstrap_draws": 400})


TABLES = {0.25: table(0.3), 0.5: table(0.6), 1.0: table(2.0)}


def test_each_point_is_what_evaluate_says_of_its_table(evaluate):
    points, _ = judge_sizes(TABLES, sizes(*TABLES), "all", evaluate, seed=4)
    assert list(points.columns) == list(COLUMNS)
    assert points["patients"].tolist() == [25, 50, 100]
    assert (points["test_studies"] == 120).all()
    for row, images_ in zip(points.to_dict("records"), TABLES.values(), strict=True):
        expected = evaluate_table(images_, evaluate, seed=4).metrics["study"]
        for name in ("auroc", "auroc_low", "kappa", "kappa_high", "threshold"):
            assert row[name] == expected[name]


def test_the_last_step_is_paired_and_reads_as_more_minus_fewer(evaluate):
    points, step = judge_sizes(TABLES, sizes(*TABLES), "all", evaluate, seed=4)
    assert (step["from_patients"], step["to_patients"]) == (50, 100)
    auroc = points["auroc"]
    assert step["auroc"]["difference"] == pytest.approx(auroc.iloc[2] - auroc.iloc[1])
    near = {0.5: table(2.0), 1.0: table(2.0).assign(logit=lambda t: 2 * t["logit"] + 0.1)}
    near[1.0]["probability"] = expit(near[1.0]["logit"])
    _, same = judge_sizes(near, sizes(*near), "all", evaluate, seed=4)
    # The same ranks by other probabilities: no draw changes the difference, so none is measured.
    assert same["auroc"] == pytest.approx(
        {"difference": 0, "low": np.nan, "high": np.nan}, nan_ok=True
    )
    _, itself = judge_sizes(near | {1.0: near[0.5]}, sizes(*near), "all", evaluate, seed=4)
    assert itself["auroc"] == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_the_order_of_rows_changes_nothing(evaluate):
    mixed = {f: t.sample(frac=1, random_state=2) for f, t in TABLES.items()}
    mixed[0.25] = TABLES[0.25]
    given, step = judge_sizes(TABLES, sizes(*TABLES), "all", evaluate, seed=4)
    other, other_step = judge_sizes(mixed, sizes(*mixed), "all", evaluate, seed=4)
    pd.testing.assert_frame_equal(given, other)
    assert step == other_step


def test_more_patients_that_help_are_told_from_those_that_do_not(evaluate):
    def concludes(fewer, more):
        tables = {0.5: fewer, 1.0: more}
        return conclude_learning_curve(judge_sizes(tables, sizes(0.5, 1.0), "all", evaluate, 1)[1])

    assert concludes(table(0.3), table(2.0)) == "improves"
    assert concludes(table(2.0), table(0.3)) == "worsens"
    near = table(1.0)
    near["logit"] += np.random.default_rng(1).normal(0, 0.5, len(near))
    assert concludes(near.assign(probability=expit(near["logit"])), table(1.0)) == "inconclusive"


def test_equal_networks_are_rarely_called_apart(evaluate):
    """Equal noise on the same images: about 2.5% of the steps seem to help, of 40 at most 5."""
    few = evaluate.model_copy(update={"bootstrap_draws": 200})
    helped = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        tables = {}
        for fraction in (0.5, 1.0):
            noisy = table(1.0, seed)
            noisy["logit"] += draw.normal(0, 0.7, len(noisy))
            tables[fraction] = noisy.assign(probability=expit(noisy["logit"]))
        step = judge_sizes(tables, sizes(*tables), "all", few, seed)[1]
        helped += conclude_learning_curve(step) == "improves"
    assert helped <= 5


def test_without_fractions_there_is_a_header_and_a_hint(evaluate):
    points, step = judge_sizes({}, sizes(), "all", evaluate, 1)
    assert points.empty and list(points.columns) == list(COLUMNS)
    assert conclude_learning_curve(step) == "off"


@pytest.mark.promise("E31")
def test_too_few_test_patients_are_said_to_be_so(evaluate):
    few = evaluate.model_copy(update={"min_patients": 500})
    points, step = judge_sizes(TABLES, sizes(*TABLES), "all", few, 1)
    assert points[["auroc", "kappa"]].isna().all(axis=None)
    assert conclude_learning_curve(step) == "too_few"


def test_tables_that_do_not_belong_together_are_refused(evaluate):
    with pytest.raises(InputError, match="data/learning_curve"):
        judge_sizes(TABLES, sizes(0.25, 1.0), "all", evaluate, 1)
    lacking = TABLES | {0.5: TABLES[0.5].iloc[:-1]}
    with pytest.raises(InputError, match="50.00%"):
        judge_sizes(lacking, sizes(*lacking), "all", evaluate, 1)


def test_only_body_parts_that_were_learnt_from_are_judged(evaluate):
    more = {
        f: pd.concat([t, images("test", 0.0, 9, part="WRIST")], ignore_index=True)
        for f, t in TABLES.items()
    }
    points, step = judge_sizes(more, sizes(*more), ("HAND",), evaluate, 1)
    assert points["test_studies"].tolist() == [120] * 3
    assert step["n"] == 120
