// Pictures of one unit, and a label of which people say whether it fits, or which they write.
const item = document.querySelector(".item"), quoted = item.querySelector("q");
const pictures = item.querySelector(".pictures"), written = item.querySelector("form");

const drawn = (canvas, whole) => draw(canvas, whole, () => canvas.isConnected);

function present([unit, text]) {
  if (quoted) quoted.textContent = text;
  const shown = sheet.units[unit];
  Object.assign(pictures.dataset, { rows: shown.rows, columns: shown.columns });
  pictures.replaceChildren(...shown.pictures.map(([number, mask], at) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1, ariaLabel: `picture ${at + 1}` });
    canvas.setAttribute("role", "img");
    Object.assign(canvas.dataset, { picture: number, mask });
    return canvas;
  }));
  [...pictures.children].forEach((canvas) => drawn(canvas, false));
  if (!written) return;
  written.elements.label.value = "";
  written.elements.label.focus({ preventScroll: true });
}

for (const [type, whole] of [["pointerover", true], ["pointerout", false]]) {
  pictures.addEventListener(type, ({ target }) => { if (target.dataset.mask) drawn(target, whole); });
}
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => [...pictures.children].forEach((canvas) => drawn(canvas, false)), 150);
});
item.addEventListener("click", ({ target }) => { if (target.dataset.answer !== undefined) answer(target.dataset.answer); });
written?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (written.elements.label.value.trim()) answer(written.elements.label.value.trim());
});
begin(written ? {} : { y: () => answer("yes"), n: () => answer("no") });
