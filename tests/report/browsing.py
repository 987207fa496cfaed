"""What tests do with a page in a browser."""

import csv
import io
from pathlib import Path

from dissect import Dissection

from .chromium import Page

#: Cards that the filters leave, in their order.
SHOWN = "[...document.querySelectorAll('.cards:not([hidden]) .card:not([hidden])')]"
#: Per visible text its contrast with the color behind it, as [ratio, text], where it is below 4.5 : 1.
FAINT = """(() => {
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = color; context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] > 230) return color;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, style = getComputedStyle(element);
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, .hidden")) continue;
    const color = rgba(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.push([(a + .05) / (b + .05), texts.currentNode.data]);
  }
  return faint;
})()"""


def visit(browser: Page, report: Path) -> None:
    """Opens a page of 19 units."""
    browser.emulate(1280, 900, prefers_color_scheme="light")
    browser.open(report)
    browser.wait("document.querySelectorAll('.open').length === 19")


def download(page: Page) -> list[dict[str, str]]:
    """The rows of the page's table."""
    page.js("URL.createObjectURL = (blob) => { window.told = blob; return '#'; }")
    page.js("document.querySelector('[name=csv]').click()")
    return list(csv.DictReader(io.StringIO(page.js("told.text()"), newline="")))


def shown(page: Page) -> list[str]:
    return page.js(f"{SHOWN}.map((card) => card.id)")


def enter(page: Page, name: str, value: str) -> None:
    page.js(f"document.querySelector('.toolbar').elements[{name!r}].focus()")
    page.js(f"document.activeElement.value = {value!r}")
    page.js("document.activeElement.dispatchEvent(new Event('input', { bubbles: true }))")


def count(page: Page) -> str:
    return page.js("document.querySelector('.toolbar output').value")


def expected(result: Dissection, fits) -> set[str]:
    return {f"u{list(result.layers).index(row.layer)}-{row.unit}" for row in result.best() if fits(row)}


def ranked(result: Dissection, concept: str, layers: list[str]) -> list[tuple[str, float]]:
    """The cards of all units that meet a concept, the best first, layer by layer or together, with their IoUs."""
    label, found = result.concepts.names.index(concept), []
    for name in layers:
        iou, at = result[name].iou[:, label].tolist(), list(result.layers).index(name)
        found += [(-iou[unit], -max(result[name].iou[unit].tolist()), at, unit) for unit in range(len(iou))]
    return [(f"u{at}-{unit}", -score) for score, _, at, unit in sorted(found) if score < 0]
