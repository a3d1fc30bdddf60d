// One model, asked: which version, its input, its answer.

import { showAnswer } from "./answer.js";
import { curlOf } from "./curl.js";
import { find, make, say } from "./dom.js";
import * as format from "./format.js";
import { call, pathOf } from "./gateway.js";
import { pictureInput } from "./picture.js";
import { stateInput } from "./state.js";

const AS_CLIENTS = "";

/** The panel beside the list; `fail` is told of what it could not read, and says whether that was about a key. */
export class Ask {
  constructor(fail) {
    this.fail = fail;
    this.model = null;
    this.card = null;
    this.shown = "";
    this.known = "";
    this.waiting = null;
    this.asking = null;
    this.last = null;
    find("version").addEventListener("change", () => {
      this.showInput();
      if (this.last !== null) this.ask(this.last); // the same, of the other version
    });
  }

  /** Follows the newest state of the chosen model; null when there is none of that name. */
  update(model, name) {
    if (model === null) {
      this.close(name === null ? "Choose a model from the list." : `No model ${name} is served.`);
      return;
    }
    const { default_version: open, split } = model;
    const versions = model.versions.map((each) => [each.version, each.kind, each.view]);
    const known = JSON.stringify([name, open, split?.trial, split?.weight, versions]);
    if (known === this.known) return;
    this.known = known;
    this.describe(model);
  }

  /** Shows nothing but these words. */
  close(words) {
    this.stop();
    [this.model, this.card, this.shown, this.known] = [null, null, "", ""];
    find("ask-head").textContent = "Ask a model";
    say(find("about"), words);
    find("asking").hidden = true;
    find("random").hidden = true;
  }

  async describe(model) {
    const known = this.known;
    try {
      const card = await (await call(pathOf(model.name))).json();
      if (known !== this.known) return;
      if (model.name !== this.model?.name) this.forgetAnswer();
      [this.model, this.card] = [model, card];
    } catch (error) {
      if (known === this.known) this.close(this.fail(error) ? "" : error.words);
      return;
    }
    find("ask-head").textContent = `Ask ${model.name}`;
    this.showVersions();
    find("asking").hidden = false;
    this.showInput();
  }

  showVersions() {
    const select = find("version");
    const chosen = select.dataset.model === this.model.name ? select.value : AS_CLIENTS;
    const open = openVersion(this.model.split, this.card.default_version);
    const named = this.card.versions.map((each) => make("option", { value: each.version }, each.version));
    select.replaceChildren(make("option", { value: AS_CLIENTS }, open), ...named);
    select.value = named.some((each) => each.value === chosen) ? chosen : AS_CLIENTS;
    select.dataset.model = this.model.name;
  }

  /** The version that the chosen path asks; of several it is the default one whose inputs are shown. */
  get version() {
    const wanted = find("version").value || this.card.default_version;
    return this.card.versions.find((each) => each.version === wanted) ?? this.card.versions[0];
  }

  /** Puts up the controls of the version's input, unless they are there: then what a person has set stays. */
  showInput() {
    const { kind, description, weights, observation, input } = this.version;
    say(find("about"), description ?? "");
    find("random").hidden = weights !== "random";
    const shown = JSON.stringify([this.model.name, kind, observation, input]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.forgetAnswer();
    find("input").replaceChildren(this.makeInput(kind, observation));
  }

  makeInput(kind, observation) {
    const send = (request) => this.ask(request);
    if (kind === "vision") return pictureInput(send);
    if (kind === "policy" && observation?.space) return stateInput(this.version, send);
    return make("p", { class: "empty" }, "No worker has told yet what this model reads.");
  }

  /** Sends an input; while one is on its way only the newest of the others waits. */
  ask(request) {
    this.waiting = this.last = request;
    if (this.asking === null) this.sendNext();
  }

  async sendNext() {
    const asking = (this.asking = new AbortController());
    while (this.waiting !== null && this.asking === asking) {
      const request = this.waiting;
      this.waiting = null;
      await this.send(request, asking);
    }
    if (this.asking === asking) this.asking = null;
  }

  async send(request, asking) {
    const { signal } = asking;
    const path = `${pathOf(this.model.name, find("version").value || null)}/predict`;
    const post = (body) => call(path, { method: "POST", headers: { "Content-Type": request.type }, body, signal });
    find("input").setAttribute("aria-busy", "true");
    let content = null;
    try {
      const started = performance.now();
      const response = await post(request.body);
      content = await response.json();
      const seconds = (performance.now() - started) / 1000;
      if (this.asking !== asking) return;
      find("refusal").hidden = true;
      find("answer").hidden = false;
      // Bars of what was drawn before stay until the new ones are there, or they would flicker under a moving slider.
      showAnswer(content, this.answered(content), null, request.draws !== null);
      this.showFacts(content, response, seconds, path, request);
      if (request.draws === null) return;
      const drawn = await (await post(request.draws)).json();
      if (this.asking === asking) showAnswer(content, this.answered(content), drawn.predictions, false);
    } catch (error) {
      if (error.name === "AbortError" || this.asking !== asking) return;
      if (content !== null) showAnswer(content, this.answered(content), null, false);
      this.refused(error, content !== null);
    } finally {
      if (this.waiting === null) find("input").removeAttribute("aria-busy");
    }
  }

  /** The version that answered, and how its predictions are drawn. */
  answered(content) {
    const name = content.version ?? this.version.version;
    const found = (versions) => versions.find((each) => each.version === name);
    return { ...(found(this.card.versions) ?? this.version), view: found(this.model.versions)?.view };
  }

  showFacts(content, response, seconds, path, request) {
    const facts = [`version ${content.version}`, `${format.duration(seconds)} from this browser and back`];
    const id = response.headers.get("x-request-id");
    find("facts").replaceChildren(`${facts.join(" · ")} · request id `, make("code", {}, id ?? "unknown"));
    find("curl").textContent = curlOf(new URL(path, document.baseURI).href, request);
  }

  /** Says why there is no answer; one that is `answered` stays, only what was drawn beside it is missing. */
  refused(error, answered) {
    find("answer").hidden = !answered;
    if (!answered) find("verdict").textContent = "";
    if (this.fail(error)) return;
    find("refusal").replaceChildren(error.words ?? `The answer cannot be shown: ${error.message}`);
    if (error.requestId) find("refusal").append(" Request id ", make("code", {}, error.requestId));
    find("refusal").hidden = false;
  }

  forgetAnswer() {
    this.stop();
    this.last = null;
    find("verdict").textContent = "";
    find("answer").hidden = true;
    find("refusal").hidden = true;
    find("bars").replaceChildren();
  }

  stop() {
    this.asking?.abort();
    [this.asking, this.waiting] = [null, null];
    find("input").removeAttribute("aria-busy");
  }
}

/** What answers when no version is named. */
function openVersion(split, standard) {
  if (split === null) return `default (${standard})`;
  const shares = [[split.stable, 1 - split.weight], [split.trial, split.weight]];
  return `as clients get it: ${shares.map(([version, share]) => `${version} ${format.percent(share)}`).join(", ")}`;
}
