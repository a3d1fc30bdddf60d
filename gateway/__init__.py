"""The HTTP and gRPC front that clients use, in front of the engine.

One prediction, in the order of the files that it passes:

    http/protocol       the connection: limits on heads, responses in one write
    early_refusal       429 for a model over capacity, from the head alone
    fast_path           one observation of a policy, answered without a task
    middleware          request id, checks (security, apikey), metrics, trace, access log, errors
    predict             the route, and the order of the steps below
    http/deadline       cancels the work at the deadline, or when the client disconnects
    dialects/           paths, request forms and response forms of each kind of client
    catalog             the models and versions that the engine serves
    http/body           the bounded body; http/payload makes it into the engine's request
    pipeline            business logic, and the stages in front of the engine in their order
    traffic/            the version that answers: canary and shadow
    scheduling/         the time to send it: dedupe, admission, coalesce, queue
    upstream/           the host to send it to: breaker, balancer, inference client, connections
    http/responses      the response, or the error

`application.create_app(settings)` builds all of it, and `services` opens what outlives a request. Nothing here imports
torch or numpy.
"""
