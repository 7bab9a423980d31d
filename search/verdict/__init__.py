"""The verdict on a search: its best nets are trained again and compared on images that it has not seen."""
