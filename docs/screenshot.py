"""Takes the picture of a report for the README: `python docs/screenshot.py RUN [docs/report.png]`.

Writes the report anew, opens it in a headless Chromium 1280 pixels wide, and keeps what comes
before the gallery. Run it from where the run is `runs/demo`: the path is in the picture. The
browser is playwright's own, or the one that CHROMIUM names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from sensorium.run import Run

WIDTH, HEIGHT = 1280, 900


def main(folder: str, out: str = "docs/report.png") -> None:
    """Writes the picture."""
    page_file = Run.open(folder).report().resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM"),
            # Chromium refuses its sandbox to root, as which containers run.
            args=["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [],
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.as_uri())
        end = page.evaluate("document.getElementById('gallery').getBoundingClientRect().top")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": end - 24}
        page.screenshot(path=out, full_page=True, clip=clip)
        browser.close()
    print(f"{out}: {Path(out).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
