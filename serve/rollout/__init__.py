"""Versions of an endpoint's model: copies of folders, swap and rollback, the admin socket, polling.

How a model runs is in `serve.runtime`, and what answers requests over HTTP in `serve.http`. A
manager loads the first version and swaps to others::

    with LoadedModels() as models:
        manager = VersionManager(ModelStore(folder), models, first_model, print)
        manager.swap(second_model)
        manager.rollback()
"""
