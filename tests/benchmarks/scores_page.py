"""How long the scores page takes with many videos in headless Chromium; says seconds, asserts nothing.

python -m tests.benchmarks.scores_page [VIDEOS]
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from deepfake.io.storage import Storage
from deepfake.pipelines.score import index_page
from tests.browser import CHROMIUM_ARGUMENTS
from tests.pipelines.score.score_tables import video_row, video_table

ACTIONS = {
    "filter by name": (
        "() => { const e = document.getElementById('search'); e.value = '77'; {input} }",
        "input",
    ),
    "filter by score": (
        "() => { const e = document.getElementById('least'); e.value = '0.5'; {input} }",
        "input",
    ),
    "filter by outcome": (
        "() => { const e = document.getElementById('status'); e.value = '0'; {input} }",
        "change",
    ),
    "sort by name": ("() => document.querySelector('th[data-sort=name] button').click()", ""),
    "sort by faces": ("() => document.querySelector('th[data-sort=faces] button').click()", ""),
    "next page": ("() => document.querySelectorAll('.pager button')[1].click()", ""),
}


def say(line: str) -> None:
    """One line at once, so that a slow step is seen."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def measure(page_uri: Path) -> None:
    """Say how long the page takes to open, and what a reader does with it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS
        )
        page = browser.new_page()
        started = time.perf_counter()
        page.goto(page_uri.as_uri())
        say(f"{'open':<20} {time.perf_counter() - started:.3f} s")
        for name, (script, event) in ACTIONS.items():
            dispatch = f"e.dispatchEvent(new Event('{event}', {{ bubbles: true }}));"
            body = script.replace("{input}", dispatch)
            timed = (
                f"async () => {{ const t = performance.now(); ({body})(); "
                "await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); "
                "return performance.now() - t; }"
            )
            say(f"{name:<20} {page.evaluate(timed) / 1000:.3f} s")
        browser.close()


def main(videos: int = 100_000) -> None:
    """Write a page of so many videos and time what a reader does with it."""
    source = random.Random(0)
    rows = [
        video_row(f"archive/{i % 997:03d}/clip_{i:07d}.mp4", source.random() if i % 10 else None)
        for i in range(videos)
    ]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        table = video_table(*rows)
        page_uri = index_page.write_index(folder, Storage(), table, index_page.sort_by_suspicion(table))
        size = Path(page_uri).stat().st_size / 1e6
        say(f"{videos:,} videos: written in {time.perf_counter() - started:.2f} s, {size:.1f} MB")
        measure(Path(page_uri))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
