"""Several processes on one address: the supervisor, its worker processes, and their program.

Replicas on Ray Serve are in `serve.ray_serve`. The supervisor starts a worker for each socket::

    with Supervisor(listeners, {"host": host, "settings": settings}, print) as supervisor:
        supervisor.load(folder)
        supervisor.answer(folder)
        supervisor.serve()
"""
