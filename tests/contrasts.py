"""How well every text of a page can be told from its ground, for tests in a browser."""

# Contrast of every visible text with the grounds that are painted behind it, as WCAG 2.2 defines it.
CONTRASTS = """() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  document.querySelectorAll('details').forEach(fold => { fold.open = true; });
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ['SCRIPT', 'STYLE', 'OPTION'].includes(element.tagName)) continue;
    const layers = [];
    for (let ground = element; ground; ground = ground.parentElement) {
      layers.push(numbers(getComputedStyle(ground).backgroundColor));
      if ((layers.at(-1)[3] ?? 1) === 1) break;
    }
    const painted = layers.reverse().reduce((below, [r, g, b, alpha = 1]) =>
      [r, g, b].map((c, at) => alpha * c + (1 - alpha) * below[at]), [255, 255, 255]);
    const text = light(numbers(getComputedStyle(element).color));
    const behind = light(painted);
    const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    found.push({ text: element.textContent.trim().slice(0, 40), ratio });
  }
  return found;
}"""
