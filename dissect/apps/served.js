// What carries the page's requests to a server.

const GONE = "The server does not answer. Save the session, then start dissect again.";
const begun = null, keep = () => {};

const carry = (path, body) =>
  fetch(path, body && { method: "POST", headers: { "content-type": "application/json" }, body });
