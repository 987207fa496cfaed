// What the server knows of the generator, its layer and the brushes.
const about = JSON.parse(document.getElementById("about").textContent);

