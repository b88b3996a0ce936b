"""Expressions, Action Units and postures: their names and order."""

import unicodedata

import numpy as np

EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""The seven expressions in RAF-DB's order. On disk a label is 1 to 7, in memory 0 to 6."""

EXPRESSION_WORDS = (
    ("surprise", "surprised", "惊讶", "惊奇", "吃惊", "惊异", "诧异", "驚訝", "驚奇", "吃驚"),
    ("fear", "fearful", "afraid", "恐惧", "害怕", "惧怕", "恐慌", "恐懼", "懼怕"),
    ("disgust", "disgusted", "厌恶", "恶心", "嫌恶", "反感", "厭惡", "噁心", "嫌惡"),
    ("happiness", "happy", "高兴", "快乐", "开心", "喜悦", "愉快", "高興", "快樂", "開心", "喜悅"),
    ("sadness", "sad", "悲伤", "伤心", "难过", "悲哀", "忧伤", "悲傷", "傷心", "難過", "憂傷"),
    ("anger", "angry", "愤怒", "生气", "发怒", "恼怒", "憤怒", "生氣", "發怒", "惱怒"),
    ("neutral", "中性", "平静", "无表情", "自然", "平靜", "無表情"),
)
"""The words that label each expression in people's tables, in English and Chinese."""

NEUTRAL = EXPRESSIONS.index("neutral") + 1
"""The label of the neutral expression on disk."""

ACTION_UNITS = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12",
    "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26", "AU45",
)  # fmt: skip
"""The 17 Action Units in OpenFace's intensity order. 0 to 5 on disk, 0 to 1 inside the networks."""

ACTION_UNIT_MOVEMENTS = (
    "inner brows raised", "outer brows raised", "brows lowered", "upper lids raised", "cheeks raised", "lids tightened",
    "nose wrinkled", "upper lip raised", "lip corners pulled", "lip corners dimpled", "lip corners lowered",
    "chin raised", "lips stretched", "lips tightened", "lips parted", "jaw dropped", "eyes closed",
)  # fmt: skip
"""What each Action Unit does to a face, in words for people who do not know FACS."""

MAX_INTENSITY = 5.0
"""The top of the FACS intensity scale (A to E, here 1 to 5)."""

POSTURES = ("kneeling", "general", "vertical", "cavalry", "civil")
"""The paper's five postures of terracotta warriors."""


def label_of(name: str) -> int:
    """The label on disk (1 to 7) of a word for an expression, in any case; ValueError for an unknown word."""
    word = unicodedata.normalize("NFKC", name).strip().lower()
    for label, words in enumerate(EXPRESSION_WORDS, 1):
        if word in words:
            return label
    raise ValueError(f"'{name}' is not an expression")


def to_unit(action_units: np.ndarray) -> np.ndarray:
    """Intensities on disk (0 to 5) in the networks' scale: float32, clipped to 0 to 1."""
    return np.clip(np.asarray(action_units, np.float32) / np.float32(MAX_INTENSITY), 0, 1)
