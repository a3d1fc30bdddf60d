// Requests to the gateway that sent this page.

import { key } from "./key.js";

/** What the gateway refused, in its own words. */
export class Refusal extends Error {
  constructor(status, code, detail, requestId, retryAfter) {
    super(detail);
    Object.assign(this, { status, code, requestId, retryAfter });
  }

  /** All of it in one line. */
  get words() {
    const wait = this.retryAfter ? ` Try again in ${this.retryAfter} s.` : "";
    return `${this.status} ${this.code}: ${this.message}.${wait}`;
  }
}

/** An answer, or a Refusal; 0 is the status of a gateway that did not answer at all. */
export async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (key() !== null) headers.Authorization = `Bearer ${key()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", "the gateway does not answer", null, null);
  }
  if (!response.ok) throw await refused(response);
  return response;
}

/** Where a model is described and asked. */
export function pathOf(model, version = null) {
  const name = `models/${encodeURIComponent(model)}`;
  return version === null ? name : `${name}/versions/${encodeURIComponent(version)}`;
}

async function refused(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    // Something between this page and the gateway answered in its own way; the status is all there is.
  }
  const code = typeof told.error === "string" ? told.error : response.statusText;
  const detail = typeof told.detail === "string" ? told.detail.replace(/\.$/, "") : "no reason given";
  const id = told.request_id ?? response.headers.get("x-request-id");
  return new Refusal(response.status, code, detail, id, response.headers.get("retry-after"));
}
