// Numbers as people read them.

/** Seconds. */
export function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "> 10 s";
  if (seconds >= 1) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
}

/** Events a second. */
export function rate(perSecond) {
  if (perSecond === null) return "–";
  return perSecond === 0 ? "0" : perSecond.toFixed(perSecond < 10 ? 2 : perSecond < 100 ? 1 : 0);
}

/** A share of 1. */
export function percent(share) {
  if (share === null) return "–";
  const hundredths = Math.round(share * 1e4) / 100;
  return `${Number.isInteger(hundredths) ? hundredths : hundredths.toFixed(hundredths < 1 ? 2 : 1)} %`;
}

/** Any number, short: four digits that count. */
export const number = (value) => String(Number(value.toPrecision(4)));
