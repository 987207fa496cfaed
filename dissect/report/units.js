// The table to download: the units shown, in their order.

// A spreadsheet would compute text that begins like a formula.
function cell(value) {
  const text = typeof value === "string" ? value.replace(/^(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/, "'") : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const HEAD = ["layer", "unit", "concept", "category", "iou", "attainable", "concept_fraction", "threshold", "firing",
  "state", "detector"];

// Per category two columns, of names that no other column has.
function categoryHead() {
  const taken = new Set([...HEAD, ...TEXT, ...TRUST]);
  return categories.flatMap((category) => {
    let name = category;
    while (taken.has(name) || taken.has(`${name}_iou`)) name += "_";
    taken.add(name).add(`${name}_iou`);
    return [name, `${name}_iou`];
  });
}

function bestOf(card, category) {
  const found = card.all.find(([label]) => concepts[label][1] === category);
  return found ? [concepts[found[0]][0], found[1]] : ["", ""];
}

// Text labels are columns where there are some.
const TEXT = everything.some((card) => card.text) ? ["text", "text_score", "text_p"] : [];

function table() {
  const head = [...HEAD, ...TEXT, ...TRUST, ...categoryHead()];
  const rows = shown.map((card) => [
    card.layerName, card.unit, card.iou > 0 ? card.concept : "", card.iou > 0 ? card.category : "", imagesOnly ? "" : card.iou,
    imagesOnly ? "" : card.attainable, imagesOnly ? "" : card.covers, card.threshold, card.firing, card.state, imagesOnly ? "" : card.detector,
    ...TEXT.map((_, at) => card.text?.[at]), ...TRUST.map((name) => card.trust?.[name]), ...categories.flatMap((category) => bestOf(card, category)),
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function download() {
  // The mark in front tells spreadsheets that the text is UTF-8.
  const url = URL.createObjectURL(new Blob(["\ufeff", table()], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: url, download: "units.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
