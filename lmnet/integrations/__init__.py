"""LM-Net's parts under the contracts of timm, segmentation_models_pytorch, MONAI and nnU-Net.

Each module is imported by itself and needs only the library it is named after (``pip install 'lmnet[integration]'``).
"""
