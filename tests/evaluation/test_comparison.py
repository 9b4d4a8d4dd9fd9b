"""Comparison of two networks: paired, nothing where they are equal, and rarely a false alarm."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from params_files import write_params
from scipy.special import expit
from scipy.stats import binomtest

from stages.compare import compare as compare_stage
from stages.ensemble import ensemble as ensemble_stage
from ulna.core import InputError, paths
from ulna.core.predictions import write_predictions
from ulna.evaluation import LEVELS, conclusions
from ulna.evaluation.bootstrap import (
    METRICS,
    MIN_STUDIES,
    bootstrap_differences,
    bootstrap_weights,
    differences,
    percentile_ci,
)
from ulna.evaluation.comparison import (
    COLUMNS,
    OVERALL,
    all_pairs,
    compare_networks,
    conclude_comparison,
    delong,
    mcnemar,
    read_reference,
    tabulate,
)
from ulna.evaluation.evaluate import split_sha256
from ulna.evaluation.metrics import compute_metrics

PAIRS = all_pairs(["cnn", "densenet169"])
VAL = pd.DataFrame({"label": [0, 1] * MIN_STUDIES})  # just enough
TESTS = Path(__file__).parents[1]


def simulate(seed, patients=60, signals=(1.0, 1.0), shared=0.7) -> list[pd.DataFrame]:
    """One to three studies a patient, predicted by two networks whose errors are correlated."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    n = len(patient)
    labels = random.integers(0, 2, n)
    hard = random.normal(size=patients)[patient] * 0.5 + random.normal(size=n)
    tables = []
    for signal in signals:
        own = random.normal(size=n)
        logits = signal * (labels - 0.5) + shared * hard + np.sqrt(1 - shared**2) * own
        tables.append(
            pd.DataFrame(
                {
                    "patient": [f"p{number:04}" for number in patient],
                    "label": labels,
                    "probability": expit(logits),
                    "threshold": 0.5,
                }
            )
        )
    return tables


def both(first, second):
    """The same tables at both levels."""
    return {level: (first, second) for level in LEVELS}


def differ(first, second, replicates=200, min_patients=2, seed=1):
    return differences(
        first, second, bootstrap_weights(first["patient"], replicates, seed), min_patients
    )


# Differences and their intervals


def test_differences_are_those_of_the_scores():
    first, second = simulate(1, signals=(2.0, 0.5))
    second["threshold"] = 0.6
    found = differ(first, second)
    one, two = (
        compute_metrics(t["label"], t["probability"], t["threshold"]) for t in (first, second)
    )
    for name in METRICS:
        assert found[name]["difference"] == pytest.approx(one[name] - two[name], abs=1e-11)
    assert found["n"] == len(first) and found["abnormal"] == first["label"].sum()
    assert found["patients"] == 60


@pytest.mark.promise("A8")
def test_both_networks_have_the_same_replicates():
    """Against a loop that repeats the rows of each patient of a replicate."""
    first, second = simulate(2, patients=25, signals=(1.5, 0.5))
    replicates = bootstrap_weights(first["patient"], 40, 3)
    expected = {name: [] for name in METRICS}
    row_patient = np.searchsorted(replicates.patients, first["patient"])
    for replicate in replicates.weights.T:
        rows = np.repeat(np.arange(len(first)), replicate[row_patient].astype(int))
        one, two = (
            compute_metrics(t["label"].iloc[rows], t["probability"].iloc[rows], 0.5)
            for t in (first, second)
        )
        for name in METRICS:
            expected[name].append(one[name] - two[name])
    for name, values in bootstrap_differences(first, second, replicates).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-11)
    found = differences(first, second, replicates, min_patients=2)
    for name in METRICS:
        low, high = np.quantile(expected[name], [0.025, 0.975])
        assert [found[name]["low"], found[name]["high"]] == pytest.approx([low, high], abs=1e-11)


@pytest.mark.promise("A8")
def test_pairing_narrows_the_ci_of_similar_networks():
    first, second = simulate(3, shared=0.95)
    paired = differ(first, second)["auroc"]
    # The same two networks, each on patients of its own: what is hard for one no longer is for the
    # other. Unpaired intervals add up as squares.
    alone = []
    for table in (first, second):
        nothing = table.assign(probability=0.5)
        found = differ(table, nothing)["auroc"]
        alone.append(found["high"] - found["low"])
    assert paired["high"] - paired["low"] < 0.6 * np.hypot(*alone)


@pytest.mark.promise("A8")
def test_a_network_does_not_differ_from_itself():
    first, _ = simulate(4)
    found = compare_networks(
        both(first, first.copy()), VAL, bootstrap_weights(first["patient"], 200, 1), 2
    )
    for level, name in itertools.product(LEVELS, METRICS):
        assert found[level][name] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert found["study"]["delong"] == {"difference": 0, "standard_error": 0, "z": 0, "p": 1}
    assert found["study"]["mcnemar"] == {"b": 0, "c": 0, "p": 1}
    assert found["conclusion"] == "not_significant"


def test_a_difference_that_no_replicate_changes_has_no_ci():
    """The same decisions by other probabilities: no study that one alone decides rightly."""
    first, _ = simulate(6)
    positive = first["probability"] > 0.5
    second = first.assign(probability=first["probability"].where(positive, 0.25))
    found = differ(first, second)
    assert found["accuracy"]["difference"] == 0
    assert np.isnan([found["accuracy"]["low"], found["accuracy"]["high"]]).all()
    assert found["auroc"]["low"] < found["auroc"]["high"]


def test_the_smallest_difference_is_one():
    """One pair of an abnormal and a normal study in another order, of some thousand pairs."""
    first, _ = simulate(6)
    order = np.argsort(first["probability"].to_numpy())
    labels = first["label"].to_numpy()[order]
    place = np.flatnonzero((labels[:-1] == 1) & (labels[1:] == 0))[0]
    second, swapped = first.copy(), order[place : place + 2]
    second.loc[swapped, "probability"] = first.loc[swapped[::-1], "probability"].to_numpy()
    replicates = bootstrap_weights(first["patient"], 200, 1)
    expected = bootstrap_differences(first, second, replicates)["auroc"]
    pairs = labels.sum() * (1 - labels).sum()
    assert differences(first, second, replicates, 2)["auroc"]["difference"] == pytest.approx(
        -1 / pairs
    )
    # The pair is in a replicate when both patients are: in 40%, or in 63% if they are one.
    assert 0.3 < (expected < 0).mean() < 0.7 and (expected <= 0).all()


def test_swapping_the_networks_turns_every_number_round():
    first, second = simulate(5, signals=(2.0, 0.5))
    there, back = differ(first, second), differ(second, first)
    for name in METRICS:
        assert back[name]["difference"] == -there[name]["difference"]
        assert back[name]["low"] == pytest.approx(-there[name]["high"], abs=1e-11)
        assert back[name]["high"] == pytest.approx(-there[name]["low"], abs=1e-11)


def test_a_difference_in_few_replicates_has_a_ci_that_includes_0():
    """One patient of 60 is predicted differently, and absent from a third of the replicates."""
    first, _ = simulate(6)
    second = first.copy()
    changed = first["patient"] == "p0007"
    second.loc[changed, "probability"] = 1.0 - first["label"][changed]
    first.loc[changed, "probability"] = 1.0 * first["label"][changed]
    found = differ(first, second, replicates=1000)
    for name in METRICS:
        assert found[name]["low"] == 0 < found[name]["difference"] < found[name]["high"]


@pytest.mark.promise("A8")
def test_false_positive_rate_of_equally_good_networks():
    # Of 300 cases 5% have a standard deviation of 1.3%. With 50 patients the interval's share is
    # 6.4%, DeLong's 5.1% (800 cases); with 100 patients 4.5% and 4.4%.
    alarms = {"bootstrap": 0, "delong": 0, "mcnemar": 0}
    cases = 300
    for case in range(cases):
        first, second = simulate(1000 + case, patients=50)
        labels, replicates = first["label"], bootstrap_weights(first["patient"], 200, case)
        low, high = percentile_ci(bootstrap_differences(first, second, replicates)["auroc"])
        predicted = [table["probability"] > 0.5 for table in (first, second)]
        alarms["bootstrap"] += not low <= 0 <= high
        patients, scores = first["patient"], [table["probability"] for table in (first, second)]
        alarms["delong"] += delong(labels, *scores, patients)["p"] < 0.05
        alarms["mcnemar"] += mcnemar(labels, *predicted, patients)["p"] < 0.05
    assert 0.02 <= alarms["bootstrap"] / cases <= 0.10, alarms
    assert 0.02 <= alarms["delong"] / cases <= 0.10, alarms
    assert alarms["mcnemar"] / cases <= 0.07, alarms  # an exact test stays below its level


def test_a_better_network_is_found():
    first, second = simulate(7, patients=150, signals=(2.5, 0.5))
    found = compare_networks(
        both(first, second), VAL, bootstrap_weights(first["patient"], 200, 1), 2
    )
    assert found["study"]["auroc"]["low"] > 0.05
    assert found["study"]["delong"]["p"] < 1e-4
    assert found["study"]["mcnemar"]["p"] < 1e-3
    assert found["study"]["mcnemar"]["b"] > found["study"]["mcnemar"]["c"]


def test_a_network_at_chance_is_neither_better_nor_worse():
    """Though the difference excludes 0: that one ranks and the other does not is told of each."""
    first, second = simulate(7, patients=150, signals=(2.5, 0.0))
    replicates = bootstrap_weights(first["patient"], 200, 1)
    for tables, weak in (((first, second), "second"), ((second, first), "first")):
        found = compare_networks(both(*tables), VAL, replicates, 2)
        assert found["conclusion"] == "at_chance" and found["at_chance"] == [weak]
        assert abs(found["study"]["auroc"]["difference"]) > 0.2
        sentence = conclusions.comparison(found, *("cnn", "densenet169"))
        name = {"first": "CNN", "second": "DenseNet169"}[weak]
        assert sentence.startswith(f"{name} is no better than chance, so CNN and DenseNet169")


# Too few, undefined


@pytest.mark.promise("E31")
def test_fewer_than_20_studies_of_a_class_in_val_or_test_are_not_concluded_from():
    first, second = simulate(7, patients=150, signals=(2.5, 0.5))
    replicates = bootstrap_weights(first["patient"], 200, 1)
    few = (first["label"] == 0) | (first["label"].cumsum() < MIN_STUDIES)
    for val, rows in ((VAL[:-1], few | True), (VAL, few)):
        found = compare_networks(both(first[rows], second[rows]), val, replicates, 2)
        assert found["conclusion"] == "too_few"
        assert found["study"]["auroc"]["low"] > 0
    assert compare_networks(both(first, second), VAL, replicates, 2)["conclusion"] == "first_better"


@pytest.mark.parametrize(
    ("patients", "label", "conclusion"),
    [(9, None, "too_few"), (60, 0, "one_class"), (60, 1, "one_class")],
)
def test_few_patients_or_one_class_give_sizes_but_no_number(patients, label, conclusion):
    tables = simulate(8, patients=patients)
    if label is not None:
        tables = [table.assign(label=label) for table in tables]
    replicates = bootstrap_weights(tables[0]["patient"], 100, 1)
    found = compare_networks(both(*tables), VAL, replicates, min_patients=10)
    assert found["conclusion"] == conclusion
    for level in LEVELS:
        assert found[level]["n"] == len(tables[0])
        assert found[level]["patients"] == patients
        for name in METRICS:
            assert np.isnan(list(found[level][name].values())).all()
    for test in ("delong", "mcnemar"):
        assert np.isnan(list(found["study"][test].values())).all()


def test_as_many_patients_as_asked_for_are_enough():
    tables = simulate(8, patients=10)
    found = differ(*tables, min_patients=10)
    assert not np.isnan(found["auroc"]["low"])


def test_a_class_absent_from_many_replicates_gives_no_ci():
    first, second = simulate(9)
    labels = (first["patient"] == "p0003").astype(int)  # absent in 36% of the replicates
    first, second = (table.assign(label=labels) for table in (first, second))
    found = compare_networks(
        both(first, second), VAL, bootstrap_weights(first["patient"], 200, 1), 2
    )
    auroc = found["study"]["auroc"]
    assert not np.isnan(auroc["difference"]) and np.isnan([auroc["low"], auroc["high"]]).all()
    assert found["conclusion"] == "too_few"


def test_two_networks_without_an_error_have_no_ci():
    first, second = simulate(9)
    labels = first["label"]
    first, second = (
        t.assign(probability=0.5 * labels + t["probability"] / 3) for t in (first, second)
    )
    found = compare_networks(
        both(first, second), VAL, bootstrap_weights(first["patient"], 200, 1), 2
    )
    assert found["study"]["auroc"]["difference"] == 0
    assert np.isnan(found["study"]["auroc"]["low"])
    assert found["conclusion"] == "no_ci"


# The conclusion


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [
        (-0.05, 0.11, "not_significant"),
        (0.0, 0.11, "not_significant"),
        (-0.08, 0.0, "not_significant"),
        (0.01, 0.15, "first_better"),
        (-0.15, -0.01, "second_better"),
    ],
)
def test_a_network_is_better_where_the_interval_excludes_0(low, high, conclusion):
    study = {"n": 73, "abnormal": 33, "patients": 61, "auroc": {"low": low, "high": high}}
    assert conclude_comparison(study, False, []) == conclusion
    assert conclude_comparison(study, True, []) == "too_few"
    assert conclude_comparison(study, False, ["second"]) == "at_chance"


def test_predictions_are_above_the_threshold_of_each_network_not_on_it():
    first, second = simulate(11)
    first["probability"], first["threshold"] = 0.5, 0.5  # on it: all normal
    second["probability"], second["threshold"] = 0.5, 0.4  # all abnormal
    found = compare_networks(
        both(first, second), VAL, bootstrap_weights(first["patient"], 100, 1), 2
    )
    abnormal = int(first["label"].sum())
    assert found["study"]["mcnemar"]["b"] == len(first) - abnormal
    assert found["study"]["mcnemar"]["c"] == abnormal


# The table and the stage


def test_the_table_lists_every_pair_level_and_metric_with_its_numbers():
    first, second = simulate(12)
    found = compare_networks(
        both(first, second), VAL, bootstrap_weights(first["patient"], 100, 1), 2
    )
    table = tabulate(dict.fromkeys(PAIRS, found))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(PAIRS) * len(LEVELS) * len(METRICS)
    assert not table.duplicated(["first", "second", "level", "metric"]).any()
    for row in table.itertuples():
        assert (row.first, row.second) in PAIRS
        expected = found[row.level][row.metric]
        assert (row.difference, row.low, row.high) == tuple(expected.values())
        assert row.n == found[row.level]["n"] and row.patients == 60


def predictions(seed, signals=(2.0, 0.5)) -> list[pd.DataFrame]:
    """Prediction tables of two networks: 60 patients of val and test, two images a study."""
    tables = []
    for table in simulate(seed, signals=signals):
        images = table.loc[table.index.repeat(2)].reset_index(drop=True)
        study = images.index // 2
        val = images["patient"] < "p0030"
        probability = images["probability"]
        tables.append(
            pd.DataFrame(
                {
                    "image": [f"{row:04}.png" for row in images.index],
                    "patient": images["patient"],
                    "study": [f"s{number:04}" for number in study],
                    "body_part": "HAND",
                    "split": np.where(val, "val", "test"),
                    "label": images["label"],
                    "logit": np.log(probability) - np.log1p(-probability),
                    "probability": probability,
                }
            )
        )
    return tables


def run_stages(folder, monkeypatch, cnn, densenet169):
    """Write the tables, average and compare them with few replicates; read the details."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_params(paths.PARAMS, evaluate={"bootstrap_replicates": 100})
    write_predictions(paths.predictions("cnn"), cnn)
    write_predictions(paths.predictions("densenet169"), densenet169)
    ensemble_stage()
    compare_stage()
    return json.loads(paths.details("compare").read_text())


def test_the_stage_compares_three_pairs_on_test(tmp_path, monkeypatch, capsys):
    cnn, densenet169 = predictions(13)
    found = run_stages(tmp_path / "a", monkeypatch, cnn, densenet169)
    assert found.pop("split_sha256") == split_sha256(cnn)
    assert list(found) == ["cnn_vs_densenet169", "ensemble_vs_cnn", "ensemble_vs_densenet169"]
    test, shown = cnn[cnn["split"] == "test"], capsys.readouterr().out
    for pair in found.values():
        assert pair["study"]["n"] == test["study"].nunique()
        assert pair["image"]["n"] == len(test)
        assert pair["study"]["patients"] == pair["image"]["patients"] == 30
    written = pd.read_csv(paths.table("compare"))
    [row] = written.query(
        "first == 'ensemble' and second == 'cnn' and level == 'image' and metric == 'f1'"
    ).itertuples()
    assert row.difference == found["ensemble_vs_cnn"]["image"]["f1"]["difference"]
    for key, pair in found.items():
        assert conclusions.comparison(pair, *key.split("_vs_")) in shown


@pytest.mark.promise("A8")
def test_the_stage_finds_no_difference_between_equal_tables(tmp_path, monkeypatch):
    cnn, _ = predictions(14)
    found = run_stages(tmp_path / "a", monkeypatch, cnn, cnn)["cnn_vs_densenet169"]
    for level, name in itertools.product(LEVELS, METRICS):
        assert found[level][name] == {"difference": 0, "low": 0, "high": 0}
    assert found["study"]["delong"]["p"] == found["study"]["mcnemar"]["p"] == 1


def test_the_thresholds_come_from_val_alone(tmp_path, monkeypatch):
    """With the labels of test turned round, every decision stays: right and wrong swap."""
    tables = predictions(15)
    there = run_stages(tmp_path / "a", monkeypatch, *tables)
    turned = [t.assign(label=t["label"].where(t["split"] == "val", 1 - t["label"])) for t in tables]
    back = run_stages(tmp_path / "b", monkeypatch, *turned)
    for first, second in PAIRS:
        one, two = (found[f"{first}_vs_{second}"]["study"] for found in (there, back))
        assert one["mcnemar"]["b"] == two["mcnemar"]["c"]
        assert one["mcnemar"]["c"] == two["mcnemar"]["b"]
        assert one["accuracy"]["difference"] == pytest.approx(-two["accuracy"]["difference"])


def test_the_same_tables_give_the_same_bytes(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        run_stages(tmp_path / folder, monkeypatch, *predictions(16))
    for name in ("metrics/details/compare.json", "plots/tables/compare.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_stage_rejects_tables_of_other_images(tmp_path, monkeypatch):
    cnn, densenet169 = predictions(17)
    run_stages(tmp_path / "a", monkeypatch, cnn, densenet169)
    write_predictions(paths.predictions("densenet169"), densenet169.iloc[1:])
    with pytest.raises(InputError, match="densenet169 lack image '0000.png'"):
        compare_stage()


# DeLong's test


def brute_force(labels, first, second, patients):
    """Obuchowski's test as written down: structural components of all pairs, in exact fractions."""
    labels, patients = np.asarray(labels), np.asarray(patients)
    components = []
    for scores in (first, second):
        psi = [
            [Fraction(int(x > y) * 2 + int(x == y), 2) for y in np.asarray(scores)[labels == 0]]
            for x in np.asarray(scores)[labels == 1]
        ]
        v10 = [sum(row) / len(row) for row in psi]
        v01 = [sum(column) / len(column) for column in zip(*psi, strict=True)]
        components.append((v10, v01, sum(v10) / len(v10)))
    names = sorted(set(patients))

    def sums(network, side, label):
        own, area = components[network][side], components[network][2]
        of_class = patients[labels == label]
        return [sum(v - area for v, p in zip(own, of_class, strict=True) if p == n) for n in names]

    def covariance(one, two):
        m, n = int(labels.sum()), int((1 - labels).sum())
        with_m, with_n = (len(set(patients[labels == label])) for label in (1, 0))
        a, b = (sums(network, 0, 1) for network in (one, two))
        c, d = (sums(network, 1, 0) for network in (one, two))

        def product(x, y):
            return sum(p * q for p, q in zip(x, y, strict=True))

        s10 = Fraction(with_m, (with_m - 1) * m) * product(a, b)
        s01 = Fraction(with_n, (with_n - 1) * n) * product(c, d)
        s11, s11_back = (
            Fraction(len(names), len(names) - 1) * product(*each) for each in ((a, d), (c, b))
        )
        return s10 / m + s01 / n + (s11 + s11_back) / (m * n)

    variance = covariance(0, 0) + covariance(1, 1) - 2 * covariance(0, 1)
    return float(components[0][2] - components[1][2]), float(variance) ** 0.5


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_delong_equals_its_definition_with_ties_and_patients(data):
    positives, negatives = (data.draw(st.integers(2, 8)) for _ in range(2))
    labels = data.draw(st.permutations([1] * positives + [0] * negatives))
    scores = st.lists(st.integers(0, 6), min_size=len(labels), max_size=len(labels))
    first, second, owners = data.draw(scores), data.draw(scores), data.draw(scores)
    for patients in (owners, range(len(labels))):
        classes = [{p for p, y in zip(patients, labels, strict=True) if y == k} for k in (0, 1)]
        found = delong(labels, first, second, patients)
        if min(map(len, classes)) < 2:
            assert np.isnan(list(found.values())).all()
            continue
        difference, error = brute_force(labels, first, second, patients)
        assert found["difference"] == pytest.approx(difference, abs=1e-12)
        assert found["standard_error"] == pytest.approx(error, abs=1e-7)
        if error:
            assert found["standard_error"] == pytest.approx(error, rel=1e-6)
            assert found["z"] == pytest.approx(difference / error, rel=1e-6, abs=1e-12)


def test_delong_of_an_example_by_hand():
    # First: the abnormal beat 3 of 3, 2 of 3 normal ones; the normal are beaten by 2, 2, 1 of 2.
    # Second: 1 of 3 and 2 of 3; by 2, 1, 0 of 2. Areas 5/6 and 1/2.
    labels = [1, 1, 0, 0, 0]
    first = [0.9, 0.5, 0.1, 0.2, 0.7]
    second = [0.3, 0.5, 0.1, 0.4, 0.8]
    # Components, first minus second: of the abnormal 2/3, 0, with mean 1/3 and variance 2/9; of the
    # normal 0, 1/2, 1/2, with mean 1/3 and variance 1/12. Together 2/9 / 2 + 1/12 / 3 = 5/36.
    found = delong(labels, first, second, list("abcde"))
    assert found["difference"] == pytest.approx(1 / 3)
    assert found["standard_error"] == pytest.approx((5 / 36) ** 0.5)
    assert found["z"] == pytest.approx(2 / 5**0.5)
    assert found["p"] == pytest.approx(0.3710933695)  # 2 (1 - Phi(0.8944272))


def test_delong_looks_at_ranks_alone_and_turns_round_with_the_networks():
    tables = simulate(10)
    first, second = (table["probability"] for table in tables)
    labels, patients = tables[0]["label"], tables[0]["patient"]
    there = delong(labels, first, second, patients)
    assert delong(labels, np.log(first), second**3, patients) == there
    back = delong(labels, second, first, patients)
    assert back["difference"] == -there["difference"] and back["z"] == -there["z"]
    assert back["p"] == there["p"]


def test_the_error_of_delong_is_the_spread_over_samples_of_patients():
    """Three studies a patient, alike in what is hard: by study the error would be too small."""
    areas, errors, by_study = [], [], []
    random = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 3)
    labels = patients % 2
    for _ in range(300):
        hard = random.normal(size=(2, 40))[:, patients]
        first, second = (labels + own + 0.3 * random.normal(size=120) for own in hard)
        found = delong(labels, first, second, patients)
        areas.append(found["difference"])
        errors.append(found["standard_error"])
        by_study.append(delong(labels, first, second, np.arange(120))["standard_error"])
    # The sd of 300 differences is known to 1 / sqrt(600) = 4%.
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.12)
    assert np.mean(by_study) < 0.7 * np.std(areas)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0], []])
def test_delong_without_two_of_each_class_is_undefined(labels):
    scores = np.arange(len(labels))
    assert np.isnan(list(delong(labels, scores, scores, scores).values())).all()


def test_two_studies_of_one_patient_are_not_two_patients():
    scores = [0.1, 0.2, 0.3, 0.4]
    found = delong([0, 1, 0, 1], scores, scores, ["a", "b", "c", "b"])
    assert np.isnan(list(found.values())).all()


def test_delong_of_a_difference_without_spread_has_no_p():
    found = delong([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1], range(4))
    assert found["difference"] == 1 and found["standard_error"] == 0
    assert np.isnan([found["z"], found["p"]]).all()


# McNemar's test


def test_mcnemar_of_an_example_by_hand():
    # The first alone is right 9 times, the second once: 2 (1 + 10) / 2^10.
    labels = [1] * 6 + [0] * 6
    first = [1] * 6 + [0] * 4 + [1, 1]
    second = [0] * 6 + [1] * 3 + [0] + [0, 1]
    found = mcnemar(labels, first, second, range(12))
    assert (found["b"], found["c"]) == (9, 1)
    assert found["p"] == pytest.approx(22 / 1024)


def test_mcnemar_sees_only_where_the_networks_differ():
    labels, first, second = [1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]
    assert mcnemar(labels, first, second, range(4)) == {"b": 0, "c": 0, "p": 1.0}
    more = ([*labels, 1, 0], [*first, 1, 1], [*second, 0, 0])
    assert mcnemar(*more, range(6)) == {"b": 1, "c": 1, "p": 1.0}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans(), st.integers(0, 5))))
def test_mcnemar_is_the_share_of_all_swaps_of_patients(rows):
    """All 2^6 ways to swap the networks in some of six patients; by row: the binomial test."""
    labels, first, second, patients = ([row[column] for row in rows] for column in range(4))
    found = mcnemar(labels, first, second, patients)
    ahead = [int(a == y) - int(b == y) for y, a, b in zip(labels, first, second, strict=True)]
    lead = [sum(d for d, p in zip(ahead, patients, strict=True) if p == k) for k in range(6)]
    swapped = [
        abs(sum(sign * each for sign, each in zip(signs, lead, strict=True)))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    assert found["p"] == pytest.approx(np.mean(np.array(swapped) >= abs(sum(lead))), abs=1e-12)
    assert (found["b"], found["c"]) == (ahead.count(1), ahead.count(-1))
    alone = mcnemar(labels, first, second, range(len(rows)))
    differ = found["b"] + found["c"]
    expected = binomtest(found["b"], differ).pvalue if differ else 1.0
    assert alone["p"] == pytest.approx(expected, abs=1e-12)


def test_mcnemar_takes_studies_of_a_patient_together():
    # Ten studies that the first alone decides rightly: 2 / 2^10 of ten patients, 2 / 2 of one.
    labels, first, second = [1] * 10, [1] * 10, [0] * 10
    assert mcnemar(labels, first, second, range(10))["p"] == pytest.approx(2 / 1024)
    assert mcnemar(labels, first, second, ["p"] * 10)["p"] == 1
    assert mcnemar(labels, first, second, [k // 2 for k in range(10)])["p"] == pytest.approx(2 / 32)


PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST", OVERALL]


def test_the_models_kappas_are_those_of_the_paper_by_body_part_and_overall() -> None:
    table = read_reference()
    assert list(table.columns) == ["reader", "body_part", "kappa"]
    model = table.query("reader == 'model'")
    assert model["body_part"].tolist() == PARTS
    assert model["kappa"].tolist() == [0.710, 0.389, 0.737, 0.851, 0.600, 0.729, 0.931, 0.705]


def test_of_the_radiologists_only_the_best_ones_overall_kappa_was_checked() -> None:
    others = read_reference().query("reader != 'model'")
    assert others.to_numpy().tolist() == [["best radiologist", OVERALL, 0.778]]
