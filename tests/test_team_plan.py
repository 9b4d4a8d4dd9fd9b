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
        "Outputs that are not here: 1, in the cache neither: 1.",
        "They count as dvc.lock has them: `dvc repro --pull --allow-missing` fetches those that it "
        "needs, a plain `dvc repro` makes them anew.",
    ]
    found.missing[0].in_cache = True
    assert render(found).endswith("\n`dvc checkout` puts them back.")
