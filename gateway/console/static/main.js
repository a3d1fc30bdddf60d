// The page: polls the figures while somebody looks, and updates the list and the panel.

import { GatewayError, apiKey, askForKey, call, followKey } from "./api.js";
import { find, say } from "./dom.js";
import { History } from "./figures.js";
import { ModelList, makeOverview } from "./models.js";
import { PredictPanel } from "./predict.js";

const POLL_MS = 2000;
const TIMEOUT_MS = 10000;
const SOON_MS = 1100;

/** Polls the figures. `take` is called with each state and `fail` with each error; both may return the ms to wait. */
class Poller {
  constructor(take, fail) {
    this.take = take;
    this.fail = fail;
    this.paused = false;
    this.timer = null;
    this.request = null;
    document.addEventListener("visibilitychange", () => this.poll());
    addEventListener("online", () => this.poll());
  }

  /** Poll now if somebody looks; a request under way is aborted. */
  poll() {
    clearTimeout(this.timer);
    this.request?.abort();
    this.request = null;
    if (!document.hidden && !this.paused) this.send();
  }

  pause(paused) {
    this.paused = paused;
    this.poll();
  }

  async send() {
    const request = (this.request = new AbortController());
    const timeout = setTimeout(() => request.abort("late"), TIMEOUT_MS);
    let wait = POLL_MS;
    try {
      const state = await (await call("console/state", { signal: request.signal })).json();
      if (this.request !== request) return;
      wait = this.take(state) ?? POLL_MS;
    } catch (error) {
      if (this.request !== request) return;
      wait = this.fail(error) ?? POLL_MS * 2;
    } finally {
      clearTimeout(timeout);
    }
    this.request = null;
    if (wait !== Infinity) this.timer = setTimeout(() => this.poll(), wait);
  }
}

const history = new History();
const list = new ModelList(hrefOf);
const showOverview = makeOverview();
const panel = new PredictPanel(isAboutKey);
const poller = new Poller(take, fail);

/** Show a new state; return the ms until the next one, null for the usual time. */
function take(state) {
  // This process of the gateway has not seen the engine yet; this request has made it look.
  if (state.engine_answers === null) return 300;
  history.add(state);
  document.body.classList.remove("stale");
  say(find("trouble"), "");
  showHealth(state);
  showLinks(state.links);
  showOverview(history);
  find("partial").hidden = state.whole;
  const none = "No model is served yet. Upload one with: make upload_model MODEL=name";
  say(find("none"), state.models.length + state.lost.length === 0 ? none : "");
  followChoice();
  if (history.states.length > 1) return null;
  // The gateway may have seen the engine long ago; this request has made it look again.
  return SOON_MS;
}

/** Show why there are no new figures; return the ms until the next attempt, null for the usual time. */
function fail(error) {
  document.body.classList.add("stale");
  find("health").textContent = "";
  if (isAboutKey(error)) return Infinity;
  const id = error.requestId ? ` (request id ${error.requestId})` : "";
  say(find("trouble"), `No new figures. ${error instanceof GatewayError ? error.text : error.message}${id}`);
  return error.retryAfter ? 1000 * Number(error.retryAfter) || null : null;
}

/** Ask for a key if an error is about it, and return whether it is. */
function isAboutKey(error) {
  if (error.status !== 401) return false;
  find("health").textContent = "";
  askForKey();
  return true;
}

function showHealth({ engine_answers: answers, models, lost }) {
  const versions = models.flatMap((model) => model.versions);
  const workers = versions.reduce((sum, each) => sum + each.workers.ready, 0);
  const idle = models.filter((model) => model.versions.every((each) => each.workers.ready === 0));
  const idleText = idle.length > 0 ? `, ${idle.length} without any` : "";
  const lostText = lost.length > 0 ? `; delivery brings back ${lost.join(", ")}` : "";
  const without = idleText + lostText;
  const text = answers
    ? `${counted(models.length, "model")}, ${counted(workers, "worker")}${without}`
    : "The engine does not answer; below is what it served last";
  const health = find("health");
  if (health.textContent !== text) health.textContent = text;
  health.className = answers ? (without ? "warn" : "good") : "bad";
}

const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

/** Show the links that this browser can follow; a loopback address works on the gateway's own machine only. */
function showLinks(links) {
  const here = isLoopback(location.hostname);
  for (const [name, url] of Object.entries(links)) {
    const works = url !== null && URL.canParse(url) && (here || !isLoopback(new URL(url).hostname));
    find(name).hidden = !works;
    if (works) find(name).href = url;
  }
  // A link carries no key.
  find("metrics").hidden = apiKey() !== null;
}

const isLoopback = (host) => host === "localhost" || host === "[::1]" || /^127\./.test(host);

/** Show the model that the address names, else the first one. */
function followChoice() {
  const state = history.states.at(-1);
  if (state === undefined) return;
  const name = chosenName() ?? state.models[0]?.name ?? null;
  list.update(history, name);
  panel.update(state.models.find((model) => model.name === name) ?? null, name);
}

function hrefOf(name) {
  return `#model=${encodeURIComponent(name)}`;
}

function chosenName() {
  try {
    return location.hash.startsWith("#model=") ? decodeURIComponent(location.hash.slice(7)) : null;
  } catch {
    return null; // the address is not valid percent-encoding
  }
}

addEventListener("hashchange", () => {
  followChoice();
  // On a narrow screen the panel is below the list.
  if (matchMedia("(max-width: 70rem)").matches) find("predict").scrollIntoView();
});
find("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the model
  find("predict").focus();
});
// A file that misses the drop zone must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
find("pause").addEventListener("click", () => {
  const paused = find("pause").getAttribute("aria-pressed") !== "true";
  find("pause").setAttribute("aria-pressed", String(paused));
  poller.pause(paused);
});
followKey(() => poller.poll());
poller.poll();
