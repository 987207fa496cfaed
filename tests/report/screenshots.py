"""Screenshots of a report, to judge it by and for the README: ``python -m report.screenshots REPORT FOLDER``.

Run in tests/. Writes report.png (units of the last layer), details.png (a unit's details, dark), summary.png (dark) and
narrow.png.
"""

import sys
import tempfile
from pathlib import Path

from report.chromium import Page, find_chromium

SETTLED = "new Promise((done) => setTimeout(done, 1000))"
LAST_LAYER = """(() => {
  const layer = document.querySelector(".toolbar").elements.layer;
  if (!layer) return;
  layer.value = layer.options[layer.options.length - 1].value;
  layer.dispatchEvent(new Event("input", { bubbles: true }));
})()"""
UNITS = "scrollTo(0, document.querySelector('.toolbar').getBoundingClientRect().top + scrollY)"
OPEN = "document.querySelector('.cards:not([hidden]) .open').click()"


def take(report: Path, folder: Path) -> None:
    """Takes all screenshots of a report."""
    folder.mkdir(parents=True, exist_ok=True)
    shots = {
        "report": (1280, 900, "light", [LAST_LAYER, UNITS]),
        "details": (1280, 900, "dark", [LAST_LAYER, OPEN]),
        "summary": (1280, 900, "dark", []),
        "narrow": (390, 844, "light", [LAST_LAYER, UNITS]),
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        page = Page(find_chromium() or sys.exit("no Chromium was found"), Path(scratch) / "profile")
        for name, (width, height, scheme, steps) in shots.items():
            page.emulate(width, height, prefers_color_scheme=scheme)
            page.open(report)
            for step in steps:
                page.js(step)
                page.js(SETTLED)
            page.screenshot(folder / f"{name}.png")
        page.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]))
