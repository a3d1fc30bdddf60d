// Elements, made without HTML: what a model or a label is called always stays text.

/** An element with these attributes and children; strings among the children become text. */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for drawings. */
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

export const find = (id) => document.getElementById(id);

/** Shows words in an element, or hides it when there are none. */
export function say(element, words) {
  element.textContent = words;
  element.hidden = words === "";
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
