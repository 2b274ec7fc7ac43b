"""Files for a browser: the page to draw digits on, and Swagger UI for the API.

They ask the routes of `serve.http`, which alone imports this package. Its routes are added to an
application::

    app.router.routes.extend(routes.asset_routes())
"""
