"""Word lists that tell sounds, voices and asides in brackets and labels of subtitles apart."""

from __future__ import annotations


def words_of(table: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(table.split())


# Stems of verbs for sounds, as in `slams` or `slamming`. They count wherever the bracket stands.
VERBS = words_of("""
applaud bang bark beep belch boo bray burp buzz cackl cheer chirp chim chuckl clang clank clap clatter click clink
cough crackl creak cri cry gasp giggl grunt groan growl grumbl gurgl hiccup hiss honk howl hum inhal exhal jeer jingl
knock laugh meow moan moo mumbl murmur mutter neigh purr rattl rumbl rustl scoff scream screech shout shriek shush
sigh sizzl slam slurp snarl sneez snicker sniff sniffl snor snort sob splash splutter squeak squeal stammer thud thump
toot wail weep wheez whimper whin whisper whistl whoop whoosh yawn yell yelp
""")

# They count where the bracket begins or ends a line, or follows a sentence.
EDGE_VERBS = words_of("""
blow breath chant chat chatter clear crash echo exclaim narrat play ring sing speak tick twitter
""")

NOUNS = words_of("""
applause music song instrumental theme laughter laugh sigh cough scream gunshot gunshots gunfire explosion siren
sirens alarm thunder footsteps static silence inaudible indistinct unintelligible door phone horn engine bell wind
crowd whisper voiceover voice-over offscreen off-screen onscreen continues softly quietly loudly sarcastically muffled
distorted unison tv radio speaker intercom sfx
""")

# Unambiguous words for sounds in other languages.
OTHERS = words_of("""
lacht lachen gelächter musik applaus beifall seufzt hustet flüstert räuspert rires rire musique applaudissements
soupir soupire chuchote risas ríe música aplausos suspira susurra risate musica applausi sospira risos смех смеётся
музыка аплодисменты вздыхает śmiech muzyka oklaski gelach muziek skratt
笑 笑声 笑い声 拍手 掌声 音楽 音乐 歓声 ため息 박수 웃음 음악
""")

# Words of speech: a bracket with one of them may be an aside.
ASIDES = words_of("""
i i'm i'll i've you your you're we our me my mine it's that's don't can't yes no not really maybe perhaps well okay ok
please thanks sorry hello hey what which why who how
""")

VOICES = words_of("""
man woman boy girl child kid baby lady guy narrator narration announcer reporter interviewer interviewee anchor host
presenter newscaster dispatcher operator teacher student doctor nurse officer soldier guard driver waiter waitress
clerk pilot captain computer voice voiceover both all crowd audience men women children boys girls together others
everyone speaker male female mother father mom dad
""")

# Labels with a colon that are no speakers.
NO_SPEAKERS = words_of("""
warning note notes ps fyi attention caution danger alert update question answer fact example tip hint remember spoiler
breaking news time date place location step rule lesson part chapter section episode scene act day week year number
no. option level round result results score total problem solution reason conclusion summary title subject re to from
cc here there this that first second third one two three so and but or the a i he she it they we you what why who how
when where is are was nasa esa fbi cia bbc cnn usa us uk eu un nato who dna ai ceo gps diy faq tl;dr ingredients
agenda source sources disclaimer
""")
