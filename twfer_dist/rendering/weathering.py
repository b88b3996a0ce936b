"""What tools and time do to a surface."""

from dataclasses import replace

import numpy as np

from twfer_dist.rendering.material import BLOTCH, Material


def weathered(material: Material, roughness: float) -> Material:
    """The material with deeper or shallower grain, pits and cracks. roughness: a factor."""
    return replace(
        material,
        grain=roughness * material.grain,
        pits=roughness * material.pits,
        cracks=roughness * material.cracks,
    )


def tool_marks(template: np.ndarray, texture: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    """Height (P,), about -1 to 1, that chisels, rasps and fingers leave: an uneven surface with parallel grooves.

    shift: moves and turns the pattern, as in `Scene`.
    """
    turn = shift[0]
    along = np.cos(turn) * template[:, 0] + np.sin(turn) * template[:, 1]
    grooves = np.sin((4 + 6 * (shift[1] % 1)) * along + 1.5 * texture[:, BLOTCH])
    return (0.7 * texture[:, BLOTCH] + 0.35 * grooves).astype(np.float32)
