"""Model folders on disk: `model.json` and the files it lists, written whole and verified.

Nothing here runs a model: that is `serve.runtime`'s. A folder is found and read by::

    folder = artifact.find("my-run", Path("runs"))
    manifest = artifact.read(folder).manifest
"""
