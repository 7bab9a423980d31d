"""What a data set's images and masks mean: decided once, kept in the run folder and beside the weights, used again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lmnet.training.data.classes import ClassInfo, make_classes
from lmnet.training.data.intensities import Intensities
from lmnet.training.data.mask_values import MaskOptions, MaskValues


@dataclass(frozen=True)
class DataOptions:
    """What the user says about the files of a data set.

    Args:
        masks: the values, colours and ignored value of masks.
        intensity_range: the values that become 0 and 255; None to decide from the images.
        class_names: names of all classes, background first; empty for the usual ones.
        group_from: regular expression that finds the patient in a case's name; empty for the layout's own patients.
    """

    masks: MaskOptions = MaskOptions()
    intensity_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] = ()
    group_from: str = ""


@dataclass(frozen=True)
class DataMeaning:
    """What was decided.

    Args:
        intensities: how values become 0 to 255.
        masks: which value is which class.
        classes: names and colours, background first.
    """

    intensities: Intensities = Intensities()
    masks: MaskValues = MaskValues()
    classes: tuple[ClassInfo, ...] = make_classes(2)

    def describe(self, masks: int) -> str:
        """Return what was decided in one line, for people."""
        names = [each.name for each in self.classes]
        files = f"{masks} file{'' if masks == 1 else 's'}"
        return f"masks: {self.masks.describe(names)}; {files}. images: {self.intensities.describe()}."

    def dump(self) -> str:
        """Return the meaning as one line of JSON."""
        classes = [{"name": each.name, "color": list(each.color)} for each in self.classes]
        content = {"intensities": self.intensities.dump(), "masks": self.masks.dump(), "classes": classes}
        return json.dumps(content)

    @classmethod
    def load(cls, text: str, *, where: str) -> DataMeaning:
        """Read what ``dump`` returned.

        Raises:
            ValueError: it is something else; the message begins with ``where``.
        """
        try:
            content: Any = json.loads(text)
            classes = tuple(
                ClassInfo(str(each["name"]), (int(each["color"][0]), int(each["color"][1]), int(each["color"][2])))
                for each in content["classes"]
            )
            return cls(Intensities.load(content["intensities"]), MaskValues.load(content["masks"]), classes)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(
                f"{where}: the meaning of images and masks cannot be read ({error}). Train again."
            ) from error
