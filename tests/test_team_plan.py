"""A plan in words."""

from ulna.team.plan import render
from ulna.team.planner import Missing, Plan, Planned, Reason


def test_a_plan_reads_as_sentences():
    found = Plan(
        [
            Planned("prepare"),
            Planned("train@cnn", "runs", [Reason("parameter", "loss", "bce", "focal")]),
            Planned(
                "predict@cnn", "may run", [Reason("upstream", "train@cnn", "runs", ["models"])]
            ),
        ],
        [Missing("data/cache", "preprocess", False)],
    )
    assert render(found).splitlines() == [
        "3 stages: 1 to run, 1 that may have to run, 1 as they are.",
        "train@cnn    runs         loss: bce -> focal",
        "predict@cnn  may run      after train@cnn",
        "As they are: prepare.",
        "1 outputs are not here, 1 of them not in the cache either (data/cache, ...): taken as "
        "dvc.lock has them. `dvc repro --pull --allow-missing` fetches what it needs.",
    ]
