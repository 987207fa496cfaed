// The table to download: the units shown, in their order.

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
