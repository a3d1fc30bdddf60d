// Bars with their words: a screen reader reads the words, the bars are for the eye.

import { find, make } from "./dom.js";

const FEW = 10;

/** Shows bars in this order; those that were there before move to their new length. */
export function showBars(bars, caption) {
  const place = find("bars");
  const list = place.querySelector("ol") ?? make("ol", { class: "bars" });
  const kept = new Map([...list.children].map((row) => [row.dataset.label, row]));
  const all = list.dataset.all === "true";
  const shown = all ? bars : bars.slice(0, FEW);
  const rows = shown.map((bar) => update(kept.get(bar.label) ?? barRow(bar.label), bar));
  list.replaceChildren(...rows);
  place.replaceChildren(list);
  if (caption !== "") place.append(make("p", { class: "fine" }, caption));
  if (shown.length < bars.length) place.append(moreButton(list, bars, caption));
}

function barRow(label) {
  const track = make("span", { class: "track", "aria-hidden": "true" }, make("i"));
  const row = make("li", {}, make("span", { class: "label" }, label), track, make("span", { class: "value" }));
  row.dataset.label = label;
  return row;
}

function update(row, { from, to, words, strong }) {
  const fill = row.querySelector("i");
  fill.style.left = `${100 * from}%`;
  fill.style.width = `${100 * (to - from)}%`;
  row.querySelector(".value").textContent = words;
  row.classList.toggle("strong", strong);
  return row;
}

function moreButton(list, bars, caption) {
  const button = make("button", { type: "button", class: "plain" }, `Show all ${bars.length}`);
  button.addEventListener("click", () => {
    list.dataset.all = "true";
    showBars(bars, caption);
  });
  return button;
}
