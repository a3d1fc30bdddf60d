"""The front door: JSON for programs, a page for people."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from errors import NoWorker
from gateway.documented import answers
from gateway.page import CONTENT_SECURITY_POLICY, home_page
from gateway.replies import json_response
from gateway.routes.deps import ServicesDep

router = APIRouter(tags=["operation"])

_HEALTHY = {"status": "healthy", "message": "Marina is running; see /docs"}


@router.get("/", responses=answers(_HEALTHY))
async def home(request: Request, services: ServicesDep) -> Response:
    """Healthy; a browser gets a page with the models and where to go from here."""
    if "text/html" not in request.headers.get("accept", ""):
        return json_response(_HEALTHY, headers={"vary": "accept"})
    try:
        models = list((await services.catalog.current()).models.values())
    except NoWorker:
        models = None
    page = home_page(models, getattr(services.settings.store, "url", None))
    return HTMLResponse(page, headers={"vary": "accept", "content-security-policy": CONTENT_SECURITY_POLICY})
