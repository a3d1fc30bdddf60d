"""What somebody without a key may do over HTTP, judged alike for the engine, the gateway and the edge."""

from collections.abc import Mapping

from delivery.doctor import ask
from delivery.doctor.finding import Seen, closed, is_open


def any_size(url: str, headers: Mapping[str, str] = ask.NO_HEADERS) -> Seen:
    """Open when a server waits for a body beyond any limit; it is announced and never sent."""
    status = ask.announce("POST", url, headers)
    if status is None:
        return is_open("16 TiB are announced, and it waits for them")
    return closed(f"16 TiB are refused before they are sent (status {status})")


def other_sites(method: str, url: str, headers: Mapping[str, str] = ask.NO_HEADERS) -> Seen:
    """Open when the page of a site that nobody knows may call it."""
    answer = ask.plain(method, url, headers={"Origin": ask.ORIGIN, **headers})
    if answer.headers.get("Access-Control-Allow-Origin") in {"*", ask.ORIGIN}:
        return is_open("the page of any site may call it from its visitors' browsers")
    return closed("pages of other sites are not let in")
