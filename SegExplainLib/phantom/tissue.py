"""How bright the tissues of one patient are, in HU, for a contrast phase drawn at random."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissues:
    """HU of one patient's tissues.

    The ranges of liver, spleen, kidney, muscle and unenhanced blood overlap between patients on purpose: brightness
    alone does not tell the organs apart, a network has to use their surroundings.
    """

    phase: str
    muscle: float
    lung: float
    liver: float
    spleen: float
    kidney_cortex: float
    kidney_medulla: float
    myocardium: float
    arteries: float
    veins: float
    spongy_bone: float
    cortical_bone: float
    disc: float
    stomach_fluid: float
    bowel: float
    pancreas: float
    bladder: float
    bile: float
    lesion: float


# Mean and half range of what depends on the contrast phase.
_PHASES = {
    "native": {
        "liver": (60, 6), "spleen": (50, 5), "kidney_cortex": (38, 5), "kidney_medulla": (34, 4),
        "myocardium": (48, 4), "arteries": (44, 4), "veins": (42, 4), "pancreas": (42, 5),
    },
    "arterial": {
        "liver": (70, 8), "spleen": (105, 15), "kidney_cortex": (165, 20), "kidney_medulla": (90, 15),
        "myocardium": (100, 12), "arteries": (230, 35), "veins": (75, 15), "pancreas": (95, 12),
    },
    "venous": {
        "liver": (105, 12), "spleen": (112, 12), "kidney_cortex": (165, 18), "kidney_medulla": (150, 18),
        "myocardium": (100, 10), "arteries": (140, 18), "veins": (140, 18), "pancreas": (85, 10),
    },
}  # fmt: skip
_PHASE_ODDS = {"native": 0.2, "arterial": 0.3, "venous": 0.5}


def draw_tissues(rng: np.random.Generator) -> Tissues:
    """Tissues of a random patient in a random contrast phase (unenhanced, arterial or portal venous)."""
    phase = str(rng.choice(list(_PHASE_ODDS), p=list(_PHASE_ODDS.values())))
    enhanced = {name: rng.uniform(mean - half, mean + half) for name, (mean, half) in _PHASES[phase].items()}
    return Tissues(
        phase=phase,
        muscle=rng.uniform(48, 65),
        lung=rng.uniform(-880, -810),
        spongy_bone=rng.uniform(180, 260),
        cortical_bone=rng.uniform(480, 650),
        disc=rng.uniform(75, 100),
        stomach_fluid=rng.uniform(10, 25),
        bowel=rng.uniform(25, 55),
        bladder=rng.uniform(2, 14),
        bile=rng.uniform(4, 16),
        # At least 36 HU below the liver: a lesion that a reader would call visible in soft-tissue windows.
        lesion=min(rng.uniform(18, 45), enhanced["liver"] - 36),
        **enhanced,
    )
