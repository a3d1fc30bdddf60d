// A policy's observation: a slider for each number, a file where it is a picture, JSON where it is anything else.

import { make } from "./dom.js";
import { pictureState } from "./picture.js";
import { slider } from "./slider.js";
import { isPicture, numbersOf, observationOf, outline } from "./space.js";

const DRAWS = 100;
// The same numbers for every state: bars move because the policy does, not by chance.
const SEED = 1;

/** The controls; `send` is called with a request each time that they change. */
export function stateInput(version, send) {
  const { observation } = version;
  if (isPicture(observation.space)) return pictureState(send);
  const numbers = numbersOf(observation);
  return numbers === null ? written(observation, send) : sliders(version, numbers, send);
}

function sliders(version, numbers, send) {
  const draw = make("input", { type: "checkbox", id: "draw" });
  draw.checked = true;
  const can = mayDraw(version);
  const controls = numbers.map((each, index) => slider(each, `number-${index}`, () => ask()));
  const ask = () => {
    const values = controls.map((control) => control.value());
    if (values.every(Number.isFinite)) send(requestOf(version, values, can && draw.checked));
  };
  const buttons = make("div", { class: "line" }, button("Ask", ask, "strong"));
  buttons.append(button("Zero", () => (controls.forEach((control) => control.reset()), ask()), "plain"));
  buttons.append(button("Random", () => (controls.forEach((control) => control.shake()), ask()), "plain"));
  if (can) {
    draw.addEventListener("change", ask);
    buttons.append(make("label", { for: "draw", class: "check" }, draw, ` draw ${DRAWS} actions too`));
  }
  const box = make("fieldset", { class: "sliders" }, make("legend", {}, "Observation"));
  box.append(...controls.map((each) => each.row));
  return make("div", {}, box, buttons);
}

function requestOf(version, values, draws) {
  const one = observationOf(version.observation, values);
  const many = { instances: Array(DRAWS).fill(one), deterministic: false, seed: SEED };
  // An object of exactly the parts is an observation, whatever they are called, but for "instances" alone.
  const wrapped = Array.isArray(one) || Object.keys(one).join() === "instances";
  const body = JSON.stringify(wrapped ? { observation: one } : one);
  return { body, type: "application/json", file: null, draws: draws ? JSON.stringify(many) : null };
}

/** Whether the policy can be asked for drawn actions, and there are few enough of them for bars. */
function mayDraw({ input, action }) {
  return input?.options?.deterministic !== undefined && action?.space?.type !== "box";
}

function written(observation, send) {
  const field = make("textarea", { id: "json", rows: "8", spellcheck: "false" });
  field.value = outline(observation);
  // What is typed goes as it is: the gateway says best what is wrong with it.
  const ask = () => send({ body: field.value, type: "application/json", file: null, draws: null });
  const label = make("label", { for: "json", class: "field" }, "Observation as JSON");
  return make("div", {}, label, field, button("Ask", ask, "strong"));
}

function button(words, act, look) {
  const made = make("button", { type: "button", class: look }, words);
  made.addEventListener("click", act);
  return made;
}
