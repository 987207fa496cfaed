// The rewriting page: what is copied, pasted and taken as context, and what the server makes of it.

let state = { session: {}, edits: [] }, past = [], future = [], number = 0;
let listed = [], heats = new Map(), peek = null, before = false, job = null, busy = false;
const anew = false, known = new Map(), reached = new Map(), snapshots = [];

const chain = () => (before ? [] : state.edits);
const keyOf = (at, edits) => `${at} ${edits.join(" ")}`;
const image = (at, edits = chain()) => known.get(keyOf(at, edits)) ?? "";
const context = (session) => session.key ?? [];

// What is shown of a state: every picture that it needs, asked for once.
async function fetched(numbers, edits) {
  const missing = [...new Set(numbers)].filter((at) => !known.has(keyOf(at, edits)));
  while (missing.length) {
    const found = await answered("rewrite/images", { numbers: missing.splice(0, 12), edits });
    for (const one of found.images) known.set(keyOf(one.number, edits), one.image);
  }
}

const parts = ({ object, paste, key }) => [object, paste, ...(key ?? [])].filter(Boolean);

async function ready(found) {
  await Promise.all(parts(found.session).map(([, url]) => reach(url)));
  await fetched(parts(found.session).map(([at]) => at), []);
  await fetched([number, ...listed], before ? [] : found.edits);
}

async function become(found) {
  peek = null;
  await ready(found);
  past.push(state);
  future = [];
  state = found;
}
const painted = (changed) => ({ ...state, session: { ...state.session, ...changed } });

// Masks as the published format holds them: a PNG as large as the image, white where it is painted.
const canvasOf = ([height, width]) => Object.assign(document.createElement("canvas"), { width, height });

function drawn(mask) {
  const small = canvasOf(grid), large = canvasOf(about.image), data = small.getContext("2d").createImageData(grid[1], grid[0]);
  mask.forEach((on, at) => { if (on) data.data.fill(255, 4 * at, 4 * at + 4); });
  small.getContext("2d").putImageData(data, 0, 0);
  const wide = large.getContext("2d");
  wide.imageSmoothingEnabled = false;
  wide.drawImage(small, 0, 0, large.width, large.height);
  const url = large.toDataURL("image/png");
  reached.set(url, mask.slice());
  return url;
}

async function reach(url) {
  if (reached.has(url)) return;
  const picture = Object.assign(new Image(), { src: url }), small = canvasOf(grid).getContext("2d");
  await picture.decode();
  small.drawImage(picture, 0, 0, grid[1], grid[0]);
  const { data } = small.getImageData(0, 0, grid[1], grid[0]);
  reached.set(url, blank().map((_, at) => Number(data[4 * at] > 0)));
}

// What is painted on the picture, for a gesture, which takes it off.
function taken() {
  if (!pending.some(Boolean)) {
    tell("Paint over something in the picture first.");
    return null;
  }
  const part = [number, drawn(pending)];
  forget();
  return part;
}

async function paste(found) {
  const shown = found.session.object && found.session.paste ? await answered("rewrite/preview", found) : null;
  await become(found);
  if (shown) {
    before = false;
    await go(found.session.paste[0]);
    peek = { image: shown.image, text: "as it shall be" };
  }
}

function copied() {
  const part = taken();
  if (part) gesture(async () => {
    await paste(painted({ object: part }));
    tell(`Copied from image ${part[0]}. ${state.session.paste ? "" : "Now paint where it should go, and paste."}`);
  });
}

function pasted() {
  const part = taken();
  if (part) gesture(async () => {
    await paste(painted({ paste: part }));
    tell(state.session.object ? "Pasted: the picture shows what is aimed at." : "That is where; now copy an object.");
  });
}

function added() {
  const part = taken();
  if (part) gesture(async () => {
    await become(painted({ key: [...context(state.session), part] }));
    tell(`The context has ${plural(context(state.session).length, "picture")}.`);
  });
}

function step(source, target, text) {
  gesture(async () => {
    if (!source().length || busy) return tell(busy ? "An edit is on its way." : `There is nothing to ${text}.`);
    const found = source()[source().length - 1];
    await ready(found);
    source().pop();
    target().push(state);
    [state, peek] = [found, null];
    tell(`${text === "undo" ? "Undone" : "Done again"}: ${told()}.`);
  });
}
const undo = () => step(() => past, () => future, "undo");
const redo = () => step(() => future, () => past, "redo");
const told = () => `${plural(context(state.session).length, "picture")} of context, ${plural(state.edits.length, "edit")}`;

async function go(at) {
  await fetched([at], chain());
  if (at !== number) forget();
  [number, peek] = [at, null];
}
const choose = (at) => gesture(async () => {
  await go(at);
  tell(`Image ${at}.`);
});

function list(numbers, found = new Map()) {
  listed = numbers;
  heats = found;
  if (found.size) form.numbers.value = numbers.join(", ");
}

// "0-8" or "3, 17, 40".
function numbersOf(text) {
  const found = [];
  for (const part of text.split(",").map((each) => each.trim()).filter(Boolean)) {
    const [, first, last] = /^(\d{1,7})(?:\s*-\s*(\d{1,7}))?$/.exec(part) ?? [];
    if (first === undefined) throw new Error("Numbers are like 0-8 or 3, 17, 40.");
    const end = Math.min(Number(last ?? first), Number(first) + 23);
    for (let at = Number(first); at <= end; at += 1) found.push(at);
  }
  if (!found.length || found.length > 24) throw new Error("At most 24 pictures are shown at once.");
  if (found.some((at) => at >= about.count)) throw new Error(`There are pictures 0 to ${about.count - 1}.`);
  return [...new Set(found)];
}

function search(by) {
  const query = by === "query" ? taken() : null;
  if (by === "query" && !query) return;
  gesture(async () => {
    tell("Searches; the first time takes longest.");
    const session = query ? { ...state.session, query } : state.session;
    const found = await answered("rewrite/search", { session, by, count: about.shown });
    const numbers = found.images.map((one) => one.number);
    await fetched(numbers, chain());
    if (query) state = painted({ query });
    list(numbers, new Map(found.images.map((one) => [one.number, one])));
    tell(`Best: ${numbers.join(", ")}.`);
  });
}

// An edit is found beside all else; what it changes can be undone once it is there.
const sleep = (time) => new Promise((done) => setTimeout(done, time));

function progress(found) {
  el("bar").max = found.steps;
  el("bar").value = found.step + 1;
  const losses = found.losses.map(([, loss]) => loss), most = Math.max(...losses), least = Math.min(...losses);
  const y = (loss) => 22 - 20 * (loss - least) / Math.max(most - least, 1e-30);
  el("curve").setAttribute("points", found.losses.map(([at, loss]) => `${100 * at / found.steps},${y(loss)}`).join(" "));
  const last = losses.length ? `, loss ${losses[losses.length - 1].toPrecision(4)}` : "";
  el("loss").textContent = `Step ${found.step + 1} of ${found.steps}${last}`;
}

async function run(path, more) {
  if (busy || !["rank", "steps", "every", "rate", "units"].every((name) => form[name].reportValidity())) return;
  const options = Object.fromEntries(["rank", "steps", "every", "rate"].map((name) => [name, Number(form[name].value)]));
  const from = state;
  [busy, peek, before] = [true, null, false];
  tell("The edit is on its way.");
  show();
  try {
    job = (await answered(path, { ...from, ...options, ...more })).job;
    let found = { state: "waits" };
    while (["waits", "runs"].includes(found.state)) {
      await sleep(150);
      found = await answered(`rewrite/progress?job=${job}`);
      progress(found);
    }
    if (found.state !== "done") throw new Error(found.error.replace(/^\w+: /, ""));
    await gesture(async () => {
      await become({ session: state.session, edits: [...from.edits, found.edit] });
      const rank = `rank ${found.rank}, ${found.seconds.toFixed(1)} s`;
      tell(`Changed: loss ${found.before.toPrecision(4)} before, ${found.after.toPrecision(4)} after; ${rank}.`);
    });
  } catch (error) {
    tell(error.message);
  }
  [busy, job] = [false, null];
  show();
}

function open(file) {
  gesture(async () => {
    const { session } = await answered("rewrite/open", { session: await sessionOf(file) });
    await paste({ ...state, session });
    tell(`Opened: ${told()}.`);
  });
}

function take(file) {
  gesture(async () => {
    if (busy) throw new Error("An edit is on its way.");
    if (file.size > 5e6) throw new Error("The file of an edit has at most 5 MB.");
    const bytes = new Uint8Array(await file.arrayBuffer());
    const found = await answered("rewrite/take", { edits: state.edits, file: base64(bytes) });
    before = false;
    await become({ ...state, edits: [...state.edits, found.edit] });
    tell(`Opened an edit of rank ${found.rank}: ${told()}.`);
  });
}

function snap() {
  const kept = { state, name: `Snapshot ${snapshots.length + 1}`, image: image(number) };
  snapshots.push(kept);
  tell(`${kept.name} is kept.`);
  show();
}
const back = (kept) => gesture(async () => {
  if (busy) throw new Error("An edit is on its way.");
  await become(kept.state);
  tell(`${kept.name}: ${told()}.`);
});

// What the page looks like.

function entry(source, mask, text, label, press) {
  const item = el("entry").content.cloneNode(true).firstElementChild;
  thumbnail(item.querySelector("canvas"), source, mask);
  item.querySelector("small").textContent = text;
  item.setAttribute("aria-label", label);
  item.title = label;
  item.addEventListener("click", press);
  return item;
}

const selection = ([at, url], text, label, press) => entry(image(at, []), reached.get(url), text, label, press);

function trays() {
  const { object, paste: where } = state.session;
  const goes = (part, noun) => part && [selection(part, `${part[0]}`, `${noun}, image ${part[0]}: show it`, () => choose(part[0]))];
  el("object").replaceChildren(...(goes(object, "The object") ?? []));
  el("paste").replaceChildren(...(goes(where, "The place") ?? []));
  el("key").replaceChildren(...context(state.session).map((part, at) => {
    const item = document.createElement("li");
    item.append(selection(part, `${part[0]} ×`, `Remove image ${part[0]} from the context`, () => gesture(async () => {
      await become(painted({ key: context(state.session).filter((_, other) => other !== at) }));
      tell(`The context has ${plural(context(state.session).length, "picture")}.`);
    })));
    return item;
  }));
  el("snapshots").replaceChildren(...snapshots.map((kept) => {
    const item = document.createElement("li");
    item.append(entry(kept.image, blank(), kept.name.split(" ")[1], `Back to ${kept.name.toLowerCase()}`, () => back(kept)));
    return item;
  }));
}

// Where a picture agrees: the warmer the more, and the edge of what is above the level of one in 1,000 cells.
function heat(found) {
  const canvas = canvasOf([240, Math.round(240 * about.image[1] / about.image[0])]), shown = canvas.getContext("2d");
  const [w, h] = [canvas.width / map[1], canvas.height / map[0]];
  found.heat.forEach((row, r) => row.forEach((value, c) => {
    shown.fillStyle = `rgb(255 90 0 / ${(.6 * (value / 255) ** 2).toFixed(3)})`;
    shown.fillRect(c * w, r * h, w, h);
  }));
  edge(shown, (r, c) => found.above[r][c]);
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}

function pictures() {
  el("images").replaceChildren(...listed.map((at) => {
    const button = tile(at, image(at), choose), found = heats.get(at), frame = document.createElement("span");
    frame.className = "shown";
    frame.append(button.firstChild);
    button.prepend(frame);
    if (!found) return button;
    if (form.matches.checked) frame.append(heat(found));
    button.lastChild.textContent = `${at} (${found.score.toPrecision(2)})`;
    button.setAttribute("aria-label", `Image ${at}, agrees by ${found.score.toPrecision(2)}`);
    return button;
  }));
  current(number);
}

function show() {
  el("picture").src = peek ? peek.image : image(number);
  el("seen").textContent = peek ? peek.text : before ? "original" : "";
  form.before.setAttribute("aria-pressed", before);
  form.undo.disabled = busy || !past.length;
  form.redo.disabled = busy || !future.length;
  form.before.disabled = form.revert.disabled = form.keep.disabled = busy || !state.edits.length;
  form.execute.disabled = busy || !state.session.object || !state.session.paste;
  form.erase.disabled = busy || !context(state.session).length;
  form.like.disabled = !context(state.session).length && !state.session.paste;
  form.cancel.hidden = el("progress").hidden = !busy;
  el("none").textContent = state.edits.length ? `${plural(state.edits.length, "edit")} of the weights.` : "None yet.";
  el("wide").textContent = form.size.value;
  stage.setAttribute("aria-label", `Image ${number}, ${told()}. Arrow keys move, Space marks a cell.`);
  trays();
  pictures();
  overlay();
  keep(state);
}

// Gestures by pointer and by keyboard.

const released = () => tell(`${plural(cellsOf(pending), "cell")} painted: copy, paste, or add to the context.`);
const KEYS = { c: copied, v: pasted, a: added };

function entered() {
  mark();
  released();
}

function pressed(key) {
  KEYS[key.toLowerCase()]?.();
  return Boolean(KEYS[key.toLowerCase()]);
}

for (const [name, press] of Object.entries({
  copy: copied, place: pasted, add: added, undo, redo, snap,
  clear: () => { forget(); tell("Nothing is painted."); },
  execute: () => run("rewrite/execute", {}),
  erase: () => run("rewrite/erase", { units: Number(form.units.value) }),
  cancel: () => answered("rewrite/cancel", { job }).catch((error) => tell(error.message)),
  like: () => search("context"),
  marked: () => search("query"),
  revert: () => gesture(async () => {
    await become({ ...state, edits: [] });
    tell("The weights are the first ones; undo brings the edits back.");
  }),
  before: () => gesture(async () => {
    [before, peek] = [!before, null];
    await ready(state);
    tell(before ? "Before all edits." : "After all edits.");
  }),
  save: () => save(new Blob([JSON.stringify(state.session)], { type: "application/json" }), "rule.json"),
  keep: () => gesture(async () => {
    save(await (await ask("rewrite/edit", { edits: state.edits })).blob(), "rule.edit");
    tell("The edit is saved; dissect rewrite metrics and sheet measure and show it.");
  }),
})) form[name].addEventListener("click", press);
opens(form.load, open);
opens(form.take, take);
form.size.addEventListener("input", () => { el("wide").textContent = form.size.value; });
form.matches.addEventListener("change", pictures);
form.numbers.addEventListener("change", () => gesture(async () => {
  const numbers = numbersOf(form.numbers.value);
  await fetched(numbers, chain());
  list(numbers);
  tell(plural(numbers.length, "picture") + ".");
}));

form.units.value = about.erased;
gesture(async () => {
  const numbers = numbersOf(form.numbers.value), found = await begun ?? state;
  list(numbers);
  await fetched([number, ...numbers], []);
  await ready(found);
  state = found;
  tell("Image 0: paint over something.");
});
