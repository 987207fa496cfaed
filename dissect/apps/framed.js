// What carries the page's requests in a notebook: messages to the widget that holds this frame, and by it to the kernel.

const GONE = "The kernel does not answer. Save the session, then run the cell again.";
const LATE = 10000, waits = new Map();
let asks = 0, noted = null;

// The widget gives a way to speak to it, and what the page showed when it was last here.
const channel = new Promise((found) => addEventListener("message", (event) => {
  if (event.source === parent && event.ports.length) found({ port: event.ports[0], state: event.data });
}));
const begun = channel.then(({ state }) => state);

channel.then(({ port }) => {
  port.onmessage = ({ data: { id, status, kind, data } }) => {
    waits.get(id)?.(new Response(data, { status, headers: { "content-type": kind } }));
    waits.delete(id);
  };
});

async function carry(path, body = null) {
  const { port } = await channel, id = asks += 1;
  const late = setTimeout(() => tell("The kernel has not answered yet: it may be busy with a cell, or gone."), LATE);
  try {
    return await new Promise((found) => {
      waits.set(id, found);
      port.postMessage({ id, path, body });
    });
  } finally {
    clearTimeout(late);
  }
}

// Tells the kernel what the page shows, whenever that has changed.
function keep(state) {
  const text = JSON.stringify(state);
  if (text !== noted) carry("keep", text);
  noted = text;
}
