// Blinded pairs.
const sides = [...document.querySelectorAll(".pair button")];

function present(pair) {
  sides.forEach((side, at) => { side.querySelector("img").src = `data:${sheet.type};base64,${pair[at]}`; });
}

sides.forEach((side) => side.addEventListener("click", () => answer(side.dataset.side)));
begin({ ArrowLeft: () => answer("left"), ArrowRight: () => answer("right") });
