"""Formats of requests and replies: codecs, content negotiation, scaling, drawings, predictions.

What a format needs of a model is in its manifest; nothing here runs a model or knows HTTP. A body
becomes the model's input, here of a model that takes three numbers, by::

    numbers = CODECS["text/csv"].decode(b"0,0.5,1")
    pixels = to_pixels(numbers, manifest.inputs[0]).values
"""
