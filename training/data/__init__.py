"""Data sets: reading images, recognising folders, splits, augmentation, and lesions that the project draws itself."""
