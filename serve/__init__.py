"""Model folders served over HTTP, without torch and without Ray.

Training and export are in `app`; `serve` reads the folders that they write. One command serves a
folder, or the best model of a run::

    python -m serve runs/digits/model --port 8080
"""
