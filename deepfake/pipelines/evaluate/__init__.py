"""The numbers of a model on labelled faces: crops or score tables in, metrics and a page out.

``inputs`` finds the faces to measure, ``overlap`` refuses those the model was trained on, ``faces`` has them
scored by Ray, ``results`` computes, and ``job`` chains them and writes.
"""
