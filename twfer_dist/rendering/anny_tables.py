"""Frozen tables for MakeHuman's mesh hm08: its landmarks, the rims of its openings, and the recipes of its shapes."""

LANDMARKS_68 = (
    5237, 269, 270, 736, 737, 5297, 5223, 5167, 5171, 11780, 11833, 11902, 7457, 7456, 7039, 7038, 11846, 255,
    232, 222, 223, 228, 7001, 6997, 6996, 7005, 7024, 132, 135, 164, 294, 360, 314, 343, 7077, 7121, 21, 6,
    54, 69, 47, 36, 6853, 6838, 6790, 6805, 6820, 6831, 425, 410, 456, 455, 7215, 7170, 7185, 7166, 7235, 492,
    480, 406, 431, 515, 520, 7262, 7191, 7265, 523, 518,
)  # fmt: skip
"""The vertex of each of the 68 iBUG points, where ICT-FaceKit's convention has it."""

JAW_LINE = (
    870, 868, 869, 895, 893, 3698, 5223, 5167, 5171, 11780, 11833, 10366, 7595, 7597, 7574, 7573, 7575,
)  # fmt: skip
"""The other vertices for points 0 to 16, on the visible edge of the jaw."""

MOUTH_RIM = (
    520, 521, 522, 514, 515, 5360, 516, 421, 420, 436, 3731, 434, 435, 3708, 445, 446, 519, 518, 517, 523,
    7264, 7265, 7266, 7206, 7205, 10376, 7195, 7194, 10399, 7196, 7180, 7181, 7263, 11962, 7262, 7261, 7268,
    7267,
)  # fmt: skip
"""The loop of vertices where the lips touch; behind it lies the inside of the mouth."""

EYE_RIMS = (
    0, 1, 54, 57, 60, 102, 63, 66, 69, 72, 53, 5080, 50, 47, 44, 41, 36, 33, 30, 5078, 27, 24, 21, 18, 15, 12,
    9, 6, 6784, 6785, 6838, 6841, 6844, 6886, 6847, 6850, 6853, 6856, 6837, 11695, 6834, 6831, 6828, 6825,
    6820, 6817, 6814, 11693, 6811, 6808, 6805, 6802, 6799, 6796, 6793, 6790,
)  # fmt: skip
"""The loops of vertices along the edges of the right and the left eye's lids; behind them lie the sockets."""

ICT_POINTS = (
    (-7.47, 3.13, 2.71), (-7.23, 0.76, 2.84), (-6.87, -1.53, 2.95), (-6.3, -3.9, 3.67), (-5.34, -5.52, 5.38),
    (-4.41, -6.27, 6.94), (-3.05, -6.91, 8.77), (-1.54, -7.26, 10.27), (0, -7.57, 10.43), (1.54, -7.26,
    10.27), (3.05, -6.91, 8.77), (4.41, -6.27, 6.94), (5.34, -5.52, 5.38), (6.3, -3.9, 3.67), (6.87, -1.53,
    2.95), (7.23, 0.76, 2.84), (7.47, 3.13, 2.71), (-5.82, 5.2, 7.91), (-4.93, 5.98, 8.99), (-3.79, 6.26,
    9.83), (-2.41, 6.19, 10.48), (-1.17, 5.91, 10.73), (1.17, 5.91, 10.73), (2.41, 6.19, 10.48), (3.79, 6.26,
    9.83), (4.93, 5.98, 8.99), (5.82, 5.2, 7.91), (0, 3.74, 10.73), (0, 2.63, 11.52), (0, 1.61, 12.31), (0,
    0.41, 13.07), (-1.25, -1.14, 10.87), (-0.6, -1.14, 11.42), (0, -1.2, 11.57), (0.6, -1.14, 11.42), (1.25,
    -1.14, 10.87), (-4.46, 3.43, 8.6), (-3.87, 3.87, 9.36), (-2.78, 3.94, 9.53), (-1.84, 3.25, 9.2), (-2.73,
    3.08, 9.41), (-3.86, 3.07, 9.23), (1.84, 3.25, 9.2), (2.78, 3.94, 9.53), (3.87, 3.87, 9.36), (4.46, 3.43,
    8.6), (3.86, 3.07, 9.23), (2.73, 3.08, 9.41), (-2.53, -3.52, 10.19), (-1.7, -2.78, 11.22), (-0.73, -2.42,
    11.73), (0, -2.48, 11.84), (0.73, -2.42, 11.73), (1.7, -2.78, 11.22), (2.53, -3.52, 10.19), (1.8, -4.06,
    10.9), (1.03, -4.3, 11.39), (0, -4.38, 11.55), (-1.03, -4.3, 11.39), (-1.8, -4.06, 10.9), (-2.21, -3.49,
    10.13), (-1, -3.3, 11.09), (0, -3.32, 11.28), (1, -3.3, 11.09), (2.21, -3.49, 10.13), (1.07, -3.38,
    11.04), (0, -3.4, 11.25), (-1.07, -3.38, 11.04),
)  # fmt: skip
"""The 68 points (with the jaw line) of ICT-FaceKit's mean head (MIT), in its units of about one centimetre."""

SHAPES: dict[str, dict[str, float]] = {
    "browDown_": {"browDown": 0.75, "noseSneer": 0.1},
    "browInnerUp_": {"browInnerUp": 1.0, "eyebrows-{}-inner-up": 0.3, "browOuterUp": 0.15},
    "browOuterUp_": {"browOuterUp": 0.75, "eyebrows-{}-extern-up": 0.4, "eyebrows-{}-up": 0.85, "browInnerUp": 0.3},
    "cheekPuff_": {"cheekPuff": 1.5},
    "cheekSquint_": {"cheekSquint": 0.9, "eyeSquint": 0.25},
    "eyeBlink_": {"eyeBlink": 0.3, "eye-{}-closure": 0.45},
    "eyeLookDown_": {"eyeLookDown": 1.5},
    "eyeLookIn_": {"eyeLookIn": 1.5},
    "eyeLookOut_": {"eyeLookOut": 1.5},
    "eyeLookUp_": {"eyeLookUp": 1.2},
    "eyeSquint_": {"eyeSquint": 0.55, "eye-{}-slit": 0.1},
    "eyeWide_": {"eyeWide": 0.4, "eye-{}-opened-up": 0.5},
    "mouthDimple_": {
        "mouth-retraction": 0.8,
        "mouth-upward-retraction": 0.1,
        "mouthDimple": 0.25,
        "mouth/mouth-dimples-in": 1.0,
        "mouth/mouth-scale-horiz-decr": 0.5,
    },
    "mouthFrown_": {"mouthFrown": 0.6, "mouth-depression": 0.3, "mouth-retraction": 0.15},
    "mouthLowerDown_": {"mouthLowerDown": 0.9, "mouth-part-later": 0.22},
    "mouthPress_": {
        "mouthShrugLower": 0.3,
        "mouth-compression": 0.1,
        "mouthRollLower": 0.3,
        "mouthRollUpper": 0.25,
        "mouth/mouth-scale-vert-decr": 0.4,
        "mouth/mouth-lowerlip-volume-decr": 0.5,
    },
    "mouthSmile_": {
        "mouthSmile": 0.5,
        "mouth-corner-puller": 0.35,
        "mouthDimple": 0.3,
        "mouth-retraction": 0.3,
        "mouth-elevation": 0.15,
    },
    "mouthStretch_": {"mouthStretch": 1.15, "mouth-retraction": 0.3, "neck-platysma": 0.1},
    "mouthUpperUp_": {"mouthUpperUp": 1.0, "mouth-elevation": 0.45, "mouthShrugUpper": 0.3},
    "noseSneer_": {
        "noseSneer": 0.7,
        "nose-{}-elevation": 0.7,
        "mouthUpperUp": 1.1,
        "mouthShrugUpper": 0.2,
        "browDown": 0.1,
        "nose/nose-scale-vert-decr": 0.5,
    },
    "jawForward": {"jawForward": 1.0},
    "jawLeft": {"jawLeft": 0.9},
    "jawOpen": {"jawOpen": 0.95},
    "jawRight": {"jawRight": 0.9},
    "mouthClose": {"mouthClose": 1.15},
    "mouthFunnel": {"mouthFunnel": 1.05},
    "mouthLeft": {"mouthLeft": 1.6},
    "mouthPucker": {"mouthPucker": 0.5, "mouth-pursing": 0.5},
    "mouthRight": {"mouthRight": 1.6},
    "mouthRollLower": {"mouthRollLower": 1.5},
    "mouthRollUpper": {"mouthRollUpper": 1.0},
    "mouthShrugLower": {"mouthShrugLower": 0.7, "jawOpen": -0.18},
    "mouthShrugUpper": {"mouthShrugUpper": 1.1},
}
"""Each of ICT-FaceKit's shapes as a sum of MakeHuman's, a name with `_` for both sides (`{}`: left or right)."""
