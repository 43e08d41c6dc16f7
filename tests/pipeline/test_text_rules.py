"""Rules over text, as tables: accepted texts, and the reasons for rejected ones."""

from __future__ import annotations

import pytest

from pipeline.annotation.phrases import is_refusal, load_tables, names_subtitles
from pipeline.annotation.text_rules import (
    KINDS,
    QuestionDraft,
    answer_fault,
    is_other_language,
    option_text,
    parse_questions,
    question_flaws,
    remove_sound_notes,
    repeated_pair_share,
)
from pipeline.prompts import prompt
from stages.languages import detect_language, detect_script
from stages.text_metrics import exact, f1, words
from tests.pipeline.scripted import QUESTIONS, SAID

CHOICE = """Q1 (count): How often does it knock?
A) once
B) twice
C) three times
D) never
A1: B"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, Mr. O’Neill!", ["dont", "stop", "mr", "oneill"]),
        ("twenty-two  ½", ["twenty", "two", "1", "2"]),
        ("你好 world", ["你", "好", "world"]),
        ("की बात", ["की", "बात"]),
        ("♪ … —", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_what_is_spoken_is_left_of_a_subtitle() -> None:
    assert words(remove_sound_notes("[Music] ♪ (applause) 【音楽】*sighs*")) == []
    assert remove_sound_notes("[door slams] Who is there? ♪") == "Who is there?"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("", 0, 0), ("la", 0, 0), (SAID, 0, 0.1), ("thank you so much " * 10, 0.85, 1), ("la " * 8, 0.8, 1)],
)
def test_repetition(text: str, low: float, high: float) -> None:
    assert low <= repeated_pair_share(text) <= high


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Hello there", "LATIN"), ("привет", "CYRILLIC"), ("こんにちは世界", "CJK"), ("42!", None), ("ＡＢＣ", "LATIN")],
)
def test_script(text: str, expected: str | None) -> None:
    assert detect_script(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SAID, "en"),
        ("Der Mann stellt den Kessel auf den Herd und wartet.", "de"),
        ("El hombre pone la tetera en el fuego y espera con ella.", "es"),
        ("L'homme pose la bouilloire sur le feu et il attend dans une cuisine.", "fr"),
        ("kettle", None),
        ("", None),
    ],
)
def test_language(text: str, expected: str | None) -> None:
    assert detect_language(text) == expected


@pytest.mark.parametrize(
    ("text", "like", "expected"),
    [
        ("the man", SAID, False),
        ("他在说话", SAID, True),
        ("苹果", SAID, True),
        ("Он говорит о погоде", SAID, True),
        ("Der Mann ist nicht in der Küche", SAID, True),
        ("Google", "今天我们谈谈谷歌", False),
        ("The man speaks about the search engine", "今天我们谈谈谷歌", True),
        ("3", SAID, False),
        ("whatever", "♪", False),
    ],
)
def test_foreign(text: str, like: str, expected: bool) -> None:
    assert is_other_language(text, like) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I cannot help with that.", True),
        ("I can't hear any sound.", True),
        ("As an AI, I do not watch videos.", True),
        ("I'm sorry, but there is no clip.", True),
        ("Sorry, I am unable to say.", True),
        ("抱歉，我无法回答", True),
        ("作为一个人工智能", True),
        ("He says that he cannot come.", False),
        ("I'm sorry for your loss", False),
    ],
)
def test_refused(text: str, expected: bool) -> None:
    assert is_refusal(text) is expected


REFUSALS = """I'm sorry, but I can't assist with that.|I apologize, but I am unable to hear the audio.
|As an AI language model, I cannot watch videos.|Unfortunately, I cannot see the video.
|I'm an AI assistant.|I can't hear anything.
|The clip is silent. As an AI language model, I cannot hear it.|Sorry, as an AI I do not hear.
|Lo siento, pero no puedo ayudar con eso.|Lo siento, no puedo ver el video.
|No puedo ayudarte con esa solicitud.|Como modelo de lenguaje, no puedo escuchar audio.
|Lamentablemente, no puedo responder.|很抱歉，我无法观看视频。|对不起，我不能回答这个问题。
|作为一个AI语言模型，我无法听到声音。
|我无法提供相关信息。
|我是通义千问，由阿里云开发。|抱歉，我無法回答|Es tut mir leid, aber ich kann das nicht beantworten.
|Leider kann ich das Video nicht sehen.|Als KI-Sprachmodell kann ich nicht hören.
|Désolé, je ne peux pas répondre.|Je suis désolé, mais je ne peux pas vous aider.
|En tant que modèle de langage, je ne vois pas.|Mi dispiace, ma non posso aiutarti.
|Desculpe, mas não posso ajudar.|Infelizmente, não consigo ver o vídeo.|申し訳ありませんが、お答えできません。
|AI言語モデルとして、動画を見ることはできません。|죄송합니다. 도와드릴 수 없습니다.|Извините, но я не могу помочь.
|К сожалению, я не могу посмотреть видео.|Как языковая модель, я не могу слышать.
|क्षमा करें, मैं इसमें मदद नहीं कर सकता।|Üzgünüm, bu konuda yardımcı olamam.
|Xin lỗi, tôi không thể giúp.|Maaf, saya tidak dapat membantu.|عذرا، لا أستطيع المساعدة.
|ขออภัย ฉันไม่สามารถตอบได้|Przepraszam, ale nie mogę pomóc.|Het spijt me, maar ik kan niet helpen."""
KEPT = """A lecturer says that a language model predicts the next word.
|A talk on AI: the large language model writes a poem.
|The slide reads "As an AI language model, I cannot help".
|"I'm sorry, but I can't stay", says the woman.|I can't believe how tall the tower is.
|Sorry, he says, and leaves.|An AI researcher shows a robot.|As an airplane lands, people wave.
|I'm sorry for your loss.|对不起。|他说他不能来。|一位老师讲解大语言模型。|Lo siento, dice la mujer.
|No puede abrir la puerta.|El profesor explica un modelo de lenguaje.
|Un modèle de langage est présenté.|Der Mann sagt, er kann nicht kommen.|Leider regnet es.
|言語モデルについての講義です。|Языковая модель объясняется на доске.|No one speaks.|I am a teacher.
|Como un modelo de lenguaje aprende, explica la profesora."""


def phrases(text: str) -> list[str]:
    return [" ".join(each.split()) for each in text.split("|")]


@pytest.mark.parametrize("text", phrases(REFUSALS))
def test_refusals_of_many_languages(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", phrases(KEPT))
def test_what_speaks_of_refusals_is_none(text: str) -> None:
    assert not is_refusal(text)


def test_every_language_that_regrets_declines() -> None:
    assert load_tables()["regrets"].keys() == load_tables()["declined"].keys()
    assert all({"en", "zh"} <= table.keys() for table in load_tables().values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("According to the subtitles, who calls?", True),
        ("What is said in the video's captions?", True),
        ("What does the transcript say about tea?", True),
        ("根据字幕，他去了哪里？", True),
        ("字幕中提到了什么？", True),
        ("¿Qué dicen los subtítulos?", True),
        ("Laut den Untertiteln, wer ruft an?", True),
        ("Que disent les sous-titres ?", True),
        ("How does DNA transcription begin?", False),
        ("What does the woman say about transcribing interviews?", False),
        ("Who pays for subtitles at the studio?", False),
        ("Why does the translator write captions by hand?", False),
        ("他为什么加入字幕组？", False),
        ("¿Quién escribe subtítulos para el cine?", False),
        ("Wer schreibt Untertitel für Filme?", False),
    ],
)
def test_subtitles_as_a_source_and_as_a_subject(text: str, expected: bool) -> None:
    assert names_subtitles(text) is expected


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("", "stop", "empty"),
        (" …\n", "stop", "empty"),
        ("I cannot.", "stop", "refused"),
        ("and so on and", "length", "cut off"),
        ("A cook.", "stop", None),
    ],
)
def test_fault(text: str, finish: str, expected: str | None) -> None:
    assert answer_fault(text, finish) == expected


def test_exact_match_and_f1_leave_articles_case_and_punctuation_out() -> None:
    assert exact("The red kettle.", "a Red kettle")
    assert not exact("", "")
    assert not exact("red", "red kettle")
    assert f1("a red kettle", "the kettle") == pytest.approx(2 * 1 / 3)
    assert f1("the the the", "the") == 0.0
    assert f1("kettle kettle", "kettle") == pytest.approx(2 / 3)
    assert f1("pot", "kettle") == 0.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", "two"),
        ("B) two", "two"),
        ("(C).", "three"),
        ("Three", "three"),
        ("Because", "Because"),
        ("five", "five"),
        ("", ""),
    ],
)
def test_which_option_is_meant(answer: str, expected: str) -> None:
    assert option_text(answer, ("one", "two", "three", "four")) == expected


def test_questions_in_their_form() -> None:
    read = parse_questions(QUESTIONS.replace("\n", "\n\n "), 3)
    assert [draft.kind for draft in read] == ["speech", "source", "order"]
    assert read[0] == QuestionDraft("speech", "What does the cook put on the stove?", "a red kettle")


def test_a_multiple_choice_in_its_form() -> None:
    options = ("once", "twice", "three times", "never")
    expected = [QuestionDraft("count", "How often does it knock?", "twice", options, "B")]
    assert parse_questions(CHOICE, 1, choice=True) == expected
    assert parse_questions(CHOICE.replace("A1: B", "A1: B) twice"), 1, choice=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"Here are three questions:\n{QUESTIONS}", "line 1 is not as it should be: 'Q1 (speech"),
        (QUESTIONS.replace("(source)", "(sauce)"), "line 3 is not as it should be: 'Q2 (speech"),
        (QUESTIONS.replace("A2:", "A3:"), "line 4 is not as it should be: 'A2: answer'"),
        (QUESTIONS.rpartition("\n")[0], "line 6 is missing: 'A3: answer'"),
        (f"{QUESTIONS}\nI hope this helps!", "line 7 is one too many"),
        ("", "line 1 is missing"),
        ('[{"question": "Who?"}]', "line 1 is not as it should be"),
    ],
)
def test_what_leaves_the_form_is_named_without_a_word_of_it(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="line") as error:
        parse_questions(text, 3)
    assert str(error.value).startswith(message)
    assert "hope" not in str(error.value)


@pytest.mark.parametrize("text", [CHOICE.replace("A1: B", "A1: E"), CHOICE.replace("A1: B", "A1: twice"), QUESTIONS])
def test_a_choice_is_answered_by_a_letter(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        parse_questions(text, 1, choice=True)


def test_the_prompt_names_each_kind() -> None:
    assert [line[2:].partition(":")[0] for line in prompt("ask").splitlines() if line.startswith("- ")] == list(KINDS)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("What is put on the stove?", "a red kettle", None),
        ("What is put on the stove?", "", "empty"),
        ("???", "a red kettle", "empty"),
        ("What " + "on and on " * 40, "a kettle", "over-long"),
        ("What is put on the stove?", "a kettle " * 41, "over-long"),
        ("What is put on the stove?", "I cannot hear the sound.", "refused"),
        ("As an AI, what do I hear?", "a kettle", "refused"),
        ("What do the subtitles say?", "a kettle", "names the subtitles"),
        ("What is put on the stove?", "The transcript says a kettle", "names the subtitles"),
        ("What does the caption tell?", "a kettle", "names the subtitles"),
        ("Is the red kettle put on the stove?", "The red kettle.", "leaks its answer"),
        ("What is put on the stove?", "一个红色的水壶", "not in the language of the clip"),
        ("炉子上放了什么？", "a kettle", "not in the language of the clip"),
        ("Was ist das auf dem Herd?", "der Kessel", "not in the language of the clip"),
    ],
)
def test_rules_for_one_question(question: str, answer: str, reason: str | None) -> None:
    assert question_flaws([QuestionDraft("speech", question, answer)], SAID) == [reason]


def test_rules_between_the_questions_of_a_clip() -> None:
    asked = [
        QuestionDraft("speech", "What is put on the stove by the cook?", "a kettle"),
        QuestionDraft("speech", "What is put on the stove by this cook?", "a pot of tea"),
        QuestionDraft("order", "What whistles at the end?", "The kettle!"),
        QuestionDraft("speech", "What do the subtitles tell about tea?", "it is hot"),
        QuestionDraft("mood", "Is she glad?", "It is hot"),
    ]
    assert question_flaws(asked, SAID) == [None, "repeats a question", "repeats an answer", "names the subtitles", None]


def test_options_differ_and_are_there() -> None:
    def of(*options: str) -> list[str | None]:
        return question_flaws([QuestionDraft("count", "How often does it knock?", options[0], options, "A")], SAID)

    assert of("once", "twice", "never", "often") == [None]
    assert of("once", "twice", "Twice.", "often") == ["repeats an option"]
    assert of("once", "twice", "", "often") == ["empty"]
