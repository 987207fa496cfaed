// The cards: search, filters, order, drawing what is in the window, printing, and the table to download.
const PRINTED = 200;
const { concepts, units } = JSON.parse(document.getElementById("units-data").textContent);
const form = document.querySelector(".toolbar"), field = form.elements;
const count = form.querySelector("output"), nothing = document.getElementById("nothing");
const unprinted = document.getElementById("unprinted");
const sections = [...document.querySelectorAll(".cards")].map((element) => {
  const grid = element.querySelector(".grid"), layer = element.dataset.layer;
  const name = element.querySelector(".layer-name").textContent;
  return { element, grid, layer, name, cards: [...grid.children].map((card) => describe(card, layer, name)) };
});
const total = sections.reduce((sum, section) => sum + section.cards.length, 0);
const visible = new Set();
let shown = [], order = "iou";

function describe(element, layer, layerName) {
  const [attainable, covers, threshold, firing, scores] = units[element.id];
  const [label, iou] = scores.length ? scores[0] : [0, 0], [concept, category, shade] = concepts[label];
  const { unit, state, detector } = element.dataset;
  return {
    element, layer, layerName, unit: Number(unit), state, detector: detector !== undefined, label, iou, concept, category,
    shade, attainable, covers, threshold, firing, scores, text: concept.toLowerCase(),
  };
}

function fits(card) {
  const wanted = field.text.value.trim().toLowerCase(), state = field.state.value;
  const named = card.iou > 0 && card.text.includes(wanted);
  if (wanted && !named && String(card.unit) !== wanted.replace(/^(unit|#)\s*/, "")) return false;
  if (field.layer && field.layer.value && card.layer !== field.layer.value) return false;
  if (field.category.value && (card.iou === 0 || card.category !== field.category.value)) return false;
  if (field.concept.value && String(card.label) !== field.concept.value) return false;
  return !state || (state === "detector" ? card.detector : card.state === state);
}

function filter() {
  shown = sections.flatMap((section) => {
    const fitting = section.cards.filter((card) => !(card.element.hidden = !fits(card)));
    section.element.hidden = fitting.length === 0;
    return fitting;
  });
  const all = `${total.toLocaleString("en")} unit${total === 1 ? "" : "s"}`;
  count.value = shown.length === total ? all : `${shown.length.toLocaleString("en")} of ${all}`;
  nothing.hidden = shown.length > 0;
  field.csv.disabled = shown.length === 0;
  whenIdle(prepare);
}

const reach = (card) => card.attainable > 0 ? card.iou / card.attainable : 0;
const ORDERS = {
  iou: (a, b) => b.iou - a.iou,
  reach: (a, b) => reach(b) - reach(a),
  concept: (a, b) => (b.iou > 0) - (a.iou > 0) || a.concept.localeCompare(b.concept, "en") || a.label - b.label
    || b.iou - a.iou,
  unit: () => 0,
};

function sort() {
  if (field.sort.value === order) return;
  order = field.sort.value;
  for (const { grid, cards } of sections) {
    cards.sort((a, b) => ORDERS[order](a, b) || a.unit - b.unit);
    grid.append(...cards.map((card) => card.element));
  }
}

// The list of concepts follows the category.
function narrowConcepts() {
  const category = field.category.value;
  for (const group of field.concept.querySelectorAll("optgroup")) {
    group.hidden = group.disabled = category !== "" && group.label !== category;
  }
  if (field.concept.selectedOptions[0]?.parentNode.disabled) field.concept.value = "";
}

function update() {
  narrowConcepts();
  sort();
  filter();
}

const canvasesOf = (element) => element.querySelectorAll("canvas");
const drawCard = (element) => canvasesOf(element).forEach((canvas) =>
  draw(canvas, field.whole.checked, () => visible.has(element)));
// Cards far from the window give their pixels back, so that thousands of units fit in memory.
const observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
  if (isIntersecting) { visible.add(target); drawCard(target); } else if (visible.delete(target)) {
    canvasesOf(target).forEach(clear);
  }
}), { rootMargin: "500px" });
const redraw = () => visible.forEach(drawCard);

function whenIdle(work) {
  if (window.requestIdleCallback) requestIdleCallback(work); else setTimeout(work, 50);
}

// A browser waits for no picture once it prints, so those that would be printed are loaded before.
function prepare(deadline) {
  for (const { element } of shown.slice(0, PRINTED)) {
    for (const canvas of canvasesOf(element)) {
      if (loaded.has(canvas.dataset.picture)) continue;
      load(canvas.dataset.picture);
      if (deadline && deadline.timeRemaining() < 2) { whenIdle(prepare); return; }
    }
  }
}

function beforePrint() {
  shown.slice(PRINTED).forEach(({ element }) => element.classList.add("unprinted"));
  unprinted.textContent = `The first ${PRINTED} units are printed; filter them to print others.`;
  unprinted.hidden = shown.length <= PRINTED;
  for (const { element } of shown.slice(0, PRINTED)) {
    for (const canvas of canvasesOf(element)) {
      const image = load(canvas.dataset.picture);
      if (image.complete && image.naturalWidth) paint(canvas, image, field.whole.checked);
    }
  }
}

function afterPrint() {
  unprinted.hidden = true;
  for (const { element } of shown) {
    element.classList.remove("unprinted");
    if (!visible.has(element)) canvasesOf(element).forEach(clear);
  }
}

// A spreadsheet would compute text that begins like a formula.
function cell(value) {
  const text = typeof value === "string" ? value.replace(/^(?=[=+\-@\t\r])/, "'") : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function table() {
  const head = ["layer", "unit", "concept", "category", "iou", "attainable", "concept_fraction", "threshold", "firing",
    "state", "detector"];
  const rows = shown.map((card) => [
    card.layerName, card.unit, card.iou > 0 ? card.concept : "", card.iou > 0 ? card.category : "", card.iou,
    card.attainable, card.covers, card.threshold, card.firing, card.state, card.detector,
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function download() {
  // The mark in front tells spreadsheets that the text is UTF-8.
  const url = URL.createObjectURL(new Blob(["\ufeff", table()], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: url, download: "units.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A link to a card that the filters hide takes these away.
function follow() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target || !target.hidden) return;
  form.reset();
  update();
  target.scrollIntoView();
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => { update(); redraw(); }));
form.addEventListener("input", ({ target }) => { if (target === field.whole) redraw(); else update(); });
field.csv.addEventListener("click", download);
for (const [type, whole] of [["pointerover", true], ["pointerout", false]]) {
  document.addEventListener(type, ({ target }) => {
    if (target.matches?.("canvas[data-mask]") && !field.whole.checked) draw(target, whole, () => target.isConnected);
  });
}
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
addEventListener("hashchange", follow);
addEventListener("beforeprint", beforePrint);
addEventListener("afterprint", afterPrint);
// Browsers keep what was entered when a page is loaded again.
form.reset();
sections.forEach(({ cards }) => cards.forEach(({ element }) => observer.observe(element)));
