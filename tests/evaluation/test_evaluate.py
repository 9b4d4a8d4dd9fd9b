"""The evaluation of a prediction table, and the stage that writes it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from random_tables import predictions, random_predictions, write_no_findings

from stages.evaluate import evaluate
from ulna.core import paths
from ulna.core.io import round_float
from ulna.core.predictions import by_study, write_predictions
from ulna.core.provenance import PROVENANCE, write_provenance
from ulna.core.stage import run
from ulna.evaluation import conclusions
from ulna.evaluation.bootstrap import METRICS
from ulna.evaluation.evaluate import (
    COUNTS,
    DISAGREEMENTS,
    SCORES,
    conclude_performance,
    evaluate_table,
    most_confident_disagreements,
    split_sha256,
)
from ulna.evaluation.metrics import compute_metrics
from ulna.evaluation.thresholds import choose_threshold

ROOT = Path(__file__).resolve().parents[2]
PARAMS = Path(__file__).parents[1] / "params.yaml"
SAME = 12  # patients alike in all but the name: the rates are those of one, with enough patients


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = PARAMS.read_text().replace("bootstrap_replicates: 2000", "bootstrap_replicates: 200")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    write_no_findings()
    return tmp_path


VAL = (("val", "HAND", 0, [-1.0]), ("val", "HAND", 1, [1.0]))  # the threshold is 0.5


def read_json(path: Path) -> dict[str, dict[str, float | None]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    values: dict[str, dict[str, float | None]] = json.loads(
        path.read_text(encoding="utf-8"), parse_constant=refuse
    )
    return values


@pytest.mark.fault("image as study")
def test_the_stage_evaluates_studies_and_images_separately(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = predictions(
        *VAL,
        # The mean of the views finds it, though two of the three views are missed.
        ("test", "HAND", 1, [-0.5, -0.5, 6.0]),
        ("test", "HAND", 0, [-2.0, -2.0]),
        ("test", "WRIST", 0, [3.0]),
        same=SAME,
    )
    write_predictions(paths.predictions("cnn"), table)
    evaluate("cnn")
    metrics = read_json(paths.details("cnn"))
    study, image = metrics["study"], metrics["image"]
    assert tuple(study) == tuple(image) == (*SCORES, *COUNTS, "conclusion")
    # Studies: one found, one rightly cleared, one wrongly called.
    assert (study["n"], study["abnormal"], study["patients"]) == (3 * SAME, SAME, 3 * SAME)
    assert (study["recall"], study["precision"]) == (1, 1 / 2)
    assert (study["specificity"], study["accuracy"]) == (1 / 2, round_float(2 / 3))
    # Images: 6 of test, 3 of the abnormal study.
    assert (image["n"], image["abnormal"]) == (6 * SAME, 3 * SAME)
    assert (image["recall"], image["precision"]) == (round_float(1 / 3), 1 / 2)
    assert (image["specificity"], image["accuracy"]) == (round_float(2 / 3), 3 / 6)
    assert (study["true_positives"], study["false_positives"]) == (SAME, SAME)
    assert (image["true_positives"], image["false_positives"]) == (SAME, SAME)
    assert (study["val_n"], study["val_abnormal"]) == (2 * SAME, SAME)
    assert study["threshold"] == image["threshold"] == 0.5
    assert metrics["thresholds"] == {"overall": 0.5, "by_body_part": {}}
    assert metrics["test"] == {"patients": 3 * SAME, "studies": 3 * SAME, "images": 6 * SAME}

    parts = pd.read_csv(paths.scores("cnn", "by_body_part"))
    assert list(parts) == ["body_part", *SCORES, "note"]
    assert parts["body_part"].tolist() == ["HAND", "WRIST"]
    assert parts["n"].tolist() == [2 * SAME, SAME]
    assert parts["accuracy"][0] == 1
    decisions = pd.read_csv(paths.scores("cnn", "confusion"))
    assert decisions["actual"].tolist() == ["abnormal"] * SAME + ["normal"] * 2 * SAME
    assert (decisions["predicted"] == "abnormal").sum() == 2 * SAME
    assert len(pd.read_csv(paths.scores("cnn", "roc"))) > 2
    assert len(pd.read_csv(paths.scores("cnn", "precision_recall"))) == 3
    assert conclusions.performance(study, "cnn") in capsys.readouterr().out


@pytest.mark.promise("A10")
def test_every_metric_has_its_ci_its_size_and_its_hashes(repository: Path) -> None:
    write_predictions(paths.predictions("cnn"), random_predictions(1))
    environment = {"fingerprint": "12" * 8, "threads": 2}
    write_provenance(paths.provenance("cnn"), "ab" * 32, environment, "34" * 8)
    evaluate("cnn")
    metrics = read_json(paths.details("cnn"))
    for level in ("study", "image"):
        scores = metrics[level]
        for name in METRICS:
            assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]
        assert scores["n"] > scores["abnormal"] > 0
        assert scores["patients"] == metrics["test"]["patients"]
    assert metrics["model_sha256"] == "ab" * 32
    assert metrics["environment"] == environment
    assert metrics["predicted_on"] == "34" * 8
    assert len(metrics["split_sha256"]) == 64


def test_a_table_from_elsewhere_has_no_model(repository: Path) -> None:
    write_predictions(paths.predictions("reader"), random_predictions(1))
    evaluate("reader")
    metrics = read_json(paths.details("reader"))
    assert [metrics[name] for name in PROVENANCE] == [None, None, None]


@pytest.mark.promise("E31")
def test_body_parts_are_evaluated_one_by_one_and_add_up(params) -> None:
    images = random_predictions(2)
    found = evaluate_table(images, params.evaluate, seed=1)
    parts, whole = found.by_body_part, found.metrics["study"]
    assert parts["n"].sum() == whole["n"]
    assert parts["abnormal"].sum() == whole["abnormal"]
    assert (parts["accuracy"] * parts["n"]).sum() == pytest.approx(whole["accuracy"] * whole["n"])
    studies = by_study(images)
    hand = studies[(studies["split"] == "test") & (studies["body_part"] == "HAND")]
    expected = compute_metrics(hand["label"], hand["probability"], whole["threshold"])
    row = parts.iloc[0]
    assert {name: row[name] for name in expected} == pytest.approx(expected)


@pytest.mark.promise("A5")
@pytest.mark.promise("E31")
def test_one_study_gives_null_and_too_few(repository: Path) -> None:
    write_predictions(
        paths.predictions("cnn"), predictions(*VAL, ("test", "HAND", 0, [-1.0, -2.0]))
    )
    evaluate("cnn")
    study = read_json(paths.details("cnn"))["study"]
    assert (study["n"], study["abnormal"]) == (1, 0)
    assert [study[name] for name in METRICS] == [None] * len(METRICS)
    [row] = pd.read_csv(paths.scores("cnn", "by_body_part")).to_dict("records")
    assert (row["n"], row["note"]) == (1, "too_few")
    assert np.isnan(row["accuracy"])
    assert len(paths.scores("cnn", "roc").read_text().splitlines()) == 1


def test_a_part_is_evaluated_at_its_own_threshold(params) -> None:
    images = random_predictions(3)
    settings = {"threshold_per": "body_part", "shrinkage_studies": 0.0}
    found = evaluate_table(images, params.evaluate.model_copy(update=settings), seed=1)
    parts = found.by_body_part.set_index("body_part")
    studies = by_study(images)
    for part, rows in studies[studies["split"] == "val"].groupby("body_part"):
        threshold = choose_threshold("youden", rows["label"], rows["probability"])
        assert parts.loc[part, "threshold"] == threshold
        assert found.metrics["thresholds"]["by_body_part"][part] == threshold
        test = studies[(studies["split"] == "test") & (studies["body_part"] == part)]
        expected = compute_metrics(test["label"], test["probability"], threshold)["kappa"]
        assert parts.loc[part, "kappa"] == expected
    assert parts["threshold"].nunique() == 2


@pytest.mark.promise("A3")
@pytest.mark.fault("fitted on test")
def test_permuted_test_labels_change_nothing_fitted(params) -> None:
    images = random_predictions(3)
    test = images["split"] == "test"
    turned = images.assign(label=images["label"].where(~test, 1 - images["label"]))
    one, other = (evaluate_table(table, params.evaluate, seed=1) for table in (images, turned))
    assert one.metrics["study"]["auroc"] != other.metrics["study"]["auroc"]
    for level in ("study", "image"):
        assert one.metrics[level]["threshold"] == other.metrics[level]["threshold"]
    temperatures = [found.metrics["calibration"]["temperature"] for found in (one, other)]
    assert temperatures[0] == temperatures[1]


@pytest.mark.promise("A6")
def test_a_network_without_signal_scores_chance(params) -> None:
    """AUROC intervals of 20 tables with shuffled labels: 95% of them hold 0.5."""
    held = 0
    for seed in range(20):
        images = random_predictions(seed, studies=160)
        rng = np.random.default_rng(seed)
        studies = images["study"].unique()
        label = dict(zip(studies, rng.integers(0, 2, len(studies)), strict=True))
        shuffled = images.assign(label=images["study"].map(label))
        settings = params.evaluate.model_copy(update={"bootstrap_replicates": 200})
        scores = evaluate_table(shuffled, settings, seed=1).metrics["study"]
        held += scores["auroc_low"] <= 0.5 <= scores["auroc_high"]
    assert held >= 17


def test_the_same_table_gives_the_same_bytes_in_any_order(repository: Path) -> None:
    table = random_predictions(5)
    write_predictions(paths.predictions("cnn"), table)
    evaluate("cnn")
    files = [paths.metrics("cnn"), paths.details("cnn"), *sorted((paths.TABLES / "cnn").iterdir())]
    assert len(files) == 10
    before = [file.read_bytes() for file in files]
    write_predictions(paths.predictions("cnn"), table.sample(frac=1, random_state=0))
    evaluate("cnn")
    assert [file.read_bytes() for file in files] == before


def test_the_most_confident_errors_come_first() -> None:
    studies = pd.DataFrame(
        {
            "study": list("abcdef"),
            "body_part": "HAND",
            "split": ["test", "val", "test", "test", "test", "test"],
            "views": 1,
            "label": [0, 1, 1, 0, 0, 1],
            "probability": [0.7, 0.05, 0.9, 0.99, 0.5, 0.5],
            "threshold": 0.5,
        }
    )
    listed = most_confident_disagreements(studies)
    # On the threshold is normal: rightly of e, wrongly of f.
    assert listed["study"].tolist() == ["d", "b", "a", "f"]
    many = pd.concat([studies] * 10, ignore_index=True)
    assert most_confident_disagreements(many)["study"].tolist() == ["d"] * 10 + ["b"] * 10 + [
        "a"
    ] * (DISAGREEMENTS - 20)
    assert "patient" not in listed


def test_the_hash_of_the_split_depends_on_its_patients_and_images() -> None:
    table = random_predictions(5)
    assert split_sha256(table) == split_sha256(table.sample(frac=1, random_state=0))
    assert split_sha256(table) == split_sha256(table.assign(probability=0.5))
    assert split_sha256(table) != split_sha256(table.iloc[1:])
    for column in ("image", "patient", "split"):
        changed = table[column].where(table.index != 7, "other")
        assert split_sha256(table) != split_sha256(table.assign(**{column: changed}))


def test_a_val_without_both_classes_stops_the_stage_and_writes_nothing(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(paths.predictions("cnn"), predictions(("test", "HAND", 0, [-1.0])))
    with pytest.raises(SystemExit):
        run(evaluate, "cnn")
    assert "evaluate.threshold" in capsys.readouterr().err
    assert not paths.metrics("cnn").exists()


@pytest.mark.promise("C23")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image", "0-0/0.png"),
        ("probability", "1.2"),
        ("probability", "nan"),
        ("logit", "nan"),
        ("label", "0"),
        ("label", ""),
        ("patient", "p0-0"),
        ("split", "train"),
    ],
)
def test_a_bad_line_stops_the_stage_by_name_and_nothing_is_written(
    repository: Path, capsys: pytest.CaptureFixture[str], column: str, value: str
) -> None:
    table = predictions(*VAL, ("test", "HAND", 1, [0.5, 0.75]), ("test", "HAND", 0, [-1.0]))
    path = paths.predictions("cnn")
    write_predictions(path, table)
    lines = path.read_text().splitlines()
    order = lines[0].split(",")
    cells = lines[4].split(",")  # the second view of the abnormal test study
    cells[order.index(column)] = value
    path.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]) + "\n")
    with pytest.raises(SystemExit) as stopped:
        run(evaluate, "cnn")
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert f"{path} line 5: " in message and column in message
    assert not paths.METRICS.exists() and not (paths.TABLES / "cnn").exists()


def test_an_empty_val_is_accepted_where_nothing_is_chosen_on_it(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = paths.PARAMS.read_text().replace("threshold: youden", "threshold: half")
    paths.PARAMS.write_text(text)
    table = random_predictions(4)
    write_predictions(paths.predictions("cnn"), table[table["split"] == "test"])
    evaluate("cnn")
    metrics = read_json(paths.details("cnn"))
    assert metrics["study"]["threshold"] == 0.5 and metrics["study"]["auroc"] > 0.5
    assert metrics["calibration"]["temperature"] is None
    assert metrics["calibration"]["n_val"] == 0
    aggregations = pd.read_csv(paths.scores("cnn", "aggregations"))
    assert aggregations["n"].tolist() == [0] * 4 and aggregations["auroc"].isna().all()


@pytest.mark.promise("E31")
def test_one_patient_gives_sizes_but_no_number(repository: Path) -> None:
    table = predictions(*VAL, ("test", "HAND", 1, [0.5, 0.75]), ("test", "WRIST", 0, [-1.0]))
    one = table["split"] == "test"
    write_predictions(
        paths.predictions("cnn"), table.assign(patient=table["patient"].mask(one, "p"))
    )
    evaluate("cnn")
    metrics = read_json(paths.details("cnn"))
    for level, n in (("study", 2), ("image", 3)):
        assert (metrics[level]["n"], metrics[level]["patients"]) == (n, 1)
        assert [metrics[level][name] for name in METRICS] == [None] * len(METRICS)
        assert metrics[level]["conclusion"] == "too_few"


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [
        (0.51, 0.9, "above_chance"),
        (0.5, 0.9, "no_better_than_chance"),
        (0.1, 0.5, "no_better_than_chance"),
        (0.1, 0.49, "below_chance"),
        (np.nan, np.nan, "too_few"),
    ],
)
def test_performance_is_above_chance_where_the_interval_is(low, high, conclusion) -> None:
    assert conclude_performance({"auroc_low": low, "auroc_high": high}) == conclusion


@pytest.mark.promise("E31")
@pytest.mark.parametrize(
    ("val", "test", "conclusion"),
    [((20, 20), (20, 20), "above_chance"), ((19, 30), (30, 30), "too_few"),
     ((30, 19), (30, 30), "too_few"), ((30, 30), (19, 30), "too_few"),
     ((30, 30), (30, 19), "too_few")],
)  # fmt: skip
def test_fewer_than_20_studies_of_a_class_are_not_concluded_from(
    params, val: tuple[int, int], test: tuple[int, int], conclusion: str
) -> None:
    studies = [
        (split, "HAND", label, [2.0 * label - 1 + 0.01 * k, 2.0 * label - 1])
        for split, counts in (("val", val), ("test", test))
        for label, count in enumerate(counts)
        for k in range(count)
    ]
    metrics = evaluate_table(predictions(*studies), params.evaluate, seed=1).metrics
    for level in ("study", "image"):
        assert metrics[level]["auroc_low"] > 0.5
        assert metrics[level]["conclusion"] == conclusion


def test_the_headline_is_of_studies_with_four_decimals(repository: Path) -> None:
    write_predictions(paths.predictions("cnn"), random_predictions(1))
    evaluate("cnn")
    [(name, shown)] = read_json(paths.metrics("cnn")).items()
    study = read_json(paths.details("cnn"))["study"]
    assert name == "cnn"
    assert list(shown)[:5] == ["auroc", "kappa", "sensitivity", "specificity", "n"]
    assert len(shown) == 13
    for key, value in shown.items():
        assert value == round(study[key.replace("sensitivity", "recall")], 4)


@pytest.mark.promise("E31")
def test_a_part_of_one_class_and_one_without_an_error_have_notes(params) -> None:
    table = predictions(
        *VAL,
        ("test", "HAND", 1, [2.0]),
        ("test", "HAND", 0, [-2.0]),
        ("test", "WRIST", 0, [-1.0]),
        ("test", "FINGER", 0, [-1.0]),
        ("test", "FINGER", 1, [-0.5]),
        ("test", "ELBOW", 0, [0.5]),
        ("test", "ELBOW", 1, [1.0]),
        same=SAME,
    )
    parts = evaluate_table(table, params.evaluate, seed=1).by_body_part.set_index("body_part")
    assert parts["note"].to_dict() == {
        "ELBOW": "", "FINGER": "", "HAND": "exact_ci", "WRIST": "too_few",
    }  # fmt: skip
    assert parts.loc["WRIST", list(METRICS)].isna().all()
    for name in METRICS:
        assert parts.loc["HAND", f"{name}_low"] < parts.loc["HAND", name] == 1
        assert parts.loc["HAND", f"{name}_high"] == 1
    # 24 patients, all right: Clopper and Pearson's lower end.
    assert parts.loc["HAND", "accuracy_low"] == pytest.approx(0.025 ** (1 / 24))


def test_the_stage_needs_neither_a_network_nor_a_figure(repository: Path) -> None:
    write_predictions(paths.predictions("cnn"), random_predictions(1))
    script = """
import sys
from stages.evaluate import evaluate
evaluate("cnn")
heavy = {"tensorflow", "keras", "torch", "jax", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT)}, check=True)
