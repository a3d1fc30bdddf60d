// Requests to the gateway that sent this page, with the API key that a person typed; this tab alone keeps the key.

import { find } from "./dom.js";

const STORAGE = "marina-api-key";

export const apiKey = () => sessionStorage.getItem(STORAGE);

/** An error response of the gateway. */
export class GatewayError extends Error {
  constructor(status, code, detail, requestId, retryAfter) {
    super(detail);
    Object.assign(this, { status, code, requestId, retryAfter });
  }

  /** All of it in one line. */
  get text() {
    const wait = this.retryAfter ? ` Try again in ${this.retryAfter} s.` : "";
    return `${this.status} ${this.code}: ${this.message}.${wait}`;
  }
}

/** Return the response. Throws a GatewayError; its status is 0 when the gateway did not answer. */
export async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (apiKey() !== null) headers.Authorization = `Bearer ${apiKey()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GatewayError(0, "unreachable", "the gateway does not answer", null, null);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response) {
  let content = {};
  try {
    content = await response.json();
  } catch {
    // A server between this page and the gateway answered in its own form; only the status is known.
  }
  const code = typeof content.error === "string" ? content.error : response.statusText;
  const detail = typeof content.detail === "string" ? content.detail.replace(/\.$/, "") : "no reason given";
  const id = content.request_id ?? response.headers.get("x-request-id");
  return new GatewayError(response.status, code, detail, id, response.headers.get("retry-after"));
}

/** The path of a model or of one of its versions. */
export function pathOf(model, version = null) {
  const path = `models/${encodeURIComponent(model)}`;
  return version === null ? path : `${path}/versions/${encodeURIComponent(version)}`;
}

/** The request as a command line that a POSIX shell reads unchanged, whatever characters it has. */
export function curlOf(url, request) {
  const body = request.file === null ? `-d ${quoted(request.body)}` : `--data-binary ${quoted(`@${request.file}`)}`;
  const words = ["curl", body, `-H ${quoted(`Content-Type: ${request.type}`)}`];
  if (apiKey() !== null) words.push('-H "Authorization: Bearer $MARINA_API_KEY"');
  return [...words, quoted(url)].join(" ");
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Follow the key's field and button; `changed` is called when there is another key or none. */
export function followKey(changed) {
  find("forget").hidden = apiKey() === null;
  find("key").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORAGE, find("key-field").value.trim());
    find("key-field").value = "";
    find("key").hidden = true;
    find("forget").hidden = false;
    find("predict").focus();
    changed();
  });
  find("forget").addEventListener("click", () => {
    sessionStorage.removeItem(STORAGE);
    find("forget").hidden = true;
    changed();
  });
}

/** Ask for a key, and say that the sent one is wrong if there was one. */
export function askForKey() {
  const wrong = apiKey() !== null;
  sessionStorage.removeItem(STORAGE);
  find("forget").hidden = true;
  find("key-words").textContent = wrong
    ? "401: the gateway does not know this key. Type another one:"
    : "401: this gateway answers only those who have an API key. Type yours:";
  find("key").hidden = false;
  find("key-field").focus();
}
