// Search, filters and order.
const NAMED = 3;
const count = form.querySelector("output"), nothing = document.getElementById("nothing");
const together = document.getElementById("together");
const whole = { element: together, grid: together.querySelector(".grid"), cards: [...everything] };

// A control's value; "" where a page has none of it.
const chosen = (control) => field[control]?.value ?? "";

// The labels that are searched for or chosen, or null where none are asked for. Where words begin with the text, those
// that have it inside are not meant: "tree" is no street.
function wantedLabels(text) {
  const category = chosen("category"), concept = chosen("concept");
  if (!text && !concept) return null;
  const names = concepts.map(([name, itsCategory], label) => label > 0
    && (!concept || String(label) === concept) && (!category || itsCategory === category) ? name.toLowerCase() : null);
  const begins = (name) => name.startsWith(text) || /[^\p{L}\p{N}]$/u.test(name.slice(0, Math.max(name.indexOf(text), 0)));
  const inside = names.flatMap((name, label) => name?.includes(text) ? [label] : []);
  const beginning = inside.filter((label) => begins(names[label]));
  return new Set(beginning.length > 0 ? beginning : inside);
}

function fits(card, text, labels) {
  const state = chosen("state"), category = chosen("category");
  const numbered = text && String(card.unit) === text.replace(/^(unit|direction|#)\s*/, "");
  card.met = labels && (card.all.find(([label]) => labels.has(label)) ?? null);
  if (labels && !card.met && (!numbered || chosen("concept"))) return false;
  if (chosen("layer") && card.layer !== chosen("layer")) return false;
  if (!card.met && category && (card.iou === 0 || card.category !== category)) return false;
  return !state || card.state === state || (state === "detector" && card.detector) || (state === "beyond" && card.beyond);
}

const reach = (card) => card.attainable > 0 ? card.iou / card.attainable : 0;
const metIou = (card) => card.met ? card.met[1] : 0;
const ORDERS = {
  iou: (a, b) => metIou(b) - metIou(a) || b.iou - a.iou,
  reach: (a, b) => reach(b) - reach(a),
  concept: (a, b) => (b.iou > 0) - (a.iou > 0) || a.concept.localeCompare(b.concept, "en") || a.label - b.label
    || b.iou - a.iou,
  strength: (a, b) => b.strength - a.strength,
  unit: () => 0,
};

// Cards lie in the sections of their layers, or all in one.
function arrange() {
  const groups = field.together?.checked ? [whole] : sections, order = ORDERS[field.sort.value];
  for (const { cards, grid } of groups) {
    cards.sort((a, b) => order(a, b) || a.at - b.at || a.unit - b.unit);
    if (cards.some(({ element }, at) => grid.children[at] !== element)) {
      grid.append(...cards.map(({ element }) => element));
    }
  }
  for (const group of [...sections, whole]) {
    group.element.hidden = !groups.includes(group) || group.cards.every(({ element }) => element.hidden);
  }
  shown = groups.flatMap(({ cards }) => cards.filter(({ element }) => !element.hidden));
}

const units = (number) => `${number.toLocaleString("en")} unit${number === 1 ? "" : "s"}`;

function tellCount() {
  const all = units(everything.length), ranked = field.sort.value === "iou" && shown.some((card) => card.met);
  const names = ranked && new Set(shown.flatMap(({ met }) => met ? [concepts[met[0]][0]] : []));
  const name = ranked && (names.size <= NAMED ? [...names].join(", ") : "the best of the concepts that fit");
  count.value = (shown.length === everything.length ? all : `${shown.length.toLocaleString("en")} of ${all}`)
    + (ranked ? `, by IoU with ${name}` : "");
}

// The list of concepts follows the category.
function narrowConcepts() {
  if (!field.concept) return;
  const category = field.category.value;
  for (const group of field.concept.querySelectorAll("optgroup")) {
    group.hidden = group.disabled = category !== "" && group.label !== category;
  }
  if (field.concept.selectedOptions[0]?.parentNode.disabled) field.concept.value = "";
}

function update() {
  narrowConcepts();
  const text = field.text.value.trim().toLowerCase(), labels = wantedLabels(text);
  for (const card of everything) {
    card.element.hidden = !fits(card, text, labels);
    tellMet(card);
  }
  arrange();
  tellCount();
  nothing.hidden = shown.length > 0;
  field.csv.disabled = shown.length === 0;
  whenIdle(fillRest);
}
