"""The scores of generators in plain words, and as a table."""

from collections.abc import Mapping
from typing import Any

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL

GROUNDS = {"sculpture": "sculpture", "clay": "rendered figures"}
"""What the pictures show, by its key in the scores, and its name."""

WITHOUT_IDENTITY = (
    "Whether a figure is still recognised as itself was not scored: that takes a network that does not ship, which "
    "`twfer run jobs/generator-evaluation.yaml` trains and --identity names, and at least 20 figures."
)
_LABEL, _CELL = 34, 30  # characters
_SIMILARITY = {"psnr": "PSNR in dB", "ssim": "SSIM", "feature_distance": "feature distance"}


def answer(scores: Mapping[str, Any]) -> list[str]:
    """What `evaluate.evaluate` found of the generator `ours`, in sentences."""
    rising = scores["monotone_share"]
    carved, rendered = (rising[ground]["ours"] for ground in GROUNDS)
    steps = len(rising["clay"]["intensities"]) - 1
    r = {ground: scores["au_control_r"][ground] for ground in GROUNDS}
    psnr = scores["psnr"]
    sentences = [
        f"On {carved['figures']} faces of real sculpture, {_share(carved, 'expressions rise')} with each of {steps} "
        "steps of intensity.",
        f"Anger rises on {_share(carved['by_expression']['anger'])}; fear on "
        f"{_share(carved['by_expression']['fear'])}.",
        f"On {rendered['figures']} rendered figures, {_share(rendered, 'do')}.",
        f"Requested and measured changes of Action Units correlate with r = {_mean(r['sculpture']['ours'])} on "
        f"sculpture and {_mean(r['clay']['ours'])} on rendered figures, whose true pictures reach "
        f"{_mean(r['clay']['truth'])}.",
        f"Where a rendered picture has to change, its PSNR to the true one is {psnr['ours']['changed']:.1f} dB (an "
        f"unchanged copy: {psnr['copy']['changed']:.1f}); elsewhere it is {psnr['ours']['rest']:.1f} "
        f"({psnr['copy']['rest']:.1f}).",
        "In brackets: 95 % intervals, which count figures, not pictures.",
    ]
    return sentences if "identity_rank1" in scores else [*sentences, WITHOUT_IDENTITY]


def table(scores: Mapping[str, Any], system: str) -> list[str]:
    """The scores of a system, `ours` or `public`, in lines: sculpture beside rendered figures."""
    lines = [_line(system, *GROUNDS.values()), _line("rising with intensity")]
    rising = [scores["monotone_share"][ground][system] for ground in GROUNDS]
    for expression in EXPRESSIONS[: NEUTRAL - 1]:
        lines.append(_line(f"  {expression}", *(_share(of["by_expression"][expression]) for of in rising)))
    lines.append(_line("  all", *map(_share, rising)))
    for key, name in (("au_control_r", "control r"), ("au_control_r_secondary", "control r, second opinion")):
        if key in scores:
            control = [scores[key][ground][system] for ground in GROUNDS]
            lines.append(_line(name, *map(_mean, control)))
            for unit in ACTION_UNITS if key == "au_control_r" else ():
                lines.append(_line(f"  {unit}", *(_number(of["by_au"][unit]) for of in control)))
    for key, name in _SIMILARITY.items():
        both = " / ".join(_number(scores[key][system][region]) for region in ("changed", "rest"))
        lines.append(_line(f"{name}, changed / rest", "", both))
    if "identity_rank1" in scores:
        identified = [scores["identity_rank1"].get(ground, {}).get(system) for ground in GROUNDS]
        lines.append(_line("recognised as itself", *(_share(of) if of else "" for of in identified)))
    return lines


def _share(of: Mapping[str, Any], verb: str = "") -> str:
    interval = f"{100 * of['share']:.0f} %; {100 * of['low']:.0f} to {100 * of['high']:.0f}"
    return f"{of['k']} of {of['n']} {verb + ' ' if verb else ''}({interval})"


def _mean(of: Mapping[str, Any]) -> str:
    interval = "" if of["low"] is None else f" ({of['low']:.2f} to {of['high']:.2f})"
    return _number(of["mean"]) + interval


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _line(label: str, *cells: str) -> str:
    return (f"{label:<{_LABEL}}" + "".join(f"{cell:<{_CELL}}" for cell in cells)).rstrip()
