"""The average of two networks, and the checks that both tables are of the same images."""

from decimal import Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from params_files import write_params
from scipy.special import expit

from stages.ensemble import ensemble as ensemble_stage
from ulna.core import InputError, paths
from ulna.core.predictions import (
    COLUMNS,
    align,
    by_study,
    check_predictions,
    read_predictions,
    write_predictions,
)
from ulna.evaluation.ensemble import average, sha256_of_members

LOGITS = st.floats(-800, 800)


def table(logits) -> pd.DataFrame:
    """Two views a study, a study a patient; the first half is val."""
    n = len(logits)
    study = np.arange(n) // 2
    return pd.DataFrame(
        {
            "image": [f"{row:03}.png" for row in range(n)],
            "patient": [f"p{number}" for number in study],
            "study": [f"s{number}" for number in study],
            "body_part": "HAND",
            "split": ["val" if number < n // 4 else "test" for number in study],
            "label": study % 2,
            "logit": np.asarray(logits, dtype=np.float64),
            "probability": expit(logits),
        }
    )


def exact_logit(logits: list[float]) -> float:
    """The logit of the mean probability, with 50 digits."""
    with localcontext() as context:
        context.prec = 50
        abnormal = sum(1 / (1 + (-Decimal(logit)).exp()) for logit in logits)
        normal = sum(1 / (1 + Decimal(logit).exp()) for logit in logits)
        return float((abnormal / normal).ln())


FIRST = table([-2.0, -1.0, 0.5, 2.0, -3.0, 0.1, 1.5, 0.9])
OTHER = table([0.3, -0.7, 1.5, 0.2, -0.1, -0.4, 2.5, -0.9])


def test_the_probability_is_the_mean_of_the_networks():
    ensemble = average({"cnn": FIRST, "densenet169": OTHER})
    mean = (FIRST["probability"] + OTHER["probability"]) / 2
    assert ensemble["probability"].to_numpy() == pytest.approx(mean.to_numpy(), abs=1e-15)
    # 1 / (1 + exp(-ln 3)) = 0.75 and 1 / (1 + exp(ln 3)) = 0.25, whose mean has logit 0.
    [zero, *_] = average({"a": table([np.log(3)] * 4), "b": table([-np.log(3)] * 4)})["logit"]
    assert zero == pytest.approx(0, abs=1e-15)


@settings(max_examples=50, deadline=None)
@given(st.lists(LOGITS, min_size=2, max_size=4))
def test_the_logit_is_that_of_the_mean_at_any_confidence(logits):
    tables = {str(number): table([logit] * 4) for number, logit in enumerate(logits)}
    ensemble = average(tables)
    check_predictions(ensemble, "ensemble")
    assert ensemble["logit"].iloc[0] == pytest.approx(exact_logit(logits), rel=1e-12, abs=1e-12)


def test_an_overconfident_network_does_not_outvote_the_other():
    # Mean logits would be +245 and abnormal for certain; the two disagree, so the mean is near 1/2.
    ensemble = average({"sure": table([500.0] * 4), "unsure": table([-10.0] * 4)})
    assert ensemble["probability"].iloc[0] == pytest.approx(0.5, abs=1e-4)


def test_the_probability_of_a_study_is_the_mean_of_those_of_the_networks():
    ensemble, first, other = (
        by_study(images)["probability"]
        for images in (average({"cnn": FIRST, "densenet169": OTHER}), FIRST, OTHER)
    )
    assert ensemble.to_numpy() == pytest.approx(((first + other) / 2).to_numpy(), abs=1e-15)


def test_the_order_of_the_networks_does_not_matter():
    there = average({"cnn": FIRST, "densenet169": OTHER})
    back = average({"densenet169": OTHER, "cnn": FIRST})
    pd.testing.assert_frame_equal(there, back, check_exact=True)


def test_a_network_averaged_with_itself_is_itself():
    ensemble = average({"cnn": FIRST, "densenet169": FIRST})
    pd.testing.assert_frame_equal(ensemble, FIRST, rtol=0, atol=1e-14)


def test_rows_in_another_order_are_matched_by_image():
    shuffled = OTHER.sample(frac=1, random_state=1)
    aligned = align({"cnn": FIRST, "densenet169": shuffled})
    pd.testing.assert_frame_equal(aligned["densenet169"], OTHER)
    pd.testing.assert_frame_equal(
        average({"cnn": FIRST, "densenet169": shuffled}),
        average({"cnn": FIRST, "densenet169": OTHER}),
    )


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (FIRST, OTHER.drop(index=[6, 2]), "densenet169 .*'002.png'.* cnn .*2 "),
        (FIRST.drop(index=3), OTHER, "cnn .*'003.png'.* densenet169"),
    ],
)
def test_an_image_that_one_network_lacks_is_named(first, other, message):
    with pytest.raises(InputError, match=message):
        align({"cnn": first, "densenet169": other})


@pytest.mark.parametrize(
    ("column", "value"),
    [("label", 1), ("split", "val"), ("patient", "p9"), ("study", "s9"), ("body_part", "WRIST")],
)
def test_a_row_that_differs_between_networks_is_named(column, value):
    other = OTHER.copy()
    other.loc[[4, 5], column] = value
    with pytest.raises(InputError, match=f"^image '004.png' .*{column} "):
        align({"cnn": FIRST, "densenet169": other})


def test_a_third_network_is_compared_with_the_first_too():
    with pytest.raises(InputError, match="ensemble .*'000.png'.* cnn"):
        align({"cnn": FIRST, "densenet169": OTHER, "ensemble": OTHER.iloc[1:]})


def test_the_stage_writes_a_table_that_is_read_like_any_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_params(paths.PARAMS)
    write_predictions(paths.predictions("cnn"), FIRST)
    write_predictions(paths.predictions("densenet169"), OTHER)
    ensemble_stage()
    written = read_predictions(paths.predictions("ensemble"))
    assert list(written.columns) == list(COLUMNS)
    expected = average({"cnn": FIRST, "densenet169": OTHER})
    # Rounded, so that it has the same bytes on every processor.
    pd.testing.assert_frame_equal(written, expected[list(COLUMNS)], rtol=1e-9, atol=0)
    out = capsys.readouterr().out
    assert "8 images" in out and "densenet169" in out


def test_the_stage_writes_nothing_when_the_tables_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(paths.PARAMS)
    write_predictions(paths.predictions("cnn"), FIRST)
    write_predictions(paths.predictions("densenet169"), OTHER.iloc[:-1])
    with pytest.raises(InputError, match="007.png"):
        ensemble_stage()
    assert not paths.predictions("ensemble").exists()


def test_the_hash_of_the_members_needs_them_all_in_order():
    one, other = "a" * 64, "b" * 64
    assert sha256_of_members([one, other]) != sha256_of_members([other, one])
    assert len(sha256_of_members([one, other])) == 64
    assert sha256_of_members([one, None]) is None
