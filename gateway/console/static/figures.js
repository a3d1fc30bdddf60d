// Counts that only grow → rates, shares and percentiles of the last seconds.

const RATE_S = 10;
const TIMES_S = 30;
const KEPT_S = 180;
const STALE_S = 5;

/** The states of the last minutes, oldest first. */
export class History {
  constructor() {
    this.states = [];
  }

  add(state) {
    const last = this.states.at(-1);
    if (last !== undefined) {
      // Another process of the gateway put this one together a moment before.
      if (state.at <= last.at && last.at - state.at < STALE_S) return;
      if (state.at < last.at || !comparable(last, state)) this.states = [];
    }
    this.states.push(state);
    while (state.at - this.states[0].at > KEPT_S) this.states.shift();
  }

  /** Figures of one model, of all of them for null; null where two states are needed and there is one. */
  figures(name) {
    const inFlight = named(this.states.at(-1), name).reduce((sum, model) => sum + model.in_flight, 0);
    const [lately, longer] = [this.since(RATE_S), this.since(TIMES_S)];
    if (lately === null) return { rate: null, faults: null, p50: null, p95: null, inFlight };
    const { seconds, answers, faults } = this.between(lately, -1, name);
    const { times } = this.between(longer, -1, name);
    const bounds = this.states.at(-1).bounds_s;
    return {
      rate: answers / seconds,
      faults: answers > 0 ? faults / answers : null,
      p50: quantile(0.5, times, bounds),
      p95: quantile(0.95, times, bounds),
      inFlight,
    };
  }

  /** Requests a second from state to state. */
  course(name) {
    return this.states.slice(1).map((_, index) => {
      const { answers, seconds } = this.between(index, index + 1, name);
      return answers / seconds;
    });
  }

  /** Index of the last state that is so many seconds old, else of the oldest; null when there is but one. */
  since(seconds) {
    if (this.states.length < 2) return null;
    const now = this.states.at(-1).at;
    const index = this.states.findLastIndex((each) => now - each.at >= seconds - 0.5);
    return Math.max(0, index);
  }

  /** What was counted between two states, of one model or of all; one that was not served before begins at its own. */
  between(from, to, name) {
    const [earlier, later] = [this.states.at(from), this.states.at(to)];
    const pairs = named(later, name).map((model) => [named(earlier, model.name)[0] ?? model, model]);
    const sum = (of) => pairs.reduce((so_far, [before, after]) => so_far + of(after) - of(before), 0);
    return {
      seconds: later.at - earlier.at,
      answers: sum(answered),
      faults: sum((model) => answered(model, (status) => status >= 500)),
      times: [...later.bounds_s, Infinity].map((_, bucket) => sum((model) => model.latency[bucket])),
    };
  }
}

/** The time that this share of the answers kept to, as histogram_quantile of Prometheus has it; null without any. */
export function quantile(share, counts, bounds) {
  const wanted = share * counts.at(-1);
  if (!(wanted > 0)) return null;
  const bucket = counts.findIndex((count) => count >= wanted);
  if (bucket >= bounds.length) return Infinity;
  const [low, below] = bucket === 0 ? [0, 0] : [bounds[bucket - 1], counts[bucket - 1]];
  return low + ((bounds[bucket] - low) * (wanted - below)) / (counts[bucket] - below);
}

function answered(model, which = () => true) {
  return Object.entries(model.statuses).reduce((sum, [status, count]) => sum + (which(Number(status)) ? count : 0), 0);
}

/** Whether the gateway has not started anew between the two: then it would count from 0 again. */
function comparable(earlier, later) {
  const grew = (model) => named(earlier, model.name).every((before) => answered(before) <= answered(model));
  return later.models.every(grew);
}

const named = (state, name) => state.models.filter((model) => name === null || model.name === name);
