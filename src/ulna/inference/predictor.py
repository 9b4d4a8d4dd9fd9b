"""Predict studies from image files with a bundle."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ulna.core import InputError, cores, first_ten
from ulna.core.aggregation import aggregate, sigmoid
from ulna.data import Decoded
from ulna.data.images import content_box, decode, letterbox
from ulna.inference.bundle import Bundle, find_bundle, load_bundle
from ulna.inference.files import read_regular
from ulna.inference.measures import measure_square
from ulna.inference.reference import find_oddities, parse_reference
from ulna.inference.sessions import Networks
from ulna.inference.studies import Refused, ViewGroup, group_paths, parse_body_part

# Where the bundles of a repository lie, if this module lies in one.
REPOSITORY = Path(__file__).resolve().parents[3]
# Files that a thread takes at once, and such portions that are ahead per thread. One after the
# other, the measures of 8 images take half of the time that they take between decoding.
PORTION = 8
AHEAD = 2
# More bring nothing; each holds an image, and files ahead.
MAX_THREADS = 64
TOO_LARGE = "it takes more memory than is free"
# A folder with more is more likely one of many studies than one study.
MANY_VIEWS = 20


@dataclass(frozen=True)
class View:
    """One image that was read."""

    path: str
    logit: float
    probability: float
    width_px: int  # as decoded, the right way up
    height_px: int
    warnings: tuple[str, ...]  # maybe_inverted, unlike_training_images, for_processing


@dataclass(frozen=True)
class Study:
    """The answer for one study."""

    study: str  # its folder or file, as it was named
    body_part: str | None  # given, or of the path, or of the DICOM headers of all views
    views: tuple[View, ...]  # in the order of the files
    refused: tuple[Refused, ...]  # files that could not be read
    probability: float  # of the views together; NaN where there are none
    threshold: float  # of the body part
    positive: bool  # probability > threshold
    # Those of the views, and body_part_unknown, body_part_not_trained, refused_views,
    # mixed_dicom_studies, many_views.
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """A view, what the header of its file says, and the square until it is measured."""

    view: View
    body_part: str | None
    study_key: str | None
    polarity_known: bool
    square: npt.NDArray[np.uint8] | None


_Job = tuple[ViewGroup, str | None]
_Result = _Read | Refused


class Predictor:
    """Predicts studies with a bundle.

    Example:
        predictor = Predictor("bundles/cnn")
        study = predictor.study(["image1.png", "image2.png"], body_part="WRIST")
        study.probability, study.positive
    """

    def __init__(
        self, bundle: Bundle | Path | str | None = None, threads: int | None = None
    ) -> None:
        """Load a bundle.

        Args:
            bundle: A loaded one, or the path of its folder or zip; by default the repository's own,
                else the one that comes with the package.
            threads: How many views are worked on at once, 64 at most; by default one per core. No
                answer depends on it.

        Raises:
            InputError: There is no such bundle, it fails a check, or threads is below 1.
        """
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}: give 1 or more")
        if not isinstance(bundle, Bundle):
            given = None if bundle is None else os.fspath(bundle)
            bundle = load_bundle(find_bundle(given, REPOSITORY)[0])
        self.bundle = bundle
        self.threads = min(threads or cores(), MAX_THREADS)
        self._networks = Networks(bundle)
        reference = bundle.record["reference"]
        try:
            self._reference = None if reference is None else parse_reference(reference)
        except InputError as error:
            raise InputError(f"{bundle.source}: {error}") from None

    def study(
        self,
        paths: Sequence[Path | str] | Path | str,
        body_part: str | None = None,
        name: str | None = None,
    ) -> Study:
        """Predict one study.

        Args:
            paths: Its files, or their folder.
            body_part: Such as WRIST; else that of the path or the DICOM headers.
            name: Of the study in the answer; by default the first path.

        Raises:
            InputError: No view can be read; each is named with the reason.
        """
        given = [paths] if isinstance(paths, (str, Path)) else paths
        (group,) = group_paths(given, one_study=True)
        if name is not None:
            group = ViewGroup(name, group.body_part, group.patient, group.files, group.faults)
        # A thread for each view.
        (study,) = self._studies([group], parse_body_part(body_part), portion=1)
        if not study.views:
            refused = [f"{refused.path}: {refused.reason}" for refused in study.refused]
            raise InputError(f"no image of {study.study} can be read:\n{first_ten(refused)}")
        return study

    def studies(self, groups: Iterable[ViewGroup], body_part: str | None = None) -> Iterator[Study]:
        """Predict many studies, each as it is complete.

        Files are read ahead, on `threads` threads; memory does not grow with their number.

        Args:
            groups: See `ulna.inference.studies.group_paths`.
            body_part: Of all of them; else that of each path or its DICOM headers.

        Yields:
            One study per group, in order, also where none of its views can be read.

        Raises:
            InputError: body_part is no name of one.
        """
        return self._studies(groups, parse_body_part(body_part), PORTION)

    def read(self, path: Path | str) -> npt.NDArray[np.uint8]:
        """Read the grey levels of an image: (height, width), 0 black to 255 white.

        Raises:
            InputError: It cannot be read; the message is the reason alone.
        """
        return self._decode(os.fspath(path)).pixels

    def load_for_maps(self) -> None:
        """Load the networks for maps, so that a fault of theirs comes before any work.

        Raises:
            InputError: One of the bundle's files is no network with maps.
        """
        self._networks.load_for_maps()

    def explain(self, path: Path | str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Compute the map of an image: where its logit comes from.

        Returns:
            The image, as `read` does, and its map (rows, columns) over the whole square that the
            networks see, in units of the logit.

        Raises:
            InputError: The bundle has no maps, or the image cannot be read.
        """
        pixels = self._decode(os.fspath(path)).pixels
        return pixels, self._networks.map(letterbox(pixels, self.bundle.size_px, self.bundle.fit))

    def _studies(
        self, groups: Iterable[ViewGroup], body_part: str | None, portion: int
    ) -> Iterator[Study]:
        read: list[_Result] = []
        for group, result in _map_ahead(self._read_files, _jobs(groups), self.threads, portion):
            if result is not None:
                read.append(result)
                continue
            yield self._answer(group, read, body_part)
            read = []

    def _read_files(self, paths: Sequence[str]) -> list[_Result]:
        results = [self._try_file(path) for path in paths]
        read = [one for one in results if isinstance(one, _Read)]
        codes = iter(self._oddities(read) if read else ())
        return [_warned(one, next(codes)) if isinstance(one, _Read) else one for one in results]

    def _try_file(self, path: str) -> _Result:
        try:
            decoded = self._decode(path)
            height, width = decoded.pixels.shape
            square = letterbox(decoded.pixels, self.bundle.size_px, self.bundle.fit)
            logit = self._networks.logit(square)
        except InputError as error:
            return Refused(path, str(error))
        except MemoryError:
            return Refused(path, TOO_LARGE)
        view = View(path, logit, sigmoid(logit), width, height, decoded.notes)
        return _Read(view, decoded.body_part, decoded.study_key, decoded.polarity_known, square)

    def _oddities(self, read: Sequence[_Read]) -> list[tuple[str, ...]]:
        """The warnings that the squares give, measured one after the other, see `PORTION`."""
        if self._reference is None:
            return [()] * len(read)
        size, fit = self.bundle.size_px, self.bundle.fit
        boxes = [content_box(one.view.width_px, one.view.height_px, size, fit) for one in read]
        squares = [one.square for one in read if one.square is not None]
        measures = [measure_square(square, box) for square, box in zip(squares, boxes, strict=True)]
        known = [one.polarity_known for one in read]
        return find_oddities(self._reference, np.stack(measures), known)

    def _decode(self, path: str) -> Decoded:
        try:
            return decode(read_regular(path), self.bundle.max_megapixels)
        except InputError as error:
            # Whoever predicts has no parameters.
            text = str(error).replace("image.max_megapixels", "max_megapixels of the bundle")
            raise InputError(text) from None

    def _answer(self, group: ViewGroup, read: Sequence[_Result], body_part: str | None) -> Study:
        readable = [one for one in read if isinstance(one, _Read)]
        refused = (*group.faults, *(one for one in read if isinstance(one, Refused)))
        views = tuple(one.view for one in readable)
        of_headers = {one.body_part for one in readable}
        part = body_part or group.body_part or (of_headers.pop() if len(of_headers) == 1 else None)
        probability = math.nan
        if views:
            logits = [view.logit for view in views]
            probabilities = [view.probability for view in views]
            probability = aggregate(logits, probabilities, self.bundle.aggregation)
        threshold = self.bundle.threshold(part)
        codes = [code for view in views for code in view.warnings]
        if part is None:
            codes.append("body_part_unknown")
        elif part not in self.bundle.body_parts:
            codes.append("body_part_not_trained")
        if refused:
            codes.append("refused_views")
        if len({one.study_key for one in readable} - {None}) > 1:
            codes.append("mixed_dicom_studies")
        if len(views) > MANY_VIEWS:
            codes.append("many_views")
        return Study(
            study=group.study,
            body_part=part,
            views=views,
            refused=refused,
            probability=probability,
            threshold=threshold,
            positive=probability > threshold,
            warnings=tuple(dict.fromkeys(codes)),
        )


def _warned(read: _Read, codes: tuple[str, ...]) -> _Read:
    """With these warnings besides its own, and without the square."""
    view = replace(read.view, warnings=(*read.view.warnings, *codes))
    return replace(read, view=view, square=None)


def _jobs(groups: Iterable[ViewGroup]) -> Iterator[_Job]:
    """The files of each group, and a None that ends it."""
    for group in groups:
        for file in group.files:
            yield group, str(file)
        yield group, None


def _map_ahead(
    work: Callable[[Sequence[str]], list[_Result]],
    jobs: Iterator[_Job],
    threads: int,
    portion: int,
) -> Iterator[tuple[ViewGroup, _Result | None]]:
    """Do the work for every file, in order, with a bounded number of files ahead."""
    pool = ThreadPoolExecutor(threads, "ulna")
    waiting: deque[tuple[list[_Job], Future[list[_Result]]]] = deque()

    def results() -> Iterator[tuple[ViewGroup, _Result | None]]:
        portion_jobs, future = waiting.popleft()
        done = iter(future.result())
        for group, file in portion_jobs:
            yield group, None if file is None else next(done)

    try:
        while taken := list(islice(jobs, portion)):
            files = [file for _, file in taken if file is not None]
            waiting.append((taken, pool.submit(work, files)))
            if len(waiting) > AHEAD * threads:
                yield from results()
        while waiting:
            yield from results()
    finally:
        # Whoever stops early does not wait for files that nobody will ask for.
        pool.shutdown(cancel_futures=True)
