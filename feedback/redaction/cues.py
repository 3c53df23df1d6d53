"""The words that announce a name, in English, German, French and Spanish.

"My name is …", "Dear …,", "Regards, …", "Mr …", "my wife …", "Cardholder: …". A cue has a pattern,
and the last words before a name by which `sift` tells in an instant that it may be in a text.
"""

from __future__ import annotations

from dataclasses import dataclass

from feedback.redaction.names import (
    after,
    ends_greeting,
    ends_line,
    has_capital,
    in_small_letters,
    is_clear,
    is_two_or_given,
    speaks,
)
from feedback.redaction.rule import Find

_INTRODUCED = (
    r"\b(?:name(?:['\u2019]s| is)|mein name (?:ist|lautet)|ich hei(?:ß|ss)e|m['\u2019]appelle"
    r"|mon nom est|me llamo|mi nombre es|mi chiamo|mijn naam is|ik heet) {1,2}"
)
_CLOSED = (
    r"\b(?:regards|sincerely|cheers|thanks(?: again)?|thank you|best|wishes|yours|truly"
    r"|faithfully|respectfully|gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss)|mfg|lg|vg|danke|cordialement"
    r"|vous|merci|amicalement|saludos?|atentamente|cordialmente|gracias|saluti|groet(?:en)?)"
)
_GREETED = (
    r"\b(?:dear|hi|hello|hey|good (?:morning|afternoon|evening)|hallo|liebe[rs]?"
    r"|guten (?:tag|morgen|abend)|moin|bonjour|bonsoir|salut|cher|chère|hola|querid[oa]"
    r"|estimad[oa]|ciao) "
)
_TITLED = (
    r"\b(?:mr|mrs|ms|miss|mx|dr|prof|professor|herrn?|frau|monsieur|madame|mademoiselle|mme|mlle"
    r"|señor(?:a|ita)?|sra?|srta|signora?|mevrouw|meneer|sir|m(?=\. ))\.?"
    r"(?: (?:dr|prof|doktor|professor|señora?|monsieur|madame)\b\.?){0,2} "
)
_KIN = (
    r"\b(?:(?:my|our|his|her|their)(?: \w{1,12})? (?:wife|husband|partner|son|daughter|mother|mum"
    r"|mom|father|dad|brother|sister|colleague|boss|friend|neighbou?r|landlord|landlady|doctor"
    r"|lawyer|assistant)"
    r"|meine?r? (?:mann|frau|sohn|tochter|mutter|vater|bruder|schwester|kolleg(?:e|in)|chef(?:in)?)"
    r"|(?:mon|ma) (?:mari|femme|fils|fille|mère|père|frère|sœur)"
    r"|mi (?:marido|mujer|esposa|hijo|hija|madre|padre|hermano|hermana))"
    r"(?:,| is(?: called)?|['\u2019]s name is| heißt)? "
)
_LABELLED = (
    r"(?<![\w-])(?:(?:full|first|last|given|family|middle|maiden|customer|contact|patient"
    r"|employee)[ _]?name|surname|cardholder(?: name)?|account holder|contact(?: person)?|attn"
    r"|attention|patient|beneficiary|recipient|payee|vorname|nachname|kontoinhaber(?:in)?"
    r"|empfänger(?:in)?|ansprechpartner(?:in)?|nom(?: de famille)?|prénom|nombre|apellidos?)"
    r"[\"']?\s{0,2}[:=]\s{0,2}[\"']?"
)
_NAMED = (
    r"(?:^|(?<=[\n(,;{]))[\s\"']{0,2}name[\"']?\s{0,2}[:=]\s{0,2}[\"']?"  # of what, it says not
)
_MET = (
    r"\b(?:(?:spoke|speak|speaking|spoken|talk|talked|talking) (?:to|with)|asked? for|on behalf of"
    r"|signed(?: by)?[:,]?|assigned to|gez\.|signé(?: par)?|firmado(?: por)?"
    r"|unterschrieben von|gesprochen mit|contact) "
)


@dataclass(frozen=True, slots=True)
class Cue:
    """A way to announce a name.

    `words`: the last word before the name is one of these. `also`: parts, of which one is
    somewhere in the text; none are asked for where there are none.
    """

    find: Find
    words: tuple[str, ...]
    also: tuple[str, ...]


def _cue(find: Find, words: str, also: str = "") -> Cue:
    """Return a cue; a _ in `also` is a space."""
    parts = tuple(part.replace("_", " ") for part in also.split())
    return Cue(find, tuple(words.split()), parts)


CUES = (
    _cue(
        after(_INTRODUCED),
        "is name's name\u2019s ist lautet heiße heisse m'appelle m\u2019appelle est llamo es chiamo"
        " heet",
        "name hei appelle mon_nom llamo nombre chiamo naam heet",
    ),
    _cue(
        after(r"\b(?:i am|i['\u2019]m|ich bin|je suis|soy) ", is_clear),
        "am i'm i\u2019m bin suis soy",
        "i_am_ i'm_ i\u2019m_ ich_bin_ je_suis_ soy_",
    ),
    _cue(
        after(r"\b(?:this is|hier (?:ist|spricht)|ici) ", speaks),
        "is ist spricht ici",
        "this_is_ hier_ist_ hier_spricht_ ici_",
    ),
    _cue(
        after(_TITLED, has_capital),
        "mr mr. mrs mrs. ms ms. miss mx mx. dr dr. prof prof. professor herr herrn frau monsieur"
        " madame mademoiselle mme mme. mlle señor señora señorita sr sr. sra sra. srta srta. signor"
        " signora mevrouw meneer sir m. doktor",
    ),
    _cue(
        after(_GREETED, ends_greeting),
        "dear hi hello hey morning afternoon evening hallo liebe lieber liebes tag morgen abend"
        " moin bonjour bonsoir salut cher chère hola querido querida estimado estimada ciao",
    ),
    _cue(
        after(_CLOSED + r"(?:[ ,.!-]{0,3}\n\s{0,4}|, )", ends_line),
        "regards sincerely cheers thanks again you best wishes yours truly faithfully respectfully"
        " grüße grüßen gruß grüsse grüssen gruss gruesse gruessen mfg lg vg danke cordialement"
        " vous merci amicalement saludo saludos atentamente cordialmente gracias saluti groet"
        " groeten",
    ),
    _cue(
        after(_KIN, is_two_or_given),
        "wife husband partner son daughter mother mum mom father dad brother sister colleague boss"
        " friend neighbor neighbour landlord landlady doctor lawyer assistant is called mann frau"
        " sohn tochter mutter vater bruder schwester kollege kollegin chef chefin heißt mari femme"
        " fils fille mère père frère sœur marido mujer esposa hijo hija madre padre hermano"
        " hermana",
        "my_ our_ his_ her_ their_ mein mon_ ma_ mi_",
    ),
    _cue(
        after(_LABELLED),
        "name surname cardholder holder contact person attn attention patient beneficiary"
        " recipient payee vorname nachname kontoinhaber kontoinhaberin empfänger empfängerin"
        " ansprechpartner ansprechpartnerin nom famille prénom nombre apellido apellidos",
        ": =",
    ),
    _cue(after(_NAMED, is_two_or_given), "name", ": ="),
    _cue(
        after(_MET, is_clear),
        "to with for of signed by gez. signé par firmado por von mit contact",
        "spoke speak talk asked_for ask_for on_behalf signed assigned_to gez. signé firmado"
        " unterschrieben gesprochen contact_",
    ),
)
INTRODUCTIONS = (in_small_letters(_INTRODUCED),)  # without a capital: asked for by "name" alone
