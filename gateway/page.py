"""The page that a browser gets at `/`: one self-contained document, no script, nothing fetched from elsewhere."""

from collections.abc import Sequence
from html import escape

from gateway.served import ServedModel

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .8rem .4rem 0 }
td { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent) }
nav a { margin-right: 1.5rem }
"""


def home_page(models: Sequence[ServedModel] | None, files_url: str | None) -> str:
    """The page, as HTML.

    `models` is None when the engine does not answer, `files_url` when there is no file browser.
    """
    links = {"/docs": "Try it (Swagger)", "/models": "Models (JSON)", "/metrics": "Metrics"}
    if files_url is not None:
        links[files_url] = "Archives"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Marina</title><style>{_STYLE}</style></head><body><h1>Marina</h1><nav>"
        + "".join(f'<a href="{escape(url)}">{escape(words)}</a>' for url, words in links.items())
        + f"</nav><main><h2>Models</h2>{_models(models)}</main></body></html>"
    )


def _models(models: Sequence[ServedModel] | None) -> str:
    if models is None:
        return "<p>The engine does not answer.</p>"
    if not models:
        return "<p>No model is registered yet; <code>make upload_model</code> brings one.</p>"
    heads = "".join(f"<th scope=col>{head}</th>" for head in ("Model", "What", "Version", "Workers", "Waiting"))
    rows = "".join(_row(model) for model in sorted(models, key=lambda model: model.name))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(model: ServedModel) -> str:
    version = model.default
    what = str(version.card.get("description") or "")
    if version.card.get("weights") == "random":
        what += " (random weights, not trained)"
    cells = (
        f'<a href="/models/{escape(model.name)}">{escape(model.name)}</a>',
        escape(what),
        escape(version.version),
        f"{version.workers_ready} of {version.workers} ready",
        str(version.pending),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
