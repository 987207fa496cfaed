// Pictures of one unit before and after a training, and what both have in common.
const item = document.querySelector(".item"), groups = [...item.querySelectorAll(".pictures")];
const choices = [...item.querySelectorAll("[data-answer]")];

function present(unit) {
  groups.forEach((pictures) => fill(pictures, sheet.units[unit][pictures.dataset.when]));
}

watch(groups);
choices.forEach((choice) => choice.addEventListener("click", () => answer(choice.dataset.answer)));
begin(Object.fromEntries(choices.map((choice, at) => [String(at + 1), () => answer(choice.dataset.answer)])));
