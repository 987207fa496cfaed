"use strict";
(() => {
  const DIM = "rgba(8, 10, 14, .72)", EDGE = "#ffe45c", MAX_PIXELS = 320;
  const store = JSON.parse(document.getElementById("pictures").textContent);
  const form = document.querySelector(".toolbar"), field = form.elements;
  const sections = [...document.querySelectorAll(".cards")];
  const cards = sections.flatMap((section) =>
    [...section.querySelectorAll(".card")].map((element) => describe(element, section)));
  const loading = new Map(), visible = new Set();

  function describe(element, section) {
    const { unit, iou, concept, category, state } = element.dataset;
    const detector = "detector" in element.dataset, text = concept.toLowerCase();
    return { element, section, unit: Number(unit), iou: Number(iou), text, category, state, detector };
  }

  function picture(number) {
    if (!loading.has(number)) {
      const image = new Image();
      image.src = `data:${store.type};base64,${store.data[number]}`;
      loading.set(number, image.decode().then(() => image));
    }
    return loading.get(number);
  }

  function decodeMask(text, size) {
    const coded = atob(text), mask = new Uint8Array(size);
    for (let at = 0, place = 0, fires = 0; at < coded.length; at++) {
      const length = coded.charCodeAt(at);
      if (fires) mask.fill(1, place, place + length);
      place += length;
      if (length < 255) fires ^= 1;
    }
    return mask;
  }

  function shadeOf(mask, rows, columns) {
    const shade = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    const context = shade.getContext("2d");
    context.fillStyle = DIM;
    context.fillRect(0, 0, columns, rows);
    const pixels = context.getImageData(0, 0, columns, rows);
    mask.forEach((fires, place) => { if (fires) pixels.data[4 * place + 3] = 0; });
    context.putImageData(pixels, 0, 0);
    return shade;
  }

  function outlineOf(mask, rows, columns, width, height) {
    const path = new Path2D(), x = width / columns, y = height / rows;
    const line = (left, top, right, bottom) => { path.moveTo(left * x, top * y); path.lineTo(right * x, bottom * y); };
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const place = row * columns + column;
        if (column > 0 && mask[place] !== mask[place - 1]) line(column, row, column, row + 1);
        if (row > 0 && mask[place] !== mask[place - columns]) line(column, row, column + 1, row);
      }
    }
    return path;
  }

  async function draw(canvas, whole = false) {
    const image = await picture(canvas.dataset.picture);
    const card = canvas.closest(".card"), { rows, columns } = card.parentNode.parentNode.dataset;
    if (!visible.has(card)) return;
    const width = Math.round(Math.min(MAX_PIXELS, canvas.clientWidth * (window.devicePixelRatio || 1)));
    canvas.width = Math.max(width, 1);
    canvas.title = canvas.getAttribute("aria-label");
    canvas.height = Math.max(Math.round(width * image.naturalHeight / image.naturalWidth), 1);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (whole || field.whole.checked) return;
    const mask = decodeMask(canvas.dataset.mask, rows * columns);
    context.drawImage(shadeOf(mask, rows, columns), 0, 0, canvas.width, canvas.height);
    context.strokeStyle = EDGE;
    context.lineWidth = Math.max(1, canvas.width / 100);
    context.lineCap = "round";
    context.stroke(outlineOf(mask, rows, columns, canvas.width, canvas.height));
  }

  const drawCard = (card) => card.querySelectorAll("canvas").forEach((canvas) => draw(canvas));
  // Cards far from the window give their pixels back, so that thousands of units fit in memory.
  const clearCard = (card) => {
    for (const canvas of card.querySelectorAll("canvas")) canvas.width = canvas.height = 1;
  };

  const observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    if (isIntersecting) { visible.add(target); drawCard(target); } else if (visible.delete(target)) clearCard(target);
  }), { rootMargin: "500px" });
  cards.forEach(({ element }) => observer.observe(element));

  function fits(card) {
    const wanted = field.text.value.trim().toLowerCase(), state = field.state.value;
    if (wanted && !card.text.includes(wanted) && String(card.unit) !== wanted.replace(/^(unit|#)\s*/, "")) return false;
    if (field.layer && field.layer.value && card.section.dataset.layer !== field.layer.value) return false;
    if (field.category.value && card.category !== field.category.value) return false;
    return !state || (state === "detector" ? card.detector : card.state === state);
  }

  function filter() {
    const shown = cards.filter((card) => !(card.element.hidden = !fits(card)));
    for (const section of sections) section.hidden = !section.querySelector(".card:not([hidden])");
    field.count.value = `${shown.length.toLocaleString("en")} unit${shown.length === 1 ? "" : "s"}`;
    document.getElementById("nothing").hidden = shown.length > 0;
  }

  function sort() {
    const byUnit = field.sort.value === "unit";
    cards.sort((a, b) => (byUnit ? 0 : b.iou - a.iou) || a.unit - b.unit);
    for (const section of sections) {
      const inside = cards.filter((card) => card.section === section).map((card) => card.element);
      section.querySelector(".grid").append(...inside);
    }
  }

  function show() {
    const target = document.getElementById(location.hash.slice(1));
    if (!target || !target.hidden) return;
    form.reset();
    filter();
    sort();
    target.scrollIntoView();
  }

  const redraw = () => visible.forEach(drawCard);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (target === field.sort) sort(); else if (target === field.whole) redraw(); else filter();
  });
  for (const [type, whole] of [["pointerover", true], ["pointerout", false]]) {
    document.getElementById("units").addEventListener(type, ({ target }) => {
      if (target.matches("canvas") && !field.whole.checked) draw(target, whole);
    });
  }
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
  addEventListener("hashchange", show);
  form.reset();
})();
