"""DeLong's and McNemar's tests against their definitions, by row and by patient."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from test_comparison import simulate

from ulna.judging.paired_tests import delong, mcnemar

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
