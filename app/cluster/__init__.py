"""Ray as it is: joined or started, watched, and asked for capacity.

What a trial trains, and how a run goes on after a failure, is in `app.engine`; here are the
connection, the resources of a trial, signals, and the translation of Ray's failures for Tune. A
call that works::

    from app.cluster.connection import connect

    with connect() as cluster:  # or connect("host:6379"), to join a cluster
        print(cluster.cpus, cluster.gpus)
"""
