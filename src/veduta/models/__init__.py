"""The models that ship: a card for each (`cards`), and the one place that opens an ONNX file (`session`).

A card says what a model is, where its weights come from, under which license, and the sha256 of its file; the file is
checked against the card every time it is opened. ``python -m veduta.models.export.networks NAME`` rebuilds a file. A
model trained by a user is a folder with the same two things, ``card.json`` and the file it names.
"""
