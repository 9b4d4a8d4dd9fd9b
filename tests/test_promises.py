"""The index of promises, and of faults of public code: each has a test that carries its mark."""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

PROMISES = {
    "A1": "No patient is in two splits, over all body parts.",
    "A2": "No copy of an image, exact or near, is in two splits without being named.",
    "A3": "Thresholds and temperature never see test labels.",
    "A4": "95% intervals over patients cover the true value in 90 to 99% of simulations.",
    "A5": "Metrics equal independent implementations, with ties, one class, one study.",
    "A6": "A network without signal scores no better than chance.",
    "A7": "A synthetic shortcut is detected, and the clean data set raises no alarm.",
    "A8": "The comparison of two networks is paired; equal networks give no difference.",
    "A9": "A study's score does not depend on the order of its views or on other studies.",
    "A10": "Every reported estimate carries n, its CI, and the hashes of the split and the model.",
    "B11": "Two clean clones give the same bytes.",
    "B12": "Path, HOME, locale, time, umask, hash seed and order of folders change nothing.",
    "B13": "Each stage declares the code and the parameters that it reads.",
    "B14": "Preprocessing does not depend on the number of processes.",
    "B15": "Augmentation is a function of seed, epoch and image.",
    "B16": "A saved network has the same bytes from two processes, and predicts to the bit.",
    "B17": "Other threads, and oneDNN off, agree within a tolerance; the fingerprint differs.",
    "B42": "The phantom has the same bytes on every processor.",
    "C18": "A run killed at random moments and resumed ends in the bytes of one that was not.",
    "C19": "No partial file is left or visible after an error.",
    "C20": "A damaged, stale or foreign checkpoint is never used.",
    "C21": "Two runs of a stage in one folder exclude each other; none outlives its DVC.",
    "C22": "Bad images are rejected, counted and named, and stop the run above a limit.",
    "C23": "Invalid parameters or data fail before heavy work, with the fix in the message.",
    "D24": "No file that is read can run code.",
    "D25": "A changed weight file or cache is refused, a changed object of a remote is detected.",
    "D26": "Decompression bombs are refused in little memory.",
    "D27": "Archives cannot reach outside of the data set.",
    "D29": "No text of a DICOM header reaches a message, a table or what is printed.",
    "E29": "No text inside an image reaches a table.",
    "E30": "Probabilities are calibrated, or said not to be.",
    "E31": "Small groups say too few, no estimate without a CI; groups add up to the whole.",
    "E32": "Maps are shown only if they pass the randomization test.",
    "E33": "The report answers CLAIM 2024 and TRIPOD+AI item by item, or says why not.",
    "F35": "The memory of preprocessing does not grow with the number of images.",
    "G37": "A tiny network overfits one batch; a synthetic signal is detected end to end.",
    "H39": "A file gives the same pixels and the same logits through the cache, predict and ONNX.",
    "H42": "Index, splits, cache and all that follows from predictions: same bytes everywhere.",
    "H43": "What a network misses is named wherever the data say what there is to find.",
    "H44": "The tables of experiments and of differences fit 120 columns, and show the scores.",
    "H45": "A bundle carries all that a decision needs, and decides as the evaluation did.",
    "H46": "A prediction of many studies that is killed goes on, and ends in the same bytes.",
}


# Each was seen in public MURA code.
FAULTS = {
    "header": "a header assumed in the CSV (one row lost)",
    "image-level split": "views of one study on both sides",
    "study id": "study id without body part",
    "class order": "alphabetical class order flipping the positive class",
    "class weights": "swapped class weights",
    "hard labels": "AUROC of thresholded predictions",
    "image as study": "image metrics called study metrics",
    "fitted on test": "threshold fitted on the reported set",
    "few batches": "evaluation on the first 4 batches",
    "augmented test": "augmentation left on in evaluation",
    "image replaced": "an unreadable image silently replaced by another",
    "nearest": "nearest-neighbour resizing",
    "cropping": "cropping that cuts long bones off",
}


@cache
def marked(kind: str) -> dict[str, list[str]]:
    """Name -> the tests that carry its mark, `@pytest.mark.promise(name)` or `fault(name)`."""
    tests: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"pytest.mark.{kind}":
                    tests.setdefault(mark.args[0].value, []).append(f"{path.name}::{node.name}")
    return tests


@pytest.mark.parametrize(("kind", "index"), [("promise", PROMISES), ("fault", FAULTS)])
def test_each_has_a_test_and_a_mark_names_nothing_else(kind, index):
    assert set(marked(kind)) == set(index)
