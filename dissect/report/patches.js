// A unit's pictures, dark where it does not fire until one points at them.
const drawn = (canvas, whole) => draw(canvas, whole, () => canvas.isConnected);

function fill(pictures, shown) {
  Object.assign(pictures.dataset, { rows: shown.rows, columns: shown.columns });
  pictures.replaceChildren(...shown.pictures.map(([number, mask], at) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1, ariaLabel: `picture ${at + 1}` });
    canvas.setAttribute("role", "img");
    Object.assign(canvas.dataset, { picture: number, mask });
    return canvas;
  }));
  [...pictures.children].forEach((canvas) => drawn(canvas, false));
}

function watch(groups) {
  for (const pictures of groups) {
    for (const [type, whole] of [["pointerover", true], ["pointerout", false]]) {
      pictures.addEventListener(type, ({ target }) => { if (target.dataset.mask) drawn(target, whole); });
    }
  }
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => groups.forEach((pictures) => [...pictures.children].forEach((canvas) => drawn(canvas, false))), 150);
  });
}
