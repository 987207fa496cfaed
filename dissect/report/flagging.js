// Units flagged by eye: kept in this browser, saved as a file.
const about = JSON.parse(document.getElementById("about").textContent);
const boxes = [...document.querySelectorAll("input[data-unit]")], bar = document.querySelector(".toolbar").elements;
const place = `dissect flags ${about.weights} ${about.layer}`;

const flagged = () => boxes.filter((box) => box.checked).map((box) => Number(box.dataset.unit));

function show() {
  const flags = flagged();
  keep(place, flags);
  bar.count.value = `${flags.length} flagged`;
  boxes.forEach((box) => { box.closest("li").hidden = bar.only.checked && !box.checked; });
  document.getElementById("none").hidden = !bar.only.checked || flags.length > 0;
}

const quoted = (text) => `"${String(text ?? "").replaceAll('"', '""')}"`;

function csv() {
  const line = (box) => [quoted(about.layer), quoted(about.weights), box.dataset.unit, Number(box.checked)].join(",");
  return ["layer,weights,unit,flagged", ...boxes.map(line)].join("\r\n") + "\r\n";
}

const known = new Set(kept(place));
boxes.forEach((box) => { box.checked = known.has(Number(box.dataset.unit)); });
document.querySelector(".flagging").addEventListener("change", show);
bar.only.addEventListener("change", show);
bar.clear.addEventListener("click", () => {
  boxes.forEach((box) => { box.checked = false; });
  show();
});
bar.json.addEventListener("click", () => {
  save(`${JSON.stringify({ ...about, flags: flagged() }, null, 1)}\n`, "application/json", "flags.json");
});
bar.csv.addEventListener("click", () => save(csv(), "text/csv", "flags.csv"));
document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  const shown = boxes.filter((box) => !box.closest("li").hidden), at = shown.indexOf(document.activeElement);
  const next = shown[at < 0 ? 0 : at + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
});
show();
