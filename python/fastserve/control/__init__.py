"""The control plane: model repository, per-model lifecycle, and the operations both front ends
share.
"""
