"""Data sets: reading pictures, recognising folders, splits, augmentation, and lesions that the project draws itself."""
