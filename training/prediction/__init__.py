"""From images to class probabilities, masks and overlays."""
