"""CURATE: answers that are a refusal, and text that web pages carry and no answer does.

Only a short answer that is a refusal from end to end counts: "I'm sorry, but I can't find that
order. Could you send its number?" is help. English, German, French, Spanish, Italian, Portuguese
and Dutch. Pure.
"""

from __future__ import annotations

import re

MAX_REFUSAL_CHARS = 400  # our choice; a longer one says more than no
_SENTENCES = re.compile(r"[^.!?;\n]+")

_APOLOGY = (
    r"(?:(?:i'?m|i am|we'?re|we are)? ?(?:very |so |really |truly )?sorry|i apologi[sz]e"
    r"|my apologies|unfortunately|es tut mir (?:sehr )?leid|tut mir leid|entschuldigung|leider"
    r"|(?:je suis )?(?:vraiment )?désolée?|je m'excuse|malheureusement|lo siento(?: mucho)?"
    r"|lamentablemente|mi dispiace|purtroppo|desculpe|sinto muito|infelizmente|het spijt me"
    r"|sorry|helaas)"
)
_AS_AI = (
    r"as an? (?:ai|artificial intelligence)\b[^,]{0,60}"
    r"|als (?:ki|ai|künstliche intelligenz)\b[^,]{0,40}?|als (?:ein )?(?:ki-)?sprachmodell"
    r"|en tant qu'(?:ia|intelligence artificielle)\b[^,]{0,40}"
    r"|en tant que modèle de langage[^,]{0,30}|como (?:una? )?(?:ia|inteligencia artificial"
    r"|modelo de (?:lenguaje|linguagem))\b[^,]{0,40}"
    r"|come (?:ia|intelligenza artificiale|modello linguistico)[^,]{0,30}"
    r"|als (?:een )?(?:ai-)?taalmodel"
)
_NOT_ABLE = (
    r"(?:(?:i|we) (?:can(?:no|')t|can not|won't|will not|don't feel comfortable|have to decline"
    r"|must (?:decline|refuse))|(?:i|we)(?:'m| am|'re| are) (?:unable|not (?:able|allowed"
    r"|permitted)))(?: be able to| to)?"
)
_REST = r"(?:(?! but | however| instead)[^,])*(?:, (?:as|because|since)\b.*)?"
_ASSIST = (
    rf"(?: (?:assist|help)(?: you)?(?: (?:with|on) (?:that|this|it|such|your|the|any)\b{_REST})?"
    rf"| (?:do|answer|discuss|engage in|continue|participate in) (?:that|this|it)\b{_REST}"
    r"| (?:fulfil?l|comply with|complete|process|accommodate|respond to)"
    rf" (?:that|this|your|the|such)\b{_REST}"
    r"| (?:provide|offer|give|generate|create|produce|share|write|support|promote)\b[^,]*"
    rf"\b(?:that|this|such|harmful|illegal|content|request|information|advice|opinions?)\b{_REST}"
    rf"| have (?:personal )?(?:opinions|feelings|beliefs|emotions){_REST})?"
)
_OTHER_TONGUES = (
    r"(?:aber )?(?:ich kann|kann ich|dabei kann ich|damit kann ich)(?: (?:dir|ihnen|euch))?"
    r"(?: (?:dabei|damit|hierbei|bei dieser anfrage|diese anfrage|das|diese frage))?(?: leider)?"
    r" nicht(?: (?:helfen|weiterhelfen|beantworten|tun|bearbeiten|unterstützen|erfüllen"
    r"|behilflich sein).*)?"
    r"|(?:mais )?je ne (?:peux|suis) pas(?: en mesure)?(?: de)? (?:vous |t'|te )?"
    r"(?:aider|répondre|faire (?:cela|ça)|accéder à cette demande|fournir).*"
    r"|(?:pero )?no (?:puedo|me es posible) (?:ayudar|asistir|responder|hacer eso|proporcionar"
    r"|cumplir|contestar).*"
    r"|(?:ma )?non posso (?:aiutar|assister|rispondere|farlo|fornire|soddisfare).*"
    r"|(?:mas )?não posso (?:ajud|responder|fazer isso|fornecer|atender).*"
    r"|(?:maar )?(?:daar kan ik|ik kan)(?: je| u)?(?: daar)?(?: helaas)? niet (?:mee |bij )?help.*"
)
_REFUSES = re.compile(
    rf"(?:{_APOLOGY})?[,:\u2013\u2014-]*(?:but |however,? |and )?(?:{_AS_AI})?[,: ]*(?:but )?"
    rf"(?:(?:{_NOT_ABLE}){_ASSIST}|{_OTHER_TONGUES})(?: for you)?"
)
_NO_MORE = re.compile(  # what may stand beside a refusal without being help
    rf"(?:{_APOLOGY})|(?:{_AS_AI}).*"
    r"|(?:please |feel free to |but )?(?:let me know|ask|try|contact|consult)\b.*"
    r"|(?:is there|if there's|if you)\b.*"
    r"|(?:how|what) (?:else )?(?:can|may) i\b.*|(?:that|this|it) (?:goes|is|would be|violates)\b.*"
    r"(?:against|illegal|harmful|unethical|inappropriate|guidelines|policy|policies).*"
    r"|thank(?:s| you)\b.*|kann ich (?:sonst|dir|ihnen)\b.*|gibt es\b.*|(?:y a-t-il|puis-je)\b.*"
    r"|(?:¿?hay|¿?puedo|¿?en qué)\b.*|i (?:hope|understand|appreciate)\b.*|my (?:purpose|goal)\b.*"
)

_BOILERPLATE = re.compile(
    r"(?i)lorem ipsum dolor|(?:enable|activate) javascript|javascript (?:is (?:required|disabled)"
    r"|must be enabled)|(?:we|this (?:web)?site) uses? cookies|accept all cookies"
    r"|alle cookies akzeptieren|diese (?:web)?seite verwendet cookies"
    r"|ce site utilise des cookies|este sitio (?:web )?utiliza cookies|all rights reserved"
    r"|alle rechte vorbehalten|tous droits réservés|todos los derechos reservados"
    r"|(?:subscribe to|sign up for) our newsletter|(?:log|sign) in to (?:continue|comment)"
    r"|click here to (?:subscribe|read more|continue)|share (?:this )?on (?:facebook|twitter)"
    r"|(?:skip|jump) to (?:main )?content|powered by wordpress|502 bad gateway|privacy policy"
    r"|terms of (?:use|service)|datenschutzerklärung|politique de confidentialité"
)
_SURELY = "lorem ipsum dolor"  # C4 leaves out pages with it (arXiv 1910.10683, section 2.2)
MIN_PHRASES = 2  # our choice: an answer may speak of cookies, a page has several


def is_refusal(answer: str) -> bool:
    """Tell whether a whole short answer is a refusal."""
    if len(answer) > MAX_REFUSAL_CHARS:
        return False
    answer = answer.replace("\u2019", "'")
    sentences = [text.strip(" \"'*_,").lower() for text in _SENTENCES.findall(answer)]
    sentences = [text for text in sentences if text]
    refusals = [_REFUSES.fullmatch(text) is not None for text in sentences]
    return any(refusals) and all(
        refuses or _NO_MORE.fullmatch(text)
        for text, refuses in zip(sentences, refusals, strict=True)
    )


def boilerplate(prompt: str, answer: str) -> str | None:
    """Return how many phrases of web pages `answer` has that `prompt` did not speak of, or None."""
    phrases = {match.group().lower() for match in _BOILERPLATE.finditer(answer)}
    asked = prompt.lower()
    phrases = {phrase for phrase in phrases if phrase not in asked}
    is_page = len(phrases) >= MIN_PHRASES or _SURELY in phrases
    return f"{len(phrases)} phrases of web pages" if is_page else None


# For Arrow: in any answer that `is_refusal` tells, and one of these in any that `boilerplate` does
REFUSAL_SIGN = (
    r"(?i)can['\x{2019}n ]|unable|not able|w(?:on['\x{2019}]t|ill not)|decline|refuse|comfort"
    r"|not (?:allow|permit)|nicht|je ne|no (?:puedo|me)|n(?:on|ão) posso|niet|kan ik"
)
BOILERPLATE_SIGN = (
    r"(?i)lorem|javascript|cookies|rights|rechte|droits|derechos|newsletter|(?:log|sign) in to"
    r"|click here|share |bad gateway|to (?:main )?content|wordpress|privacy|terms of|datenschutz"
    r"|confidentialité"
)
