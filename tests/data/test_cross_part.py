import json
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import spots
from hypothesis import given, settings
from hypothesis import strategies as st
from params_files import write_params

import stages.cross_part
import stages.transfer
from ulna.core import InputError
from ulna.core.io import write_csv
from ulna.core.predictions import read_predictions
from ulna.data import IMAGE_COLUMNS, SPLIT_COLUMNS
from ulna.data.cache import COLUMNS as CACHE_COLUMNS
from ulna.data.cross_part import Network, available, network_named, plan, select_training_images
from ulna.networks import runtime

PARTS = ["ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST"]
present = st.lists(st.sampled_from(PARTS), min_size=1, unique=True)


def table() -> pd.DataFrame:
    """Two patients of each split, body part and label, a row each."""
    splits = ["train", "val", "test"]
    rows = [
        {"image": f"{split}/{part}/{label}/{k}.png", "patient": f"{split}-{part}-{label}-{k}",
         "body_part": part, "split": split, "label": label}
        for part, split, label, k in product(["HAND", "ELBOW", "WRIST"], splits, (0, 1), (0, 1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@settings(deadline=None, max_examples=50)
@given(present)
def test_all_trains_once_on_each_part_and_once_without_each(parts):
    networks = plan("all", parts)
    wanted = {frozenset([part]) for part in parts}
    if len(parts) > 1:
        wanted |= {frozenset(parts) - {part} for part in parts}
    assert {frozenset(network.parts) for network in networks} == wanted
    assert len(networks) == len(wanted), "a network is trained twice"


@settings(deadline=None, max_examples=50)
@given(present, st.data())
def test_a_list_trains_one_network_for_any_order_and_repeats(parts, data):
    listed = data.draw(st.lists(st.sampled_from(parts), min_size=1))
    (network,) = plan(listed, parts)
    assert network == Network("+".join(sorted(set(listed))), tuple(sorted(set(listed))))


@settings(deadline=None, max_examples=50)
@given(present)
def test_the_plan_does_not_depend_on_the_order_of_the_parts(parts):
    assert plan("all", parts) == plan("all", parts[::-1])


@settings(deadline=None, max_examples=50)
@given(present)
def test_a_name_gives_the_parts_that_the_network_is_trained_on(parts):
    for network in [*plan("all", parts), *plan(parts, parts)]:
        assert network_named(network.name, parts) == network


@pytest.mark.parametrize("name", ["SKULL", "HAND+SKULL", "without SKULL"])
def test_a_part_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match="ELBOW, HAND: .*transfer.train_on") as caught:
        network_named(name, ["HAND", "ELBOW"])
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("parts", [("WRIST",), ("ELBOW", "HAND")])
def test_a_network_is_trained_on_its_parts_alone_and_on_all_of_them(parts):
    rows = table()
    for split, got in zip(
        ("train", "val"), select_training_images(rows, Network("", parts)), strict=True
    ):
        wanted = [row for row in rows.to_dict("records")
                  if row["split"] == split and row["body_part"] in parts]  # fmt: skip
        assert got.to_dict("records") == wanted
        assert list(got.index) == list(range(len(wanted)))


@pytest.mark.promise("A1")
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("part", ["WRIST", "HAND"])
def test_a_test_patient_among_the_training_patients_stops_the_stage(split, part):
    """Also one whose other body part is tested: the network learns from wrists alone."""
    rows = table()
    learnt = rows.index[(rows["split"] == split) & (rows["body_part"] == "WRIST")][0]
    tested = rows.index[(rows["split"] == "test") & (rows["body_part"] == part)][0]
    rows.loc[tested, "patient"] = rows.loc[learnt, "patient"]
    with pytest.raises(InputError, match=f"{split}-WRIST-0-0; "):
        select_training_images(rows, Network("WRIST", ("WRIST",)))


def test_of_many_shared_patients_ten_are_named():
    rows = table()
    tested = rows.index[rows["split"] == "test"]
    rows.loc[tested, "patient"] = rows.loc[rows["split"] == "train", "patient"].to_numpy()
    with pytest.raises(InputError, match="train-WRIST-0-1 .*2 more") as caught:
        select_training_images(rows, Network("WRIST", ("WRIST",)))
    assert str(caught.value).count("train-") == 10


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["HAND", "WRIST"]),
                          st.sampled_from(["train", "val", "test"]), st.integers(0, 1)),
                max_size=30))  # fmt: skip
def test_no_training_patient_is_tested(drawn):
    rows = pd.DataFrame(drawn, columns=["patient", "body_part", "split", "label"])
    rows["patient"] = "p" + rows["patient"].astype(str)
    try:
        learnt = pd.concat(select_training_images(rows, Network("WRIST", ("WRIST",))))
    except InputError:
        return
    assert not set(learnt["patient"]) & set(rows["patient"][rows["split"] == "test"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_part_with_one_label_is_refused_before_any_training(split):
    rows = table()
    gone = (rows["split"] == split) & (rows["body_part"] == "HAND") & (rows["label"] == 1)
    rows = rows[~gone]
    with pytest.raises(InputError, match=f"{split} .*2 .*HAND .*1 "):
        select_training_images(rows, Network("HAND", ("HAND",)))
    select_training_images(rows, Network("", ("ELBOW", "HAND")))


def write_inputs(root: Path, train_on: str | list[str], unlearnt: int) -> None:
    """What the stage reads: hands and wrists, abnormal ones with a bright square.

    Args:
        root: The folder to run in.
        train_on: For params.yaml.
        unlearnt: Grey levels added to what a network of wrists must not learn from.
    """
    write_params(
        root / "params.yaml",
        transfer={"arch": "cnn", "train_on": train_on},
        evaluate={"bootstrap_replicates": 100, "min_patients": 2},
        cnn={"filters": [4, 8], "epochs": 2, "batch_size": 8},
    )

    (root / "data" / "cache").mkdir(parents=True)
    tables = []
    for seed, part in enumerate(("HAND", "WRIST")):
        cache, rows = spots.table(30, seed)
        split = np.repeat(["train", "val", "test"], 10)
        pixels = cache.arrays["WRIST"]
        pixels[(split == "test") | (part == "HAND")] += np.uint8(unlearnt)
        np.save(root / "data" / "cache" / f"{part}.npy", pixels)
        official = np.where(split == "test", "valid", "train")
        names = [f"{part}{k:02}" for k in range(30)]
        tables.append(
            rows.assign(
                image=names,
                patient=names,
                study=names,
                body_part=part,
                split=split,
                official_split=official,
                mode="L",
                bit_depth=8,
                width_px=32,
                height_px=32,
                mean=0.0,
                pixel_sha256="",
            )  # fmt: skip
        )
    table = pd.concat(tables)
    write_csv(root / "data" / "cache" / "images.csv", table[list(CACHE_COLUMNS)])
    write_csv(
        root / "data" / "cache" / "rejected.csv", table[:0].assign(reason="")[["image", "reason"]]
    )
    write_csv(root / "data" / "prepared" / "images.csv", table[IMAGE_COLUMNS])
    write_csv(root / "data" / "prepared" / "splits.csv", table[SPLIT_COLUMNS])


@pytest.mark.slow
@pytest.mark.promise("A1")
def test_a_network_depends_on_its_own_parts_and_no_other_network(tmp_path, monkeypatch):
    """Trained after another, or alone with other hands and other test images: the same network."""
    # A process that has used TensorFlow cannot be given another number of threads.
    monkeypatch.setattr(runtime, "configure", lambda seed, _: keras.utils.set_random_seed(seed))
    tables = {}
    for name, train_on, unlearnt in (("both", "all", 0), ("alone", ["WRIST"], 50)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_inputs(Path(), train_on, unlearnt)
        stages.transfer.transfer()
        stages.cross_part.cross_part()
        folder = Path("data/transfer")
        tables[name] = {path.stem: read_predictions(path) for path in folder.glob("*.csv")}
        assert {path.stem for path in (folder / "history").iterdir()} == set(tables[name])
        cells = pd.read_csv("plots/tables/cross_part.csv")
        assert len(cells) == 3 * len(tables[name])
        assert cells["auroc"].notna().all()
        assert set(json.loads(Path("metrics/details/cross_part.json").read_text())) == set(
            tables[name]
        )
    assert set(tables["both"]) == {"HAND", "WRIST"}
    after, alone, other = (
        table.loc[(table["split"] == "val") & (table["body_part"] == "WRIST"), "logit"].tolist()
        for table in (tables["both"]["WRIST"], tables["alone"]["WRIST"], tables["both"]["HAND"])
    )
    assert len(alone) == 10
    assert after == alone != other
    tested = tables["alone"]["WRIST"]
    assert set(tested["split"]) == {"val", "test"}
    assert set(tested["body_part"]) == {"HAND", "WRIST"}


def test_parts_that_the_data_lack_give_way_to_those_they_have():
    parts = pd.Series(["HAND", "ELBOW", "HAND", "WRIST"])
    assert available("all", parts)[0] == "all"
    assert available(["WRIST"], parts) == (["WRIST"], [])
    assert available(["WRIST", "FINGER"], parts) == (["WRIST"], ["FINGER"])
    assert available(["FINGER"], parts) == (["HAND"], ["FINGER"])  # the most frequent
    assert available(["FINGER"], pd.Series(["WRIST", "HAND"]))[0] == ["HAND"]  # the first of two
