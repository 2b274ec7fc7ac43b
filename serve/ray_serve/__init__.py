"""An endpoint on Ray Serve: connection to Ray, deployment, replicas, and our middleware in proxies.

The application is that of `serve.http`, which each replica creates. Within both contexts the
endpoint answers::

    with connect(options), ReplicaSet() as replicas:
        replicas.load(folder)
        replicas.answer(folder)
        with deploy(replicas, address, settings, options, stop):
            stop.wait()
"""
