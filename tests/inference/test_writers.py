"""The files of a prediction."""

from predictions import make_bundle, make_study, make_view

from ulna.core.predictions import COLUMNS
from ulna.inference import writers
from ulna.inference.outputs import make_record


def test_the_rows_of_csv_are_those_of_a_prediction_table():
    assert writers.CSV_COLUMNS == COLUMNS
    study = make_study(views=(make_view("a/1.png"), make_view("a/2.png", 0.0)))
    record = make_record(study, make_bundle(), "patient00011", {})
    assert writers.csv_rows(record) == [
        ["a/1.png", "patient00011", "a", "WRIST", "", "", "0.5", "0.6224593312018546"],
        ["a/2.png", "patient00011", "a", "WRIST", "", "", "0.0", "0.5"],
    ]
