from dataclasses import replace

import pytest
from report_data import make_report_data

from ulna.evaluation import conclusions
from ulna.report import verdict
from ulna.report.verdict import AGREEMENT, agreement


@pytest.fixture(scope="module")
def data(params):
    return make_report_data(params.evaluate)


def changed(data, name, **values):
    """The same data with other numbers of `metrics`; nested ones are replaced as a whole."""
    return replace(data, metrics={**data.metrics, name: data.metrics[name] | values})


def study(data, **values):
    return changed(data, data.best, study=data.metrics[data.best]["study"] | values)


def test_the_tiles_are_the_numbers_of_the_best_network_with_their_counts(data):
    shown = study(data, auroc=0.8281, auroc_low=0.71, auroc_high=None, n=73, abnormal=33,
                  true_positives=25, false_positives=2, kappa=0.65)  # fmt: skip
    auroc, sensitivity, specificity, kappa = verdict.tiles(shown)
    assert auroc.value == "0.83"
    assert "25 of 33 abnormal" in sensitivity.words and "2 of 40 normal" in specificity.words
    assert kappa.words.startswith("substantial agreement")


def test_an_undefined_number_has_no_interval(data):
    nothing = {"auroc": None, "auroc_low": None, "auroc_high": None}
    auroc, *_ = verdict.tiles(study(data, **nothing))
    assert (auroc.value, auroc.limits) == ("too few", "")


def test_words_for_kappa_are_those_of_landis_and_koch():
    words = {0.81: "almost perfect", 0.61: "substantial", 0.41: "moderate", 0.21: "fair"}
    words |= {0.1: "slight", -0.01: "no"}
    assert {kappa: agreement(kappa).strip() for kappa in words} == words
    assert list(AGREEMENT) == sorted(AGREEMENT, reverse=True)


def test_performance_comes_first_and_the_best_network_leads(data):
    first, *others = verdict.how_good(data)
    assert first == conclusions.performance(data.metrics[data.best]["study"], data.best)
    assert len(others) == len(data.networks) - 1


def test_it_is_said_what_is_found_or_that_it_cannot_be_known(data):
    row = {"studies": 8, "found": 2, "sensitivity": None}
    named = changed(data, data.best, by_finding={"lesion": row})
    assert conclusions.by_finding({"lesion": row}) in verdict.finds(named)
    assert "cannot be known" in verdict.finds(changed(data, data.best, by_finding=None))[1]


def test_only_what_speaks_against_it_is_a_doubt(data):
    counts = {"duplicate_across_splits": 0, "duplicate_label_conflict": 0}
    calm = changed(data, "audit", findings=counts)
    calm = changed(calm, "baselines", conclusion="no_alarm")
    calm = changed(calm, "occlusion", flag=False)
    calm = changed(calm, "overfitting", **{data.best: {"conclusion": "no_gap"}})
    summary = data.metrics[data.best]["calibration"]
    calm = changed(calm, data.best, calibration=summary | {"conclusion": "calibrated"})
    assert verdict.doubts(calm) == []
    assert "raised an alarm" in verdict.answers(calm)["What speaks against it?"][0]
    for name, values, word in (
        ("audit", {"findings": counts | {"duplicate_across_splits": 2}}, "2 images have a copy"),
        ("audit", {"findings": counts | {"duplicate_label_conflict": 1}}, "1 image has a copy"),
        ("occlusion", {"flag": True}, "Occlusion."),
        (data.best, {"calibration": summary | {"conclusion": "not_calibrated"}}, "not read them"),
    ):
        [doubt] = verdict.doubts(changed(calm, name, **values))
        assert word in doubt
    [doubt] = verdict.doubts(replace(calm, synthetic=True))
    assert "synthetic" in doubt


@pytest.mark.parametrize(
    ("conclusion", "word"),
    [("above_chance", "Use CNN"), ("no_better_than_chance", "Do not use"), ("too_few", "more")],
)
def test_the_next_step_depends_on_the_conclusion(data, conclusion, word):
    for arch in data.networks:
        scores = data.metrics[arch]["study"] | {"conclusion": conclusion}
        data = changed(data, arch, study=scores)
    assert word in verdict.next_steps(data)[0]


def test_findings_that_are_missed_are_the_next_step(data):
    rows = {"lesion": {"studies": 8, "found": 2}, "hardware": {"studies": 18, "found": 18}}
    step = verdict.next_steps(changed(data, data.best, by_finding=rows))[1]
    assert "lesion" in step and "hardware" not in step and "more of them" in step
    rows["lesion"]["studies"] = 80
    step = verdict.next_steps(changed(data, data.best, by_finding=rows))[1]
    assert "more of them" not in step
