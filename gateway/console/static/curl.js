// The same request for a terminal.

import { key } from "./key.js";

/** A command line that a POSIX shell reads as meant, whatever stands in the words. */
export function curlOf(url, request) {
  const body = request.file === null ? `-d ${quoted(request.body)}` : `--data-binary ${quoted(`@${request.file}`)}`;
  const words = ["curl", body, `-H ${quoted(`Content-Type: ${request.type}`)}`];
  if (key() !== null) words.push('-H "Authorization: Bearer $MARINA_API_KEY"');
  return [...words, quoted(url)].join(" ");
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
