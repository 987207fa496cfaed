// A unit's details in a dialog: larger pictures, its best concepts, and how far they can be trusted.
const dialog = document.getElementById("detail");
const part = (name) => dialog.querySelector(`[data-part="${name}"]`);
let current = null;

function figureOf(canvas) {
  const copy = canvas.cloneNode(false);
  const text = canvas.getAttribute("aria-label"), [image, rest] = text.split(/: (.*)/s);
  copy.removeAttribute("title");
  return make("figure", {}, copy, make("figcaption", { ariaHidden: "true" }, make("b", {}, image), rest));
}

function rowOf([label, iou]) {
  const [name, , shade] = concepts[label];
  const bar = make("div", { className: `bar shade${shade}`, ariaHidden: "true" });
  bar.style.setProperty("--iou", iou);
  bar.style.setProperty("--most", 0);
  bar.style.setProperty("--cut", dialog.dataset.cutoff);
  return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, chip(label)),
    make("td", { className: "num" }, iou.toFixed(3)), make("td", { className: "barcell" }, bar));
}

function fillDetail(card) {
  fillCard(card);
  const place = shown.indexOf(card);
  current = card;
  part("where").textContent = `${card.layerName}, ${card.word} ${card.unit}`;
  part("name").textContent = card.element.querySelector("h4 span")?.textContent ?? `${card.word} ${card.unit}`;
  part("kind").replaceChildren(...card.iou > 0 ? [chip(card.label)] : [],
    ...[...card.element.querySelectorAll(".state, .doubt")].map((mark) => mark.cloneNode(true)));
  part("iou").textContent = card.iou > 0 ? `IoU ${card.iou.toFixed(3)}` : "";
  const facts = card.element.querySelector("dl").cloneNode(true);
  facts.querySelector(".rest")?.remove();
  part("facts").replaceChildren(facts);
  part("place").textContent = `${place + 1} of ${shown.length}`;
  part("previous").disabled = place <= 0;
  part("next").disabled = place >= shown.length - 1;
  part("scores").hidden = card.scores.length === 0;
  const listed = card.met && !card.scores.includes(card.met) ? [...card.scores, card.met] : card.scores;
  part("scores").tBodies[0].replaceChildren(...listed.map(rowOf));
  const pictures = part("pictures");
  Object.assign(pictures.dataset, { rows: card.rows, columns: card.columns });
  pictures.replaceChildren(...[...canvasesOf(card.element)].map(figureOf));
  fillTrust(card);
  fillSpread(card);
  part("missing").hidden = pictures.children.length > 0;
}

function drawDetail() {
  drawAll(dialog, (canvas) => canvas.isConnected);
}

function open(card) {
  fillDetail(card);
  dialog.showModal();
  dialog.scrollTop = 0;
  drawDetail();
}

function step(by) {
  const next = shown[shown.indexOf(current) + by];
  if (!next) return;
  fillDetail(next);
  drawDetail();
  // A button that has just been disabled has lost the focus.
  if (!dialog.contains(document.activeElement) || document.activeElement.disabled) part("close").focus();
}

document.getElementById("units").addEventListener("click", ({ target }) => {
  if (target.closest(".open, .pictures canvas")) open(cardOf.get(target.closest(".card")));
});
part("previous").addEventListener("click", () => step(-1));
part("next").addEventListener("click", () => step(1));
part("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
dialog.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") step(-1); else if (key === "ArrowRight") step(1);
});
dialog.addEventListener("close", () => {
  current.element.scrollIntoView({ block: "nearest" });
  current.element.querySelector(".open").focus({ preventScroll: true });
  part("pictures").replaceChildren();
  part("sample").replaceChildren();
});
