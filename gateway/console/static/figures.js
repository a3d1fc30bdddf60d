// Counters → rates, shares and percentiles of the last seconds, and numbers as text.

const RATE_S = 10;
const LATENCY_S = 30;
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
      // Another process of the gateway made this one a moment before.
      if (state.at <= last.at && last.at - state.at < STALE_S) return;
      if (state.at < last.at || !isSameRun(last, state)) this.states = [];
    }
    this.states.push(state);
    while (state.at - this.states[0].at > KEPT_S) this.states.shift();
  }

  /** Figures of one model, or of all models for null. Those that need two states are null while there is one. */
  figures(name) {
    const inFlight = modelsOf(this.states.at(-1), name).reduce((sum, model) => sum + model.in_flight, 0);
    const [rateStart, latencyStart] = [this.since(RATE_S), this.since(LATENCY_S)];
    if (rateStart === null) return { rate: null, errors: null, p50: null, p95: null, inFlight };
    const { seconds, answers, errors } = this.between(rateStart, -1, name);
    const { latency } = this.between(latencyStart, -1, name);
    const bounds = this.states.at(-1).bounds_s;
    return {
      rate: answers / seconds,
      errors: answers > 0 ? errors / answers : null,
      p50: quantile(0.5, latency, bounds),
      p95: quantile(0.95, latency, bounds),
      inFlight,
    };
  }

  /** Requests per second, from each state to the next. */
  rates(name) {
    return this.states.slice(1).map((_, index) => {
      const { answers, seconds } = this.between(index, index + 1, name);
      return answers / seconds;
    });
  }

  /** The index of the last state that is this many seconds old, else of the oldest; null when there is only one. */
  since(seconds) {
    if (this.states.length < 2) return null;
    const now = this.states.at(-1).at;
    const index = this.states.findLastIndex((each) => now - each.at >= seconds - 0.5);
    return Math.max(0, index);
  }

  /** The counts between two states, of one model or of all. A model that is new counts from its first state. */
  between(from, to, name) {
    const [earlier, later] = [this.states.at(from), this.states.at(to)];
    const pairs = modelsOf(later, name).map((model) => [modelsOf(earlier, model.name)[0] ?? model, model]);
    const growth = (count) => pairs.reduce((sum, [before, after]) => sum + count(after) - count(before), 0);
    return {
      seconds: later.at - earlier.at,
      answers: growth(answersOf),
      errors: growth((model) => answersOf(model, (status) => status >= 500)),
      latency: [...later.bounds_s, Infinity].map((_, bucket) => growth((model) => model.latency[bucket])),
    };
  }
}

/** The time within which this share of the answers came, as Prometheus' histogram_quantile estimates it; null without
 *  answers. */
export function quantile(share, counts, bounds) {
  const wanted = share * counts.at(-1);
  if (!(wanted > 0)) return null;
  const bucket = counts.findIndex((count) => count >= wanted);
  if (bucket >= bounds.length) return Infinity;
  const [low, below] = bucket === 0 ? [0, 0] : [bounds[bucket - 1], counts[bucket - 1]];
  return low + ((bounds[bucket] - low) * (wanted - below)) / (counts[bucket] - below);
}

function answersOf(model, counts = () => true) {
  return Object.entries(model.statuses).reduce((sum, [status, count]) => sum + (counts(Number(status)) ? count : 0), 0);
}

/** Whether the gateway ran through from one state to the other; a restart sets its counters to 0. */
function isSameRun(earlier, later) {
  return later.models.every((model) =>
    modelsOf(earlier, model.name).every((before) => answersOf(before) <= answersOf(model)),
  );
}

const modelsOf = (state, name) => state.models.filter((model) => name === null || model.name === name);

/** Seconds as text. */
export function durationText(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "> 10 s";
  if (seconds >= 1) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
}

/** A rate per second as text. */
export function rateText(perSecond) {
  if (perSecond === null) return "–";
  return perSecond === 0 ? "0" : perSecond.toFixed(perSecond < 10 ? 2 : perSecond < 100 ? 1 : 0);
}

/** A share of 1 as text. */
export function percentText(share) {
  if (share === null) return "–";
  const hundredths = Math.round(share * 1e4) / 100;
  return `${Number.isInteger(hundredths) ? hundredths : hundredths.toFixed(hundredths < 1 ? 2 : 1)} %`;
}

/** Any number with four significant digits. */
export const numberText = (value) => String(Number(value.toPrecision(4)));
