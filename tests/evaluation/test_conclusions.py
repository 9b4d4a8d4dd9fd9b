"""Every code of every decision has sentences, with the numbers and without the code's own name."""

import re
from typing import get_args

import pytest

from ulna.checks.shortcuts import BASELINES, SHOWN, BaselinesCode, Finding, OcclusionCode
from ulna.evaluation import NOTES, conclusions
from ulna.evaluation.calibration import CalibrationCode, Fault
from ulna.evaluation.comparison import ComparisonCode
from ulna.evaluation.cross_part import CellNote
from ulna.evaluation.evaluate import Note, PerformanceCode
from ulna.evaluation.overfitting import End, HistoryCode, LearningCurveCode, OverfittingCode

UNDEFINED = {"too_few", "one_class", "off", "not_shown_undefined"}


def estimate(name: str, value: float | None = 0.123) -> dict[str, float | None]:
    """A number and its CI, all of them undefined if one is."""
    ends = (None, None) if value is None else (value - 0.2, value + 0.2)
    return dict(zip((name, f"{name}_low", f"{name}_high"), (value, *ends), strict=True))


def calibration(code: str, faults: tuple[str, ...] = ()) -> dict[str, object]:
    slope = None if code in UNDEFINED else 0.71
    return {
        "conclusion": code, "faults": faults, "n": 1234, "abnormal": 567, "min_per_class": 100,
        "n_val": 39, "min_val": 100,
        "before": {"log_loss": 0.392} | estimate("slope", 0.93) | estimate("intercept", 0.21),
        "after": {"log_loss": 0.418} | estimate("slope", slope) | estimate("intercept", slope),
    }  # fmt: skip


def step(code: str) -> dict[str, object]:
    if code == "off":
        return {}
    value = None if code == "too_few" else -0.456
    auroc = dict(zip(("difference", "low", "high"), estimate("", value).values(), strict=True))
    return {"from_patients": 60, "to_patients": 1200, "auroc": auroc}


def pair(code: str) -> dict[str, object]:
    auroc = {"difference": -0.111, "low": -0.222, "high": -0.033}
    if code in ("too_few", "one_class", "no_ci"):
        auroc = {"difference": None if code != "no_ci" else 0.0, "low": None, "high": None}
    study = {"n": 1234, "abnormal": 0, "patients": 987, "auroc": auroc}
    return {"conclusion": code, "at_chance": ["second"], "study": study}


def baselines(code: str) -> dict[str, object]:
    def row(name: str) -> dict[str, object]:
        flag = code == "alarm" and name in ("views", "picture")
        informative = flag or (code != "too_few" and name == "intensity")
        score = estimate("auroc", None if code == "too_few" else 0.765)
        return score | {"n": 1234, "flag": flag, "informative": informative}

    return {"conclusion": code, "max_auroc_high": 0.61} | {name: row(name) for name in BASELINES}


def occlusion(code: str, finding: str = "weak") -> dict[str, object]:
    value = None if finding == "too_few" else 0.765
    found = {"finding": finding} | {shown: estimate("auroc", value) for shown in SHOWN}
    return {"conclusion": code, "flag": code == "alarm", "cnn": found}


def course(code: str, end: str = "limit") -> dict[str, object]:
    phases = {"head": {"first": 1, "last": 1, "ended": end},
              "finetune": {"first": 2, "last": 9, "ended": end}}  # fmt: skip
    return {"conclusion": code, "kept": 7, "epochs": 9, "val_loss_kept": 0.321, "phases": phases,
            "early_stopping_epochs": 8}  # fmt: skip


def gap(code: str) -> dict[str, object]:
    value = None if code == "too_few" else 0.123
    sides = {"train": {"patients": 1200}, "test": {"patients": 61} | estimate("auroc_gap", value)}
    return {"conclusion": code} | sides


def scores(code: str) -> dict[str, object]:
    value = None if code == "too_few" else 0.765
    sizes = {"n": 19, "abnormal": 7, "val_n": 8, "val_abnormal": 2}
    return {"conclusion": code} | sizes | estimate("auroc", value) | estimate("kappa", value)


SENTENCES = [
    *((c, conclusions.performance(scores(c), "cnn"), ("CNN",)) for c in get_args(PerformanceCode)),
    *((c, conclusions.calibration(calibration(c), "cnn"), ("CNN",))
      for c in get_args(CalibrationCode)),
    *((c, conclusions.calibration_in_short(calibration(c), "cnn"), ("CNN",))
      for c in get_args(CalibrationCode)),
    *((f, conclusions.calibration(calibration("not_calibrated", (f,)), "cnn"), ("1,234", "0.71"))
      for f in get_args(Fault)),
    *((c, conclusions.comparison(pair(c), "ensemble", "densenet169"),
       ("nsemble", "DenseNet169", "1,234", "987")) for c in get_args(ComparisonCode)),
    *((c, conclusions.overfitting(gap(c), "cnn"), ("CNN", "1,200", "61"))
      for c in get_args(OverfittingCode)),
    *((c, conclusions.history(course(c), "cnn"), ("7", "9", "0.321"))
      for c in get_args(HistoryCode)),
    *((e, conclusions.history(course("past_best", e), "cnn"), ("epoch 1,", "epochs 2 to 9"))
      for e in get_args(End)),
    *((c, conclusions.learning_curve({"conclusion": c, "arch": "cnn", "step": step(c)}),
       () if c == "off" else ("CNN", "60", "1,200")) for c in get_args(LearningCurveCode)),
    *((c, conclusions.baselines(baselines(c)), () if c == "too_few" else ("mean intensity",))
      for c in get_args(BaselinesCode)),
    *((c, conclusions.occlusion(occlusion(c)), ("CNN", "0.765")) for c in get_args(OcclusionCode)),
    *((f, conclusions.occlusion(occlusion("no_alarm", f)), ("CNN",)) for f in get_args(Finding)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "sentence", "parts"), SENTENCES)
def test_every_code_has_a_sentence_with_its_numbers(
    code: str, sentence: str, parts: tuple[str, ...]
) -> None:
    assert "_" not in sentence.replace("learning_curve.", "").replace("min_patients", "")
    assert sentence[0].isupper() and sentence.endswith(".") and "  " not in sentence
    assert not re.search(r"nan|None|-\d", sentence)
    for part in parts:
        assert part in sentence, sentence


@pytest.mark.parametrize(
    "sentence",
    [
        [conclusions.performance(scores(c), "cnn") for c in get_args(PerformanceCode)],
        [conclusions.calibration(calibration(c), "cnn") for c in get_args(CalibrationCode)],
        [conclusions.comparison(pair(c), "cnn", "ensemble") for c in get_args(ComparisonCode)],
        [conclusions.overfitting(gap(c), "cnn") for c in get_args(OverfittingCode)],
        [conclusions.baselines(baselines(c)) for c in get_args(BaselinesCode)],
        [conclusions.occlusion(occlusion("alarm", f)) for f in get_args(Finding)],
    ],
)
def test_no_two_codes_read_alike(sentence: list[str]) -> None:
    assert len(set(sentence)) == len(sentence)


def test_the_better_network_is_named_first_and_its_lead_is_positive() -> None:
    first = conclusions.comparison(pair("first_better"), "cnn", "ensemble")
    second = conclusions.comparison(pair("second_better"), "cnn", "ensemble")
    assert first.index("CNN") < first.index("ensemble")
    assert second.index("ensemble") < second.index("CNN")
    assert "0.111 (95% CI 0.033 to 0.222)" in second


def test_an_alarm_names_its_baselines() -> None:
    sentence = conclusions.baselines(baselines("alarm"))
    assert (
        conclusions.BASELINES["views"] in sentence and conclusions.BASELINES["picture"] in sentence
    )
    assert conclusions.BASELINES["body_part"] not in sentence


@pytest.mark.parametrize("passed", [True, False])
def test_a_randomization_test_has_a_sentence_with_its_limits(passed: bool) -> None:
    correlations = {"head": 0.456, "block1": None if passed else 0.345}
    summary = {
        "passed": passed, "images": 32, "head_limit": 0.7, "all_limit": 0.5,
        "rank_correlation": correlations,
    }  # fmt: skip
    sentence = conclusions.randomization(summary, "densenet169")
    assert all(part in sentence for part in ("DenseNet169", "0.46", "0.7", "0.5", "32"))
    assert ("0.34" in sentence) is not passed and ("undefined" in sentence) is passed


def test_few_studies_are_told_with_their_numbers() -> None:
    sentence = conclusions.performance(scores("too_few"), "cnn")
    assert sentence.startswith("Too few to tell whether CNN is better than chance: ")
    assert "19 of test (7 abnormal) and 8 of val (2 abnormal), and 20 studies of each" in sentence


def test_harmful_scaling_is_told_and_not_recommended() -> None:
    sentence = conclusions.calibration(calibration("harmful"), "cnn")
    assert "log loss is 0.418 after it and 0.392 before it, so use the probabilities" in sentence
    assert "slope is 0.93" in sentence and "0.71" not in sentence
    few = conclusions.calibration(calibration("not_shown_few_val"), "cnn")
    assert "no temperature is fitted on 39 val studies, fewer than 100" in few


@pytest.mark.parametrize(
    ("found", "false", "sentence"),
    [
        (25, 2, "Of 33 abnormal studies 25 are found; of 40 normal ones 2 are false alarms."),
        (1, 1, "Of 33 abnormal studies 1 is found; of 40 normal ones 1 is a false alarm."),
    ],
)
def test_what_is_found_is_counted_in_words(found: int, false: int, sentence: str) -> None:
    counts = {"n": 73, "abnormal": 33, "true_positives": found, "false_positives": false}
    assert conclusions.found_and_false(counts) == sentence


@pytest.mark.promise("H43")
def test_what_is_found_and_missed_is_named_with_its_counts() -> None:
    counts = {
        "displaced_fracture": (4, 0, None), "hardware": (18, 18, 1.0), "lesion": (12, 6, 0.5),
        "hairline_fracture": (20, 9, 0.45), "joint_effusion": (1200, 900, 0.75),
    }  # fmt: skip
    names = ("studies", "found", "sensitivity")
    summary = {name: dict(zip(names, row, strict=True)) for name, row in counts.items()}
    assert conclusions.by_finding(summary) == (
        "It finds hardware (18 of 18), joint effusion (900 of 1,200); it finds only some of "
        "lesions (6 of 12); it misses hairline fractures (9 of 20), displaced fractures (0 of 4, "
        "too few for an interval)."
    )
    assert conclusions.by_finding(None) == (
        "The data do not name findings: what it misses cannot be known."
    )
    assert conclusions.by_finding({}) == "No test study is abnormal."


def test_scores_without_flagged_studies_stand_beside_the_headline() -> None:
    rest = {"left_out": 3} | estimate("auroc", 0.7)
    metrics = {"study": estimate("auroc", 0.85), "without_flagged": rest}
    sentence = conclusions.without_flagged(metrics)
    assert all(part in sentence for part in ("flagged (3)", "0.700", "0.850"))
    assert conclusions.without_flagged({"without_flagged": {"left_out": 0}}) == ""


def test_maps_stand_beside_three_levels_that_need_no_network() -> None:
    game = {
        "value": 0.731, "low": 0.578, "high": 0.871, "n": 1078, "chance_even": 0.123,
        "chance_other_maps": 0.275, "chance_brightness": 0.513,
    }  # fmt: skip
    summary = {"at_chance": False, "localization": {"abnormal": {"pointing_game": game}}}
    sentence = conclusions.saliency(summary, "cnn")
    for part in ("0.73", "0.58", "0.87", "1,078", "0.12", "0.28", "0.51"):
        assert part in sentence
    assert "nothing to show" not in sentence
    weak = conclusions.saliency(summary | {"at_chance": True}, "cnn")
    assert weak == f"CNN is no better than chance, so its maps have nothing to show. {sentence}"
    few = {"abnormal": {"pointing_game": dict.fromkeys(game) | {"n": 17, "patients": 9}}}
    assert conclusions.saliency(summary | {"localization": few}, "cnn") == (
        "Too few to tell whether the maps point at findings: 17 abnormal images of 9 patients "
        "have a box."
    )
    unknown = conclusions.saliency({"at_chance": False, "localization": None}, "cnn")
    assert unknown == "The data have no ground-truth boxes to hold its maps against."


def test_body_parts_and_findings_have_sentences() -> None:
    side = {"studies": 1234, "abnormal": 500} | estimate("auroc", 0.9)
    difference = estimate("auroc", -0.05)
    sides = {
        "seen": side,
        "unseen": side | estimate("auroc", None),
        "seen_minus_unseen": difference,
    }
    sentence = conclusions.cross_part(sides, "FOREARM+HUMERUS")
    assert all(
        part in sentence for part in ("FOREARM+HUMERUS", "1,234", "0.900", "undefined", "−0.050")
    )
    assert "too few" not in sentence
    sides["seen"] = side | {"abnormal": 19}
    assert "too few to tell" in conclusions.cross_part(sides, "FOREARM+HUMERUS")
    counted = {"images": 1009, "studies": 348, "findings": {"mixed_labels": 4, "tiny": 0}}
    sentence = conclusions.audit(counted)
    assert "1,009" in sentence and "4 mixed labels" in sentence and "tiny" not in sentence


@pytest.mark.parametrize("codes", [Note, CellNote])
def test_every_note_of_a_table_has_a_name(codes: object) -> None:
    assert set(get_args(codes)) <= set(NOTES)
    assert set(conclusions.BASELINES) == set(BASELINES)
