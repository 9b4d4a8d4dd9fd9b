"""The record of a predicted study, by its published schema."""

import json
import math

import jsonschema
import pytest
from predictions import make_bundle, make_refused, make_study

from ulna.inference import outputs

SCHEMA = json.loads(outputs.SCHEMA.read_text())
STUDIES = {
    "plain": make_study(),
    "normal": make_study(probability=0.2),
    "unknown part": make_study(body_part=None, warnings=("body_part_unknown",)),
    "a view refused": make_study(refused=(make_refused("a/2.png"),), warnings=("refused_views",)),
    "no answer": make_study(
        probability=math.nan, threshold=math.nan, views=(), refused=(make_refused("a/1.png"),)
    ),
}


def record_of(study, **changes):
    return outputs.make_record(study, make_bundle(**changes), None, {})


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", STUDIES)
def test_a_record_follows_the_schema(name):
    record = json.loads(json.dumps(record_of(STUDIES[name]), allow_nan=False))
    jsonschema.validate(record, SCHEMA)


@pytest.mark.parametrize(
    "change", [{"decision": "fracture"}, {"probability": 1.2}, {"more": 1}, {"study": None}]
)
def test_the_schema_refuses_another_record(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**record_of(make_study()), **change}, SCHEMA)


def test_the_decision_is_that_of_the_study():
    assert record_of(STUDIES["plain"])["decision"] == "abnormal"
    assert record_of(STUDIES["normal"])["decision"] == "normal"
    assert record_of(STUDIES["no answer"])["decision"] is None


def test_a_study_without_an_answer_has_no_warning_about_it():
    study = make_study(views=(), refused=(make_refused("a/1.png"),), warnings=("refused_views",))
    assert record_of(study)["warnings"] == []
