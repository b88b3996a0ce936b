"""The names that people give to columns, and which of our columns each of them means."""

import re
import unicodedata
from collections.abc import Sequence

_NAMES = {
    "path": """path|file path|filepath|filename|file name|file|image path|image file|image name|image|img|photo file
        |photo|photograph|picture|name|路径|文件路径|文件名|文件名称|文件|图片名|图片名称|图像名|图片|图像|照片名|照片|路徑|檔案名稱|檔名|檔案|圖片|圖像
        |ファイル名|ファイル|画像|dateiname|datei|bild|foto|nom de fichier|fichier|archivo""",
    "credit": """credit|credits|credit line|photo credit|photographer|photographed by|copyright|copyright holder
        |attribution|摄影|摄影者|拍摄者|图片版权|攝影|攝影者|拍攝者""",
    "licence": "licence|license|rights|usage rights|许可|许可证|授权|許可|授權",
    "url": "url|link|web page|webpage|source url|网址|链接|網址|連結",
    "source_text": "source text|taken from|published in|出处|出處",
    "figure_id": """figure id|figure|figure no|source|subject|subject id|object|object id|object no|sculpture|statue
        |person|来源|俑号|俑编号|陶俑|俑|编号|对象|人物|雕像|雕塑|來源|俑號|編號""",
    "label": """label|expression|expression label|facial expression|emotion|emotion label
        |标签|表情|表情标签|面部表情|情绪|情感|標籤|情緒|ラベル""",
    "votes": "votes|vote|投票",
    "annotator": """annotator|annotator id|rater|rater id|coder|observer|judge|expert|labeller|labeler|reviewer|voter
        |标注者|标注员|标注人|标注人员|评价者|评分者|评定者|专家|標註者|專家""",
    "split": "split|set|partition|subset|划分|数据划分|集合|劃分",
    "posture": "posture|姿势|姿态|姿勢|姿態",
    "material": "material|材质|材料|材質",
}
NAMES = {ours: tuple(name.strip() for name in names.split("|")) for ours, names in _NAMES.items()}
"""Each of our columns with other names for it, the most trusted first; the first is its own."""

OF_VIDEOS = ("video_shot", "video_time", "video_sha256")
"""The columns by which `frames.take_frames` says where a frame comes from; they group nothing."""

CREDITS = ("credit", "licence", "source_text", "url")
"""Our columns about the rights in a photograph; they group nothing."""

LABEL_COLUMNS = ("face_id", "crop", "doubt", "rule")
"""The columns that tables of labels have beside ours, as `twfer annotate` and `twfer agreement` write them: the face,
the digest of the crop that the annotator saw, whether they were unsure, and what decided the label.
"""

KNOWN = frozenset(name for names in NAMES.values() for name in names)


def normalised(name: str) -> str:
    """A column's name in lower case, with single blanks for any blanks, underscores or hyphens."""
    text = unicodedata.normalize("NFKC", name).replace("\ufeff", "").replace("\u200b", "")
    return re.sub(r"[\s_-]+", " ", text).strip(" :.").casefold()


def columns_named(ours: str, columns: Sequence[str]) -> list[str]:
    """The columns that may be our column `ours`, the most trusted name first; if a column has our own name, that column
    alone.
    """
    if ours in columns:
        return [ours]
    named = [column for name in NAMES[ours] for column in columns if normalised(column) == name]
    return named[:1] if named and normalised(named[0]) == normalised(ours) else named
