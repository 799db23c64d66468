"""What an evaluation shows of heat maps: its worst errors, and how well heat finds a blending that is known.

The first is for people to look at; the second is a number: of self-blended fakes made of the evaluated reals,
the share of the heat that lies on what was blended. Reads few crops, in this process, without Ray.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.config import CropConfig
from deepfake.crops.reader import decode_crop, read_indexed
from deepfake.crops.self_blending import locate_face
from deepfake.io.run_record import parse_section
from deepfake.io.storage import Storage
from deepfake.model import grad_cam
from deepfake.model.bundle import Bundle
from deepfake.model.heat import Call, overlay_heat
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.report import contact_sheet
from deepfake.video.sampling import spread_evenly

SHEET = "heat_maps.png"
_BLENDED = 64  # reals that fakes are made of, at most
_COLUMNS = 4  # crop and heat in turn


@dataclass(frozen=True)
class HeatFindings:
    """Heat maps of an evaluation."""

    errors: int  # shown in the sheet
    sheet: bytes | None  # PNG; None where nothing was called wrong
    blended: grad_cam.BlendHeat | None  # None where it is not known where the faces are in the crops

    def as_json(self) -> dict[str, Any]:
        """The findings for ``metrics.json``, less the sheet."""
        return {"errors_shown": self.errors, "blended": asdict(self.blended) if self.blended else None}

    def put_in_words(self) -> str | None:
        """What the page says of the blending."""
        found = self.blended
        if found is None or found.share is None or found.area is None:
            return None
        return (
            f"{found.share:.0%} of the heat lies on what was blended, {found.area:.0%} of the picture "
            f"({found.crops} self-blended fakes of the reals here; chance would give the latter share)"
        )


def make_heat_maps(
    faces: LabelledFaces, scores: np.ndarray, threshold: float, bundle: Bundle, storage: Storage, errors: int
) -> HeatFindings:
    """Heat maps of the worst ``errors`` among the faces, by ``scores`` ``(n,)``, and of known blendings."""
    table, maps = faces.table, grad_cam.HeatMaps(bundle)
    worst = find_worst_errors(table, scores, threshold, errors)
    stored = read_indexed(table.take(pa.array(worst)), faces.files, storage)
    crops = [decode_crop(one.encoded, one.sample_id) for one in stored]
    cells = []
    for place, crop in zip(worst.tolist(), crops, strict=True):
        called: Call = "fake" if scores[place] >= threshold else "real"
        heat = maps(crop[None], called)[0]
        video, frame, label = (table[name][place].as_py() for name in ("video_id", "frame_index", "label"))
        cells.append((f"{video}\n{('real', 'fake')[label]}, score {scores[place]:.3f}", crop))
        cells.append((f"frame {frame}\nwhat spoke for {called}", overlay_heat(crop, heat)))
    sheet = contact_sheet.build_sheet(cells, _COLUMNS) if cells else None
    cut = parse_section(faces.config, "crop", CropConfig)
    blended = _measure_blended(maps, faces, storage, cut) if cut else None
    return HeatFindings(len(cells) // 2, sheet, blended)


def find_worst_errors(table: pa.Table, scores: np.ndarray, threshold: float, count: int) -> np.ndarray:
    """Places ``(<= count,) int64`` of the crops that are most wrong, at most one of each video."""
    label = table["label"].to_numpy()
    wrong = np.flatnonzero((scores >= threshold) != (label == 1))
    wrong = wrong[np.argsort(-np.abs(label[wrong] - scores[wrong]), kind="stable")]
    videos = table["video_id"].take(pa.array(wrong)).to_pylist()
    first = {video: place for place, video in reversed(list(enumerate(videos)))}
    return wrong[sorted(first.values())[:count]].astype(np.int64)


def _measure_blended(
    maps: grad_cam.HeatMaps, labelled: LabelledFaces, storage: Storage, cut: CropConfig
) -> grad_cam.BlendHeat:
    reals = np.flatnonzero(labelled.table["label"].to_numpy() == 0)
    chosen = reals[spread_evenly(len(reals), _BLENDED)]
    stored = read_indexed(labelled.table.take(pa.array(chosen)), labelled.files, storage, with_faces=True)
    crops = np.stack([decode_crop(one.encoded, one.sample_id) for one in stored])
    faces = [
        locate_face(one.box, one.landmarks, one.frame_size, cut)
        for one in stored
        if one.box is not None and one.frame_size is not None
    ]
    return grad_cam.measure_blend_heat(maps, crops, faces)
