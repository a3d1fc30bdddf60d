// The page: figures come in, the list and the panel follow.

import { Ask } from "./ask.js";
import { find, say } from "./dom.js";
import { History } from "./figures.js";
import { Refusal } from "./gateway.js";
import { askForKey, followKey, key } from "./key.js";
import { Live } from "./live.js";
import { ModelList } from "./models.js";
import { overview } from "./overview.js";

const SOON_MS = 1100;

const history = new History();
const list = new ModelList(hrefOf);
const showOverview = overview();
const ask = new Ask(wasAboutKey);
const live = new Live(take, fail);

/** Shows a new state; in how many ms the next one should come, if not as ever. */
function take(state) {
  // This process of the gateway has not looked at the engine yet; it does so now.
  if (state.engine_answers === null) return 300;
  history.add(state);
  document.body.classList.remove("stale");
  say(find("trouble"), "");
  showHealth(state);
  showLinks(state.links);
  showOverview(history);
  find("partial").hidden = state.whole;
  const none = "No model is served yet: make upload_model MODEL=name brings one.";
  say(find("none"), state.models.length === 0 ? none : "");
  followChoice();
  if (history.states.length > 1) return null;
  // The last look at the engine may be old; this state has started the next one.
  return SOON_MS;
}

/** Shows why there are no new figures; how long to wait until the next try, in ms. */
function fail(error) {
  document.body.classList.add("stale");
  find("health").textContent = "";
  if (wasAboutKey(error)) return Infinity;
  const id = error.requestId ? ` (request id ${error.requestId})` : "";
  say(find("trouble"), `No new figures. ${error instanceof Refusal ? error.words : error.message}${id}`);
  return error.retryAfter ? 1000 * Number(error.retryAfter) || null : null;
}

/** Whether a refusal is for want of a key; then one is asked for. */
function wasAboutKey(error) {
  if (error.status !== 401) return false;
  find("health").textContent = "";
  askForKey();
  return true;
}

function showHealth({ engine_answers: answers, models }) {
  const versions = models.flatMap((model) => model.versions);
  const workers = versions.reduce((sum, each) => sum + each.workers.ready, 0);
  const idle = models.filter((model) => model.versions.every((each) => each.workers.ready === 0));
  const lacking = idle.length > 0 ? `, ${idle.length} without any` : "";
  const words = answers
    ? `${counted(models.length, "model")}, ${counted(workers, "worker")}${lacking}`
    : "The engine does not answer; below is what it served last";
  const health = find("health");
  if (health.textContent !== words) health.textContent = words;
  health.className = answers ? (lacking ? "warn" : "good") : "bad";
}

const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

/** Links that this browser can follow: an address of the gateway's own machine is none from elsewhere. */
function showLinks(links) {
  const here = isLoopback(location.hostname);
  for (const [name, url] of Object.entries(links)) {
    const leads = url !== null && URL.canParse(url) && (here || !isLoopback(new URL(url).hostname));
    find(name).hidden = !leads;
    if (leads) find(name).href = url;
  }
  // A link carries no key.
  find("metrics").hidden = key() !== null;
}

const isLoopback = (host) => host === "localhost" || host === "[::1]" || /^127\./.test(host);

/** The model that the address names, else the first one. */
function followChoice() {
  const state = history.states.at(-1);
  if (state === undefined) return;
  const name = chosenName() ?? state.models[0]?.name ?? null;
  list.update(history, name);
  ask.update(state.models.find((model) => model.name === name) ?? null, name);
}

function hrefOf(name) {
  return `#model=${encodeURIComponent(name)}`;
}

function chosenName() {
  try {
    return location.hash.startsWith("#model=") ? decodeURIComponent(location.hash.slice(7)) : null;
  } catch {
    return null; // somebody typed a broken address
  }
}

addEventListener("hashchange", () => {
  followChoice();
  // On a narrow screen the panel lies below the list.
  if (matchMedia("(max-width: 70rem)").matches) find("ask").scrollIntoView();
});
find("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the model
  find("ask").focus();
});
// A file that misses the drop zone must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
find("pause").addEventListener("click", () => {
  const paused = find("pause").getAttribute("aria-pressed") !== "true";
  find("pause").setAttribute("aria-pressed", String(paused));
  live.pause(paused);
});
followKey(() => live.look());
live.look();
