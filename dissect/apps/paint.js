// The painting page: it holds a session and its history, and asks the server for what each gesture makes of it.

let session = about.session, past = [], future = [], plain = "", shown = "", before = false;

const anew = true, brush = () => about.brushes[Number(form.brush.value)];

function become(found, image) {
  past.push(session);
  future = [];
  session = found;
  shown = image;
}

async function rendered(found) {
  return (await answered("paint/render", found)).image;
}

const words = (stroke) => `${stroke.action} ${stroke.concept.replace(/-(iou|ace)$/, "") || "units"}`;

function stroke(mask) {
  const chosen = brush(), action = form.action.value, cells = cellsOf(mask);
  if (!cells) return;
  const units = Number(form.strength.value), neutral = form.neutral.value;
  const wanted = { action, brush: chosen.name, units, mask: packed(mask), neutral };
  before = false;
  gesture(async () => {
    const found = await answered("paint/stroke", { session, ...wanted });
    become(found.session, found.image);
    const done = action === "draw" ? "Drew" : "Removed";
    tell(`${done} ${chosen.label}: ${plural(cells, "cell")}, ${plural(units, "unit")}.`);
  });
}

function step(source, target, text) {
  gesture(async () => {
    if (!source().length) return tell(`There is nothing to ${text}.`);
    const found = source()[source().length - 1], image = await rendered(found);
    source().pop();
    target().push(session);
    if (found.z.number !== session.z.number) plain = await rendered({ ...found, strokes: [] });
    [session, shown] = [found, image];
    tell(`${text === "undo" ? "Undone" : "Done again"}: ${plural(session.strokes.length, "stroke")}.`);
  });
}
const undo = () => step(() => past, () => future, "undo");
const redo = () => step(() => future, () => past, "redo");

function change(strokes, text) {
  gesture(async () => {
    const found = { ...session, strokes: strokes(session.strokes) };
    become(found, await rendered(found));
    tell(text);
  });
}

function choose(number) {
  gesture(async () => {
    const found = { ...about.session, z: { ...about.session.z, number } };
    const image = await rendered(found);
    become(found, image);
    plain = image;
    form.number.value = number;
    tell(`Image ${number}.`);
  });
}

function open(file) {
  gesture(async () => {
    const found = await answered("paint/render", await sessionOf(file));
    plain = await rendered({ ...found.session, strokes: [] });
    become(found.session, found.image);
    form.number.value = session.z.number;
    tell(`Opened: ${plural(session.strokes.length, "stroke")} on image ${session.z.number}.`);
  });
}

// What the page looks like.

function entry(one, at) {
  const item = el("entry").content.cloneNode(true).firstElementChild, mask = unpacked(one.mask);
  thumbnail(item.querySelector("canvas"), plain, mask);
  item.querySelector("b").textContent = words(one);
  item.querySelector("small").textContent =
    `${plural(cellsOf(mask), "cell")}, ${plural(one.units.length, "unit")}`;
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Delete stroke ${at + 1}, ${words(one)}`);
  button.addEventListener("click", () => {
    change((strokes) => strokes.filter((_, other) => other !== at), `Stroke ${at + 1} deleted.`);
    stage.focus({ preventScroll: true });
  });
  const look = (seen) => () => overlay(seen);
  ["mouseenter", "focusin"].forEach((name) => item.addEventListener(name, look(mask)));
  ["mouseleave", "focusout"].forEach((name) => item.addEventListener(name, look(null)));
  return item;
}

function show() {
  el("picture").src = before ? plain : shown;
  el("seen").textContent = before ? "before" : "";
  form.before.setAttribute("aria-pressed", before);
  form.undo.disabled = !past.length;
  form.redo.disabled = !future.length;
  form.reset.disabled = form.before.disabled = !session.strokes.length;
  el("history").replaceChildren(...session.strokes.map(entry));
  el("none").hidden = session.strokes.length > 0;
  const text = `Image ${session.z.number}, ${plural(session.strokes.length, "stroke")}`;
  stage.setAttribute("aria-label", `${text}. Arrow keys move, Space marks a cell, Enter paints.`);
  current(session.z.number);
  overlay();
  keep(session);
}

function tools() {
  const chosen = brush(), most = Math.min(chosen.units.length, 4 * about.number);
  form.strength.max = most;
  form.strength.value = Math.min(Number(form.strength.value), most);
  el("strong").textContent = `${form.strength.value} of ${about.units}`;
  el("wide").textContent = form.size.value;
  form.neutral.closest("label").hidden = form.action.value === "draw";
  el("verb").textContent = form.action.value === "draw" ? "Paint where it should be." : "Paint over what should go.";
  const best = Math.max(...chosen.scores), name = chosen.ranking === "ace" ? "alpha" : "IoU";
  el("score").textContent = name;
  el("rows").replaceChildren(...chosen.units.slice(0, most).map((unit, at) => {
    const row = el("row").content.cloneNode(true).firstElementChild, cells = row.children;
    row.className = at < Number(form.strength.value) ? "taken" : "";
    cells[0].textContent = unit;
    cells[1].firstElementChild.style.setProperty("--part", chosen.scores[at] / best);
    cells[2].textContent = chosen.scores[at].toFixed(3);
    cells[3].textContent = chosen.levels[at].toFixed(2);
    return row;
  }));
}

// Gestures by pointer and by keyboard.

function released() {
  stroke(pending);
  forget();
}

function entered() {
  if (!pending.some(Boolean)) mark();
  released();
}

const pressed = () => false;

["input", "change"].forEach((name) => el("tools").addEventListener(name, tools));
form.undo.addEventListener("click", undo);
form.redo.addEventListener("click", redo);
form.reset.addEventListener("click", () => change(() => [], "All strokes are gone; undo brings them back."));
form.before.addEventListener("click", () => {
  before = !before;
  tell(before ? "Before all strokes." : "After all strokes.");
  show();
});
form.number.addEventListener("change", () => {
  if (form.number.reportValidity() && form.number.value) choose(Number(form.number.value));
});
form.save.addEventListener("click", () => {
  save(new Blob([JSON.stringify(session)], { type: "application/json" }), `painting-${session.z.number}.json`);
});
form.picture.addEventListener("click", () => {
  save(new Blob([bytesOf(shown)], { type: "image/png" }), `painting-${session.z.number}.png`);
});
for (const kind of ["movie", "sheet"]) {
  form[kind].addEventListener("click", () => gesture(async () => {
    const answer = await ask(`paint/${kind}`, session);
    save(await answer.blob(), `painting-${session.z.number}.${kind === "movie" ? "gif" : "png"}`);
    tell(`The ${kind} is saved.`);
  }));
}
opens(form.load, open);

async function images() {
  const found = (await answered("paint/images?first=0&count=12")).images;
  el("images").replaceChildren(...found.map(({ number, image }) => tile(number, image, choose)));
  show();
}

async function begin() {
  const found = await begun ?? session;
  plain = await rendered({ ...found, strokes: [] });
  shown = found.strokes.length ? await rendered(found) : plain;
  session = found;
  form.number.value = found.z.number;
  tell(`Image ${found.z.number}.`);
}

tools();
gesture(begin);
gesture(images);
