// A small line of what was lately; the number beside it says how much.

import { draw } from "./dom.js";

const [WIDTH, HEIGHT, POINTS] = [96, 22, 60];

/** An empty line and what draws the newest points into it. */
export function sparkline() {
  const area = draw("polygon", { class: "area" });
  const line = draw("polyline", { class: "line" });
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", "aria-hidden": "true" });
  picture.setAttribute("preserveAspectRatio", "none");
  picture.append(area, line);
  return { picture, update: (values) => update(line, area, values.slice(-POINTS)) };
}

function update(line, area, values) {
  const top = Math.max(...values, 1e-9);
  const start = POINTS - values.length;
  const points = values.map((value, index) => {
    const across = ((start + index) / (POINTS - 1)) * WIDTH;
    return `${across.toFixed(1)},${(HEIGHT - 1 - (value / top) * (HEIGHT - 3)).toFixed(1)}`;
  });
  const first = ((start / (POINTS - 1)) * WIDTH).toFixed(1);
  line.setAttribute("points", points.join(" "));
  area.setAttribute("points", points.length ? `${first},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` : "");
}
