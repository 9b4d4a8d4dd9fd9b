import numpy as np
import pandas as pd
import pytest

from ulna.errors import InputError
from ulna.judging.epochs import describe_course, gaps_by_epoch


def history(losses, phases=None):
    """val_loss by epoch; train is 0.1 below it in loss and 0.05 above it in AUROC."""
    losses = np.array(losses)
    best = losses.argmin()
    return pd.DataFrame(
        {
            "epoch": range(1, len(losses) + 1),
            "phase": phases or "scratch",
            "loss": losses - 0.1,
            "val_loss": losses,
            "auroc": 0.85,
            "val_auroc": 0.8,
            "best": (np.arange(len(losses)) == best).astype(int),
        }
    )


def test_the_limits_are_those_of_the_phases_that_are_run(params):
    assert params.cnn.phase_epochs == {"scratch": params.cnn.epochs}
    both = params.densenet169.model_copy(update={"head_epochs": 3, "finetune_epochs": 5})
    assert both.phase_epochs == {"head": 3, "finetune": 5}
    assert both.model_copy(update={"head_epochs": 0}).phase_epochs == {"finetune": 5}


def test_gaps_are_above_zero_where_train_is_better():
    gaps = gaps_by_epoch("cnn", history([0.7, 0.6, 0.65]))
    np.testing.assert_allclose(gaps["loss_gap"], 0.1)
    np.testing.assert_allclose(gaps["auroc_gap"], 0.05)
    assert gaps["best"].tolist() == [0, 1, 0]


def test_early_stopping_is_told_from_the_limit():
    losses = [0.7, 0.6, 0.65, 0.64]
    stopped = describe_course("cnn", history(losses), {"scratch": 9}, early_stopping_epochs=2)
    assert (stopped["epochs"], stopped["kept"], stopped["later"]) == (4, 2, 2)
    assert stopped["phases"]["scratch"] == {"first": 1, "last": 4, "ended": "early_stopping"}
    assert (stopped["val_loss_kept"], stopped["early_stopping_epochs"]) == (0.6, 2)
    limited = describe_course("cnn", history(losses), {"scratch": 4}, early_stopping_epochs=2)
    assert limited["phases"]["scratch"]["ended"] == "limit"


def test_a_best_epoch_at_the_limit_asks_for_more():
    found = describe_course("cnn", history([0.7, 0.6]), {"scratch": 2}, 8)
    assert found["conclusion"] == "still_improving"
    past = describe_course("cnn", history([0.6, 0.7]), {"scratch": 2}, 1)
    assert past["conclusion"] == "past_best"


def test_each_phase_has_its_own_ending():
    table = history([0.7, 0.6, 0.65, 0.5], phases=["head", "head", "finetune", "finetune"])
    found = describe_course("densenet169", table, {"head": 2, "finetune": 5}, 1)
    assert found["phases"] == {
        "head": {"first": 1, "last": 2, "ended": "limit"},
        "finetune": {"first": 3, "last": 4, "ended": "early_stopping"},
    }
    assert found["kept"] == 4


def test_the_gaps_of_the_kept_and_of_the_last_epoch_are_said():
    table = history([0.7, 0.6, 0.65]).assign(loss=[0.7, 0.5, 0.35], auroc=[0.8, 0.9, 1.0])
    found = describe_course("cnn", table, {"scratch": 3}, 8)
    assert found["loss_gap_kept"] == pytest.approx(0.1)
    assert found["loss_gap_last"] == pytest.approx(0.3)
    assert found["auroc_gap_kept"] == pytest.approx(0.1)
    assert found["auroc_gap_last"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "limits", "fault"),
    [
        ({"best": 0}, {"scratch": 3}, "0 epochs"),
        ({"best": 1}, {"scratch": 3}, "3 epochs"),
        ({}, {"scratch": 2}, "phase scratch, .* 2"),
        ({}, {"head": 3}, "phase scratch, .* 0"),
    ],
)
def test_a_history_of_other_parameters_is_refused(changes, limits, fault):
    table = history([0.7, 0.6, 0.65]).assign(**changes)
    with pytest.raises(InputError, match=rf"cnn .*{fault}"):
        describe_course("cnn", table, limits, 8)
