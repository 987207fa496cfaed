// The page's address: a unit by its id, or the filters; and what happens when people act.
const KEPT = ["text", "layer", "category", "concept", "state", "sort", "together"];
const kept = KEPT.map((name) => field[name]).filter(Boolean);
const isSet = (input) => input.type === "checkbox" ? input.checked : input.value !== startOf(input);
const startOf = (input) => input.tagName === "SELECT" ? input.options[0].value : "";
let typing = false;

function filters() {
  const set = kept.filter(isSet).map((input) => [input.name, input.type === "checkbox" ? "1" : input.value]);
  return new URLSearchParams(set).toString();
}

// Each choice is a step for the browser's "back"; all letters of one search are one.
function remember(input) {
  const hash = filters(), more = typing && input === field.text;
  typing = input === field.text;
  if (hash === location.hash.slice(1)) return;
  const address = hash ? `#${hash}` : location.href.split("#")[0];
  if (more) history.replaceState(null, "", address); else history.pushState(null, "", address);
}

function restore(wanted) {
  for (const input of kept) {
    const value = wanted.get(input.name);
    if (input.type === "checkbox") input.checked = value !== null;
    else input.value = value ?? startOf(input);
    if (input.selectedIndex === -1) input.selectedIndex = 0;
  }
  typing = false;
  update();
}

// The browser knows no card by a link's name before this script has made it. Filters that hide it are taken away.
function follow() {
  const hash = location.hash.slice(1), target = document.getElementById(hash);
  if (hash === "" || hash.includes("=")) { restore(new URLSearchParams(hash)); return; }
  if (!cardOf.has(target)) return;
  if (target.hidden) {
    form.reset();
    update();
  }
  target.scrollIntoView();
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => { update(); redraw(); }));
form.querySelector("[type=reset]").addEventListener("click", () => setTimeout(remember));
form.addEventListener("input", ({ target }) => {
  if (target === field.whole) { redraw(); return; }
  update();
  remember(target);
});
field.csv.addEventListener("click", download);
for (const [type, shownWhole] of [["pointerover", true], ["pointerout", false]]) {
  document.addEventListener(type, ({ target }) => {
    if (target.matches?.("canvas[data-mask]") && !field.whole.checked) draw(target, shownWhole, () => target.isConnected);
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
update();
drawFirst();
everything.forEach(({ element }) => observer.observe(element));
follow();
if (location.hash.includes("=")) document.getElementById("units").scrollIntoView();
