"""Training, evaluation and prediction of any segmentation module."""
