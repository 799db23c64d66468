"""The numbers of a model on labelled faces: crops or score tables in, metrics and a page out.

``inputs`` finds the faces to measure, ``training_overlap`` refuses those the model was trained on,
``scoring`` has them scored by Ray, ``results`` computes, and ``pipeline`` chains them and writes.
"""
