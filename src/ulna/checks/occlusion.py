"""Does a network look at bone, or at what lies around it? Its scores with half of a picture hidden.

`ulna.data.images` cuts a picture in two halves of equal area. A network that looks at bone keeps
its score with the frame hidden and loses it with the centre hidden; one that learnt a marker in a
corner the other way round. A picture with a black half is unlike all that a network learnt from,
and a score may fall for that alone: the two halves, both as unlike, are held against each other.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ulna.data.cache import Cache
from ulna.data.images import REGIONS, Fit, content_boxes, mask_region
from ulna.judging.bootstrap import resample, with_ends, with_intervals
from ulna.judging.comparison import differences
from ulna.judging.ensemble import align
from ulna.judging.evaluation import SIZES, decided
from ulna.params import Evaluate
from ulna.predictions import by_study

CHANCE = 0.5  # the AUROC of what tells nothing
SHOWN = {
    "whole": "whole image",
    "frame_hidden": "centre alone (border hidden)",
    "centre_hidden": "border alone (centre hidden)",
}
METRICS = ("auroc", "kappa")
SCORES = with_ends(METRICS)
DROPS = with_ends(f"{name}_drop" for name in METRICS)
COLUMNS = ("network", "shown", *SIZES, *SCORES, *DROPS)

OcclusionCode = Literal["alarm", "no_alarm", "inconclusive"]
# Only the first is an alarm.
Finding = Literal["frame", "both", "centre", "neither", "weak", "too_few"]


def judge_hidden(
    tables: Mapping[str, pd.DataFrame], evaluate: Evaluate, seed: int
) -> dict[str, Any]:
    """Judge the studies of test by the whole picture and by each half of it.

    The threshold is that chosen on val from whole pictures. Differences are paired: both sides
    come from the same draw of patients.

    Args:
        tables: The names of `SHOWN` -> a prediction table of one network; whole has val and test,
            the others test alone.
        evaluate: How views become a study, the rule of the threshold, the resamples.
        seed: Of the resamples of patients.

    Returns:
        For each name in SHOWN n, abnormal, patients, `SCORES` and `DROPS` (whole minus this);
        centre_minus_frame, _low and _high: AUROC of the centre alone minus that of the frame
        alone; finding, see `find`; flag, whether that is an alarm. Every number with the ends of
        its 95% interval over patients, all three NaN where undefined.

    Raises:
        InputError: The tables differ in an image of test, or the rule of the threshold needs a
            class that val lacks.
    """
    whole, hidden = tables["whole"], {name: tables[name] for name in SHOWN if name != "whole"}
    align({"whole": whole[whole["split"] == "test"]} | hidden)
    decisions, thresholds = decided(whole, "study", evaluate)
    shown = {"whole": decisions[decisions["split"] == "test"].reset_index(drop=True)}
    for name, table in hidden.items():
        studies = by_study(table, evaluate.aggregation)
        shown[name] = studies.assign(threshold=thresholds.of(studies["body_part"]))

    resamples = resample(shown["whole"]["patient"], evaluate.bootstrap_draws, seed)

    def difference(first: str, second: str) -> dict[str, Any]:
        return differences(shown[first], shown[second], resamples, evaluate.min_patients)

    found: dict[str, Any] = {}
    for name, studies in shown.items():
        scores = with_intervals(studies, resamples, evaluate.min_patients)
        drops = difference("whole", name)
        found[name] = {column: scores[column] for column in (*SIZES, *SCORES)}
        for metric in METRICS:
            found[name] |= _named(f"{metric}_drop", drops[metric])
    found |= _named("centre_minus_frame", difference("frame_hidden", "centre_hidden")["auroc"])
    finding = find(found)
    return found | {"finding": finding, "flag": finding == "frame"}


def _named(name: str, difference: Mapping[str, float]) -> dict[str, float]:
    low, high = difference["low"], difference["high"]
    value = np.nan if np.isnan(low) else difference["difference"]
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def find(found: Mapping[str, Any]) -> Finding:
    """Tell which half a network needs, by intervals of 95%.

    Args:
        found: What `judge_hidden` returns, without finding and flag.

    Returns:
        frame, the alarm: the frame alone tells the label, and the centre alone is not better;
        both: the frame tells it, but the centre tells it better; centre: the centre alone tells
        it, and the frame does not; neither: no half alone tells it; weak: not even the whole
        picture tells it, so there is nothing to lose; too_few: no numbers.
    """
    if np.isnan([found["centre_minus_frame"], *(found[name]["auroc"] for name in SHOWN)]).any():
        return "too_few"
    tells = {name: found[name]["auroc_low"] > CHANCE for name in SHOWN}
    if not tells["whole"]:
        return "weak"
    if tells["centre_hidden"]:
        return "both" if found["centre_minus_frame_low"] > 0 else "frame"
    return "centre" if tells["frame_hidden"] else "neither"


def show_example(images: pd.DataFrame, cache: Cache, fit: Fit) -> dict[str, npt.NDArray[np.uint8]]:
    """Show what the networks were shown, by the first abnormal picture; the first if there is none.

    Args:
        images: One row an image: image, label.
        cache: The cached images.
        fit: How they were fitted into the cached square.

    Returns:
        The names of `SHOWN` -> (size_px, size_px) uint8.
    """
    first = images.sort_values(["label", "image"], ascending=[False, True]).head(1)
    [row] = first[["image"]].merge(cache.images, on="image").itertuples()
    pixels = cache.arrays[row.body_part][[row.row]]
    boxes = content_boxes(cache.images[cache.images["image"] == row.image], cache.size_px, fit)
    hidden = {f"{region}_hidden": mask_region(pixels, boxes, region)[0] for region in REGIONS}
    return {"whole": pixels[0]} | hidden


def tabulate(judged: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """List the scores of all networks.

    Args:
        judged: Name of the network -> see `judge_hidden`.

    Returns:
        One row a network and name in `SHOWN`, columns `COLUMNS`.
    """
    rows = [
        {"network": network, "shown": shown} | found[shown]
        for network, found in judged.items()
        for shown in SHOWN
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summarize(judged: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Conclude whether a network looks at the border, for `metrics/occlusion.json`.

    Args:
        judged: Name of the network -> see `judge_hidden`.

    Returns:
        conclusion; flag, whether that is an alarm; then `judged`.
    """
    findings = {found["finding"] for found in judged.values()}
    conclusion: OcclusionCode = "no_alarm" if findings & {"both", "centre"} else "inconclusive"
    if "frame" in findings:
        conclusion = "alarm"
    return {"conclusion": conclusion, "flag": conclusion == "alarm"} | dict(judged)
