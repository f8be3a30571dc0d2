"""A network with its judge in one ONNX file: writing it (with PyTorch), and running it (without).

The files that run it import neither PyTorch nor scikit-learn.
"""
