// What both pages do with the server and with files.

const el = (id) => document.getElementById(id);
const form = el("tools").elements;
let asked = Promise.resolve(), waiting = 0;

const tell = (text) => { el("status").textContent = text; };
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

async function ask(path, body) {
  let answer;
  try {
    answer = await carry(path, body && JSON.stringify(body));
  } catch {
    throw new Error(GONE);
  }
  if (answer.ok) return answer;
  throw new Error((await answer.json().catch(() => ({}))).error ?? `The server answers ${answer.status}.`);
}
const answered = async (path, body) => (await ask(path, body)).json();

// Gestures are done one after another; what fails is told, and changes nothing.
function gesture(work) {
  waiting += 1;
  stage.setAttribute("aria-busy", "true");
  asked = asked.then(work).catch((error) => tell(error.message)).finally(() => {
    waiting -= 1;
    if (!waiting) stage.removeAttribute("aria-busy");
    show();
  });
  return asked;
}

function save(data, name) {
  const url = URL.createObjectURL(data);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// The bytes of a data URL, which the page's rules do not let it fetch.
const bytesOf = (url) => Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(text);
}

async function sessionOf(file) {
  if (file.size > 8e6) throw new Error("A session has at most 8 MB.");
  try {
    return JSON.parse(await file.text());
  } catch {
    throw new Error("That file is no session.");
  }
}

function opens(input, open) {
  input.addEventListener("change", () => {
    if (input.files.length) open(input.files[0]);
    input.value = "";
  });
}

// Each picture is a button; the one that is worked on is the current one.
function tile(number, image, choose) {
  const button = Object.assign(document.createElement("button"), { type: "button", value: number });
  button.append(Object.assign(new Image(), { src: image, alt: "" }), String(number));
  button.setAttribute("aria-label", `Image ${number}`);
  button.addEventListener("click", () => choose(number));
  return button;
}

function current(number) {
  document.querySelectorAll("#images button").forEach((button) => {
    button.setAttribute("aria-current", Number(button.value) === number);
  });
}

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || ["number", "text"].includes(event.target.type)) return;
  const key = event.key.toLowerCase(), again = key === "y" || (key === "z" && event.shiftKey);
  if (!again && key !== "z") return;
  event.preventDefault();
  (again ? redo : undo)();
});
el("tools").addEventListener("submit", (event) => event.preventDefault());
