"""Makes docs/report.png, the README's picture, out of demo/report.html (after make demo)."""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SECTIONS = ("Forecast against truth", "A first look inside")


def main() -> None:
    """Photograph the two figures and put them side by side."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 900, "height": 1200}, device_scale_factor=1.5)
        page.goto((HERE.parent / "demo" / "report.html").resolve().as_uri())
        shots = []
        for title in SECTIONS:
            section = page.locator("section", has=page.get_by_role("heading", name=title))
            shots.append(Image.open(io.BytesIO(section.locator("svg").first.screenshot())))
        browser.close()
    shots[1] = shots[1].resize((int(shots[1].width * 0.66), int(shots[1].height * 0.66)))
    height = max(s.height for s in shots)
    picture = Image.new("RGB", (sum(s.width for s in shots) + 40, height), "white")
    left = 0
    for shot in shots:
        picture.paste(shot, (left, (height - shot.height) // 2))
        left += shot.width + 40
    picture.save(HERE / "report.png", optimize=True)


if __name__ == "__main__":
    main()
