// Gymnasium's observation spaces → a flat list of numbers with names and bounds, and back into what a request holds.

// More numbers than this are no sliders any more.
export const MOST = 64;

/** The numbers of an observation; null when they are too many, or of a kind that sliders do not fit. */
export function numbersOf(observation) {
  const { space, fields } = observation;
  const parts = space.type === "dict" ? space.spaces : [{ key: null, space }];
  const found = [];
  for (const { key, space: box } of parts) {
    const size = box.shape.reduce((product, length) => product * length, 1);
    if (found.length + size > MOST) return null;
    const [lows, highs] = [spread(box.low, size), spread(box.high, size)];
    for (let index = 0; index < size; index += 1) {
      const name = key === null ? (fields?.[index] ?? `[${index}]`) : size === 1 ? key : `${key}[${index}]`;
      found.push({ name, low: lows[index] ?? null, high: highs[index] ?? null, whole: !box.dtype.startsWith("float") });
    }
  }
  return found;
}

/** One observation as a request holds it. */
export function observationOf({ space, fields }, values) {
  const left = [...values];
  if (space.type === "dict") {
    return Object.fromEntries(space.spaces.map((part) => [part.key, shaped(left, part.space.shape)]));
  }
  if (fields) return Object.fromEntries(fields.map((name, index) => [name, left[index]]));
  return shaped(left, space.shape);
}

/** Three dimensions of bytes: a file will do. */
export const isPicture = (space) => space.dtype === "uint8" && space.shape?.length === 3;

/** Zeros in the shape of an observation, for people to write over; empty where that would be a book. */
export function outline({ space, fields }) {
  const parts = space.type === "dict" ? space.spaces.map((part) => part.space) : [space];
  const size = parts.reduce((sum, box) => sum + box.shape.reduce((product, length) => product * length, 1), 0);
  return size > 4096 ? "" : JSON.stringify(observationOf({ space, fields }, Array(size).fill(0)));
}

function shaped(left, [length, ...inner]) {
  return Array.from({ length }, () => (inner.length === 0 ? left.shift() : shaped(left, inner)));
}

/** A bound is one number for all, nested lists, or null. */
const spread = (bound, size) => (Array.isArray(bound) ? bound.flat(Infinity) : Array(size).fill(bound ?? null));
