// The list of models: a row each, and one more for each version where there are several.

import { find, make } from "./dom.js";
import * as format from "./format.js";
import { sparkline } from "./spark.js";

/** Keeps the list; `hrefOf` says where a model's name leads to. */
export class ModelList {
  constructor(hrefOf) {
    this.hrefOf = hrefOf;
    this.rows = new Map();
  }

  /** Shows the newest state; rows stay the same elements, so that whoever has the focus keeps it. */
  update(history, chosen) {
    const { models } = history.states.at(-1);
    for (const [name, row] of this.rows) {
      if (!models.some((model) => model.name === name)) {
        row.body.remove();
        this.rows.delete(name);
      }
    }
    models.forEach((model, place) => {
      let row = this.rows.get(model.name);
      if (row === undefined) this.rows.set(model.name, (row = modelRow(model.name, this.hrefOf(model.name))));
      const table = find("models");
      if (table.tBodies[place] !== row.body) table.insertBefore(row.body, table.tBodies[place] ?? null);
      row.update(model, history, model.name === chosen);
    });
    find("models").hidden = models.length === 0;
  }
}

function modelRow(name, href) {
  const link = make("a", { href }, name);
  const about = make("small");
  const badges = make("span", { class: "badges" });
  const course = sparkline();
  const rate = make("span");
  const cells = ["p50", "p95", "Faults", "In flight", "Queue", "Workers"].map((words) => cell(words));
  const row = make("tr", {}, make("th", { scope: "row" }, link, badges, about));
  row.append(cell("Requests/s", rate, course.picture), ...cells);
  const body = make("tbody", {}, row);
  const update = (model, history, chosen) => {
    const seen = history.figures(name);
    const workers = model.versions.reduce((sum, each) => sum + each.workers.ready, 0);
    const wanted = model.versions.reduce((sum, each) => sum + each.workers.total, 0);
    rate.textContent = format.rate(seen.rate);
    course.update(history.course(name));
    about.textContent = model.description;
    badges.replaceChildren(...badgesOf(model));
    const values = [
      format.duration(seen.p50),
      format.duration(seen.p95),
      format.percent(seen.faults),
      String(seen.inFlight),
      String(model.versions.reduce((sum, each) => sum + each.pending, 0)),
      `${workers} of ${wanted}`,
    ];
    values.forEach((value, index) => (cells[index].textContent = value));
    cells[2].classList.toggle("bad", seen.faults > 0);
    cells[5].classList.toggle("bad", workers === 0);
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
  if (model.breaker !== "closed") {
    badges.push(make("span", { class: "badge bad" }, `breaker ${model.breaker.replace("_", "-")}`));
  }
  return badges;
}

function versionRow(version, model) {
  const named = make("th", { scope: "row" }, version.version, " ");
  if (version.default) named.append(make("span", { class: "badge" }, "default"));
  const role = roleOf(version.version, model.split);
  const what = make("td", { colspan: "5", class: "role" });
  if (role.share !== null) {
    const meter = make("meter", { min: "0", max: "1", value: String(role.share), "aria-hidden": "true" });
    what.append(meter, " ");
  }
  what.append(role.words);
  const row = make("tr", { class: "version" }, named, what, cell("Queue", String(version.pending)));
  row.append(cell("Workers", `${version.workers.ready} of ${version.workers.total}`));
  return row;
}

/** What a version does while one is under trial: its share of the requests, and how many it has answered. */
function roleOf(version, split) {
  if (split === null || ![split.stable, split.trial].includes(version)) return { share: null, words: "" };
  const share = version === split.trial ? split.weight : 1 - split.weight;
  const words = [`${format.percent(share)} of requests, ${split.answered[version] ?? 0} so far`];
  if (version === split.trial) {
    if (split.copies > 0) words.push(`copies of ${format.percent(split.copies)}, ${split.copied} answered`);
    if (split.sticky_header !== null) words.push(`by ${split.sticky_header}`);
  }
  return { share, words: `${version === split.trial ? "under trial: " : ""}${words.join("; ")}` };
}

const cell = (words, ...children) => make("td", { "data-words": words }, ...children);
