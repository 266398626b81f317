"""Pictures of the page for the documents: ``docs/images/page.png`` and ``docs/images/page-phone.png``.

Run it where ``xtrkit demo`` was run, so that its index is there::

    python benchmarks/pictures.py --index xtrkit-demo

It serves the index, opens the page in Debian's chromium by Playwright, asks the demo's first question, and shows why
the best result was found. Needs the extra "test".
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from xtrkit.demo import QUESTIONS

IMAGES = Path(__file__).parent.parent / "docs" / "images"
COLOURS = 64
LARGEST = 150_000
PICTURES = {
    "page.png": {"viewport": {"width": 1120, "height": 790}, "color_scheme": "light", "device_scale_factor": 2},
    "page-phone.png": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", default="xtrkit-demo", help="the index that xtrkit demo made")
    index = parser.parse_args().index
    IMAGES.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "xtrkit", "serve", index, "--port", "0"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **quiet) as server, sync_playwright() as playwright:
        found = re.search(r"http://\S+/", server.stdout.readline() if server.stdout else "")
        url = found[0] if found else sys.exit("The server did not start.")
        wait_for(f"{url}readyz")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            for name, look in PICTURES.items():
                picture = taken(browser, url, look)
                (IMAGES / name).write_bytes(picture)
                print(f"{IMAGES / name}: {len(picture):,} bytes")
                if len(picture) > LARGEST:
                    sys.exit(f"{name} is larger than {LARGEST:,} bytes.")
        finally:
            browser.close()
            server.terminate()


def wait_for(place: str) -> None:
    """Ask until all is well."""
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(place).is_success:
                return
        time.sleep(0.2)
    sys.exit(f"Nothing answers at {place}.")


def taken(browser: Browser, url: str, look: dict) -> bytes:
    """A picture as PNG with a palette."""
    context = browser.new_context(**look, reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{url}?{urlencode({'q': QUESTIONS[0], 'open': 1})}")
    page.locator(".hit").first.wait_for()
    page.reload()  # with kernels and caches that are warm
    page.locator(".token").filter(has=page.locator(".asked", has_text="run")).first.click()
    page.mouse.move(0, 0)
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    context.close()
    out = io.BytesIO()
    shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
