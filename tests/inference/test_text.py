"""The words of a prediction: every code has a sentence, every line fits 120 columns."""

import math
from typing import get_args

import pytest
from predictions import BUNDLE, make_bundle, make_refused, make_study, make_view

from ulna.evaluation.calibration import CalibrationCode
from ulna.inference import text
from ulna.inference.outputs import make_record

STUDIES = {
    "plain": make_study(),
    "normal": make_study(probability=0.2),
    "a view refused": make_study(refused=(make_refused("a/2.png"),)),
    "no answer": make_study(
        probability=math.nan, threshold=math.nan, views=(), refused=(make_refused("a/1.png"),)
    ),
}


def record_of(study):
    return make_record(study, make_bundle(), None, {})


def head(**changes):
    bundle = make_bundle(**changes)
    return text.bundle_lines(bundle.record, bundle.sha256, "this repository's bundle cnn", "b/cnn")


def test_every_warning_has_a_sentence_and_a_short_name():
    assert all(sentence.endswith(".") for sentence in text.WARNINGS.values())
    assert set(text.SHORT) == set(text.WARNINGS)


def test_each_conclusion_on_calibration_has_words():
    assert set(text.CALIBRATION) <= set(get_args(CalibrationCode))
    for code in get_args(CalibrationCode):
        assert "calibrated" in head(calibration={"conclusion": code})[2]


@pytest.mark.parametrize("name", STUDIES)
def test_no_line_is_longer_than_120(name):
    study = make_study(**{**vars(STUDIES[name]), "study": "folder/" * 40 + "\x1b[2J"})
    study.warnings = tuple(text.WARNINGS)
    lines = [
        text.study_line(record_of(study)),
        *text.study_lines(record_of(study), "Youden's J on 107 val studies")[1:],
        *head(),
    ]
    assert max(map(len, lines)) <= text.COLUMNS
    assert all(line.isprintable() for line in lines)


def test_the_head_says_what_the_numbers_mean():
    assert head() == [
        "CNN, this repository's bundle cnn, trained on 100 drawn studies: its answers on real "
        "radiographs mean nothing",
        "On its 139 test studies: AUROC 0.83 (0.75 to 0.89), sensitivity 0.71 (0.60 to 0.82), "
        "specificity 0.79 (0.69 to 0.88)",
        "Abnormal is any finding, not a fracture alone. Probabilities: not shown to be calibrated "
        "(too few val studies)",
        "More: MODEL_CARD.md in b/cnn (bundle abababababab)",
    ]
    data = {"synthetic": False, "root": "MURA-v1.1.zip"}
    assert head(data=data)[0].endswith(", trained on 100 studies of MURA-v1.1.zip")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("half", "0.5 for any data"),
        ("kappa", "Cohen's kappa on 107 val studies"),
        ("sensitivity", "at least 90% sensitivity on 107 val studies"),
    ],
)
def test_each_rule_of_a_threshold_has_words(rule, words):
    threshold = {**BUNDLE["threshold"], "rule": rule, "min_sensitivity": 0.9}
    assert text.describe_rule(threshold) == words


def test_the_end_counts_and_names_ten_refused_files():
    lines = text.summary_lines(9_997, 3, 12, [f"{n}.png: damaged" for n in range(10)], {})
    assert lines[0] == "9,997 studies answered, 3 abnormal; 12 files refused:"
    assert lines[1] == "  0.png: damaged" and lines[-1] == "  and 2 more" and len(lines) == 12
    assert text.summary_lines(1, 0, 0, [], {}) == ["1 study answered, 0 abnormal; 0 files refused"]


def test_the_end_counts_the_warnings_that_no_study_has_shown():
    warned = {"maybe_inverted": 1, "unlike_training_images": 1_500}
    assert text.summary_lines(2_000, 7, 0, [], warned) == [
        "2,000 studies answered, 7 abnormal; 0 files refused",
        "Warnings: 1,500 unlike the training images, 1 may be inverted",
    ]
    assert max(map(len, text.summary_lines(1, 0, 0, [], dict.fromkeys(text.SHORT, 9_999)))) <= 120


def test_numbers_that_differ_are_shown_to_differ():
    assert text.format_pair(0.4, 0.4) == ("0.400", "0.400")
    assert text.format_pair(0.4, 0.4 + 1e-16) == ("0.4000000000000000", "0.4000000000000001")


def test_a_network_that_is_no_better_than_chance_is_said_to_be():
    study = {**BUNDLE["performance"]["study"], "conclusion": "no_better_than_chance"}
    lines = head(performance={**BUNDLE["performance"], "study": study})
    assert lines[1] == "No better than chance on its 139 test studies: AUROC 0.83 (0.75 to 0.89)"


def test_a_study_is_shown_with_threshold_rule_views_and_warnings():
    study = make_study(
        views=(make_view("a/1.png", warnings=("maybe_inverted",)), make_view("a/b/2.png", 0.0)),
        refused=(make_refused("a/3.png"),),
        warnings=("refused_views",),
    )
    rule = text.describe_rule(BUNDLE["threshold"])
    assert text.study_lines(record_of(study), rule) == [
        "a (WRIST)",
        "  ABNORMAL  probability 0.600, above the threshold 0.400 (Youden's J on 107 val studies)",
        "  Warning: Not every view could be read; the probability is that of the others.",
        "  0.622  1.png  [may be inverted]",
        "  0.500  b/2.png",
        "  refused  3.png: damaged or cut off",
    ]


def test_a_study_without_an_answer_says_so():
    lines = text.study_lines(record_of(STUDIES["no answer"]), "")
    assert lines[1] == "  no answer: no view could be read"
