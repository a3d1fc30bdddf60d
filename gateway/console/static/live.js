// Asks for the figures again and again, while somebody looks.

import { call } from "./gateway.js";

const EVERY_MS = 2000;
const PATIENCE_MS = 10000;

/** Calls `take` with each new state, and `fail` with what was refused in its place; either may say in how many ms the
 *  next one should come. */
export class Live {
  constructor(take, fail) {
    this.take = take;
    this.fail = fail;
    this.paused = false;
    this.timer = null;
    this.asking = null;
    document.addEventListener("visibilitychange", () => this.look());
    addEventListener("online", () => this.look());
  }

  /** Asks at once, unless nobody looks; whatever was under way is given up. */
  look() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
    if (!document.hidden && !this.paused) this.ask();
  }

  pause(paused) {
    this.paused = paused;
    this.look();
  }

  async ask() {
    const asking = (this.asking = new AbortController());
    const given = setTimeout(() => asking.abort("late"), PATIENCE_MS);
    let next = EVERY_MS;
    try {
      const state = await (await call("console/state", { signal: asking.signal })).json();
      if (this.asking !== asking) return;
      next = this.take(state) ?? EVERY_MS;
    } catch (error) {
      if (this.asking !== asking) return;
      next = this.fail(error) ?? EVERY_MS * 2;
    } finally {
      clearTimeout(given);
    }
    this.asking = null;
    if (next !== Infinity) this.timer = setTimeout(() => this.look(), next);
  }
}
