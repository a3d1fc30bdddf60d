// All models together, in six numbers.

import { find, make } from "./dom.js";
import * as format from "./format.js";
import { sparkline } from "./spark.js";

const TILES = [
  ["Requests/s", (seen) => format.rate(seen.rate)],
  ["Latency p50", (seen) => format.duration(seen.p50)],
  ["Latency p95", (seen) => format.duration(seen.p95)],
  ["Faults", (seen) => format.percent(seen.faults), (seen) => seen.faults > 0],
  ["In flight", (seen) => String(seen.inFlight)],
  ["Engine queue", (seen) => String(seen.queue)],
];

/** Puts the tiles up; what it returns fills them. */
export function overview() {
  const course = sparkline();
  const tiles = TILES.map(([words, worded, alarming]) => {
    const value = make("dd", {}, "–");
    const tile = make("div", {}, make("dt", {}, words), value);
    find("overview").append(tile);
    return (seen) => {
      value.textContent = worded(seen);
      tile.classList.toggle("bad", alarming?.(seen) ?? false);
    };
  });
  find("overview").firstElementChild.append(course.picture);
  return (history) => {
    const versions = history.states.at(-1).models.flatMap((model) => model.versions);
    const seen = { ...history.figures(null), queue: versions.reduce((sum, each) => sum + each.pending, 0) };
    tiles.forEach((update) => update(seen));
    course.update(history.course(null));
  };
}
