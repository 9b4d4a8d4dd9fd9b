"""How `make repro` ends."""

import json

import pytest
from params_files import write_params

from ulna.cli import main
from ulna.core import paths
from ulna.team.summary import headline

ROW = {"n": 73, "auroc": 0.8553, "auroc_low": 0.7601, "auroc_high": 0.9311, "kappa": 0.61}
UNKNOWN = {"n": 73, "auroc": None, "auroc_low": None, "auroc_high": None, "kappa": -0.1}
STUDY = {"n": 73, "abnormal": 33, "true_positives": 22, "false_positives": 1}
FINDINGS = {"hardware": {"studies": 18, "found": 18, "sensitivity": 1.0}}


def test_the_headline_has_each_network_with_its_interval():
    lines = headline({"cnn": ROW, "ensemble": UNKNOWN})
    assert lines == [
        "AUROC of the 73 test studies (95% CI): CNN 0.86 (0.76 to 0.93), ensemble undefined",
        "Cohen's kappa: CNN 0.61, ensemble −0.10",
    ]


def test_the_command_prints_it_and_says_what_to_do_without_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path / "params.yaml")
    with pytest.raises(SystemExit):
        main("summary")
    assert capsys.readouterr().err == "summary: metrics/cnn.json is missing: run `dvc repro`\n"

    (tmp_path / "metrics/details").mkdir(parents=True)
    for name, row in {"cnn": ROW, "densenet169": UNKNOWN, "ensemble": ROW}.items():
        paths.metrics(name).write_text(json.dumps({name: row}))
        details = {"study": STUDY, "by_finding": FINDINGS}
        paths.details(name).write_text(json.dumps(details))
    main("summary")
    text = " ".join(capsys.readouterr().out.split())
    assert "CNN 0.86 (0.76 to 0.93), DenseNet169 undefined, ensemble 0.86" in text
    assert "CNN: Of 33 abnormal studies 22 are found; of 40 normal ones 1 is a false alarm." in text
    assert "It finds hardware (18 of 18)." in text
    assert text.endswith("open plots/report.html")
