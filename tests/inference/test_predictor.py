import hashlib
import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bundles import tiny_bundle, tiny_logit, tiny_map
from cache_files import IMAGE, table, write_root
from dicom_files import make
from onnx import TensorProto, helper
from PIL import Image

import ulna
from ulna.core import InputError
from ulna.core.aggregation import sigmoid
from ulna.data.cache import build_cache, load_cache
from ulna.data.images import decode, letterbox
from ulna.evaluation.ensemble import average
from ulna.inference import predictor as module
from ulna.inference.bundle import load_bundle
from ulna.inference.predictor import Predictor
from ulna.inference.reference import fit_reference
from ulna.inference.sessions import combine
from ulna.inference.studies import Refused, ViewGroup, group_paths

SIZE_PX = 32


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundle") / "cnn"))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("three") / "ensemble", members=3))


def write(path: Path, level: int = 128, width: int = 40, height: int = 60) -> Path:
    """A picture with a dark corner, by which a wrong letterbox or a turned map would show."""
    pixels = np.full((height, width), level, np.uint8)
    pixels[: height // 3, : width // 4] = 10
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def square_of(path: Path) -> np.ndarray:
    return letterbox(decode(path.read_bytes(), 50).pixels, SIZE_PX, "pad")


def test_a_study_is_what_the_arithmetic_says(bundle, tmp_path):
    files = [write(tmp_path / f"{level}.png", level) for level in (60, 250)]
    study = Predictor(bundle).study(files, "WRIST", "my study")
    logits = [tiny_logit(square_of(file)) for file in files]
    assert [view.logit for view in study.views] == pytest.approx(logits, abs=1e-6)
    assert [view.probability for view in study.views] == [sigmoid(v.logit) for v in study.views]
    # The bundle aggregates by mean_probability; its threshold for WRIST is 0.6.
    assert study.probability == pytest.approx(np.mean([sigmoid(logit) for logit in logits]))
    assert (study.study, study.body_part, study.threshold) == ("my study", "WRIST", 0.6)
    assert [(view.width_px, view.height_px) for view in study.views] == [(40, 60)] * 2
    assert study.positive == (study.probability > 0.6) and study.warnings == study.refused == ()


def test_positive_is_above_the_threshold_of_the_part(bundle, tmp_path):
    file = write(tmp_path / "a.png")
    probability = Predictor(bundle).study(file).probability
    below = math.nextafter(probability, 0)
    threshold = {
        **bundle.record["threshold"],
        "study": probability,
        "by_body_part": {"WRIST": below},
    }
    exact = replace(bundle, record={**bundle.record, "threshold": threshold})
    found = [Predictor(exact).study(file, part).positive for part in ("HAND", "WRIST", None)]
    assert found == [False, True, False]


@pytest.mark.parametrize("aggregation", ["mean_probability", "mean_logit", "max", "noisy_or"])
def test_the_views_are_aggregated_as_the_bundle_says(tmp_path, aggregation):
    files = [write(tmp_path / f"{level}.png", level) for level in (60, 130, 250)]
    predictor = Predictor(tiny_bundle(tmp_path / "made", aggregation=aggregation))
    study = predictor.study(files)
    values = [view.probability for view in study.views]
    expected = {
        "mean_probability": np.mean(values),
        "mean_logit": sigmoid(float(np.mean([view.logit for view in study.views]))),
        "max": max(values),
        "noisy_or": 1 - np.prod([1 - value for value in values]),
    }
    assert study.probability == pytest.approx(expected[aggregation])


def test_an_ensemble_is_that_of_the_prediction_tables(three, tmp_path):
    files = [write(tmp_path / f"{level}.png", level) for level in (0, 60, 130, 250)]
    logits = np.array([[tiny_logit(square_of(file), k) for file in files] for k in (1, 2, 3)])
    columns = {"image": list("abcd"), "patient": "p", "study": "s", "body_part": "HAND",
               "split": "test", "label": 0}  # fmt: skip
    tables = {
        str(k): pd.DataFrame(columns).assign(logit=row, probability=[sigmoid(x) for x in row])
        for k, row in enumerate(logits)
    }
    expected = average(tables)
    found = Predictor(three).study(files).views
    assert [view.logit for view in found] == pytest.approx(expected["logit"].to_list(), abs=1e-6)


def test_combined_logits_equal_the_evaluations_to_the_last_digits():
    random = np.random.default_rng(0)
    logits = random.normal(0, [[1.0], [30.0], [400.0]], (3, 200))
    columns = {"image": [f"{n}" for n in range(200)], "patient": "p", "study": "s",
               "body_part": "HAND", "split": "test", "label": 0}  # fmt: skip
    tables = {str(k): pd.DataFrame(columns).assign(logit=row, probability=0.5)
              for k, row in enumerate(logits)}  # fmt: skip
    expected = average(tables)["logit"]
    found = [combine(column.tolist()) for column in logits.T]
    assert found == pytest.approx(expected.to_list(), rel=1e-12, abs=1e-12)


def test_a_file_that_cannot_be_read_is_refused_and_the_rest_answered(bundle, tmp_path):
    good = write(tmp_path / "good.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-30])
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "folder").mkdir()
    study = Predictor(bundle).study([good, cut, tmp_path / "text.png", tmp_path / "gone.png"])
    assert [view.path for view in study.views] == [str(good)]
    assert study.refused == (
        Refused(str(cut), "damaged or cut off"),
        Refused(str(tmp_path / "text.png"), "neither PNG nor JPEG nor DICOM by its content"),
        Refused(str(tmp_path / "gone.png"), "no such file"),
    )
    assert "refused_views" in study.warnings
    alone = Predictor(bundle).study(good)
    assert study.probability == alone.probability


def test_a_study_without_a_readable_view_is_an_error_alone_and_an_answer_among_many(
    bundle, tmp_path
):
    predictor = Predictor(bundle)
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(InputError) as refusal:
        predictor.study([tmp_path / "text.png", tmp_path / "gone.png"], name="mine")
    assert str(refusal.value).splitlines() == [
        "no image of mine can be read:",
        f"{tmp_path}/text.png: neither PNG nor JPEG nor DICOM by its content",
        f"{tmp_path}/gone.png: no such file",
    ]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "good.png")
    given = [tmp_path / name for name in ("text.png", "empty", "good.png")]
    first, second, third = predictor.studies(group_paths(given))
    for study in (first, second):
        assert study.views == () and math.isnan(study.probability) and not study.positive
        assert len(study.refused) == 1 and "refused_views" in study.warnings
    assert len(third.views) == 1


def test_more_pixels_than_the_bundle_allows_are_refused_in_words_of_the_bundle(tmp_path):
    image = {"size_px": SIZE_PX, "fit": "pad", "max_megapixels": 0.002}
    predictor = Predictor(tiny_bundle(tmp_path / "made", image=image))
    with pytest.raises(InputError, match=r"max_megapixels of the bundle \(0.002\)"):
        predictor.study(write(tmp_path / "a.png"))


def test_the_body_part_is_the_argument_else_the_path_else_the_header(bundle, tmp_path):
    predictor = Predictor(bundle)
    folder = tmp_path / "XR_WRIST" / "patient00001" / "study1_positive"
    folder.mkdir(parents=True)
    values = np.full((40, 40), 100, np.uint8)
    for name, part in (("a.dcm", "HAND"), ("b.dcm", "HAND"), ("c.dcm", "ELBOW")):
        (folder / name).write_bytes(make(values, BodyPartExamined=part))
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert predictor.study(folder, "hand").body_part == "HAND"
    assert predictor.study(folder).body_part == "WRIST"
    study = predictor.study([tmp_path / "a.dcm", tmp_path / "b.dcm"])
    assert study.body_part == "HAND" and "body_part_unknown" not in study.warnings
    study = predictor.study([tmp_path / "a.dcm", tmp_path / "c.dcm"])
    assert study.body_part is None and "body_part_unknown" in study.warnings
    assert study.threshold == 0.5
    # What one header says is not said of a view without one.
    Image.fromarray(values).save(tmp_path / "d.png")
    study = predictor.study([tmp_path / "a.dcm", tmp_path / "d.png"])
    assert study.body_part is None
    study = predictor.study(tmp_path / "c.dcm")
    assert study.body_part == "ELBOW" and "body_part_not_trained" in study.warnings
    with pytest.raises(InputError, match="names no body part"):
        predictor.study(tmp_path / "a.dcm", "left wrist")


def test_dicom_files_of_two_studies_in_one_are_noticed(bundle, tmp_path):
    values = np.full((40, 40), 100, np.uint8)
    for name, study in (("a.dcm", "1.2.3"), ("b.dcm", "1.2.3"), ("c.dcm", "1.2.4")):
        (tmp_path / name).write_bytes(
            make(values, StudyInstanceUID=study, PresentationIntentType="FOR PROCESSING")
        )
    predictor = Predictor(bundle)
    same = predictor.study([tmp_path / "a.dcm", tmp_path / "b.dcm"])
    assert "mixed_dicom_studies" not in same.warnings and "for_processing" in same.warnings
    assert same.views[0].warnings == ("for_processing",)
    both = predictor.study(tmp_path)
    assert "mixed_dicom_studies" in both.warnings
    assert "1.2.3" not in repr(both)


def test_a_folder_of_very_many_views_is_noticed(bundle, tmp_path):
    for number in range(module.MANY_VIEWS + 1):
        write(tmp_path / f"{number}.png")
    predictor = Predictor(bundle)
    assert "many_views" in predictor.study(tmp_path).warnings
    assert "many_views" not in predictor.study(sorted(tmp_path.iterdir())[1:]).warnings


def test_what_is_unlike_the_training_images_is_said(tmp_path):
    random = np.random.default_rng(0)
    squares = np.zeros((200, SIZE_PX, SIZE_PX), np.uint8)
    for square in squares:
        start = random.integers(6, 20)
        square[:] = random.integers(20, 40, square.shape)
        square[:, start : start + 6] += 150
    boxes = np.tile([0, 0, SIZE_PX, SIZE_PX], (200, 1))
    predictor = Predictor(tiny_bundle(tmp_path / "made", reference=fit_reference(squares, boxes)))
    Image.fromarray(squares[7]).save(tmp_path / "like.png")
    Image.fromarray(255 - squares[7]).save(tmp_path / "inverted.png")
    noise = random.integers(0, 256, (60, 40)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "known.dcm").write_bytes(make(255 - squares[7]))
    found = {
        name: predictor.study(tmp_path / name).views[0].warnings
        for name in ("like.png", "inverted.png", "noise.png", "known.dcm")
    }
    assert found["like.png"] == ()
    assert found["inverted.png"] == ("maybe_inverted", "unlike_training_images")
    assert found["noise.png"] == found["known.dcm"] == ("unlike_training_images",)
    assert "maybe_inverted" in predictor.study(tmp_path / "inverted.png").warnings


@pytest.mark.promise("H39")
def test_predict_sees_the_squares_of_the_cache(bundle, tmp_path, monkeypatch):
    """Bit for bit, from the same files; and refuses the same of them."""
    root = write_root(tmp_path / "set")
    build_cache(table(), root, tmp_path / "cache", **IMAGE)
    cache = load_cache(tmp_path / "cache")
    image = {key: IMAGE[key] for key in ("size_px", "fit", "max_megapixels")}
    same = replace(bundle, record={**bundle.record, "image": image})
    seen: dict[str, bytes] = {}

    def letterboxed(pixels, size_px, fit):
        square = letterbox(pixels, size_px, fit)
        seen[hashlib.sha256(pixels.tobytes()).hexdigest()] = square.tobytes()
        return square

    monkeypatch.setattr(module, "letterbox", letterboxed)
    studies = list(Predictor(same, threads=2).studies(group_paths([root])))
    predicted = {view.path for study in studies for view in study.views}
    refused = {fault.path: fault.reason for study in studies for fault in study.refused}
    assert predicted == {str(root / name) for name in cache.images["image"]}
    rejected = cache.rejected.set_index("image")["reason"]
    assert refused == {str(root / name): reason for name, reason in rejected.items()}
    for name, part, row in cache.images[["image", "body_part", "row"]].itertuples(index=False):
        pixels = decode((root / name).read_bytes(), 50).pixels
        square = seen[hashlib.sha256(pixels.tobytes()).hexdigest()]
        assert square == cache.arrays[part][row].tobytes()


def test_neighbours_and_threads_change_no_bit(three, tmp_path):
    random = np.random.default_rng(0)
    for number in range(30):
        pixels = random.integers(0, 256, (50, 30)).astype(np.uint8)
        file = tmp_path / f"{number // 3:02}" / f"{number:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file)
    folders = sorted(tmp_path.iterdir())
    alone = [Predictor(three, threads=1).study(folder) for folder in folders]
    assert list(Predictor(three, threads=1).studies(group_paths([tmp_path]))) == alone
    assert list(Predictor(three, threads=5).studies(group_paths([tmp_path]))) == alone


def test_a_bounded_number_of_files_is_read_ahead(bundle, tmp_path):
    file = write(tmp_path / "a.png")
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield ViewGroup(str(asked), None, None, (file,))

    studies = Predictor(bundle, threads=2).studies(endless())
    assert [next(studies).study for _ in range(3)] == ["1", "2", "3"]
    assert asked < 40
    before = threading.active_count()
    studies.close()
    assert threading.active_count() < before


def test_maps_lie_where_the_arithmetic_says(bundle, three, tmp_path):
    file = write(tmp_path / "a.png", 200)
    pixels, found = Predictor(bundle).explain(file)
    assert (pixels == decode(file.read_bytes(), 50).pixels).all()
    assert found == pytest.approx(tiny_map(square_of(file)), abs=1e-5)
    assert (Predictor(bundle).read(file) == pixels).all()
    _, mean = Predictor(three).explain(file)
    expected = np.mean([tiny_map(square_of(file), k) for k in (1, 2, 3)], axis=0)
    assert mean == pytest.approx(expected, abs=1e-5)


def test_a_bundle_without_maps_says_so(tmp_path):
    predictor = Predictor(tiny_bundle(tmp_path / "made", maps=False))
    with pytest.raises(InputError, match="has no maps"):
        predictor.explain(write(tmp_path / "a.png"))


def test_what_is_no_network_is_refused(tmp_path):
    image = {"size_px": SIZE_PX * 2, "fit": "pad", "max_megapixels": 50.0}
    folder = tiny_bundle(tmp_path / "made", image=image)
    with pytest.raises(InputError, match="cnn is no network for 64 x 64 pixels"):
        Predictor(folder)
    with pytest.raises(InputError, match="threads is 0"):
        Predictor(tiny_bundle(tmp_path / "other"), threads=0)


def onnx_file(output: str, sides: list[int | str] | None, target: list[int]) -> bytes:
    """A network that gives its pixels another shape, if they have as many."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["grey", "target"], [output]),
        ],
        "odd",
        [value("pixels", TensorProto.UINT8, ["n", SIZE_PX, SIZE_PX, 1])],
        [value(output, TensorProto.FLOAT, sides)],
        [helper.make_tensor("target", TensorProto.INT64, [len(target)], target)],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("output", "sides", "target"),
    [
        ("logit", ["n"], [-1]),
        ("logit", ["n", 2], [-1, 2]),
        ("logit", None, [7, 7]),
        ("map", ["n", SIZE_PX, SIZE_PX], [-1, SIZE_PX, SIZE_PX]),
    ],
)
def test_a_network_of_other_outputs_is_refused(output, sides, target, bundle):
    member = replace(bundle.members[0], model=onnx_file(output, sides, target))
    with pytest.raises(InputError, match="is no network"):
        Predictor(replace(bundle, members=(member,)))


def test_a_network_that_fails_refuses_the_file(bundle, tmp_path):
    failing = onnx_file("logit", ["n", 1], [7, 1])
    file = write(tmp_path / "a.png")
    member = replace(bundle.members[0], model=failing)
    (study,) = Predictor(replace(bundle, members=(member,))).studies(group_paths([file]))
    assert study.views == () and "cannot run the network" in study.refused[0].reason
    member = replace(bundle.members[0], maps=onnx_file("map", ["n", 7, 7], [1, 7, 7]))
    predictor = Predictor(replace(bundle, members=(member,)))
    with pytest.raises(InputError, match="cannot run the network"):
        predictor.explain(file)
    # One without maps in it.
    member = replace(bundle.members[0], maps=bundle.members[0].model)
    with pytest.raises(InputError, match="is no network"):
        Predictor(replace(bundle, members=(member,))).explain(file)


def test_the_threads_are_no_more_than_bring_anything(bundle):
    assert Predictor(bundle, threads=10**9).threads == module.MAX_THREADS


def test_the_predictor_is_an_attribute_of_the_package(tmp_path):
    assert ulna.Predictor is Predictor
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ulna.Nothing  # noqa: B018


def test_a_first_answer_imports_nothing_heavy_and_is_silent(tmp_path):
    folder = tiny_bundle(tmp_path / "made")
    file = write(tmp_path / "a.png")
    program = (
        "import sys, ulna\n"
        "study = ulna.Predictor(sys.argv[1]).study(sys.argv[2])\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'dvc', 'scipy', 'pydicom', 'matplotlib',\n"
        "         'psutil', 'pydantic', 'sklearn', 'cv2', 'h5py'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy or not study.views else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(file)],
        env={"PYTHONPATH": str(Path(ulna.__file__).parents[1])},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
