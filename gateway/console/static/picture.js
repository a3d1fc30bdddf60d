// A picture: dropped, pasted or chosen, and sent as the file that it is.

import { make } from "./dom.js";

/** Where a picture is put; `send` is called with each one. */
export function pictureInput(send) {
  return dropZone((file) => {
    send({ body: file, type: file.type || "application/octet-stream", file: file.name, draws: null });
  });
}

/** A policy's picture: it travels inside JSON. */
export function pictureState(send) {
  return dropZone(async (file) => {
    const body = JSON.stringify({ observation: await dataUrl(file) });
    send({ body, type: "application/json", file: null, draws: null });
  });
}

function dropZone(take) {
  const field = make("input", { type: "file", accept: "image/*", class: "unseen", "aria-label": "Choose a picture" });
  const preview = make("img", { alt: "The picture that was sent", hidden: "" });
  const words = make("span", {}, make("strong", {}, "Drop a picture here"), " or paste one, or ");
  words.append(make("u", {}, "choose a file"));
  const zone = make("label", { class: "drop" }, field, preview, words);
  const chosen = (files) => {
    if (files.length === 0) return;
    show(preview, files[0]);
    take(files[0]);
  };
  field.addEventListener("change", () => {
    chosen([...field.files]);
    field.value = ""; // so that choosing the same file again sends it again
  });
  zone.addEventListener("dragover", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    chosen([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", function paste(event) {
    if (zone.isConnected) chosen([...event.clipboardData.files]);
    else document.removeEventListener("paste", paste);
  });
  return zone;
}

function show(preview, file) {
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.hidden = false;
  preview.onerror = () => (preview.hidden = true); // no picture that a browser knows; the model may still
  preview.src = URL.createObjectURL(file);
}

async function dataUrl(file) {
  const reader = new FileReader();
  await new Promise((resolve, reject) => {
    reader.onload = resolve;
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  return reader.result;
}
