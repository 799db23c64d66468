"""How long a crop takes to become a PNG file and to be read again, and how large it is; asserts nothing.

python -m tests.benchmarks.crop_encoding --crops FOLDER [--count 200] [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from deepfake.faces import png
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.storage import Storage

# The fastest of 40 combinations of level, strategy and filter that OpenCV has.
TUNED = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
]


def opencv(options: Sequence[int]) -> Callable[[np.ndarray], bytes]:
    """OpenCV's encoder with these options."""
    return lambda image: cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


ENCODERS = {"opencv": opencv([]), "opencv, tuned": opencv(TUNED), "deepfake": png.encode_png}


def milliseconds(work: Callable[[], object], count: int) -> float:
    """Of each of so many crops."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / count * 1e3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the encoders in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", required=True, help="an output of jobs/preprocess.py")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    storage = Storage()
    stored = tables.read_table(storage, list_part_files(options.crops, storage)[0], "crops", ["crop"])["crop"]
    images = [decode_image(data) for data in stored.to_pylist()[: options.count]]
    cv2.setNumThreads(0)
    files = {name: [encode(image) for image in images] for name, encode in ENCODERS.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ENCODERS}
    for _ in range(options.rounds):
        for name, encode in ENCODERS.items():
            writing = milliseconds(lambda encode=encode: [encode(image) for image in images], len(images))
            reading = milliseconds(
                lambda name=name: [decode_image(data) for data in files[name]], len(images)
            )
            spent[name].append((writing, reading))
    for name, seconds in spent.items():
        writing, reading = (statistics.median(column) for column in zip(*seconds, strict=True))
        kilobytes = statistics.mean(map(len, files[name])) / 1e3
        sys.stdout.write(
            f"{name:15} {writing:5.2f} ms to write, {reading:5.2f} ms to read, {kilobytes:5.1f} kB\n"
        )


if __name__ == "__main__":
    main()
