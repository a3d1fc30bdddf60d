// What a model answered, as one sentence and as bars.

import { actionBars, drawnBars, verdictOf } from "./actions.js";
import { showBars } from "./bars.js";
import { find } from "./dom.js";
import * as format from "./format.js";

/** The drawings that an output kind can name; each returns a verdict and bars. */
const DRAWINGS = { probabilities, action: chosenAction };

/** Shows the first prediction of an answer as the version's view says. `drawn` are further predictions of the same
 *  state, null while there are none; where `more` will follow, the bars wait for them. */
export function showAnswer(content, version, drawn, more) {
  const { view } = version;
  const prediction = content.predictions?.[0] ?? {};
  const draw = prediction[view?.values] === undefined ? undefined : DRAWINGS[view.drawing];
  if (draw === undefined) {
    // Business logic may answer in forms of its own.
    find("verdict").textContent = JSON.stringify(prediction);
    showBars([], "");
    return;
  }
  const { verdict, bars, caption = "" } = draw(prediction, version, drawn);
  find("verdict").textContent = verdict + (content.weights === "random" ? " (random weights)" : "");
  if (drawn !== null || !more) showBars(bars, caption);
}

/** An object of probabilities by name. The view names the field of the chosen name, or of the list of chosen names. */
function probabilities(prediction, { view }) {
  const names = [prediction[view.chosen] ?? []].flat();
  const confidence = prediction[view.confidence];
  const sure = confidence === undefined ? "" : `, ${format.percent(confidence)} sure`;
  const bars = Object.entries(prediction[view.values])
    .sort(([, one], [, other]) => other - one)
    .map(([label, share]) => ({
      label,
      from: 0,
      to: share,
      words: format.percent(share),
      strong: names.includes(label),
    }));
  return { verdict: names.length > 0 ? names.join(", ") + sure : (view.none ?? ""), bars };
}

/** The action of a policy, or how often each action was drawn. */
function chosenAction(prediction, { view, action }, drawn) {
  const chosen = prediction[view.values];
  const verdict = verdictOf(chosen, action);
  if (drawn === null) return { verdict, bars: actionBars(chosen, action) };
  return { verdict, bars: drawnBars(drawn, chosen, action), caption: `share of ${drawn.length} drawn actions` };
}
