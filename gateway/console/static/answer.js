// What a model answered, as one sentence and as bars.

import { actionBars, drawnBars, verdictOf } from "./actions.js";
import { showBars } from "./bars.js";
import { find } from "./dom.js";
import * as format from "./format.js";

/** Shows the first prediction of an answer. `drawn` are further ones of the same state, null while there are none;
 *  where `more` will follow, the bars wait for them. */
export function showAnswer(content, version, drawn, more) {
  const prediction = content.predictions?.[0] ?? {};
  const random = content.weights === "random" ? " (random weights)" : "";
  if (prediction.probabilities !== undefined) {
    find("verdict").textContent = classVerdict(prediction) + random;
    showBars(classBars(prediction), "");
  } else if ("action" in prediction) {
    find("verdict").textContent = verdictOf(prediction.action, version.action) + random;
    if (drawn === null && more) return;
    if (drawn === null) showBars(actionBars(prediction.action, version.action), "");
    else showBars(drawnBars(drawn, prediction.action, version.action), `share of ${drawn.length} drawn actions`);
  } else {
    // Business logic may answer in forms of its own.
    find("verdict").textContent = JSON.stringify(prediction);
    showBars([], "");
  }
}

function classVerdict(prediction) {
  if ("label" in prediction) return `${prediction.label}, ${format.percent(prediction.confidence)} sure`;
  const labels = prediction.labels ?? [];
  return labels.length > 0 ? labels.join(", ") : "None of the labels reaches its threshold";
}

function classBars(prediction) {
  const held = new Set(prediction.labels ?? [prediction.label]);
  return Object.entries(prediction.probabilities)
    .sort(([, one], [, other]) => other - one)
    .map(([label, share]) => ({ label, from: 0, to: share, words: format.percent(share), strong: held.has(label) }));
}
