"""The HTTP transport: sockets, uvicorn's server, and its protocol with limits on connections.

It knows no route and imports nothing of `serve.http`; `responder.Responder` is all it asks of an
application outside ASGI. Create a server with both::

    Server(app, responder, ClientLimits(), on_start=start, on_drain=drain).run([listener])
"""
