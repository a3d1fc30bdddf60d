// Elements made without HTML, so that the name of a model or a label always stays text.

/** An element with these attributes and children; strings among the children become text. */
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function makeSvg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

export const find = (id) => document.getElementById(id);

/** Show a text in an element; hide the element when the text is empty. */
export function say(element, text) {
  element.textContent = text;
  element.hidden = text === "";
}

/** A button that calls `act`. */
export function makeButton(text, act, look) {
  const button = make("button", { type: "button", class: look }, text);
  button.addEventListener("click", act);
  return button;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
