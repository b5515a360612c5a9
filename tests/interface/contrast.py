"""How well text can be read: the contrast between its colour and what lies behind it, as WCAG 2 defines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ENOUGH = 4.5  # contrast of normal text, WCAG 2.2, criterion 1.4.3
OUTPUTS = '[data-mime-type="text/html"], .jupyter-widgets:not(.jupyter-widgets *)'  # each widget with all its parts

# Walks over all text inside an element. What is behind a text is the stack of its ancestors' backgrounds; an opacity
# below 1 mixes an element with what is behind it.
_TEXTS = r"""
root => {
  const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const parse = css => {  // any CSS colour as red, green, blue (0..255), alpha (0..1)
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = css; pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat([1]);
  const luminance = c => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(e);
    let opacity = 1;
    let ground = [255, 255, 255, 1];
    for (const e of chain) {
      const style = getComputedStyle(e);
      opacity *= Number(style.opacity);
      const paint = parse(style.backgroundColor);
      paint[3] *= opacity;
      ground = over(paint, ground);
    }
    return [ground, opacity];
  };
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility({visibilityProperty: true}) || element.closest('[disabled]')) continue;
    if (!element.getClientRects().length || element.closest('style, script')) continue;
    const style = getComputedStyle(element);
    const [ground, opacity] = behind(element);
    const ink = parse(element.closest('svg') ? style.fill : style.color);
    ink[3] *= opacity;
    const [a, b] = [luminance(over(ink, ground)), luminance(ground)].sort((x, y) => y - x);
    found.push([text.slice(0, 60), (a + 0.05) / (b + 0.05)]);
  }
  return found;
}
"""


def contrasts(element: Locator) -> list[tuple[str, float]]:
    """Every visible text inside an element with its contrast, from 1 (invisible) to 21 (black on white)."""
    return [(text, ratio) for text, ratio in element.evaluate(_TEXTS)]


def everything_can_be_read(page: Page, at_least: int = 100) -> None:
    """No text in the outputs and widgets of a notebook is too faint, and there are at least so many texts."""
    outputs = page.locator(OUTPUTS)
    texts = [pair for index in range(outputs.count()) for pair in contrasts(outputs.nth(index))]
    assert len(texts) > at_least, f"only {len(texts)} texts"
    faint = [pair for pair in texts if pair[1] < ENOUGH]
    assert not faint, faint
