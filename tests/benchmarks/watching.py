"""How well ``watch`` keeps up with a clip at its own rate, as a file and as a stream; asserts nothing.

python -m tests.benchmarks.watching BUNDLE CLIP [--seconds 60] [--side 1280]

The clip is repeated to the length asked for. It is played from the file, and sent over loopback as MPEG-TS.
Prints a row of docs/watch.md for each; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import av

from deepfake.config import WatchJobConfig
from deepfake.execution.process import count_cpus
from deepfake.pipelines.watch import pipeline
from tests.streaming import send_when_awaited


def repeat_clip(clip: Path, target: Path, seconds: float) -> tuple[int, int, Fraction]:
    """The clip's video over and over, for so long; its width, height and frames a second."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as repeated:
        stream = source.streams.video[0]
        rate = stream.average_rate
        made = repeated.add_stream("libx264", rate=rate, options={"preset": "veryfast", "g": "50"})
        made.width, made.height, made.pix_fmt = stream.width // 2 * 2, stream.height // 2 * 2, "yuv420p"
        number = 0
        while number < seconds * rate:
            source.seek(0)
            for frame in source.decode(stream):
                picture = frame.reformat(made.width, made.height, "yuv420p")
                picture.pts, picture.time_base, picture.pict_type = number, 1 / rate, 0
                repeated.mux(made.encode(picture))
                number += 1
                if number >= seconds * rate:
                    break
        repeated.mux(made.encode(None))
        return stream.width, stream.height, rate


def watch(source: str, arguments: argparse.Namespace, folder: Path, name: str) -> str:
    """A row of the table."""
    values = {
        "input": source, "bundle": arguments.bundle, "output": str(folder / name),
        "watch": {"video_side": arguments.side},
    }  # fmt: skip
    found = pipeline.run(WatchJobConfig.model_validate(values)).summary
    latency = found["latency_ms"]
    return (
        f"| {name} | {found['frames']} | {found['frames_dropped']} | {found['frames_a_second']} "
        f"| {latency['median']} ms | {latency['95_percent']} ms |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--side", type=int, default=1280, help="longer side of the annotated video; 0: none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "repeated.mp4"
        width, height, rate = repeat_clip(arguments.clip, clip, arguments.seconds)
        rows = [watch(str(clip), arguments, folder, "file")]
        with send_when_awaited(clip) as address:
            rows.append(watch(address, arguments, folder, "stream"))
    print(f"{width}x{height}, {float(rate):g} frames a second, {arguments.seconds:g} s, {count_cpus()} cores")
    print(
        "| played as | looked at | dropped | a second | latency, median | 95 % |\n|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
