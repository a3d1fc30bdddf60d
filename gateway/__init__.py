"""The request side: what stands between clients and the engine.

One prediction, in the order of the files it passes:

    edge          request id, metrics, access log; every error leaves here in one shape
    endpoints     one ASGI application per prediction route: deadline, model, body, answer
    catalog       which models the engine serves and what kind each is, kept from the Management API
    body          the bounded body
    forms         the request form of the route: multipart, raw picture, JSON → one payload
    pipeline      business logic before → upstream → business logic after
    upstream      the pooled connection to the engine's inference port, the token, one retry
    verdicts      what each of the engine's refusals means to a client
    aliases       the response form of a short route

`application.create_app(settings)` builds it all; nothing here imports torch or numpy.
"""
