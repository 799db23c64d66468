"""Takes the README's pictures from the pages of a finished demo; wants Chromium.

make demo && .venv/bin/python docs/take_pictures.py demo_output
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = Path(__file__).resolve().parent / "pictures"
WIDTH, HEIGHT = 1180, 760  # of the window
SHOWN = 820  # width of a picture
COLOURS = 128


def take_pictures(browser: Browser, demo: Path, folder: Path) -> None:
    """Write ``scores.png`` and ``video.png``: the index page's table, and the page of its first video."""
    folder.mkdir(exist_ok=True)
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto((demo / "scores/report.html").resolve().as_uri())
    page.keyboard.press("j")
    page.keyboard.press("f")
    page.locator("#videos-heading").evaluate("heading => heading.scrollIntoView()")
    save_picture(page, folder / "scores.png")
    page.locator("#rows .name a").first.click()
    page.locator("#timeline").evaluate("heading => heading.scrollIntoView()")
    save_picture(page, folder / "video.png")
    page.close()


def save_picture(page: Page, path: Path) -> None:
    """What the window shows, small and in few colours."""
    page.wait_for_load_state("networkidle")
    taken = Image.open(BytesIO(page.screenshot())).convert("RGB")
    shown = taken.resize((SHOWN, taken.height * SHOWN // taken.width), Image.Resampling.LANCZOS)
    shown.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        take_pictures(
            playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]),
            Path(sys.argv[1]),
            PICTURES,
        )
