"""Takes the picture of a report for the README: `python docs/screenshot.py RUN [docs/report.png]`.

Writes the report anew, opens it in a headless Chromium at 1280 pixels and keeps the top 1500. Run
it from the folder that holds the run (e.g. `runs/demo`): the path is in the picture. The browser is
playwright's own, or the one that CHROMIUM names.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from sensorium.run import Run

WIDTH, HEIGHT = 1280, 1500


def main(folder: str, out: str = "docs/report.png") -> None:
    """Writes the picture, in 256 colours: a third of the bytes, and no difference to see."""
    page_file = Run.open(folder).report().resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM"),
            # Chromium refuses its sandbox to root, as which containers run.
            args=["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [],
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.as_uri())
        data = page.screenshot()
        browser.close()
    picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(out, optimize=True)
    print(f"{out}: {Path(out).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
