"""The HTTP transport: sockets, uvicorn's server, and its protocol with limits on connections.

It knows no route and imports nothing of `serve.http`; beside an ASGI application it asks for a
function that words refusals, `protocol.Refuse`. Create a server with both::

    Server(app, refuse, ClientLimits(), on_start=start, on_drain=drain).run([listener])
"""
