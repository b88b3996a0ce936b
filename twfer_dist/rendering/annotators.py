"""Six simulated annotators, who name what they see in a face as the paper's annotators did: one to three labels
each.
"""

import numpy as np

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import EXPRESSIONS

ANNOTATORS = 6
_CALM = 0.34  # an expression weaker than this is called neutral as often as not
_DOUBT = 0.13  # standard deviation of what one annotator sees
_MARGIN = 0.07  # labels this near to the first are named too
_PROTOTYPES = np.stack([prototype(name) for name in EXPRESSIONS])


def evidence(action_units: np.ndarray) -> np.ndarray:
    """How clearly 17 Action Units (0 to 5) show each of the seven expressions: float (7,), about 0 to 1.

    The cosine to each expression's prototype times the face's strength next to it. Neutral is a constant, which
    stronger expressions outdo. Expressions that share units (fear and surprise; anger and disgust) are taken for each
    other.
    """
    strength = np.linalg.norm(action_units)
    sizes = np.linalg.norm(_PROTOTYPES, axis=1) + 1e-9
    cosine = _PROTOTYPES @ action_units / (sizes * (strength + 1e-9))
    seen = cosine * np.minimum(strength / sizes, 1.1)
    seen[EXPRESSIONS.index("neutral")] = _CALM
    return seen


def votes(action_units: np.ndarray, rng: np.random.Generator) -> str:
    """The six annotators' labels, as a manifest writes them: `happiness;happiness+surprise;neutral;...`."""
    seen = evidence(action_units) + rng.normal(0, _DOUBT, (ANNOTATORS, len(EXPRESSIONS)))
    said = []
    for one in seen:
        order = np.argsort(-one, kind="stable")
        named = [order[0], *(label for label in order[1:3] if one[order[0]] - one[label] < _MARGIN)]
        said.append("+".join(EXPRESSIONS[label] for label in named))
    return ";".join(said)
