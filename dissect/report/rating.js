// Pictures of one unit, and a label of which people say whether it fits, or which they write.
const item = document.querySelector(".item"), quoted = item.querySelector("q");
const pictures = item.querySelector(".pictures"), written = item.querySelector("form");

function present([unit, text]) {
  if (quoted) quoted.textContent = text;
  fill(pictures, sheet.units[unit]);
  if (!written) return;
  written.elements.label.value = "";
  written.elements.label.focus({ preventScroll: true });
}

watch([pictures]);
item.addEventListener("click", ({ target }) => { if (target.dataset.answer !== undefined) answer(target.dataset.answer); });
written?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (written.elements.label.value.trim()) answer(written.elements.label.value.trim());
});
begin(written ? {} : { y: () => answer("yes"), n: () => answer("no") });
