"""A clip that is known to be good, put through extraction where nothing else comes out of it.

It tells a program that cannot open videos at all from an archive whose files happen to hit one bug. There is
no face in it: what fails with a face only does not show.
"""

from collections.abc import Sequence
from pathlib import Path

from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import PROGRAM, IsolatedExtractor
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.temporary import make_temporary_folder
from deepfake.video import sample_clip


def explain_failure(config: ExtractConfig, storage: Storage, program: Sequence[str] = PROGRAM) -> str | None:
    """Why a clip made here cannot be decoded by a child process as a worker's; None where it can."""
    extractor = IsolatedExtractor(config, storage, program, tell=False)
    try:
        with make_temporary_folder() as folder:
            clip = Path(folder, "canary.mp4")
            sample_clip.write_clip(clip)
            video = extractor.extract({"video_id": clip.name, "uri": str(clip), "label": None}).video
    finally:
        extractor.close()
    return video["status_detail"] if video["status"] == Status.DECODE_ERROR else None
