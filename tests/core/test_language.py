"""Messages in other languages: every one is translated with its values, and templates escape them."""

import runpy
import string
from pathlib import Path

import jinja2
import pytest

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import LANGUAGES, _, catalog, current_language, listed, ngettext, sentences, speak
from twfer_dist.core.language import use_language as speaking

ROOT = Path(__file__).resolve().parents[2]
CATALOGS = runpy.run_path(str(ROOT / "docs" / "catalogs.py"))
OTHERS = LANGUAGES[1:]


def placeholders(text: str) -> set[str]:
    return {f"{name}:{spec}" for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", OTHERS)
def test_every_message_is_translated_with_its_placeholders(code: str) -> None:
    texts, missing = catalog(code), []
    for message in CATALOGS["messages"]():
        first, last = (message, message) if isinstance(message, str) else message
        if first not in texts:
            missing.append(first)
            continue
        for text in texts[first]:
            assert placeholders(text) == placeholders(last), first
    assert not missing, f"{code}.po lacks {len(missing)} messages: run make docs and translate them: {missing[:5]}"


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no language 'fr': choose en or zh"), speaking("fr"):
        pass


def test_the_language_ends_with_its_block() -> None:
    with speaking("zh"):
        assert (current_language(), _("anger")) == ("zh", "愤怒")
    assert (current_language(), _("anger")) == ("en", "anger")


def test_unknown_words_stay_as_they_are() -> None:
    with speaking("zh"):
        assert _("A museum's own {word} of 95 %") == "A museum's own {word} of 95 %"
        assert _("{n:,} bronze faces", n=1200) == "1,200 bronze faces"
        assert ngettext("{n:,} bronze face", "{n:,} bronze faces", 1) == "1 bronze face"


def test_sentences_and_lists_follow_the_language() -> None:
    assert sentences(["One.", "", "Two."]) == "One. Two."
    assert listed(["fear", "anger", "disgust"], "or") == "fear, anger or disgust"
    with speaking("zh"):
        assert sentences(["一。", "二。"]) == "一。二。"
        assert listed(["恐惧", "愤怒", "厌恶"]) == "恐惧、愤怒和厌恶"


def test_templates_escape_values_and_keep_markup() -> None:
    environment = jinja2.Environment(autoescape=True)
    with speaking("zh"):
        speak(environment)
        text = '{{ sentences(_("<em>{name}</em>: {n:,}.", name=name, n=1200), _("anger")) }} {{ name|term }}'
        page = environment.from_string(text).render(name="<b>")
    assert page == "<em>&lt;b&gt;</em>: 1,200.愤怒 &lt;b&gt;"


def test_messages_are_found_inside_others(tmp_path: Path) -> None:
    module, template = tmp_path / "a.py", tmp_path / "a.j2"
    module.write_text('_("{n} of " "them: {what}", n=2, what=_("a face"))\nngettext("one", "many", 2)\n_(name)\n')
    template.write_text('{{ _("outside {x}", x=_("inside")) }}{{ name|term }}')
    assert list(CATALOGS["_in_module"](module)) == ["{n} of them: {what}", "a face", ("one", "many")]
    assert list(CATALOGS["_in_template"](template)) == ["outside {x}", "inside"]
    module.write_text('_(f"{n} faces")')
    with pytest.raises(AssertionError, match="one literal"):
        list(CATALOGS["_in_module"](module))
    template.write_text("{{ _(name) }}")  # it would not be escaped
    with pytest.raises(AssertionError, match="a value is a .term"):
        list(CATALOGS["_in_template"](template))


def test_a_translation_outlives_its_message(tmp_path: Path) -> None:
    path = tmp_path / "zh.po"
    path.write_text('msgid ""\nmsgstr ""\n\nmsgid "anger"\nmsgstr "怒"\n\nmsgid "gone"\nmsgstr "去"\n')
    text = CATALOGS["_refreshed"]("zh", path)
    assert 'msgid "anger"\nmsgstr "怒"' in text and '#~ msgid "gone"\n#~ msgstr "去"' in text
    path.write_text(text)
    assert CATALOGS["_refreshed"]("zh", path) == text
