"""An endpoint on Ray Serve: connection to Ray, the deployment, its replicas and their metrics.

The application is that of `serve.http`, which each replica creates. Queues, health checks, proxies
and limits on connections are Ray Serve's. Within the block the endpoint answers::

    with connect(options), Deployment(store, address, settings, options, stop) as deployment:
        manager = VersionManager(store, deployment, model, print)
        report_losses(deployment, stop, print)
"""
