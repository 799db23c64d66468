"""Seconds and bytes that sampling a long video takes, in this tree and, side by side, in another checkout.

    python tests/benchmarks/long_video.py --clip CLIP.mp4 [--before CHECKOUT] [--minutes 60] [--runs 3]

The long videos are one clip at 320x240, encoded once and then repeated packet by packet. Each run is a
process of its own that takes one video from its bytes to sampled frames, as the jobs do, with a detector
that finds nobody; the trees take turns. Bytes are those that the process read (rchar of /proc/self/io).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import av

TREE = Path(__file__).resolve().parents[2]
POLICIES = {
    "key frames": {"policy": "keyframes"},
    "one in 10 s": {"policy": "per_second", "per_second": 0.1},
    "one in 100 s": {"policy": "per_second", "per_second": 0.01},
    "every 30th": {"policy": "every_n", "every_n": 30, "max_frames": 100_000},
}

CHILD = """
import json, sys, time
from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.io.storage import Storage

class Nobody:
    name = "nobody"
    def detect(self, frame):
        return []

path, sampling = sys.argv[1], json.loads(sys.argv[2])
config = ExtractConfig(SamplingConfig(**sampling), DetectorConfig(name="haar"), CropConfig())
def read():
    return int(open("/proc/self/io").read().split()[1])
before, started = read(), time.perf_counter()
video = extract({"video_id": path, "uri": path}, config, Nobody(), Storage()).video
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "bytes": read() - before, "frames": video["frames_sampled"],
                  "status": video["status"], "detail": video["status_detail"]}))
"""


def encode(clip: Path, path: Path) -> None:
    """The clip at 320x240, H.264 with groups of 250 frames, as many encoders make them."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        given = source.streams.video[0]
        stream = target.add_stream("libx264", rate=given.average_rate)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        for number, frame in enumerate(source.decode(given)):
            small = frame.reformat(320, 240, "yuv420p")
            small.pts, small.time_base = number, 1 / given.average_rate
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))


def repeat(clip: Path, path: Path, minutes: float) -> None:
    """The clip's packets over and over."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        given = source.streams.video[0]
        stream = target.add_stream_from_template(given)
        length = given.duration
        for turn in range(int(minutes * 60 / (length * given.time_base)) + 1):
            source.seek(0)
            for packet in source.demux(given):
                if packet.pts is None:
                    continue
                packet.pts += turn * length
                packet.dts += turn * length
                packet.stream = stream
                target.mux(packet)


def measure(tree: Path, path: Path, sampling: dict[str, object]) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), json.dumps(sampling)],
        cwd=tree, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=list(POLICIES))
    arguments = parser.parse_args()
    trees = {"before": arguments.before.resolve()} if arguments.before else {}
    trees["this tree"] = TREE
    with tempfile.TemporaryDirectory() as folder:
        once = Path(folder, "once.mp4")
        encode(arguments.clip, once)
        for suffix in ("mp4", "mkv", "ts"):
            path = Path(folder, f"long.{suffix}")
            repeat(once, path, arguments.minutes)
            say(f"{suffix}: {path.stat().st_size / 1e6:.0f} MB, {arguments.minutes:g} minutes")
            for name in arguments.policies:
                runs: dict[str, list[dict[str, float]]] = {tree: [] for tree in trees}
                for _ in range(arguments.runs):
                    for tree, where in trees.items():
                        runs[tree].append(measure(where, path, POLICIES[name]))
                for tree, results in runs.items():
                    seconds = statistics.median(result["seconds"] for result in results)
                    read = statistics.median(result["bytes"] for result in results)
                    first = results[0]
                    say(
                        f"  {name:14} {tree:10} {seconds:7.2f} s {read / 1e6:8.1f} MB "
                        f"{first['frames']:5} frames {first['status']} {first['detail'] or ''}"
                    )
            path.unlink()


if __name__ == "__main__":
    main()
