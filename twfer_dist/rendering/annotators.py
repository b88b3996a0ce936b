"""Six simulated annotators, who label a face as the paper's annotators did: one to three labels each."""

import numpy as np

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import EXPRESSIONS

ANNOTATORS = 6
_NEUTRAL = 0.34  # evidence at which an expression is as likely to be called neutral
_NOISE = 0.13  # standard deviation of one annotator's evidence
_MARGIN = 0.07  # labels within this of the first are given too
_PROTOTYPES = np.stack([prototype(name) for name in EXPRESSIONS])


def evidence(action_units: np.ndarray) -> np.ndarray:
    """How clearly 17 Action Units (0 to 5) show each of the seven expressions: float (7,), about 0 to 1.

    The cosine to each expression's prototype times the face's strength relative to it. Neutral is a constant, which
    stronger expressions exceed. Expressions that share units (fear and surprise; anger and disgust) are confused.
    """
    strength = np.linalg.norm(action_units)
    sizes = np.linalg.norm(_PROTOTYPES, axis=1) + 1e-9
    cosine = _PROTOTYPES @ action_units / (sizes * (strength + 1e-9))
    shown = cosine * np.minimum(strength / sizes, 1.1)
    shown[EXPRESSIONS.index("neutral")] = _NEUTRAL
    return shown


def votes(action_units: np.ndarray, rng: np.random.Generator) -> str:
    """The six annotators' labels in the notation of a manifest: `happiness;happiness+surprise;neutral;...`."""
    noisy = evidence(action_units) + rng.normal(0, _NOISE, (ANNOTATORS, len(EXPRESSIONS)))
    votes_of_all = []
    for scores in noisy:
        order = np.argsort(-scores, kind="stable")
        chosen = [order[0], *(label for label in order[1:3] if scores[order[0]] - scores[label] < _MARGIN)]
        votes_of_all.append("+".join(EXPRESSIONS[label] for label in chosen))
    return ";".join(votes_of_all)
