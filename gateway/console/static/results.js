// A model's answer as one sentence and as bars. A screen reader reads the texts beside the bars.

import { find, make, makeButton } from "./dom.js";
import { numberText, percentText } from "./figures.js";
import { clearPicture, colourOf, showBoxes, showRegions } from "./picture.js";

const FEW = 10;

/** The drawings that an output kind can name; each returns a verdict, bars and a caption. */
const DRAWINGS = {
  probabilities: drawProbabilities,
  numbers: drawNumbers,
  vector: drawVector,
  boxes: drawBoxes,
  regions: drawRegions,
  action: drawAction,
  response: drawResponse,
  tensors: drawTensors,
};
const MOST_CHARACTERS = 2000;

/** The content of an answer. That of an adopted archive's handler may be anything, so it becomes one text. */
export async function contentOf(response, version) {
  if (version.kind !== "adopted") return response.json();
  const type = response.headers.get("content-type") ?? "";
  const isText = type === "" || type.startsWith("text/") || type.includes("json");
  const answer = isText ? await response.text() : `${(await response.blob()).size} bytes of ${type}`;
  return { version: response.headers.get("x-model-version") ?? version.version, predictions: [{ answer }] };
}

/** Show the first prediction of an answer as the version's view says. `file` is the picture that was sent, or null.
 *  `drawn` are sampled predictions of the same state, or null. Where `more` will follow, the bars wait for them. */
export function showAnswer(content, version, file, drawn, more) {
  const { view } = version;
  const prediction = content.predictions?.[0] ?? {};
  const draw = prediction[view?.values] === undefined ? undefined : DRAWINGS[view.drawing];
  clearPicture();
  if (draw === undefined) {
    // Business logic may answer in other forms.
    find("verdict").textContent = JSON.stringify(prediction);
    showBars([], "");
    return;
  }
  const { verdict, bars, caption = "" } = draw(prediction, version, drawn, file);
  find("verdict").textContent = verdict + (content.weights === "random" ? ", random weights" : "");
  if (drawn !== null || !more) showBars(bars, caption);
}

/** An object of probabilities by name. The view names the field of the chosen name, or of the list of chosen names. */
function drawProbabilities(prediction, { view }) {
  const names = [prediction[view.chosen] ?? []].flat();
  const confidence = prediction[view.confidence];
  const sure = confidence === undefined ? "" : ` (${percentText(confidence)})`;
  const bars = Object.entries(prediction[view.values])
    .sort(([, one], [, other]) => other - one)
    .map(([label, share]) => bar(label, share, percentText(share), names.includes(label)));
  return { verdict: names.length > 0 ? names.join(", ") + sure : (view.none ?? ""), bars };
}

/** Named numbers, which have units and therefore no common scale. */
function drawNumbers(prediction, { view }) {
  const units = prediction[view.units] ?? {};
  const texts = Object.entries(prediction[view.values]).map(([name, value]) => {
    return [name, units[name] ? `${numberText(value)} ${units[name]}` : numberText(value)];
  });
  const verdict = texts.map(([name, text]) => `${name} ${text}`).join(", ");
  return { verdict, bars: texts.map(([name, text]) => bar(name, 0, text, true)) };
}

/** The numbers of a vector. */
function drawVector(prediction, { view }) {
  const values = prediction[view.values];
  const verdict = `${values.length} numbers, norm ${numberText(Math.hypot(...values))}`;
  return { verdict, bars: values.map((value, index) => componentBar(value, index, {}, values)) };
}

/** Detections: numbered boxes over the picture, and a bar of the score of each. */
function drawBoxes(prediction, { view, labels = [] }, drawn, file) {
  const found = prediction[view.values].map((each, index) => {
    return { ...each, name: `${index + 1} ${each.label}`, colour: colourOf(labels.indexOf(each.label)) };
  });
  const bars = found.map(({ name, score, colour }) => ({ ...bar(name, score, percentText(score), true), colour }));
  const verdict = found.length === 0 ? "Nothing found" : `${found.length} found: ${found.map(({ name }) => name).join(", ")}`;
  showBoxes(prediction, found, file, verdict);
  return { verdict, bars };
}

/** A class map over the picture, and a bar of each class's share of it. */
function drawRegions(prediction, { view, labels = [] }, drawn, file) {
  const size = prediction.width * prediction.height;
  const bars = Object.entries(prediction[view.values]).map(([label, area]) => {
    const colour = colourOf(labels.indexOf(label));
    return { ...bar(label, area / size, percentText(area / size), true), colour };
  });
  const verdict = bars.length === 0 ? "Nothing found" : bars.map(({ label, text }) => `${label} ${text}`).join(", ");
  showRegions(prediction, labels, file, verdict);
  return { verdict, bars };
}

/** Named outputs: a bar for each of their numbers, and the text of others. */
function drawTensors(prediction, { view }) {
  const bars = [];
  const texts = [];
  for (const [name, nested] of Object.entries(prediction[view.values])) {
    const values = [nested].flat(Infinity);
    texts.push(`${name} ${values.slice(0, FEW).map(elementText).join(", ")}${values.length > FEW ? ", …" : ""}`);
    const numbers = values.every((value) => typeof value === "number") ? values : [];
    bars.push(...numbers.map((value, index) => ({ ...componentBar(value, index, {}, values), label: `${name}[${index}]` })));
  }
  return { verdict: texts.join(" · "), bars };
}

const elementText = (value) => (typeof value === "number" ? numberText(value) : JSON.stringify(value));

/** The answer of an adopted archive, as its handler wrote it. */
function drawResponse(prediction, { view }) {
  const text = prediction[view.values];
  const verdict = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
  return { verdict, bars: [] };
}

/** The action of a policy, or how often each action was sampled. */
function drawAction(prediction, { view, action: described }, drawn) {
  const action = prediction[view.values];
  const verdict = actionText(action, described);
  if (drawn === null) return { verdict, bars: actionBars(action, described) };
  return { verdict, bars: sampleBars(drawn, action, described), caption: `share of ${drawn.length} drawn actions` };
}

function actionText(action, described) {
  if (!Array.isArray(action)) return nameOf(action, described);
  const values = action.flat(Infinity);
  const isBox = described?.space?.type === "box";
  const texts = values.slice(0, 8).map((value) => (isBox ? numberText(value) : String(value)));
  return `[${texts.join(", ")}${values.length > 8 ? ", …" : ""}]`;
}

/** Bars of one action: one for each choice, or for each component. */
function actionBars(action, described) {
  const space = described?.space ?? {};
  if (!Array.isArray(action)) {
    return choicesOf(space, action).map((each) => {
      const chosen = each === action;
      return bar(nameOf(each, described), Number(chosen), chosen ? "chosen" : "", chosen);
    });
  }
  const values = action.flat(Infinity);
  if (space.type === "box") return values.map((value, index) => componentBar(value, index, space, values));
  return values.map((value, index) => {
    const top = (space.nvec?.[index] ?? 2) - 1;
    return bar(`[${index}]`, value / Math.max(1, top), `${value} of ${top}`, value > 0);
  });
}

/** Bars of how often each action was sampled. */
function sampleBars(predictions, likeliest, described) {
  const sampled = predictions.map((each) => each.action);
  const shareOf = (counts) => sampled.filter(counts).length / sampled.length;
  if (Array.isArray(likeliest)) {
    return likeliest.map((value, index) => {
      const share = shareOf((each) => each[index] === value);
      return bar(`[${index}] = ${value}`, share, percentText(share), false);
    });
  }
  return choicesOf(described?.space ?? {}, likeliest).map((action) => {
    const share = shareOf((each) => each === action);
    return bar(nameOf(action, described), share, percentText(share), action === likeliest);
  });
}

function nameOf(action, described) {
  const name = described?.names?.[action - (described.space?.start ?? 0)];
  return name === undefined ? `action ${action}` : `${name} (${action})`;
}

function choicesOf(space, action) {
  if (space.type !== "discrete") return [action];
  return Array.from({ length: space.n }, (_, index) => index + (space.start ?? 0));
}

/** A bar from zero to a component, between the component's bounds; from a bound where they exclude zero. */
function componentBar(value, index, space, values) {
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  const [low, high] = [boundOf(space.low, index) ?? -largest, boundOf(space.high, index) ?? largest];
  const position = (at) => Math.min(1, Math.max(0, (at - low) / (high - low || 1)));
  const [zero, here] = [position(0), position(value)];
  return { ...bar(`[${index}]`, Math.max(zero, here), numberText(value), true), from: Math.min(zero, here) };
}

const boundOf = (bounds, index) => (Array.isArray(bounds) ? bounds.flat(Infinity)[index] : bounds) ?? null;
const bar = (label, to, text, strong) => ({ label, from: 0, to, text, strong });

/** Show bars in this order; bars that were there before move to their new length. */
function showBars(bars, caption) {
  const element = find("bars");
  const list = element.querySelector("ol") ?? make("ol", { class: "bars" });
  const rows = new Map([...list.children].map((row) => [row.dataset.label, row]));
  const shown = list.dataset.all === "true" ? bars : bars.slice(0, FEW);
  list.replaceChildren(...shown.map((each) => fillRow(rows.get(each.label) ?? emptyRow(each.label), each)));
  element.replaceChildren(list);
  if (caption !== "") element.append(make("p", { class: "fine" }, caption));
  if (shown.length < bars.length) {
    const showAll = () => {
      list.dataset.all = "true";
      showBars(bars, caption);
    };
    element.append(makeButton(`Show all ${bars.length}`, showAll, "plain"));
  }
}

function emptyRow(label) {
  const track = make("span", { class: "track", "aria-hidden": "true" }, make("i"));
  const row = make("li", {}, make("span", { class: "label" }, label), track, make("span", { class: "value" }));
  row.dataset.label = label;
  return row;
}

function fillRow(row, { from, to, text, strong, colour = "" }) {
  const fill = row.querySelector("i");
  fill.style.background = colour;
  fill.style.left = `${100 * from}%`;
  fill.style.width = `${100 * (to - from)}%`;
  row.querySelector(".value").textContent = text;
  row.classList.toggle("strong", strong);
  return row;
}
