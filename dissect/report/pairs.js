// Blinded pairs: which side is which is not in this page, but in the key beside it.
const sheet = JSON.parse(document.getElementById("sheet").textContent);
const sides = [...document.querySelectorAll(".pair button")], bar = document.querySelector(".toolbar").elements;
const place = `dissect pairs ${sheet.page}`;
let answers = [];

// A browser may keep nothing for a page that is a file.
try {
  answers = (JSON.parse(localStorage.getItem(place)) || []).slice(0, sheet.pairs.length);
} catch {
  // then it begins anew
}

function keep() {
  try {
    localStorage.setItem(place, JSON.stringify(answers));
  } catch {
    // then they are in the page alone
  }
}

function show() {
  const done = answers.length, pair = sheet.pairs[done];
  keep();
  document.querySelector("progress").value = done;
  document.querySelector(".score").elements.count.value = `${done} of ${sheet.pairs.length}`;
  document.querySelector(".pair").hidden = !pair;
  document.querySelector(".done").hidden = Boolean(pair);
  bar.back.disabled = bar.clear.disabled = bar.save.disabled = done === 0;
  if (pair) {
    sides.forEach((side, at) => { side.querySelector("img").src = `data:${sheet.type};base64,${pair[at]}`; });
  } else {
    bar.save.focus();
  }
}

function answer(side) {
  if (answers.length < sheet.pairs.length) answers.push(side);
  show();
}

function back() {
  answers.pop();
  show();
}

function save() {
  const found = { kind: "dissect pair answers", page: sheet.page, rater: bar.rater.value.trim(), answers };
  const url = URL.createObjectURL(new Blob([`${JSON.stringify(found)}\n`], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href: url, download: `answers-${sheet.page}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

sides.forEach((side) => side.addEventListener("click", () => answer(side.dataset.side)));
bar.back.addEventListener("click", back);
bar.save.addEventListener("click", save);
bar.clear.addEventListener("click", () => {
  answers = [];
  show();
});
document.querySelector(".toolbar").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  const act = { ArrowLeft: () => answer("left"), ArrowRight: () => answer("right"), Backspace: back }[event.key];
  if (!act || event.target === bar.rater || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  act();
});
show();
