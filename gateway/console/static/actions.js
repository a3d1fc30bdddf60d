// A policy's action: its name, and bars of what it is or of how often it was drawn.

import { number, percent } from "./format.js";

/** The action in words. */
export function verdictOf(action, told) {
  if (!Array.isArray(action)) return named(action, told);
  const values = action.flat(Infinity);
  const words = values.slice(0, 8).map((value) => (told?.space?.type === "box" ? number(value) : String(value)));
  return `[${words.join(", ")}${values.length > 8 ? ", …" : ""}]`;
}

/** Bars of one action: the chosen one of several, or the value of each component. */
export function actionBars(action, told) {
  const space = told?.space ?? {};
  if (!Array.isArray(action)) {
    return choices(space, action).map((each) => {
      const chosen = each === action;
      return bar(named(each, told), Number(chosen), chosen ? "chosen" : "", chosen);
    });
  }
  const values = action.flat(Infinity);
  if (space.type === "box") return values.map((value, index) => component(value, index, space, values));
  return values.map((value, index) => {
    const top = (space.nvec?.[index] ?? 2) - 1;
    return bar(`[${index}]`, value / Math.max(1, top), `${value} of ${top}`, value > 0);
  });
}

/** Bars of how often each action came among those that were drawn. */
export function drawnBars(predictions, likeliest, told) {
  const drawn = predictions.map((each) => each.action);
  if (Array.isArray(likeliest)) {
    return likeliest.map((value, index) => {
      const share = drawn.filter((each) => each[index] === value).length / drawn.length;
      return bar(`[${index}] = ${value}`, share, percent(share), false);
    });
  }
  return choices(told?.space ?? {}, likeliest).map((action) => {
    const share = drawn.filter((each) => each === action).length / drawn.length;
    return bar(named(action, told), share, percent(share), action === likeliest);
  });
}

function named(action, told) {
  const name = told?.names?.[action - (told.space?.start ?? 0)];
  return name === undefined ? `action ${action}` : `${name} (${action})`;
}

function choices(space, action) {
  if (space.type !== "discrete") return [action];
  return Array.from({ length: space.n }, (_, index) => index + (space.start ?? 0));
}

/** A continuous component lies between its bounds, and grows from zero where they enclose it. */
function component(value, index, space, values) {
  const reach = Math.max(...values.map(Math.abs), 1e-9);
  const [low, high] = [bound(space.low, index) ?? -reach, bound(space.high, index) ?? reach];
  const place = (at) => Math.min(1, Math.max(0, (at - low) / (high - low || 1)));
  const [zero, here] = [place(0), place(value)];
  return { ...bar(`[${index}]`, Math.max(zero, here), number(value), true), from: Math.min(zero, here) };
}

const bound = (bounds, index) => (Array.isArray(bounds) ? bounds.flat(Infinity)[index] : bounds) ?? null;
const bar = (label, to, words, strong) => ({ label, from: 0, to, words, strong });
