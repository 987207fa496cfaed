// The picture that is painted on, by pointer and by keyboard. A page says what becomes of it: `released` when the pointer
// lets go, `entered` at Enter, `pressed` at other keys, and `anew`, whether each touch begins a new mask.

const stage = el("stage"), over = el("over").getContext("2d");
let pending = blank(), last = null, cursor = null;

const cellsOf = (mask) => pooled(mask).reduce((sum, on) => sum + on, 0);

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

// A picture with what was painted on it, in a small canvas.
function thumbnail(canvas, source, mask) {
  const picture = new Image();
  picture.onload = () => {
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    tint(context, mask);
  };
  picture.src = source;
}

function place(event) {
  const side = el("picture").getBoundingClientRect();
  const within = (value) => Math.min(Math.max(value, 0), .9999);
  return { x: within((event.clientX - side.left) / side.width), y: within((event.clientY - side.top) / side.height) };
}

function forget() {
  [pending, last] = [blank(), null];
  overlay();
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  stage.focus({ preventScroll: true });
  if (anew) pending = blank();
  [cursor, last] = [null, place(event)];
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
stage.addEventListener("pointerup", () => {
  if (!last) return;
  last = null;
  released();
});
stage.addEventListener("pointercancel", forget);

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
    tell(`${plural(cellsOf(pending), "cell")} marked.`);
  } else if (event.key === "Escape") {
    forget();
    tell("Nothing is marked.");
  } else if (event.key === "Enter") entered();
  else if (!pressed(event.key)) return;
  event.preventDefault();
  overlay();
});
["focus", "blur"].forEach((name) => stage.addEventListener(name, () => overlay()));
addEventListener("resize", () => overlay());
