// The panel that sends requests to one model: the version, the model's input, and the answer.

import { call, curlOf, pathOf } from "./api.js";
import { find, make, say } from "./dom.js";
import { durationText, percentText } from "./figures.js";
import { anyInput, imageInput, instanceInput, observationInput } from "./inputs.js";
import { clearPicture } from "./picture.js";
import { contentOf, showAnswer } from "./results.js";

const AS_CLIENTS = "";

/** The panel beside the list. `fail` is called with an error and returns whether it was about the API key. */
export class PredictPanel {
  constructor(fail) {
    this.fail = fail;
    this.model = null;
    this.card = null;
    this.known = ""; // what describes the model; when it changes, the card is read again
    this.inputShown = "";
    this.sending = null;
    this.next = null;
    this.last = null;
    find("version").addEventListener("change", () => {
      this.showInput();
      if (this.last !== null) this.submit(this.last); // the same input, to the other version
    });
  }

  /** Follow the newest state of the chosen model; null when there is no model of that name. */
  update(model, name) {
    if (model === null) {
      this.close(name === null ? "Choose a model from the list." : `No model ${name} is served.`);
      return;
    }
    const { default_version: standard, split } = model;
    const versions = model.versions.map((each) => [each.version, each.kind, each.view]);
    const known = JSON.stringify([name, standard, split?.trial, split?.weight, versions]);
    if (known === this.known) return;
    this.known = known;
    this.describe(model);
  }

  /** Show nothing but this text. */
  close(text) {
    this.stop();
    [this.model, this.card, this.inputShown, this.known] = [null, null, "", ""];
    find("predict-head").textContent = "Try a model";
    say(find("about"), text);
    find("predict-form").hidden = true;
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
      if (known === this.known) this.close(this.fail(error) ? "" : error.text);
      return;
    }
    find("predict-head").textContent = `Try ${model.name}`;
    this.showVersions();
    find("predict-form").hidden = false;
    this.showInput();
  }

  showVersions() {
    const select = find("version");
    const chosen = select.dataset.model === this.model.name ? select.value : AS_CLIENTS;
    const unnamed = unnamedText(this.model.split, this.card.default_version);
    const named = this.card.versions.map((each) => make("option", { value: each.version }, each.version));
    select.replaceChildren(make("option", { value: AS_CLIENTS }, unnamed), ...named);
    select.value = named.some((each) => each.value === chosen) ? chosen : AS_CLIENTS;
    select.dataset.model = this.model.name;
  }

  /** The chosen version; the default one where the client's share decides. */
  get version() {
    const wanted = find("version").value || this.card.default_version;
    return this.card.versions.find((each) => each.version === wanted) ?? this.card.versions[0];
  }

  /** Show the controls of the version's input. Controls that are there already keep what a person has set. */
  showInput() {
    const { kind, description, weights, observation, input } = this.version;
    say(find("about"), description ?? "");
    find("random").hidden = weights !== "random";
    const shown = JSON.stringify([this.model.name, kind, observation, input]);
    if (shown === this.inputShown) return;
    this.inputShown = shown;
    this.forgetAnswer();
    find("input").replaceChildren(this.makeInput(kind, observation));
  }

  makeInput(kind, observation) {
    const send = (request) => this.submit(request);
    const inputs = {
      vision: () => imageInput(send),
      adopted: () => anyInput(this.version, send),
      policy: () => observation?.space && observationInput(this.version, send),
      tensors: () => instanceInput(this.version, send),
    };
    return inputs[kind]?.() || make("p", { class: "empty" }, "No worker has described this model's input yet.");
  }

  /** Send a request. While one is under way, only the newest of the others waits. */
  submit(request) {
    this.next = this.last = request;
    if (this.sending === null) this.sendNext();
  }

  async sendNext() {
    const sending = (this.sending = new AbortController());
    while (this.next !== null && this.sending === sending) {
      const request = this.next;
      this.next = null;
      await this.send(request, sending);
    }
    if (this.sending === sending) this.sending = null;
  }

  async send(request, sending) {
    const { signal } = sending;
    const path = `${pathOf(this.model.name, find("version").value || null)}/predict`;
    const post = (body) => call(path, { method: "POST", headers: { "Content-Type": request.type }, body, signal });
    find("input").setAttribute("aria-busy", "true");
    let content = null;
    try {
      const started = performance.now();
      const response = await post(request.body);
      content = await contentOf(response, this.version);
      const seconds = (performance.now() - started) / 1000;
      if (this.sending !== sending) return;
      find("refusal").hidden = true;
      find("answer").hidden = false;
      // Bars of sampled actions stay until the new ones are there, or they would flicker under a moving slider.
      showAnswer(content, this.answeredBy(content), fileOf(request), null, request.draws !== null);
      this.showFacts(content, response, seconds, path, request);
      if (request.draws === null) return;
      const drawn = await (await post(request.draws)).json();
      if (this.sending === sending) showAnswer(content, this.answeredBy(content), null, drawn.predictions, false);
    } catch (error) {
      if (error.name === "AbortError" || this.sending !== sending) return;
      if (content !== null) showAnswer(content, this.answeredBy(content), fileOf(request), null, false);
      this.showError(error, content !== null);
    } finally {
      if (this.next === null) find("input").removeAttribute("aria-busy");
    }
  }

  /** The version that answered, with the view that draws its predictions. */
  answeredBy(content) {
    const name = content.version ?? this.version.version;
    const found = (versions) => versions.find((each) => each.version === name);
    return { ...(found(this.card.versions) ?? this.version), view: found(this.model.versions)?.view };
  }

  showFacts(content, response, seconds, path, request) {
    const facts = [`version ${content.version}`, `${durationText(seconds)} from this browser and back`];
    const id = response.headers.get("x-request-id");
    find("facts").replaceChildren(`${facts.join(" · ")} · request id `, make("code", {}, id ?? "unknown"));
    find("curl").textContent = curlOf(new URL(path, document.baseURI).href, request);
  }

  /** Show an error. An answer stays when only its sampled actions are missing. */
  showError(error, answered) {
    find("answer").hidden = !answered;
    if (!answered) find("verdict").textContent = "";
    if (this.fail(error)) return;
    find("refusal").replaceChildren(error.text ?? `The answer cannot be shown: ${error.message}`);
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
    clearPicture();
  }

  stop() {
    this.sending?.abort();
    [this.sending, this.next] = [null, null];
    find("input").removeAttribute("aria-busy");
  }
}

const fileOf = (request) => (request.body instanceof Blob ? request.body : null);

/** What answers a request that names no version. */
function unnamedText(split, standard) {
  if (split === null) return `default (${standard})`;
  const shares = [[split.stable, 1 - split.weight], [split.trial, split.weight]];
  return `as clients get it: ${shares.map(([version, share]) => `${version} ${percentText(share)}`).join(", ")}`;
}
