"""The HTTP application of an endpoint: routes, access control, bodies, error replies, metrics.

Sockets and connections are in `serve.server`, models in `serve.rollout` and `serve.runtime`. An
application is built around the registry of the current model::

    app = create_app(registry, access=AccessPolicy.create("127.0.0.1", settings))
"""
