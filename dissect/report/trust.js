// What speaks for and against a unit's concept, and how its peaks are spread over the images.
const TRUST = ["p", "low", "high", "same_label", "held_out", "margin", "place_iou", "precision", "recall",
  "accuracy", "information_quality", "shown"];
const short = (value) => String(Number(value.toPrecision(3)));
const share = (value) => value >= 0.1 || value === 0 ? `${(100 * value).toFixed(0)}%` : `${Number((100 * value).toPrecision(2))}%`;
const name = (label) => label ? concepts[label][0] : "none";

// [what was looked at, in words, what was found], as far as it is known.
function findings({ trust, scores, halves, allowed, kept }) {
  return [
    ["p", "p, from the labels of other images", () => short(trust.p)],
    ["limit", "IoU above which 5% are false", () => allowed ? short(Number(allowed)) : "none"],
    ["low", "IoU, 95% interval", () => `${trust.low.toFixed(3)} to ${trust.high.toFixed(3)}`],
    ["same_label", "Label by each half of the images", () => halves.map(name).join(" / ")],
    ["held_out", "IoU on the half that did not choose it", () => trust.held_out.toFixed(3)],
    ["margin", `Ahead of ${scores[1] ? name(scores[1][0]) : "the others"} by`, () => trust.margin.toFixed(3)],
    ["place_iou", "IoU of the best fixed mask of places", () => trust.place_iou.toFixed(3)],
    ["precision", "Where it fires, the concept is there", () => share(trust.precision)],
    ["recall", "Where the concept is, it fires", () => share(trust.recall)],
    ["accuracy", "Pixels where both are, or neither", () => share(trust.accuracy)],
    ["information_quality", "Information that both share (I/H)", () => trust.information_quality.toFixed(3)],
    ["shown", "Top images that show the concept", () => `${trust.shown} of ${kept}`],
  ].filter(([key]) => key === "limit" ? trust.p !== undefined : trust[key] !== undefined).map(([key, words, found]) => [key, words, found()]);
}

function fillTrust(card) {
  const rows = card.trust ? findings(card) : [];
  part("trust").hidden = rows.length === 0;
  part("trust").querySelector("tbody").replaceChildren(...rows.map(([key, words, found]) => make("tr", {},
    make("th", { scope: "row" }, words), make("td", {}, found,
      ...card.doubts[key] ? [" ", make("span", { className: "doubt" }, "doubtful")] : []))));
}

// Bars over a range that holds the threshold, which is a line.
function densityOf(low, high, counts, threshold) {
  const most = Math.max(...counts, 1), width = 100 / counts.length;
  const bars = counts.map((count, at) => `<rect x="${at * width}" y="${40 - 40 * count / most}" width="${width * .86}" `
    + `height="${40 * count / most}" class="${low + (at + .5) * (high - low) / counts.length > threshold ? "above" : ""}"/>`);
  const place = threshold === null ? -1 : 100 * (threshold - low) / (high - low);
  return `<svg viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true">${bars.join("")}`
    + `<line x1="${place}" x2="${place}" y1="0" y2="40"/></svg>`;
}

function sampleFigure([level, number, mask, text]) {
  const canvas = make("canvas", { width: 1, height: 1, role: "img", ariaLabel: text });
  Object.assign(canvas.dataset, { picture: number, mask });
  return make("figure", {}, canvas, make("figcaption", { ariaHidden: "true" },
    make("b", {}, `above ${share(level)} of the images`), text));
}

function fillSpread(card) {
  const spread = part("spread");
  spread.hidden = !card.density;
  if (!card.density) return;
  const [low, high, above, counts] = card.density, sum = counts.reduce((a, b) => a + b, 0);
  part("density").innerHTML = densityOf(low, high, counts, card.threshold);
  part("low").textContent = short(low);
  part("high").textContent = short(high);
  part("told").textContent = `Its highest activation in each of ${sum.toLocaleString("en")} image${sum === 1 ? "" : "s"}${sum < dialog.dataset.images ? " drawn at random" : ""}. `
    + `In ${share(above)} of them it exceeds the threshold${card.threshold === null ? "" : ` ${short(card.threshold)}, the line`}.`;
  const pictures = part("sample");
  Object.assign(pictures.dataset, { rows: card.rows, columns: card.columns });
  pictures.replaceChildren(...card.sample.map(sampleFigure));
}
