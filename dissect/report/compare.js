// The page of a comparison: pictures are drawn when they come near the window, whole while they are pointed at.
const canvases = [...document.querySelectorAll("canvas[data-mask]")], visible = new Set();
const drawIt = (canvas, whole) => draw(canvas, whole, () => visible.has(canvas));
const observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
  if (isIntersecting) {
    visible.add(target);
    drawIt(target, false);
  } else if (visible.delete(target)) {
    clear(target);
  }
}), { rootMargin: "500px" });
canvases.forEach((canvas) => observer.observe(canvas));
for (const [type, whole] of [["pointerover", true], ["pointerout", false]]) {
  document.addEventListener(type, ({ target }) => { if (visible.has(target)) drawIt(target, whole); });
}
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => visible.forEach((canvas) => drawIt(canvas, false)), 150);
});
// A browser waits for no picture once it prints, so all are loaded before.
canvases.forEach((canvas) => load(canvas.dataset.picture));
addEventListener("beforeprint", () => canvases.forEach((canvas) => {
  const image = load(canvas.dataset.picture);
  if (image.complete && image.naturalWidth) paint(canvas, image, false);
}));
addEventListener("afterprint", () => canvases.forEach((canvas) => { if (!visible.has(canvas)) clear(canvas); }));
