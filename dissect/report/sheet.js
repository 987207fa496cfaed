// Questions, one after another; what answers them is not in this page, but in the key beside it. A page's own script has
// `present`, which shows a question, and calls `begin` and `answer`.
const sheet = JSON.parse(document.getElementById("sheet").textContent);
const bar = document.querySelector(".toolbar").elements;
const place = `${sheet.kind} ${sheet.page}`;
const answers = kept(place).slice(0, sheet.items.length);

function show() {
  const done = answers.length, finished = done === sheet.items.length;
  keep(place, answers);
  document.querySelector("progress").value = done;
  document.querySelector(".score").elements.count.value = `${done} of ${sheet.items.length}`;
  document.querySelector(".item").hidden = finished;
  document.querySelector(".done").hidden = !finished;
  bar.back.disabled = bar.clear.disabled = bar.save.disabled = done === 0;
  if (finished) bar.save.focus(); else present(sheet.items[done]);
}

function answer(given) {
  if (answers.length < sheet.items.length) answers.push(given);
  show();
}

function back() {
  answers.pop();
  show();
}

// `keys` tells by a key's name what it does where nobody is typing.
function begin(keys) {
  bar.back.addEventListener("click", back);
  bar.save.addEventListener("click", () => {
    const found = { kind: sheet.kind, page: sheet.page, rater: bar.rater.value.trim(), answers };
    save(`${JSON.stringify(found)}\n`, "application/json", `answers-${sheet.page}.json`);
  });
  bar.clear.addEventListener("click", () => {
    answers.length = 0;
    show();
  });
  document.querySelector(".toolbar").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    const act = { Backspace: back, ...keys }[event.key];
    if (!act || event.target.type === "text" || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act();
  });
  show();
}
