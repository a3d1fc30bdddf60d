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
    const now = this.counts(-1, name);
    const [lately, before] = [this.since(RATE_S), this.since(TIMES_S)];
    if (lately === null) return { rate: null, faults: null, p50: null, p95: null, inFlight: now.inFlight };
    const earlier = this.counts(lately, name);
    const timed = this.counts(before, name).latency;
    const seconds = this.states.at(-1).at - this.states[lately].at;
    const [answers, faults] = [now.all - earlier.all, now.faults - earlier.faults];
    const times = now.latency.map((count, bucket) => count - timed[bucket]);
    const bounds = this.states.at(-1).bounds_s;
    return {
      rate: answers / seconds,
      faults: answers > 0 ? faults / answers : null,
      p50: quantile(0.5, times, bounds),
      p95: quantile(0.95, times, bounds),
      inFlight: now.inFlight,
    };
  }

  /** Requests a second from state to state. */
  course(name) {
    const points = [];
    for (let index = 1; index < this.states.length; index += 1) {
      const seconds = this.states[index].at - this.states[index - 1].at;
      points.push((this.counts(index, name).all - this.counts(index - 1, name).all) / seconds);
    }
    return points;
  }

  /** Index of the last state that is so many seconds old, else of the oldest; null when there is but one. */
  since(seconds) {
    if (this.states.length < 2) return null;
    const now = this.states.at(-1).at;
    const index = this.states.findLastIndex((each) => now - each.at >= seconds - 0.5);
    return Math.max(0, index);
  }

  counts(index, name) {
    const state = this.states.at(index);
    const models = state.models.filter((each) => name === null || each.name === name);
    const sum = (of) => models.reduce((so_far, each) => so_far + of(each), 0);
    return {
      all: sum((each) => answers(each)),
      faults: sum((each) => answers(each, (status) => status >= 500)),
      inFlight: sum((each) => each.in_flight),
      latency: [...state.bounds_s, Infinity].map((_, bucket) => sum((each) => each.latency[bucket])),
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

function answers(model, which = () => true) {
  return Object.entries(model.statuses).reduce((sum, [status, count]) => sum + (which(Number(status)) ? count : 0), 0);
}

/** Whether both count the same things from the same start: no restart between them, no model come or gone. */
function comparable(earlier, later) {
  const names = (state) => state.models.map((model) => model.name).join("\n");
  return names(earlier) === names(later) && total(earlier) <= total(later);
}

const total = (state) => state.models.reduce((sum, model) => sum + answers(model), 0);
