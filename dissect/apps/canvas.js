// What is painted on the grid, and how it is shown over the picture.

const grid = about.grid, map = about.map;

// A mask is an array of 0 and 1, row by row of the grid.
const blank = () => new Uint8Array(grid[0] * grid[1]);

// An ellipse of the brush's radius, in cells of the grid, around a place in [0, 1) x [0, 1).
function dab(mask, x, y, radius) {
  const column = x * grid[1], row = y * grid[0];
  for (let r = Math.max(0, Math.floor(row - radius)); r < Math.min(grid[0], row + radius); r += 1) {
    for (let c = Math.max(0, Math.floor(column - radius)); c < Math.min(grid[1], column + radius); c += 1) {
      if (Math.hypot(r + .5 - row, c + .5 - column) <= Math.max(radius, .71)) mask[r * grid[1] + c] = 1;
    }
  }
}

function line(mask, from, to, radius) {
  const steps = 1 + Math.ceil(2 * Math.max(Math.abs(to.x - from.x) * grid[1], Math.abs(to.y - from.y) * grid[0]));
  for (let at = 0; at <= steps; at += 1) {
    dab(mask, from.x + (to.x - from.x) * at / steps, from.y + (to.y - from.y) * at / steps, radius);
  }
}

// The cells of the layer's map that a mask reaches: any painted pixel of the grid counts.
function pooled(mask) {
  const cells = new Uint8Array(map[0] * map[1]);
  for (let r = 0; r < map[0]; r += 1) {
    for (let c = 0; c < map[1]; c += 1) {
      const rows = [Math.floor(r * grid[0] / map[0]), Math.ceil((r + 1) * grid[0] / map[0])];
      const columns = [Math.floor(c * grid[1] / map[1]), Math.ceil((c + 1) * grid[1] / map[1])];
      for (let y = rows[0]; y < rows[1]; y += 1) {
        for (let x = columns[0]; x < columns[1]; x += 1) cells[r * map[1] + c] |= mask[y * grid[1] + x];
      }
    }
  }
  return cells;
}

// As sessions hold it: the smallest box.
function packed(mask) {
  let [top, left, bottom, right] = [grid[0], grid[1], 0, 0];
  mask.forEach((on, at) => {
    if (!on) return;
    const r = Math.floor(at / grid[1]), c = at % grid[1];
    [top, left, bottom, right] = [Math.min(top, r), Math.min(left, c), Math.max(bottom, r + 1), Math.max(right, c + 1)];
  });
  let bits = "";
  for (let r = top; r < bottom; r += 1) for (let c = left; c < right; c += 1) bits += mask[r * grid[1] + c];
  return { shape: grid, bitbounds: bits ? [top, left, bottom, right] : [0, 0, 0, 0], bitstring: bits };
}

// A mask of any shape, as of a session of another page, on this page's grid.
function unpacked(found) {
  const mask = blank();
  if (!found) return mask.fill(1);
  const [top, left, bottom, right] = found.bitbounds, [height, width] = found.shape;
  for (let r = 0; r < grid[0]; r += 1) {
    for (let c = 0; c < grid[1]; c += 1) {
      const y = Math.floor((r + .5) * height / grid[0]), x = Math.floor((c + .5) * width / grid[1]);
      if (y >= top && y < bottom && x >= left && x < right) {
        mask[r * grid[1] + c] = Number(found.bitstring[(y - top) * (right - left) + x - left]);
      }
    }
  }
  return mask;
}

// The edge of cells of the map, light on dark, so that it is seen on any picture.
function edge(context, on) {
  const { width, height } = context.canvas;
  const x = (c) => Math.round(c * width / map[1]), y = (r) => Math.round(r * height / map[0]);
  const inside = (r, c) => r >= 0 && c >= 0 && r < map[0] && c < map[1] && Boolean(on(r, c));
  context.beginPath();
  for (let r = 0; r <= map[0]; r += 1) {
    for (let c = 0; c <= map[1]; c += 1) {
      const [left, top, right, bottom] = [x(c), y(r), x(c + 1), y(r + 1)];
      if (inside(r, c) !== inside(r - 1, c)) { context.moveTo(left, top); context.lineTo(right, top); }
      if (inside(r, c) !== inside(r, c - 1)) { context.moveTo(left, top); context.lineTo(left, bottom); }
    }
  }
  for (const [line, style] of [[4, "rgb(0 0 0 / 55%)"], [1.5, "#fff"]]) {
    context.lineWidth = Math.max(1, line * Math.min(1, width / 300));
    context.strokeStyle = style;
    context.stroke();
  }
}

// Shows a mask over whatever a canvas holds: what was painted pale, and the edge of the cells of the map that it reaches.
function tint(context, mask) {
  const { width, height } = context.canvas, cells = pooled(mask);
  const x = (c, columns) => Math.round(c * width / columns), y = (r, rows) => Math.round(r * height / rows);
  const fill = (on, rows, columns) => on.forEach((value, at) => {
    if (!value) return;
    const r = Math.floor(at / columns), c = at % columns, left = x(c, columns), top = y(r, rows);
    context.fillRect(left, top, x(c + 1, columns) - left, y(r + 1, rows) - top);
  });
  context.fillStyle = "rgb(255 255 255 / 22%)";
  fill(cells, map[0], map[1]);
  context.fillStyle = "rgb(255 255 255 / 34%)";
  fill(mask, grid[0], grid[1]);
  edge(context, (r, c) => cells[r * map[1] + c]);
}
