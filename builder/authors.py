"""Import of the authors' checkpoints: their state_dict keys to ours.

Source: the authors' public code of LM-Net (arXiv 2501.03838), release of April 2025, zoo entry ``lmnet_release``.
Their loader feeds BGR pictures (cv2); ours are RGB, so the first convolutions' input channels are turned round.
"""
