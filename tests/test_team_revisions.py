"""What a revision holds: which stage wrote a file, and with which parameters."""

from pathlib import Path

from ulna.team.revisions import producer, stale_params

STAGES = {
    "prepare": {"params": {"params.yaml": {"seed": 1}}, "outs": [{"path": "data/cache"}]},
    "train": {
        "deps": [{"path": "data/cache"}, {"path": "src/x.py"}],
        "params": {"params.yaml": {"loss": "bce", "cnn": {"epochs": 2, "dropout": 0.1}}},
        "outs": [{"path": "model"}],
    },
    "predict": {"deps": [{"path": "model"}], "outs": [{"path": "p.csv"}]},
    "other": {"params": {"params.yaml": {"loss": "older"}}, "outs": [{"path": "o.csv"}]},
}


def test_the_writer_of_a_file_is_found_also_of_a_folder_around_it():
    assert producer(STAGES, "data/cache/HAND.npy") == "prepare"
    assert producer(STAGES, "model") == "train"
    assert producer(STAGES, "modelling") is None


def test_parameters_of_all_stages_behind_a_file_are_held_against_params_yaml():
    now = {"seed": 1, "loss": "focal", "cnn": {"epochs": 3, "dropout": 0.1}}
    assert stale_params(STAGES, Path("p.csv"), now) == {"loss": "bce", "cnn.epochs": 2}
    assert stale_params(STAGES, Path("data/cache"), now) == {}
    assert stale_params(STAGES, Path("elsewhere.csv"), now) == {}
