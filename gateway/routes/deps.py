"""What route functions ask for."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from gateway.services import Services, services_of


def _services(request: Request) -> Services:
    return services_of(request.scope)


ServicesDep = Annotated[Services, Depends(_services)]
