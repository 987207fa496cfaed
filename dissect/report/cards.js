// The cards: made of what the page carries, filled and drawn once they come near the window, and printed.
const PRINTED = 200;
const { categories, concepts, imagesOnly, layers } = JSON.parse(document.getElementById("units-data").textContent);
const form = document.querySelector(".toolbar"), field = form.elements;
const unprinted = document.getElementById("unprinted");
const sections = [...document.querySelectorAll(".cards[data-layer]")].map((element, at) => {
  const { layer, rows, columns, allowed, kept, word } = element.dataset, name = element.querySelector(".layer-name").textContent;
  const cards = layers[layer].map((unit) => describe(unit, { at, layer, rows, columns, allowed, kept, word, layerName: name }));
  const grid = element.querySelector(".grid");
  grid.append(...cards.map((card) => card.element));
  return { element, grid, cards };
});
const everything = sections.flatMap(({ cards }) => cards);
const cardOf = new Map(everything.map((card) => [card.element, card]));
const visible = new Set();
let shown = [];

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function chip(label) {
  const [, category, shade] = concepts[label];
  return make("span", { className: `chip shade${shade}` }, category);
}

function describe(unit, layer) {
  const [label, iou] = unit.scores[0] ?? [0, 0], [concept, category, shade] = concepts[label];
  const element = make("article", { id: unit.id, className: `card shade${shade}` });
  Object.assign(element.dataset, { state: unit.state, rows: layer.rows, columns: layer.columns });
  // All that is known of the unit's concepts, falling; `met` is the one that was searched for.
  const all = [...unit.scores, ...unit.more];
  return { ...unit, ...layer, element, label, iou, concept, category, all, met: null };
}

// Thousands of cards would keep the page from showing at once, so each is filled when it is needed.
function fillCard(card) {
  if (card.html === null) return;
  card.element.innerHTML = card.html;
  card.html = null;
  card.element.querySelector(".unit").prepend(make("span", { className: "of" }, `${card.layerName}, `));
  tellMet(card);
}

// A unit that was found by a concept other than its own says how well it fits that.
function tellMet({ element, met, label, html }) {
  if (html !== null) return;
  element.querySelector(".met")?.remove();
  if (!met || met[0] === label) return;
  element.querySelector("header").after(make("p", { className: "met" }, make("b", {}, concepts[met[0]][0]), " ",
    chip(met[0]), make("span", {}, ` IoU ${met[1].toFixed(3)}`)));
}

const canvasesOf = (element) => element.querySelectorAll("canvas");
const drawAll = (element, wanted) => canvasesOf(element).forEach((canvas) =>
  draw(canvas, field.whole.checked, () => wanted(canvas)));
const drawCard = (element) => drawAll(element, () => visible.has(element));
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
const first = document.querySelector(".first");
const drawFirst = () => { if (first) drawAll(first, (canvas) => canvas.isConnected); };
const redraw = () => { drawFirst(); visible.forEach(drawCard); };

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
