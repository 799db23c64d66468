"""What an evaluation shows of heat maps: its worst errors, and how well heat finds a blending that is known.

The first is for people to look at; the second is a number: of self-blended fakes made of the evaluated reals,
the share of the heat that lies on what was blended. Reads few crops, in this process, without Ray.
"""

from collections.abc import Mapping
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
from deepfake.model.ensemble import name_bundles
from deepfake.model.heat import Call, overlay_heat
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.report import contact_sheet
from deepfake.video.sampling import spread_evenly

SHEET = "heat_maps.png"
_BLENDED = 64  # reals that fakes are made of, at most
_COLUMNS = 4  # of the sheet, about: a crop, its heat, and again


@dataclass(frozen=True)
class HeatFindings:
    """Heat maps of an evaluation."""

    errors: int  # shown in the sheet
    sheet: bytes | None  # PNG; None where nothing was called wrong
    # by the bundles' names; empty where it is not known where the faces are in the crops
    blended: Mapping[str, grad_cam.BlendHeat]

    def as_json(self) -> dict[str, Any]:
        """The findings for ``metrics.json``, less the sheet; of several bundles ``blended`` is by name."""
        found: Any = {name: asdict(one) for name, one in self.blended.items()}
        if len(found) < 2:
            found = next(iter(found.values()), None)
        return {"errors_shown": self.errors, "blended": found}

    def put_in_words(self) -> str | None:
        """What the page says of the blending."""
        told = []
        for name, found in self.blended.items():
            if found.share is not None and found.area is not None:
                whose = f" of {name}" if len(self.blended) > 1 else ""
                told.append(
                    f"{found.share:.0%} of the heat{whose} lies on what was blended, {found.area:.0%} of "
                    f"the picture ({found.crops} self-blended fakes of the reals here; chance would give the "
                    "latter share)"
                )
        return "; ".join(told) or None


def make_heat_maps(
    faces: LabelledFaces, scores: np.ndarray, threshold: float, bundle: Bundle, storage: Storage, errors: int
) -> HeatFindings:
    """Heat maps of the worst ``errors`` among the faces, by ``scores`` ``(n,)``, and of known blendings.

    Of an ensemble the maps of each network that has any.
    """
    members = bundle.members or (bundle,)
    named = dict(zip(name_bundles(members), members, strict=True))
    maps = {name: grad_cam.HeatMaps(one) for name, one in named.items() if one.has_heat_maps}
    table = faces.table
    worst = find_worst_errors(table, scores, threshold, errors)
    stored = read_indexed(table.take(pa.array(worst)), faces.files, storage)
    crops = [decode_crop(one.encoded, bundle.crop_size, one.sample_id) for one in stored]
    cells = []
    for place, crop in zip(worst.tolist(), crops, strict=True):
        called: Call = "fake" if scores[place] >= threshold else "real"
        video, frame, label = (table[name][place].as_py() for name in ("video_id", "frame_index", "label"))
        cells.append((f"{video}\n{('real', 'fake')[label]}, score {scores[place]:.3f}", crop))
        for name, draw in maps.items():
            whose = name if len(named) > 1 else f"frame {frame}"
            heat = overlay_heat(crop, draw(crop[None], called)[0])
            cells.append((f"{whose}\nwhat spoke for {called}", heat))
    across = 1 + len(maps)  # an error's cells
    sheet = contact_sheet.build_sheet(cells, across * max(1, _COLUMNS // across)) if cells else None
    cut = parse_section(faces.config, "crop", CropConfig)
    blended = {
        name: _measure_blended(draw, faces, storage, cut) for name, draw in maps.items() if cut is not None
    }
    return HeatFindings(len(worst), sheet, blended)


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
    crops = np.stack([decode_crop(one.encoded, cut.size, one.sample_id) for one in stored])
    faces = [
        locate_face(one.box, one.landmarks, one.frame_size, cut)
        for one in stored
        if one.box is not None and one.frame_size is not None
    ]
    return grad_cam.measure_blend_heat(maps, crops, faces)
