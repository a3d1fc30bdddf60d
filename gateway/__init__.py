"""The request side: what stands between clients and the engine.

One prediction, in the order of the files it passes:

    protocol      the connection: where a request ends, limits on its head, whole answers in one write
    dispatch      predictions go down the hot path, everything else to the web framework
    edge          request id, metrics, trace, access log; every error leaves here in one shape
    guards        who may ask: loopback and under a name of ours, or who has one of the API keys
    endpoints     one ASGI application per prediction route: deadline, model, admission, body, answer
    catalog       which models the engine serves and what kind each is, kept from the Management API
    body          the bounded body, and `receiving` the bound of all bodies together
    forms         the request form of the route: multipart, raw picture, JSON → one payload
    pipeline      business logic before → engine → business logic after
    engine        the chain in front of the upstream: cache, flights, admission, coalesce, queue, breaker, retry
    upstream      the pooled connection to the engine's inference port; its words and keys are the engine's to know
    aliases       the response form of a short route

`application.create_app(settings)` builds it all; nothing here imports torch or numpy.
"""
