import pandas as pd
import pytest
from report_data import make_report_data

from ulna.report.contents import best_network, inputs

NAN = float("nan")


def splits(**aurocs):
    rows = [(name, split, value) for name, value in aurocs.items() for split in ("val", "test")]
    table = pd.DataFrame(rows, columns=["network", "split", "auroc"])
    # On test the order is the reverse: it must not decide.
    return table.assign(auroc=table["auroc"].where(table["split"] == "val", 1 - table["auroc"]))


@pytest.mark.parametrize(
    ("cnn", "densenet169", "best"),
    [(0.8, 0.7, "cnn"), (0.7, 0.8, "densenet169"), (0.8, 0.8, "cnn"), (NAN, 0.6, "densenet169"),
     (NAN, NAN, "cnn")],
)  # fmt: skip
def test_the_network_to_use_is_chosen_on_val(cnn, densenet169, best):
    tables = {"overfitting": splits(cnn=cnn, densenet169=densenet169)}
    assert best_network(["cnn", "densenet169"], tables) == best


def test_a_figure_has_its_texts_and_is_empty_where_it_was_not_drawn(params):
    data = make_report_data(params.evaluate)
    assert f"n = {data.test['n']:,}" in data.figure("roc", areas="CNN has AUROC 1")
    assert "CNN has AUROC 1" in data.figure("roc", areas="CNN has AUROC 1")
    assert data.figure("mobilenetv2/saliency", network="MobileNetV2") == ""


def test_details_of_every_network_and_of_the_ensemble_are_read():
    metrics, tables, figures = inputs(["cnn", "densenet169"])
    assert {"cnn", "densenet169", "ensemble", "saliency_cnn"} <= set(metrics)
    assert "cnn/by_body_part" in tables and "densenet169/saliency" in figures
