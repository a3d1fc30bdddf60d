// The API key, where the gateway asks for one: typed by a person, kept by this tab alone.

import { find } from "./dom.js";

const PLACE = "marina-api-key";

export const key = () => sessionStorage.getItem(PLACE);

/** Follows the field and the button; `changed` is called when there is another key, or none any more. */
export function followKey(changed) {
  find("forget").hidden = key() === null;
  find("key").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(PLACE, find("key-field").value.trim());
    find("key-field").value = "";
    find("key").hidden = true;
    find("forget").hidden = false;
    find("ask").focus();
    changed();
  });
  find("forget").addEventListener("click", () => {
    sessionStorage.removeItem(PLACE);
    find("forget").hidden = true;
    changed();
  });
}

/** Asks for a key; says what is wrong with the one that was sent, if one was. */
export function askForKey() {
  const wrong = key() !== null;
  sessionStorage.removeItem(PLACE);
  find("forget").hidden = true;
  find("key-words").textContent = wrong
    ? "401: the gateway does not know this key. Type another one:"
    : "401: this gateway answers only those who have an API key. Type yours:";
  find("key").hidden = false;
  find("key-field").focus();
}
