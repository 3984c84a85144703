"""`doctor`: examines a data set before anything is trained on it; changes nothing, loads no torch.

What reading decides is taken from `reading`; here the records are looked at one by one
(`inspection.py`), against each other (`duplicates.py`), against the splits, and against what the
chosen recipe will do with them (`forecast.py`). The answer is a `Diagnosis`. Its findings' ids are
stable:

unreadable-data set-aside unreadable-pictures tiny-pictures extreme-aspect single-colour
suffix-mismatch unusual-mode animated large-pictures exact-duplicates near-duplicates leak-picture
leak-near-picture leak-text leak-group empty-texts misread-texts control-characters address-texts
markup-texts file-name-texts placeholder-texts repeated-text equal-texts near-equal-texts
truncated-texts language-mismatch class-imbalance towers-missing
"""

from sensorium.doctor.diagnosis import Diagnosis, Finding, lines, show
from sensorium.doctor.examination import examine

__all__ = ["Diagnosis", "Finding", "examine", "lines", "show"]
