"""Plans, renders and writes the demo's data set in the FaceForensics++ layout, with official-style splits."""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np

from deepfake.errors import UsageError
from deepfake.execution.process import count_cpus
from deepfake.pipelines.demo import animation, identities, people
from deepfake.pipelines.demo.animation import Animation
from deepfake.pipelines.demo.blending import METHODS, STYLES, blend_face
from deepfake.pipelines.demo.identities import Identity
from deepfake.pipelines.demo.people import PEOPLE_OF_SPLIT, Footage, Image, measure_canvas, move_boxes
from deepfake.progress import Progress

DISCLAIMER = (
    "Made from three people's faces with simple blends: it shows that the jobs work. "
    "Scores on it mean nothing about real deepfakes."
)
RECORD = "dataset.json"
ENCODER = {"preset": "superfast", "crf": "23", "threads": "1"}  # the same for both classes


@dataclass(frozen=True)
class Clip:
    """One video to make: an original, or a fake of ``target`` with the face of ``source``."""

    target: int
    source: int | None = None
    method: str | None = None

    @property
    def path(self) -> PurePosixPath:
        """Place in the FaceForensics++ tree."""
        if self.method is None:
            return PurePosixPath(f"original_sequences/youtube/c23/videos/{self.target:03d}.mp4")
        return PurePosixPath(
            f"manipulated_sequences/{self.method}/c23/videos/{self.target:03d}_{self.source:03d}.mp4"
        )


@dataclass(frozen=True)
class DatasetPlan:
    """Everything that decides what the data set looks like."""

    seed: int
    identities: int  # of each split
    fakes: int  # of each identity
    frames: int
    fps: int
    scale: float = 1.0  # of the canvas

    def __post_init__(self) -> None:
        if self.identities < 2 or not 1 <= self.fakes <= len(METHODS) or self.frames < 1 or self.fps < 1:
            raise UsageError(
                f"a demo data set needs 2 or more identities, 1 to {len(METHODS)} fakes of each, and frames; "
                f"got {self}"
            )

    def list_clips(self) -> list[Clip]:
        """Originals first. Each identity takes the face of the next one of the same person."""
        originals = [Clip(i) for i in range(len(PEOPLE_OF_SPLIT) * self.identities)]
        return originals + [
            Clip(target, self.find_source(target), METHODS[(target + 2 * k + k // 2) % len(METHODS)])
            for target in range(len(originals))
            for k in range(self.fakes)
        ]

    def find_source(self, target: int) -> int:
        """The identity whose face a target gets: faces go round in a ring within one person of a split."""
        ring = next(ring for _, _, ring in self.list_rings() if target in ring)
        return ring[(target + 1 - ring.start) % len(ring)]

    def list_rings(self) -> list[tuple[str, Footage, range]]:
        """``(split, person, identities)``, in the order of the identities' numbers."""
        rings, start = [], 0
        for split, shown in PEOPLE_OF_SPLIT.items():
            count = min(len(shown), self.identities // 2)  # nobody swaps faces with himself
            for number, footage in enumerate(shown[:count]):
                stop = start + (self.identities + number) // count
                rings.append((split, footage, range(start, stop)))
                start = stop
        return rings

    def list_splits(self) -> dict[str, list[list[str]]]:
        """Pairs of identities by split, in the form of FaceForensics++'s official files."""
        result: dict[str, list[list[str]]] = {split: [] for split in PEOPLE_OF_SPLIT}
        for split, _, ring in self.list_rings():
            pairs = {tuple(sorted((i, self.find_source(i)))) for i in ring}
            result[split] += [[f"{a:03d}", f"{b:03d}"] for a, b in sorted(pairs)]
        return result


@dataclass(frozen=True)
class Summary:
    """What was made, and where."""

    root: Path
    splits_dir: Path
    originals: int
    fakes: int
    bytes: int
    reused: bool  # found complete from an earlier run


def make_dataset(
    folder: Path | str,
    seed: int = 0,
    *,
    identities_per_split: int = 4,
    fakes_per_identity: int = 2,
    seconds: float = 3.2,
    fps: int = 30,
    scale: float = 1.0,
    workers: int | None = None,
) -> Summary:
    """Write the data set to a folder: same arguments, same frames.

    A folder that already holds it complete is left as it is; one that holds anything else is refused.
    """
    root = Path(folder)
    plan = DatasetPlan(seed, identities_per_split, fakes_per_identity, round(seconds * fps), fps, scale)
    clips = plan.list_clips()
    reused = _is_complete(root, plan, clips)
    if not reused:
        for _, footage, _ in plan.list_rings():
            people.load_person(footage, scale)  # a missing package is found before anything is written
        _render_all(root, plan, clips, workers)
        (root / "splits").mkdir(exist_ok=True)
        for split, pairs in plan.list_splits().items():
            (root / "splits" / f"{split}.json").write_text(json.dumps(pairs, indent=2) + "\n")
        (root / RECORD).write_text(json.dumps(_make_record(plan), indent=2) + "\n")
    originals = sum(clip.method is None for clip in clips)
    size = sum((root / clip.path).stat().st_size for clip in clips)
    return Summary(root, root / "splits", originals, len(clips) - originals, size, reused)


def make_archive(folder: Path, clips: list[Path]) -> int:
    """An archive as a user might have it: these clips, a picture of nobody, a broken file. How many files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(sorted(clips), start=1):
        shutil.copyfile(clip, folder / f"clip_{number:02d}.mp4")
    shutil.copyfile(people.find_footage(people.NO_FACE), folder / "rocket.jpg")
    (folder / "broken.mp4").write_text("This is a text file that somebody named .mp4.\n")
    return len(clips) + 2


def _make_record(plan: DatasetPlan) -> dict[str, Any]:
    return {"about": DISCLAIMER, **asdict(plan)}


def _is_complete(root: Path, plan: DatasetPlan, clips: Sequence[Clip]) -> bool:
    """Whether the folder holds this very data set; raises ``UsageError`` where it holds another thing."""
    record = root / RECORD
    if not record.is_file():
        foreign = [p.name for p in root.iterdir() if p.name not in _OWN] if root.is_dir() else []
        if foreign:
            raise UsageError(f"{root}: holds other files ({foreign[0]}, ...); name an empty or new folder")
        return False
    try:
        found = json.loads(record.read_text())
    except ValueError:
        raise UsageError(f"{record}: not valid JSON; remove the folder and run again") from None
    if found != _make_record(plan):
        raise UsageError(
            f"{root}: holds a demo data set made otherwise ({RECORD}); remove it or name another"
        )
    return all((root / clip.path).is_file() for clip in clips)


_OWN = frozenset({"original_sequences", "manipulated_sequences", "splits"})


def _render_all(root: Path, plan: DatasetPlan, clips: Sequence[Clip], workers: int | None) -> None:
    # OpenCV, numpy's generators and FFmpeg work outside the interpreter lock, so threads are enough.
    with (
        ThreadPoolExecutor(workers or min(count_cpus(), 8)) as pool,
        Progress("demo clips", len(clips)) as progress,
    ):
        cast = _draw_cast(plan)
        list(pool.map(lambda member: [member[0].look_up_frame(i)[1] for i in range(plan.frames)], cast))
        jobs = [pool.submit(_write_clip, root / clip.path, clip, cast, plan) for clip in clips]
        try:
            for done in as_completed(jobs):
                done.result()
                progress.step()
        finally:
            for job in jobs:
                job.cancel()


def _draw_cast(plan: DatasetPlan) -> list[tuple[Identity, Animation]]:
    """All identities in the order of their numbers, each with the animation of its clips."""
    result: list[tuple[Identity, Animation]] = []
    for _, footage, ring in plan.list_rings():
        person = people.load_person(footage, plan.scale)
        for number in ring:
            rng = np.random.default_rng([plan.seed, number])
            identity = identities.draw_identity(person, rng)
            result.append((identity, animation.draw_animation(plan.frames, rng, plan.scale)))
    return result


def render_clip(clip: Clip, cast: Sequence[tuple[Identity, Animation]], plan: DatasetPlan) -> Iterator[Image]:
    """The frames of a clip before encoding, (height, width, 3) uint8 RGB each.

    A fake is made of what two cameras filmed, so its face lost detail and noise that its surround has.
    """
    identity, motion = cast[clip.target]
    if clip.method is None or clip.source is None:
        for index in range(plan.frames):
            yield motion.render_frame(identity.look_up_frame(index)[0], index, plan.fps)
        return
    style = STYLES[clip.method]
    rng = np.random.default_rng([plan.seed, clip.target, clip.source, METHODS.index(clip.method)])
    shift = rng.uniform(-style.shift, style.shift, 2)
    giver, camera = cast[clip.source]
    posed = replace(motion, noise=camera.noise, windows=camera.windows)  # the source, moved as the target
    for index in range(plan.frames):
        (target, target_box), (source, source_box) = identity.look_up_frame(index), giver.look_up_frame(index)
        boxes = move_boxes(np.stack([target_box, source_box]), motion.compute_matrix(index / plan.fps))
        target = motion.render_frame(target, index, plan.fps)
        source = posed.render_frame(source, index, plan.fps)
        offset = shift + rng.normal(0.0, style.jitter, 2)
        yield blend_face(target, boxes[0], source, boxes[1], style, offset)


def _write_clip(
    path: Path, clip: Clip, cast: Sequence[tuple[Identity, Animation]], plan: DatasetPlan
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(plan.fps), options=ENCODER)
            stream.width, stream.height = measure_canvas(plan.scale)
            stream.pix_fmt = "yuv420p"
            for image in render_clip(clip, cast, plan):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
