// The cards: search, filters, order, drawing what is in the window, printing, and the table to download.
const PRINTED = 200;
const { concepts, layers } = JSON.parse(document.getElementById("units-data").textContent);
const form = document.querySelector(".toolbar"), field = form.elements;
const count = form.querySelector("output"), nothing = document.getElementById("nothing");
const unprinted = document.getElementById("unprinted");
const sections = [...document.querySelectorAll(".cards")].map((element) => {
  const grid = element.querySelector(".grid"), { layer } = element.dataset;
  const name = element.querySelector(".layer-name").textContent;
  const cards = layers[layer].map((unit) => describe(unit, layer, name));
  grid.append(...cards.map((card) => card.element));
  return { element, grid, cards };
});
const everything = sections.flatMap(({ cards }) => cards);
const cardOf = new Map(everything.map((card) => [card.element, card]));
const visible = new Set();
let shown = [], order = "iou";

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function describe(unit, layer, layerName) {
  const [label, iou] = unit.scores[0] ?? [0, 0], [concept, category, shade] = concepts[label];
  const element = make("article", { id: unit.id, className: `card shade${shade}` });
  element.dataset.state = unit.state;
  return { ...unit, element, layer, layerName, label, iou, concept, category, text: concept.toLowerCase() };
}

// Thousands of cards would keep the page from showing at once, so each is filled when it is needed.
function fillCard(card) {
  if (card.html === null) return;
  card.element.innerHTML = card.html;
  card.html = null;
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
  const all = `${everything.length.toLocaleString("en")} unit${everything.length === 1 ? "" : "s"}`;
  count.value = shown.length === everything.length ? all : `${shown.length.toLocaleString("en")} of ${all}`;
  nothing.hidden = shown.length > 0;
  field.csv.disabled = shown.length === 0;
  whenIdle(fillRest);
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
  if (isIntersecting) {
    visible.add(target);
    fillCard(cardOf.get(target));
    drawCard(target);
  } else if (visible.delete(target)) {
    canvasesOf(target).forEach(clear);
  }
}), { rootMargin: "500px" });
const redraw = () => visible.forEach(drawCard);

function whenIdle(work) {
  if (window.requestIdleCallback) requestIdleCallback(work); else setTimeout(work, 50);
}

// The cards that nobody has come to yet are filled too, for the browser's own search and for screen readers.
function fillRest(deadline) {
  for (const card of everything) {
    if (card.html === null) continue;
    fillCard(card);
    if (deadline && deadline.timeRemaining() < 2) { whenIdle(fillRest); return; }
  }
  whenIdle(prepare);
}

// A browser waits for no picture once it prints, so those that would be printed are loaded before.
function prepare(deadline) {
  for (const card of shown.slice(0, PRINTED)) {
    for (const canvas of canvasesOf(card.element)) {
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
  for (const card of shown.slice(0, PRINTED)) {
    fillCard(card);
    for (const canvas of canvasesOf(card.element)) {
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
  const text = typeof value === "string" ? value.replace(/^(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/, "'") : String(value ?? "");
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

// The browser knows no card by a link's name before this script has made it. Filters that hide it are taken away.
function follow() {
  const target = document.getElementById(location.hash.slice(1));
  if (!cardOf.has(target)) return;
  if (target.hidden) {
    form.reset();
    update();
  }
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
// A link to the card that the address names already changes nothing there.
document.addEventListener("click", ({ target }) => {
  if (location.hash && target.closest?.("a")?.getAttribute("href") === location.hash) setTimeout(follow);
});
addEventListener("beforeprint", beforePrint);
addEventListener("afterprint", afterPrint);
// Browsers keep what was entered when a page is loaded again.
form.reset();
everything.forEach(({ element }) => observer.observe(element));
follow();
