// Search, filters and order.
const NAMED = 3;
const count = form.querySelector("output"), nothing = document.getElementById("nothing");
const together = document.getElementById("together");
const whole = { element: together, grid: together.querySelector(".grid"), cards: [...everything] };

// A control's value; "" where a page has none of it.
const chosen = (control) => field[control]?.value ?? "";

// Whether a word of a name begins with the text.
function begins(name, text) {
  for (let at = name.indexOf(text); at >= 0; at = name.indexOf(text, at + 1)) {
    if (at === 0 || /[^\p{L}\p{N}]$/u.test(name.slice(0, at))) return true;
  }
  return false;
}

// The labels that are searched for or chosen, null where none are asked for, and the units whose formula or text label
// has the words. Where words begin with the text, those that have it inside are not meant: "tree" is no street.
function wanted(text) {
  const category = chosen("category"), concept = chosen("concept");
  if (!text && !concept) return { labels: null, saying: new Set() };
  const names = concepts.map(([name, itsCategory], label) => label > 0
    && (!concept || String(label) === concept) && (!category || itsCategory === category) ? name.toLowerCase() : null);
  const inside = names.flatMap((name, label) => name?.includes(text) ? [label] : []);
  const beginning = inside.filter((label) => begins(names[label], text));
  const saying = text && !concept ? everything.filter((card) => card.told?.includes(text)) : [];
  const first = saying.filter((card) => begins(card.told, text)), whole = beginning.length > 0 || first.length > 0;
  return { labels: new Set(whole ? beginning : inside), saying: new Set(whole ? first : saying) };
}

function fits(card, text, { labels, saying }) {
  const state = chosen("state"), category = chosen("category");
  const numbered = text && String(card.unit) === text.replace(/^(unit|direction|#)\s*/, "");
  card.met = labels && (card.all.find(([label]) => labels.has(label)) ?? null);
  card.says = saying.has(card);
  if (labels && !card.met && !card.says && (!numbered || chosen("concept"))) return false;
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
    + (ranked ? `, by IoU with ${name}` : "") + tellSaying();
}

// How many of the units are there for what they say alone.
function tellSaying() {
  const only = shown.filter((card) => card.says && !card.met).length;
  return only ? `, ${only.toLocaleString("en")} by formula or text label` : "";
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
  const text = field.text.value.trim().toLowerCase(), meant = wanted(text);
  for (const card of everything) {
    card.element.hidden = !fits(card, text, meant);
    tellMet(card);
  }
  arrange();
  tellCount();
  nothing.hidden = shown.length > 0;
  field.csv.disabled = shown.length === 0;
  whenIdle(fillRest);
}
