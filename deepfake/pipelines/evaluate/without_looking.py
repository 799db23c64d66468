"""What is reached without looking: by a classifier that is shown numbers of each crop and no pixel.

It learns on the training split of the input's crops, as a detector may have done, and is asked of the very
faces that the bundle scores. What it reaches can be had without a face, so the bundle's number is worth what
it has above it. The probes of the leak check learn likewise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake import metrics
from deepfake.config import EvaluateJobConfig
from deepfake.crops.dataset import select_labelled
from deepfake.crops.facts import choose_evenly, collect_facts
from deepfake.crops.reader import read_indexed
from deepfake.execution import runner
from deepfake.execution.ray_errors import raise_user_errors
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate.inputs import ALL, LabelledFaces
from deepfake.pipelines.evaluate.scoring import cut_windows
from deepfake.video.sampling import spread_evenly

WORDS = (
    "side of the box, its share of the frame, its aspect, sharpness, the detector's confidence, bytes, and "
    "how far the crop was mirrored, moved and made smaller at the edge of its frame"
)
SECONDS_PER_CROP = 0.001  # of one core, to fetch its bytes
VIDEOS = 1000  # of each class that are learnt from, at most
CROPS_A_VIDEO = 8


@dataclass(frozen=True)
class Lesson:
    """Training crops to learn from; none, and why."""

    crops: LabelledFaces | None = None
    problem: str = ""

    def put_in_words(self) -> str:
        """What a page says of it."""
        if self.crops is None:
            return f"Not measured: {self.problem}."
        table = self.crops.table
        videos, split = pc.count_distinct(table["video_id"]).as_py(), table["split"][0].as_py()
        return f"Learnt on {table.num_rows:,} crops of {videos:,} videos of split {split}, {self.crops.uri}."


def choose_lesson(loaded: LabelledFaces, asked: str, split: str) -> Lesson:
    """Labelled crops of ``split``, spread over videos of both classes; ``asked`` is what will be measured."""
    if loaded.kind != "crops":
        return Lesson(problem="the input holds scores and no crops")
    if asked in (ALL, split):
        return Lesson(problem=f"the split that is measured holds the training crops, split {split}")
    table = select_labelled(loaded.table, split)
    chosen = []
    for label in (0, 1):
        of_class = table.filter(pc.equal(table["label"], label))
        video = of_class["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        count = int(video.max()) + 1 if video.size else 0
        some = of_class.filter(pa.array(np.isin(video, spread_evenly(count, VIDEOS))))
        if not some.num_rows:
            return Lesson(
                problem=f"these crops have no {('real', 'fake')[label]} ones of split {split} to learn from"
            )
        video = some["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        chosen.append(some.take(choose_evenly(video, CROPS_A_VIDEO)))
    return Lesson(replace(loaded, table=pa.concat_tables(chosen).combine_chunks()))


def score_without_looking(
    lesson: LabelledFaces, asked: Sequence[LabelledFaces], storage: Storage, config: EvaluateJobConfig
) -> list[np.ndarray]:
    """For each set of crops ``(n,)`` scores in [0, 1], by the facts of its crops alone."""
    learnt, *others = (_collect_facts(crops, storage, config) for crops in (lesson, *asked))
    labels = lesson.table["label"].to_numpy()
    return [metrics.score_by_numbers(learnt, labels, facts, config.evaluation.seed) for facts in others]


def _collect_facts(crops: LabelledFaces, storage: Storage, config: EvaluateJobConfig) -> np.ndarray:
    sizes = np.zeros(crops.table.num_rows, np.int64)
    arguments = {"files": crops.files, "storage": storage}
    with raise_user_errors("reading crops"):
        for batch in runner.run_tasks(cut_windows(crops.table), _measure_bytes, arguments, config.ray):
            sizes[batch["position"].to_numpy()] = batch["bytes"].to_numpy()
    return collect_facts(crops.table, sizes)


def _measure_bytes(window: pa.Table, files: tuple[str, ...], storage: Storage) -> pa.Table:
    """``position, bytes`` of the stored crops of a window."""
    sizes = pa.array([len(one.encoded) for one in read_indexed(window, files, storage)], pa.int64())
    return pa.table({"position": window["position"], "bytes": sizes})
