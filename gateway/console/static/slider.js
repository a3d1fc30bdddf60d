// One number of an observation: a slider for the hand, a field for the exact value.

import { make } from "./dom.js";
import { number } from "./format.js";

const STEPS = 200;
// Where a space has no bound, or one that no state comes near to, a slider still needs its ends.
const [FAR, USUAL] = [1e6, 3];

/** Its row, its value, and two ways to set it: to the middle, and anywhere. */
export function slider({ name, low, high, whole }, id, changed) {
  const [least, most] = ends(low, high);
  const steps = whole && most - least <= 1000 ? most - least : STEPS;
  const range = make("input", { type: "range", id, min: "0", max: String(steps), step: "1" });
  const exact = make("input", { type: "number", step: whole ? "1" : "any", "aria-label": `${name}, exact value` });
  const row = make("div", { class: "slider" }, make("label", { for: id }, name), range, exact, bounds(low, high));

  const set = (value) => {
    exact.value = String(value);
    follow(value);
  };
  const follow = (value) => {
    range.value = String(Math.round(((value - least) / (most - least || 1)) * steps));
    range.setAttribute("aria-valuetext", number(value));
  };
  const at = (step) => {
    if (step === 0) return least;
    if (step === steps) return most;
    const value = least + (step / steps) * (most - least);
    return whole ? Math.round(value) : Number(number(value));
  };
  range.addEventListener("input", () => {
    exact.value = String(at(range.valueAsNumber));
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
    shake: () => set(at(Math.floor(Math.random() * (steps + 1)))),
  };
}

function ends(low, high) {
  const [bottom, top] = [low !== null && low > -FAR ? low : null, high !== null && high < FAR ? high : null];
  if (bottom === null && top === null) return [-USUAL, USUAL];
  return [bottom ?? top - 2 * USUAL, top ?? bottom + 2 * USUAL];
}

function bounds(low, high) {
  const words = low === null && high === null ? "unbounded" : `${worded(low)} … ${worded(high)}`;
  return make("small", {}, words);
}

const worded = (bound) => (bound === null ? "∞" : number(bound));
