// A page in a notebook's cell: in a frame, apart from the notebook, for which it carries requests to the kernel.

function render({ model, el }) {
  const frame = document.createElement("iframe"), view = Math.random().toString(36).slice(2);
  let port = null;

  // A frame that is moved loads anew, and goes on where it was.
  const loaded = () => {
    const { port1, port2 } = new MessageChannel();
    port = port1;
    port.onmessage = ({ data: { id, path, body } }) => model.send({ id: `${view} ${id}`, path, body });
    frame.contentWindow.postMessage(model.get("state"), "*", [port2]);
  };
  const answered = ({ id, status, kind }, buffers) => {
    const [own, number] = String(id).split(" ");
    if (own !== view) return;
    const { buffer, byteOffset, byteLength } = buffers[0];
    port.postMessage({ id: Number(number), status, kind, data: new Uint8Array(buffer, byteOffset, byteLength).slice() });
  };

  model.on("msg:custom", answered);
  frame.addEventListener("load", loaded);
  frame.title = model.get("title");
  frame.setAttribute("sandbox", "allow-scripts allow-downloads");
  frame.style.cssText = `display: block; width: 100%; height: ${model.get("height")}px; border: 1px solid #8888`;
  frame.srcdoc = model.get("page");
  el.append(frame);
  return () => model.off("msg:custom", answered);
}

export default { render };
