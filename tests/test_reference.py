"""The published kappas, against the numbers of the paper."""

from ulna.judging.reference import COLUMNS, NOTE, OVERALL, read_reference

PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST", OVERALL]


def test_each_reader_has_one_kappa_for_each_body_part_and_overall() -> None:
    table = read_reference()
    assert tuple(table.columns) == COLUMNS
    for _, rows in table.groupby("reader"):
        assert rows["body_part"].tolist() == PARTS
    readers = ["model", "radiologist 1", "radiologist 2", "radiologist 3"]
    assert table["reader"].drop_duplicates().tolist() == readers
    assert table["kappa"].between(-1, 1).all()


def test_the_models_kappas_are_those_of_the_paper() -> None:
    model = read_reference().query("reader == 'model'")
    expected = [0.710, 0.389, 0.737, 0.851, 0.600, 0.729, 0.931, 0.705]
    assert model["kappa"].tolist() == expected
    assert (model["source"] == "paper").all()


def test_the_readers_rank_as_the_papers_abstract_says() -> None:
    # Comparable to the best radiologist on finger and wrist, lower on the other five.
    kappas = read_reference().pivot(index="body_part", columns="reader", values="kappa")
    best = kappas.drop(columns="model").max(axis=1)
    lower = kappas.index[best - kappas["model"] > 0.05].tolist()
    assert lower == ["ELBOW", "FOREARM", "HAND", "HUMERUS", "SHOULDER", OVERALL]


def test_a_number_that_was_not_checked_says_so() -> None:
    table = read_reference()
    assert set(table["source"]) == {"paper", "recalled"}
    checked = table[table["source"] == "paper"]
    assert set(checked["reader"]) == {"model", "radiologist 3"}
    assert checked.query("reader == 'radiologist 3'")["body_part"].tolist() == [OVERALL]


def test_the_note_says_that_the_numbers_are_not_comparable() -> None:
    assert "not comparable" in NOTE
