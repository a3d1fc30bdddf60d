"""The dialects of the gateway's clients.

    vertex           the route that Vertex AI names
    short_routes     the short routes that the configuration names
    native           /models/{model}/predict
    torchserve       /predictions/{model}, /explanations/{model}
    kserve_v1        /v1/models/{model}:predict, :explain
    sagemaker        /invocations, /models/{model}/invoke, /endpoints/{endpoint}/invocations
    open_inference   /v2/models/{model}/infer; `gateway.oip` reads its tensors

`gateway.routes.other_servers` has the routes of health and models that their clients use.
A dialect is one file that makes a `dialect.Dialect`, and one line in `registry.dialects_for`.
"""
