// The tiles for all models together, and the list: a row for each model, and for each version where there are several.

import { find, make, makeSvg } from "./dom.js";
import { durationText, percentText, rateText } from "./figures.js";

const TILES = [
  ["Requests/s", (seen) => rateText(seen.rate)],
  ["Latency p50", (seen) => durationText(seen.p50)],
  ["Latency p95", (seen) => durationText(seen.p95)],
  ["Errors", (seen) => percentText(seen.errors), (seen) => seen.errors > 0],
  ["In flight", (seen) => String(seen.inFlight)],
  ["Engine queue", (seen) => String(seen.queue)],
];

/** Add the tiles; the function that is returned fills them. */
export function makeOverview() {
  const sparkline = makeSparkline();
  const tiles = TILES.map(([title, text, isBad]) => {
    const value = make("dd", {}, "–");
    const tile = make("div", {}, make("dt", {}, title), value);
    find("overview").append(tile);
    return (seen) => {
      value.textContent = text(seen);
      tile.classList.toggle("bad", isBad?.(seen) ?? false);
    };
  });
  find("overview").firstElementChild.append(sparkline.svg);
  return (history) => {
    const versions = history.states.at(-1).models.flatMap((model) => model.versions);
    const seen = { ...history.figures(null), queue: total(versions, (each) => each.pending) };
    tiles.forEach((update) => update(seen));
    sparkline.update(history.rates(null));
  };
}

/** The list of models; `hrefOf` returns the address of a model's name. */
export class ModelList {
  constructor(hrefOf) {
    this.hrefOf = hrefOf;
    this.rows = new Map();
  }

  /** Show the newest state. Rows stay the same elements, so that they keep the focus. */
  update(history, chosen) {
    const { models } = history.states.at(-1);
    for (const [name, row] of this.rows) {
      if (!models.some((model) => model.name === name)) {
        row.body.remove();
        this.rows.delete(name);
      }
    }
    models.forEach((model, position) => {
      let row = this.rows.get(model.name);
      if (row === undefined) this.rows.set(model.name, (row = modelRow(model.name, this.hrefOf(model.name))));
      const table = find("models");
      if (table.tBodies[position] !== row.body) table.insertBefore(row.body, table.tBodies[position] ?? null);
      row.update(model, history, model.name === chosen);
    });
    find("models").hidden = models.length === 0;
  }
}

function modelRow(name, href) {
  const link = make("a", { href }, name);
  const about = make("small");
  const badges = make("span", { class: "badges" });
  const sparkline = makeSparkline();
  const rate = make("span");
  const cells = ["p50", "p95", "Errors", "In flight", "Queue", "Workers"].map((title) => cell(title));
  const row = make("tr", {}, make("th", { scope: "row" }, link, badges, about));
  row.append(cell("Requests/s", rate, sparkline.svg), ...cells);
  const body = make("tbody", {}, row);
  const update = (model, history, chosen) => {
    const seen = history.figures(name);
    const ready = total(model.versions, (each) => each.workers.ready);
    rate.textContent = rateText(seen.rate);
    sparkline.update(history.rates(name));
    about.textContent = model.description;
    badges.replaceChildren(...badgesOf(model));
    const values = [
      durationText(seen.p50),
      durationText(seen.p95),
      percentText(seen.errors),
      String(seen.inFlight),
      String(total(model.versions, (each) => each.pending)),
      `${ready} of ${total(model.versions, (each) => each.workers.total)}`,
    ];
    values.forEach((value, index) => (cells[index].textContent = value));
    cells[2].classList.toggle("bad", seen.errors > 0);
    cells[5].classList.toggle("bad", ready === 0);
    row.classList.toggle("chosen", chosen);
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    while (row.nextSibling) row.nextSibling.remove();
    if (model.versions.length > 1) body.append(...model.versions.map((each) => versionRow(each, model)));
  };
  return { body, update };
}

function badgesOf(model) {
  const badges = model.versions.length > 1 ? [] : [make("span", { class: "badge" }, model.versions[0].version)];
  if (model.versions.some((each) => each.weights === "random")) {
    badges.push(make("span", { class: "badge warn" }, "random weights"));
  }
  if (model.versions.some((each) => each.golden === "none")) {
    badges.push(make("span", { class: "badge warn" }, "no golden answers"));
  }
  if (model.breaker !== "closed") {
    badges.push(make("span", { class: "badge bad" }, `breaker ${model.breaker.replace("_", "-")}`));
  }
  return badges;
}

function versionRow(version, model) {
  const head = make("th", { scope: "row" }, version.version, " ");
  if (version.default) head.append(make("span", { class: "badge" }, "default"));
  const role = roleOf(version.version, model.split);
  const what = make("td", { colspan: "5", class: "role" });
  if (role.share !== null) {
    const meter = make("meter", { min: "0", max: "1", value: String(role.share), "aria-hidden": "true" });
    what.append(meter, " ");
  }
  what.append(role.text);
  const row = make("tr", { class: "version" }, head, what, cell("Queue", String(version.pending)));
  row.append(cell("Workers", `${version.workers.ready} of ${version.workers.total}`));
  return row;
}

/** During a trial: the share of the requests that a version gets, and how many it has answered. */
function roleOf(version, split) {
  if (split === null || ![split.stable, split.trial].includes(version)) return { share: null, text: "" };
  const share = version === split.trial ? split.weight : 1 - split.weight;
  const parts = [`${percentText(share)} of requests, ${split.answered[version] ?? 0} so far`];
  if (version === split.trial) {
    if (split.copies > 0) parts.push(`copies of ${percentText(split.copies)}, ${split.copied} answered`);
    if (split.sticky_header !== null) parts.push(`by ${split.sticky_header}`);
  }
  return { share, text: `${version === split.trial ? "on trial: " : ""}${parts.join("; ")}` };
}

const cell = (title, ...children) => make("td", { "data-words": title }, ...children);
const total = (versions, count) => versions.reduce((sum, each) => sum + count(each), 0);

const [WIDTH, HEIGHT, POINTS] = [96, 22, 60];

/** An empty sparkline, and the function that draws the newest values. */
function makeSparkline() {
  const area = makeSvg("polygon", { class: "area" });
  const line = makeSvg("polyline", { class: "line" });
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", "aria-hidden": "true" }, area, line);
  svg.setAttribute("preserveAspectRatio", "none");
  return { svg, update: (values) => drawSparkline(line, area, values.slice(-POINTS)) };
}

function drawSparkline(line, area, values) {
  const top = Math.max(...values, 1e-9);
  const start = POINTS - values.length;
  const points = values.map((value, index) => {
    const x = ((start + index) / (POINTS - 1)) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 1 - (value / top) * (HEIGHT - 3)).toFixed(1)}`;
  });
  const first = ((start / (POINTS - 1)) * WIDTH).toFixed(1);
  line.setAttribute("points", points.join(" "));
  area.setAttribute("points", points.length ? `${first},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` : "");
}
