// The controls of a model's input: a drop zone for an image, sliders for the numbers of an observation, fields for a row
// of columns, JSON for other tensors, and a file or text for an adopted archive.
//
// Each control calls `send` with a request: { body, type, file, draws }. `draws` is the body of a second request, for
// sampled actions, or null.

import { make, makeButton } from "./dom.js";
import { numberText } from "./figures.js";

const DRAWS = 100;
// The same random numbers for every state, so that bars move because of the policy.
const SEED = 1;
// Observations with more numbers are typed as JSON.
const MOST_SLIDERS = 64;
const SLIDER_STEPS = 200;
// A bound beyond FAR is none that states come near to; a slider without bounds ends at USUAL.
const [FAR, USUAL] = [1e6, 3];

/** The controls for an image. */
export function imageInput(send) {
  return dropZone((file) => {
    send({ body: file, type: file.type || "application/octet-stream", file: file.name, draws: null });
  });
}

/** The controls for an adopted archive, whose handler reads whatever it reads: a file, or text with its content type. */
export function anyInput(version, send) {
  const types = version.input?.content_types ?? [];
  const zone = dropZone((file) => {
    send({ body: file, type: file.type || "application/octet-stream", file: file.name, draws: null });
  }, "");
  const type = make("input", { id: "content-type", value: types.find(isText) ?? "application/json", spellcheck: "false" });
  const text = make("textarea", { id: "text", rows: "6", spellcheck: "false" });
  const submit = () => send({ body: text.value, type: type.value, file: null, draws: null });
  return make(
    "div",
    {},
    zone,
    make("label", { for: "content-type", class: "field" }, "Or text of this content type"),
    type,
    text,
    makeButton("Send", submit, "strong"),
  );
}

const isText = (type) => type.startsWith("text/") || type.includes("json");

/** The controls for a policy's observation. */
export function observationInput(version, send) {
  const { observation } = version;
  if (isImage(observation.space)) {
    return dropZone(async (file) => sendJson(send, JSON.stringify({ observation: await dataUrl(file) })));
  }
  const numbers = numbersOf(observation);
  return numbers === null ? jsonInput(observation, send) : sliders(version, numbers, send);
}

/** The controls for an instance of named tensors: a form for a row of columns, else JSON. */
export function instanceInput({ input }, send) {
  const { properties } = input.json_schema;
  const isRow = Object.values(properties).every((each) => each.type === "number" || each.enum);
  return isRow ? rowForm(properties, input.example, send) : textInput("Instance as JSON", JSON.stringify(input.example), send);
}

function rowForm(properties, example, send) {
  const box = make("fieldset", { class: "sliders" }, make("legend", {}, "Row"));
  const fields = Object.entries(properties).map(([name, schema], index) => {
    const id = `column-${index}`;
    const field = schema.enum ? choice(id, schema.enum) : numberField(id, schema);
    field.value = String(example?.[name] ?? schema.enum?.[0] ?? "");
    const unit = make("small", {}, [schema["x-unit"], rangeText(schema)].filter(Boolean).join(", "));
    box.append(make("div", { class: "slider" }, make("label", { for: id }, name), field, unit));
    return [name, () => (schema.enum ? field.value : field.valueAsNumber)];
  });
  // A field that is not a number is sent as null: the gateway explains best what is wrong with it.
  const submit = () => sendJson(send, JSON.stringify(Object.fromEntries(fields.map(([name, value]) => [name, value()]))));
  box.addEventListener("change", submit);
  return make("div", {}, box, make("div", { class: "line" }, makeButton("Send", submit, "strong")));
}

function choice(id, texts) {
  return make("select", { id }, ...texts.map((text) => make("option", { value: text }, text)));
}

function numberField(id, { minimum, maximum }) {
  const field = make("input", { type: "number", id, step: "any" });
  if (minimum !== undefined) field.min = String(minimum);
  if (maximum !== undefined) field.max = String(maximum);
  return field;
}

function rangeText({ enum: texts, minimum = null, maximum = null }) {
  if (texts || (minimum === null && maximum === null)) return "";
  return `${minimum === null ? "−∞" : numberText(minimum)} … ${maximum === null ? "∞" : numberText(maximum)}`;
}

const sendJson = (send, body, draws = null) => send({ body, type: "application/json", file: null, draws });

function dropZone(take, accept = "image/*") {
  const what = accept === "" ? "a file" : "an image";
  const field = make("input", { type: "file", accept, class: "unseen", "aria-label": `Choose ${what}` });
  const preview = make("img", { alt: "The image that was sent", hidden: "" });
  const text = make("span", {}, make("strong", {}, `Drop ${what} here`), " or paste one, or ");
  text.append(make("u", {}, "choose a file"));
  const zone = make("label", { class: "drop" }, field, preview, text);
  const choose = (files) => {
    if (files.length === 0) return;
    show(preview, files[0]);
    take(files[0]);
  };
  field.addEventListener("change", () => {
    choose([...field.files]);
    field.value = ""; // so that choosing the same file again sends it again
  });
  zone.addEventListener("dragover", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    choose([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", function paste(event) {
    if (zone.isConnected) choose([...event.clipboardData.files]);
    else document.removeEventListener("paste", paste);
  });
  return zone;
}

function show(preview, file) {
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.hidden = false;
  preview.onerror = () => (preview.hidden = true); // the browser cannot show it, but the model may read it
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

function jsonInput(observation, send) {
  return textInput("Observation as JSON", outline(observation), send);
}

function textInput(name, text, send) {
  const field = make("textarea", { id: "json", rows: "8", spellcheck: "false" });
  field.value = text ?? "";
  // The text is sent unchecked: the gateway explains best what is wrong with it.
  const submit = () => sendJson(send, field.value);
  const label = make("label", { for: "json", class: "field" }, name);
  return make("div", {}, label, field, makeButton("Send", submit, "strong"));
}

function sliders(version, numbers, send) {
  const draw = make("input", { type: "checkbox", id: "draw" });
  draw.checked = true;
  const canDraw = isSampled(version);
  const controls = numbers.map((each, index) => slider(each, `number-${index}`, () => submit()));
  const submit = () => {
    const values = controls.map((control) => control.value());
    if (!values.every(Number.isFinite)) return;
    const { body, draws } = observationRequest(version, values);
    sendJson(send, body, canDraw && draw.checked ? draws : null);
  };
  const setAll = (set) => {
    controls.forEach(set);
    submit();
  };
  const buttons = make("div", { class: "line" }, makeButton("Send", submit, "strong"));
  buttons.append(makeButton("Zero", () => setAll((control) => control.reset()), "plain"));
  buttons.append(makeButton("Random", () => setAll((control) => control.randomize()), "plain"));
  if (canDraw) {
    draw.addEventListener("change", submit);
    buttons.append(make("label", { for: "draw", class: "check" }, draw, ` draw ${DRAWS} actions too`));
  }
  const box = make("fieldset", { class: "sliders" }, make("legend", {}, "Observation"));
  box.append(...controls.map((each) => each.row));
  return make("div", {}, box, buttons);
}

function observationRequest(version, values) {
  const one = observationOf(version.observation, values);
  const many = { instances: Array(DRAWS).fill(one), deterministic: false, seed: SEED };
  // An object that holds exactly the parts is an observation, except where the only part is called "instances".
  const wrapped = Array.isArray(one) || Object.keys(one).join() === "instances";
  return { body: JSON.stringify(wrapped ? { observation: one } : one), draws: JSON.stringify(many) };
}

/** Whether the policy can sample actions, and there are few enough of them for bars. */
function isSampled({ input, action }) {
  return input?.options?.deterministic !== undefined && action?.space?.type !== "box";
}

/** A slider and a field for one number: the slider moves between the bounds, the field takes any value. */
function slider({ name, low, high, whole }, id, changed) {
  const [least, most] = ends(low, high);
  const steps = whole && most - least <= 1000 ? most - least : SLIDER_STEPS;
  const range = make("input", { type: "range", id, min: "0", max: String(steps), step: "1" });
  const exact = make("input", { type: "number", step: whole ? "1" : "any", "aria-label": `${name}, exact value` });
  const row = make("div", { class: "slider" }, make("label", { for: id }, name), range, exact, boundsText(low, high));

  const set = (value) => {
    exact.value = String(value);
    follow(value);
  };
  const follow = (value) => {
    range.value = String(Math.round(((value - least) / (most - least || 1)) * steps));
    range.setAttribute("aria-valuetext", numberText(value));
  };
  const valueAt = (step) => {
    if (step === 0) return least;
    if (step === steps) return most;
    const value = least + (step / steps) * (most - least);
    return whole ? Math.round(value) : Number(numberText(value));
  };
  range.addEventListener("input", () => {
    exact.value = String(valueAt(range.valueAsNumber));
    range.setAttribute("aria-valuetext", exact.value);
    changed();
  });
  exact.addEventListener("input", () => {
    if (Number.isFinite(exact.valueAsNumber)) follow(exact.valueAsNumber);
    changed();
  });
  const start = least <= 0 && most >= 0 ? 0 : least;
  set(start);
  return {
    row,
    value: () => exact.valueAsNumber,
    reset: () => set(start),
    randomize: () => set(valueAt(Math.floor(Math.random() * (steps + 1)))),
  };
}

function ends(low, high) {
  const [bottom, top] = [low !== null && low > -FAR ? low : null, high !== null && high < FAR ? high : null];
  if (bottom === null && top === null) return [-USUAL, USUAL];
  return [bottom ?? top - 2 * USUAL, top ?? bottom + 2 * USUAL];
}

function boundsText(low, high) {
  const text = (bound) => (bound === null ? "∞" : numberText(bound));
  return make("small", {}, low === null && high === null ? "unbounded" : `${text(low)} … ${text(high)}`);
}

/** The numbers of a Gymnasium space with names and bounds; null when they are too many for sliders. */
function numbersOf({ space, fields }) {
  const parts = space.type === "dict" ? space.spaces : [{ key: null, space }];
  const found = [];
  for (const { key, space: box } of parts) {
    const size = sizeOf(box);
    if (found.length + size > MOST_SLIDERS) return null;
    const [lows, highs] = [spread(box.low, size), spread(box.high, size)];
    for (let index = 0; index < size; index += 1) {
      const name = key === null ? (fields?.[index] ?? `[${index}]`) : size === 1 ? key : `${key}[${index}]`;
      found.push({ name, low: lows[index] ?? null, high: highs[index] ?? null, whole: !box.dtype.startsWith("float") });
    }
  }
  return found;
}

/** The numbers in the form of a request. */
function observationOf({ space, fields }, values) {
  const left = [...values];
  if (space.type === "dict") {
    return Object.fromEntries(space.spaces.map((part) => [part.key, shaped(left, part.space.shape)]));
  }
  if (fields) return Object.fromEntries(fields.map((name, index) => [name, left[index]]));
  return shaped(left, space.shape);
}

/** Three dimensions of bytes are an image. */
const isImage = (space) => space.dtype === "uint8" && space.shape?.length === 3;

/** Zeros in the shape of an observation, to be edited; empty where the text would be too long. */
function outline({ space, fields }) {
  const parts = space.type === "dict" ? space.spaces.map((part) => part.space) : [space];
  const size = parts.reduce((sum, box) => sum + sizeOf(box), 0);
  return size > 4096 ? "" : JSON.stringify(observationOf({ space, fields }, Array(size).fill(0)));
}

function shaped(left, [length, ...inner]) {
  return Array.from({ length }, () => (inner.length === 0 ? left.shift() : shaped(left, inner)));
}

const sizeOf = (box) => box.shape.reduce((product, length) => product * length, 1);

/** The bounds as a flat list; a bound is one number for all, nested lists, or null. */
const spread = (bound, size) => (Array.isArray(bound) ? bound.flat(Infinity) : Array(size).fill(bound ?? null));
