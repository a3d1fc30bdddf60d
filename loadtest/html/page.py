"""The frame of a page: title, numbers, notes, cards and tables. Every text that comes in is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from loadtest.html.style import STYLE

Tone = Literal["", "good", "bad", "warn"]


def page(title: str, subtitle: str, body: Iterable[str]) -> str:
    """A whole document; `body` holds elements that are escaped already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing may be loaded or run, whatever a model or a setting is called.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">To the figures</a>\n'
        f"<main>\n<header><h1>{escape(title)}</h1><p class=soft>{escape(subtitle)}</p></header>\n"
        "<div id=main tabindex=-1>\n" + "\n".join(body) + "\n</div>\n</main>\n</body>\n</html>\n"
    )


def numbers(each: Iterable[tuple[str, str, Tone]]) -> str:
    """The figures that one looks for first: (value, what it is, tone)."""
    cells = (
        f'<div class="number {tone}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, tone in each
    )
    return f'<div class="numbers">{"".join(cells)}</div>'


def note(title: str, lines: Iterable[str], tone: Tone) -> str:
    """What a reader must know before believing the figures."""
    words = "".join(f"<div>{escape(line)}</div>" for line in lines)
    return f'<div class="note {tone}" role="note"><strong>{escape(title)}</strong>{words}</div>'


def card(title: str, caption: str, *content: str, wide: bool = False) -> str:
    """One box with a heading; its content is escaped already."""
    return (
        f"<section{' class=wide' if wide else ''}><h2>{escape(title)}</h2>"
        f'<p class="soft">{escape(caption)}</p>{"".join(content)}</section>'
    )


def cards(each: Iterable[str]) -> str:
    """Boxes side by side where there is room."""
    return f'<div class="cards">{"".join(one for one in each if one)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, last_is_sum: bool = False) -> str:
    """Rows of figures; the first column names them."""
    found = list(rows)
    heads = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    lines = []
    for number, row in enumerate(found):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f"<tr{' class=all' if last_is_sum and number == len(found) - 1 else ''}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def pairs(each: Iterable[tuple[str, str]]) -> str:
    """Names and values."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in each)
    return f'<table class="plain"><tbody>{rows}</tbody></table>'


def folded(title: str, content: str) -> str:
    """Content that opens on demand; on paper it is open."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
