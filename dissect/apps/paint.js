// The painting page: it holds a session and its history, and asks the server for what each gesture makes of it.

const el = (id) => document.getElementById(id);
const form = el("tools").elements, stage = el("stage"), over = el("over").getContext("2d");
let session = about.session, past = [], future = [], plain = "", shown = "", asked = Promise.resolve();
let pending = blank(), last = null, cursor = null, before = false, waiting = 0;

const brush = () => about.brushes[Number(form.brush.value)];
const tell = (text) => { el("status").textContent = text; };
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Save the session, then start dissect paint again.");
  }
  if (answer.ok) return answer;
  throw new Error((await answer.json().catch(() => ({}))).error ?? `The server answers ${answer.status}.`);
}

// Gestures are done one after another; what fails is told, and changes nothing.
function gesture(work) {
  waiting += 1;
  stage.setAttribute("aria-busy", "true");
  asked = asked.then(work).catch((error) => tell(error.message)).finally(() => {
    waiting -= 1;
    if (!waiting) stage.removeAttribute("aria-busy");
    show();
  });
  return asked;
}

function become(found, image) {
  past.push(session);
  future = [];
  session = found;
  shown = image;
}

async function rendered(found) {
  return (await (await ask("paint/render", found)).json()).image;
}

const words = (stroke) => `${stroke.action} ${stroke.concept.replace(/-(iou|ace)$/, "") || "units"}`;

function stroke(mask) {
  const chosen = brush(), action = form.action.value, cells = pooled(mask).reduce((sum, on) => sum + on, 0);
  if (!cells) return;
  const units = Number(form.strength.value), neutral = form.neutral.value;
  const wanted = { action, brush: chosen.name, units, mask: packed(mask), neutral };
  before = false;
  gesture(async () => {
    const found = await (await ask("paint/stroke", { session, ...wanted })).json();
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
    if (plain) become(found, image); else [session, shown] = [found, image];
    plain = image;
    form.number.value = number;
    tell(`Image ${number}.`);
  });
}

async function save(data, name) {
  const url = URL.createObjectURL(data);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function open(file) {
  gesture(async () => {
    if (file.size > 8e6) throw new Error("A session has at most 8 MB.");
    let read;
    try {
      read = JSON.parse(await file.text());
    } catch {
      throw new Error("That file is no session.");
    }
    const found = await (await ask("paint/render", read)).json();
    plain = await rendered({ ...found.session, strokes: [] });
    become(found.session, found.image);
    form.number.value = session.z.number;
    tell(`Opened: ${plural(session.strokes.length, "stroke")} on image ${session.z.number}.`);
  });
}

// What the page looks like.

function overlay(mask) {
  const canvas = over.canvas, side = canvas.getBoundingClientRect();
  [canvas.width, canvas.height] = [side.width, side.height].map((length) => Math.max(1, Math.round(length)));
  if (mask) tint(over, mask);
  else if (pending.some(Boolean)) tint(over, pending);
  if (cursor && document.activeElement === stage) {
    const [w, h] = [canvas.width / map[1], canvas.height / map[0]];
    for (const [width, style] of [[4, "#fff"], [2, "#000"]]) {
      over.lineWidth = width;
      over.strokeStyle = style;
      over.strokeRect(cursor.c * w + 2, cursor.r * h + 2, w - 4, h - 4);
    }
  }
}

function entry(one, at) {
  const item = el("entry").content.cloneNode(true).firstElementChild, mask = unpacked(one.mask);
  const canvas = item.querySelector("canvas"), picture = new Image();
  picture.onload = () => {
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    tint(context, mask);
  };
  picture.src = plain;
  item.querySelector("b").textContent = words(one);
  item.querySelector("small").textContent =
    `${plural(pooled(mask).reduce((sum, on) => sum + on, 0), "cell")}, ${plural(one.units.length, "unit")}`;
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
  document.querySelectorAll("#images button").forEach((button) => {
    button.setAttribute("aria-current", Number(button.value) === session.z.number);
  });
  overlay();
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

function place(event) {
  const side = el("picture").getBoundingClientRect();
  const within = (value) => Math.min(Math.max(value, 0), .9999);
  return { x: within((event.clientX - side.left) / side.width), y: within((event.clientY - side.top) / side.height) };
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  stage.focus({ preventScroll: true });
  [pending, cursor, last] = [blank(), null, place(event)];
  dab(pending, last.x, last.y, Number(form.size.value));
  overlay();
});
stage.addEventListener("pointermove", (event) => {
  if (!last) return;
  const here = place(event);
  line(pending, last, here, Number(form.size.value));
  last = here;
  overlay();
});
const drop = () => {
  [pending, last] = [blank(), null];
  overlay();
};
stage.addEventListener("pointerup", () => {
  if (!last) return;
  stroke(pending);
  drop();
});
stage.addEventListener("pointercancel", drop);

function mark() {
  cursor ??= { r: Math.floor(map[0] / 2), c: Math.floor(map[1] / 2) };
  dab(pending, (cursor.c + .5) / map[1], (cursor.r + .5) / map[0], Number(form.size.value));
}

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
stage.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const move = MOVES[event.key];
  if (move) {
    cursor = cursor
      ? { r: (cursor.r + move[0] + map[0]) % map[0], c: (cursor.c + move[1] + map[1]) % map[1] }
      : { r: Math.floor(map[0] / 2), c: Math.floor(map[1] / 2) };
    tell(`Row ${cursor.r + 1}, column ${cursor.c + 1}.`);
  } else if (event.key === " ") {
    mark();
    tell(`${plural(pooled(pending).reduce((sum, on) => sum + on, 0), "cell")} marked.`);
  } else if (event.key === "Enter") {
    if (!pending.some(Boolean)) mark();
    stroke(pending);
    pending = blank();
  } else if (event.key === "Escape") {
    pending = blank();
    tell("Nothing is marked.");
  } else return;
  event.preventDefault();
  overlay();
});
stage.addEventListener("focus", () => overlay());
stage.addEventListener("blur", () => overlay());

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.type === "number") return;
  const key = event.key.toLowerCase(), again = key === "y" || (key === "z" && event.shiftKey);
  if (!again && key !== "z") return;
  event.preventDefault();
  (again ? redo : undo)();
});

el("tools").addEventListener("submit", (event) => event.preventDefault());
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
form.picture.addEventListener("click", async () => {
  save(await (await fetch(shown)).blob(), `painting-${session.z.number}.png`);
});
for (const kind of ["movie", "sheet"]) {
  form[kind].addEventListener("click", () => gesture(async () => {
    const answer = await ask(`paint/${kind}`, session);
    save(await answer.blob(), `painting-${session.z.number}.${kind === "movie" ? "gif" : "png"}`);
    tell(`The ${kind} is saved.`);
  }));
}
form.load.addEventListener("change", () => {
  if (form.load.files.length) open(form.load.files[0]);
  form.load.value = "";
});
addEventListener("resize", () => overlay());

async function images() {
  const found = (await (await ask("paint/images?first=0&count=12")).json()).images;
  el("images").replaceChildren(...found.map(({ number, image }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", value: number });
    button.append(Object.assign(new Image(), { src: image, alt: "" }), String(number));
    button.setAttribute("aria-label", `Image ${number}`);
    button.addEventListener("click", () => choose(number));
    return button;
  }));
  show();
}

tools();
choose(0);
gesture(images);
