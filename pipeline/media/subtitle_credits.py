"""Detect credits of subtitles ("Subtitles by …", "Untertitel von …", addresses of sites)."""

from __future__ import annotations

import re

LONGEST = 90  # characters: a longer text may be a sentence that begins like a credit

# Names in a credit: words with capitals, digits or addresses, and small words between them, as in no sentence.
SMALL = (
    "and|of|the|for|by|in|on|und|von|der|des|dem|im|für|durch|zur|par|pour|la|le|les|de|du|d|et|en|con|por|para|los"
    "|del|do|da|dos|das|e|pela|a|cura|di|dalla|della|van|het|door|av|og|och|af|communauté|comunidad|comunidade"
    "|auftrag|funk|réalisés?|realizados?|revisão|revisione|community|comunità|gemeenschap|społeczność|сообщество"
)
SITE = r"(?:https?://\S+|www\.\S+|[\w.-]+\.(?:com|org|net|tv|info|eu|io|me|co|ru|de|fr|es|it|nl|pl|cz|br)\b\S*)"
WORD = rf"(?:{SITE}|(?:{SMALL})(?![\w])|[^\W_a-zß-öø-ÿ][\w.'’@&+-]*|[@~*]\S+|[-–—|/&+,()\[\]'’\"“”*=~:©]+)"
NAME = rf"[\s:]*{WORD}(?:\s*{WORD}){{0,14}}"
HANDLE = (
    r"\s+(?!default|hand|then|now|law|accident|mistake|myself|yourself|himself|herself)[\w.@-]+"  # `explosiveskull`
)

ENGLISH = (
    r"(?i:(?:\w+ )?(?:sub(?:title)?s|captions|closed captions|(?:fan)?subs)"
    r"(?: (?:were )?(?:created|made|provided|edited|downloaded|synced|translated|ripped|extracted))? (?:by|from))"
)
BY = (
    r"(?i:(?:(?:subtitl|caption|transcrib|translat|synchroni[sz]|sync|re-?sync|correct|tim|encod|ripp|subb|adapt)e?d"
    r"|(?:re-?)?sync|translation|transcript(?:ion)?|captioning|subtitling|corrections?|timing)"
    r"(?:(?:,| and| &|/| \+) ?\w+){0,2} by)"
)
# A name follows these: words for subtitles, or for work on them.
NAMED = (
    ENGLISH,
    BY,
    r"(?i:(?:closed )?captioning (?:provided|made possible) by|captions? copyright)",
    r"(?i:(?:translator|reviewer|transcriber|traducteur|traductrice|relecteur|traductora?|revisora?|übersetzer(?:in)?"
    r"|lektorat|tradutora?|traduttore|revisore|vertaler|tłumacz|korekta|çevirmen) ?:)",
    r"(?i:(?:english )?(?:sub(?:title)?s|captions|sync|subtitling|captioning|translation)) ?:",
    r"(?i:untertitel(?:ung)?(?: von| der| des| im auftrag| durch| ?:)|(?:übersetzung|bearbeitung|redaktion) ?:"
    r"|übersetzt von)",
    r"(?i:sous-titr(?:age|es|é|és)(?: ?:| par| de| réalisés?)?|(?:traduction|adaptation) ?:|traduit par)",
    r"(?i:subt[ií]tul(?:os|ado|ados|ación)(?: (?:realizad|cread)os?)?(?: por| de| ?:)|traducción ?:|traducido por)",
    r"(?i:legenda(?:s|do|das)?(?: pela| por| ?:)|(?:tradução|sincronia|revisão) ?:|traduzido por)",
    r"(?i:sottotitol(?:i|ato)(?: e revisione)?(?: creati)?(?: dalla| a cura| di| da| ?:)|(?:traduzione|revisione) ?:)",
    r"(?i:ondertitel(?:ing|s|en|d)?(?: ingediend)?(?: door| van| ?:)|vertaling ?:|vertaald door)",
    r"(?i:(?:under)?tekst(?:er|et|ning|ad)?(?: av| af| ?:)|undertext(?:er|ning|at)?(?: av| ?:)|översättning ?:"
    r"|oversættelse ?:|oversatt av|suomennos ?:|tekstit(?:ys)? ?:)",
    r"(?i:napisy(?: stworzone przez| ?:)|tłumaczenie ?:|titulky(?: ?:| přeložil)|překlad ?:|přeložil|preklad ?:"
    r"|(?:traducerea?|subtitrarea?)(?: [sșş]i adaptarea)? ?:|felirat ?:|fordította ?:)",
    r"(?i:alt ?yaz[ıi] ?:|çevir(?:i|en) ?:)",
    r"(?i:субтитры(?: (?:с?делала?|создавала?|создала?|подогнала?|предоставлены?|добавила?)| ?:)"
    r"|перевод(?:чик)? ?:|редактор субтитров|корректор ?:?)",
    r"(?i:υπότιτλοι ?:|απόδοση(?: διαλόγων)? ?:)",
)
# Whole lines.
WHOLE = (
    r"(?:中文|英文|日本語|双语)?字幕(?:组|組|志愿者|志願者|制作|製作|翻译|翻訳|校对|提供|[:：]|\s?by).{0,30}",
    r"(?:翻译|翻譯|翻訳|校对|校對|听译|時間軸|时间轴|压制|監製|监制)\s?[:：].{1,20}",
    r"(?:한글 ?)?자막(?: ?제공| ?제작| ?번역| ?by| ?[:：]).{0,30}",
    r"(?:ترجمة|تدقيق|כתוביות|תרגום|תורגם|סנכרון)(?: [ו-ي]\S+)? ?[:：].{1,40}",
    r"(?i:untertitelung(?: \w+,? ?)?\d{4})",
    r"(?i:advertise your product or brand here.*)",
    r"(?i:(?:please )?(?:support us and become (?:a )?vip member|rate this subtitle|help other users).*)",
    rf"(?i:downloaded from {SITE})",
    r"(?i:best watched using open.?subtitles.*)",
    r"(?i:watch (?:any video|movies|free movies|online movies).* (?:open-?subtitles|subtitles|www\.).*)",
    rf"[\W_]*{SITE}[\W_]*",
    r"(?:©|\([cC]\)).{1,60}",
)
SUBTITLE_SITE = (
    r"(?:open-?subtitles|addic7ed|subscene|podnapisi|yifysubtitles|amara|tvsubtitles|subdl|titlovi|napiprojekt|napisy24"
    r"|legendas|tusubtitulo|subdivx|titulky|feliratok|turkcealtyazi|bierdopje|subtitlecat|downsub|sous-titres|viki|yts)"
    r"\.(?:org|com|net|tv|eu|info|mx|am|lt|bg|cz|to)"
)
AD_WORDS = "sub|caption|download|support|best|watch|visit|contact|from|provided|get|find|for more|-|www|http"
AD = rf"(?i:(?:{AD_WORDS})\b.*{SUBTITLE_SITE}.*[^.?!])"

CREDITS = tuple(re.compile(pattern) for pattern in (*(rf"(?:{by}){NAME}" for by in NAMED), *WHOLE, AD))
# The name is one small word, or stands in the next cue. Counts only where nothing else is in the cue.
OPEN = re.compile(
    rf"{ENGLISH}(?:{HANDLE}(?:\s+{SITE})?)?|(?i:(?:re-?)?sync(?:ed)?(?: (?:and|&) \w+)? by){HANDLE}(?:\s+{SITE})?"
)
# A quick first test, since most cues are no credits: without a match of this no other pattern matches.
TRIGGER = re.compile(
    r"(?i)\bby\b|[:：©]|\(c\)|www|http|\.[a-z]{2}|titr|titel|t[ií]tul|legenda|sottotit|tekst|text|napis|субтитр|редактор"
    r"|корректор|字幕|자막|traduit|traducido|traduzido|übersetzt|vertaald|oversat|subtitle|caption|advertise|support us"
)


def is_credit(text: str, *, whole: bool = True) -> bool:
    """Return whether a text is a credit. whole: the text is all that its cue shows, not one line of several."""
    line = " ".join(text.split()).strip(" -–—♪*=~[](){}<>|\"'“”")
    if not line or len(line) > LONGEST or not TRIGGER.search(line):
        return False
    if whole and OPEN.fullmatch(line):
        return True
    return (whole or not line[:1].islower()) and any(pattern.fullmatch(line) for pattern in CREDITS)
