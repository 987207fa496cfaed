// Pictures: each is loaded once, and darkened where the unit does not fire.
const DIM = "rgba(8, 10, 14, .64)", EDGE = "#ffe45c", MAX_PIXELS = 480;
const store = JSON.parse(document.getElementById("pictures").textContent);
const loaded = new Map();

function load(number) {
  if (!loaded.has(number)) {
    const image = new Image();
    image.src = `data:${store.type};base64,${store.data[number]}`;
    loaded.set(number, image);
  }
  return loaded.get(number);
}

// Run lengths, a byte each, the first outside the mask; 255 does not end a run.
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

function paint(canvas, image, whole) {
  const { rows, columns } = canvas.closest("[data-rows]").dataset;
  const width = Math.round(Math.min(MAX_PIXELS, canvas.clientWidth * (window.devicePixelRatio || 1)));
  canvas.width = Math.max(width, 1);
  canvas.height = Math.max(Math.round(width * image.naturalHeight / image.naturalWidth), 1);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (whole || !canvas.dataset.mask) return;
  const mask = decodeMask(canvas.dataset.mask, rows * columns);
  context.drawImage(shadeOf(mask, rows, columns), 0, 0, canvas.width, canvas.height);
  context.strokeStyle = EDGE;
  context.lineWidth = Math.max(1, canvas.width / 140);
  context.lineCap = "round";
  context.stroke(outlineOf(mask, rows, columns, canvas.width, canvas.height));
}

// `wanted` is asked again once the picture is there, since the canvas may have left the window by then.
async function draw(canvas, whole, wanted) {
  const image = load(canvas.dataset.picture);
  await image.decode();
  if (wanted()) paint(canvas, image, whole);
}

const clear = (canvas) => { canvas.width = canvas.height = 1; };
