// The picture that was sent, with what a model has found in it: boxes, or a region for each class.
//
// Answers are in pixels of the upright picture, as browsers show it. A picture that the browser cannot read is left out.

import { find, make, makeSvg } from "./dom.js";

const LONGEST = 1024; // pixels of a side of the drawn class map
const GOLDEN_ANGLE = 137.508; // spreads the hues of any number of classes

/** The colour of the class with this number; grey for a class that the model's description does not name. */
export const colourOf = (number) => `rgb(${channels(number).join(", ")})`;

/** Show nothing. */
export function clearPicture() {
  const image = find("picture").querySelector("img");
  if (image !== null) URL.revokeObjectURL(image.src);
  find("picture").replaceChildren();
  find("picture").hidden = true;
}

/** Draw `found`, a list of { box, name, colour }, over the picture. */
export function showBoxes({ width, height }, found, file, text) {
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text });
  const size = Math.max(width, height) / 40;
  for (const { box, name, colour } of found) {
    const [left, top, right, bottom] = box;
    const place = { x: left, y: top, width: right - left, height: bottom - top };
    const label = makeSvg("text", { x: left + size / 4, y: Math.max(top, size) + size / 4, fill: colour }, name);
    label.setAttribute("font-size", size);
    label.setAttribute("stroke-width", size / 6);
    svg.append(makeSvg("rect", { ...place, stroke: colour }), label);
  }
  show(file, { width, height }, svg);
}

/** Draw the class map of a prediction over the picture, each class in its colour. */
export async function showRegions(prediction, labels, file, text) {
  const { width, height } = prediction;
  const step = Math.max(1, Math.ceil(Math.max(width, height) / LONGEST));
  const [wide, tall] = [Math.ceil(width / step), Math.ceil(height / step)];
  const canvas = make("canvas", { width: wide, height: tall, role: "img", "aria-label": text });
  show(file, { width, height }, canvas);
  const classAt = prediction.class_map === undefined ? runsOf(prediction, labels) : await mapOf(prediction);
  const drawn = new ImageData(wide, tall);
  for (let y = 0; y < tall; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const number = classAt(x * step, y * step);
      if (number < labels.length) drawn.data.set([...channels(number), 255], 4 * (y * wide + x));
    }
  }
  canvas.getContext("2d").putImageData(drawn, 0, 0);
}

function show(file, { width, height }, drawing) {
  const ground = file === null ? make("canvas", { width, height }) : make("img", { alt: "", width, height });
  if (file !== null) {
    ground.onerror = () => ground.replaceWith(make("canvas", { width, height }));
    ground.src = URL.createObjectURL(file);
  }
  find("picture").replaceChildren(ground, drawing);
  find("picture").hidden = false;
}

/** The function from a pixel to its class number, of a class map as Marina writes it: one block of rows, not filtered. */
async function mapOf({ class_map: text, width }) {
  const file = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const length = new DataView(file.buffer).getUint32(33);
  const packed = new Blob([file.subarray(41, 41 + length)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(packed).arrayBuffer());
  const bytes = file[24] / 8;
  const line = 1 + width * bytes;
  return (x, y) => {
    const at = y * line + 1 + x * bytes;
    return bytes === 1 ? rows[at] : rows[at] * 256 + rows[at + 1];
  };
}

/** The same of run lengths, column after column. */
function runsOf({ masks, width, height }, labels) {
  const numbers = new Uint16Array(width * height).fill(65535);
  for (const [label, counts] of Object.entries(masks)) {
    let at = 0;
    counts.forEach((count, index) => {
      if (index % 2 === 1) numbers.fill(labels.indexOf(label), at, at + count);
      at += count;
    });
  }
  return (x, y) => numbers[x * height + y];
}

function channels(number) {
  if (number < 0) return [128, 128, 128];
  const hue = (number * GOLDEN_ANGLE) % 360;
  const part = (offset) => {
    const angle = (offset + hue / 60) % 6;
    return Math.round(255 * (0.9 - 0.7 * Math.max(0, Math.min(angle, 4 - angle, 1))));
  };
  return [part(5), part(3), part(1)];
}
