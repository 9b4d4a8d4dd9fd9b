"""The model card: made from the record alone, and says the worst of it."""

import re

import pytest
from bundles import scores, tiny_record

from ulna.report.card import model_card


def plain(record):
    """The card as one line."""
    return " ".join(model_card(record).replace("\n> ", " ").split())


def test_a_card_names_use_and_limits_and_fits_120_columns():
    card = model_card(tiny_record(members=3))
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert headings == [
        "What it does",
        "How to use it",
        "What it was trained on",
        "Results on the test split",
        "Threshold",
        "Calibration",
        "Maps",
        "Known failures and limits",
        "How it was made",
    ]
    assert max(map(len, card.splitlines())) <= 120
    text = plain(tiny_record())
    for words in (
        "not a medical device",
        "not for clinical use",
        "Brighter than mid-grey.",  # what abnormal means
        "ulna predict --bundle BUNDLE",
        "Other body parts than HAND, WRIST were not trained on",
        "is not shown to be calibrated",
        "Inverted images",
        "5 of 20 on test",  # missed
    ):
        assert words in text


def test_numbers_are_the_records():
    record = tiny_record()
    record["performance"]["study"]["auroc"] = 0.87654
    record["performance"]["by_body_part"]["WRIST"] |= {"kappa": 0.31, "kappa_low": None}
    record["performance"]["by_finding"]["lesion"] |= {"studies": 13, "found": 4}
    card = model_card(record)
    assert "| AUROC | 0.877 (0.700 to 0.900) |" in card
    assert "| HAND | 20 (10) | 0.80 (0.70 to 0.90) | 0.50 (0.40 to 0.60) |" in card
    assert "| WRIST | 20 (10) | 0.80 (0.70 to 0.90) | 0.31 (no CI) |" in card
    assert "| lesion | 13 | 4 | 0.58 (0.31 to 0.81) |" in card
    assert "misses lesions (4 of 13)" in plain(record)
    assert "above 0.5000" in plain(record)
    assert "| WRIST | 0.6000 |" in card  # its own threshold


def test_synthetic_data_and_unknown_findings_are_said():
    record = tiny_record()
    assert "Numbers on real radiographs mean nothing" in model_card(record)
    assert "never seen a real radiograph" in plain(record)
    record["data"] |= {"synthetic": False, "root": "MURA-v1.1", "licence": "Stanford's terms."}
    record["performance"]["by_finding"] = None
    text = plain(record)
    assert "The data set MURA-v1.1. Stanford's terms." in text
    assert "mean nothing" not in text.replace("predictions of them mean nothing", "")
    assert "what it misses cannot be known" in text


@pytest.mark.parametrize(
    ("conclusion", "words"),
    [
        (
            "no_better_than_chance",
            "No better than chance on test: AUROC 0.800 (95% CI 0.700 to 0.900), Cohen's",
        ),
        ("below_chance", "Worse than chance"),
        ("too_few", "too few studies to tell whether"),
    ],
)
def test_a_network_at_chance_is_not_to_be_used(conclusion, words):
    record = tiny_record()
    assert "do not use it" not in plain(record)
    record["performance"]["study"]["conclusion"] = conclusion
    assert words in plain(record)
    assert "not shown to be better than chance: do not use it" in plain(record)


def test_weak_and_small_body_parts_are_named():
    record = tiny_record()
    assert "under 500, of every body part" in plain(record)
    assert "Not shown to be better than chance on" not in plain(record)
    record["body_parts"]["HAND"]["train_studies"] = 500
    record["performance"]["by_body_part"]["HAND"]["auroc_low"] = 0.5
    undefined = {f"auroc{end}": None for end in ("", "_low", "_high")}
    record["performance"]["by_body_part"]["WRIST"] |= undefined
    text = plain(record)
    assert "under 500, of WRIST." in text
    assert "Not shown to be better than chance on HAND, WRIST." in text
    assert "| WRIST | 20 (10) | too few |" in model_card(record)


def test_a_record_of_few_numbers_makes_a_card():
    """A tiny data set: undefined scores, no temperature, no test study of a part, no maps."""
    record = tiny_record(maps=False)
    undefined = {name: None for name, value in scores().items() if isinstance(value, float)}
    record["performance"]["study"] |= undefined | {"n": 0, "abnormal": 0, "conclusion": "too_few"}
    record["performance"]["study"] |= {"true_positives": 0, "false_positives": 0}
    record["performance"]["by_body_part"] = {}
    record["performance"]["by_finding"] = {}
    record["calibration"]["temperature"] = None
    record["environment"] = None
    record["networks"][0]["conversion"] |= {"max_logit_difference": None}
    record["networks"][0]["conversion"] |= {"mixed_precision": "bfloat16"}
    text = plain(record)
    assert "No temperature was fitted." in text
    assert "mixed precision (bfloat16)" in text
    assert "maps.onnx" not in text
    assert "machines of the trainings differ, or are not known" in text
