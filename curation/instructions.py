"""CURATE: what kind of thing a message asks for, by its leading words, in English and German.

A user's message comes in, one of `TYPES` goes out. Rules, not a model: they read how a request
begins, past "please" and "could you", and what they cannot tell is "other". Pure; knows nothing o"
    r"f
answers. Source of the kinds: fine-tuning guide, Instruction Tuning, "Diverse Tasks"; their words
are our choice, for the two languages that the rules know.
"""

from __future__ import annotations

import re

HEAD_CHARS = 240  # a request is told by how it begins; a pasted document is not read

_POLITE = (
    r"(?:(?:hi|hello|hey|hallo|guten (?:tag|morgen|abend)|dear \w+)\b"
    r"(?: there| all| everyone| zusammen)?[\s,.!]*)?"
    r"(?:(?:please|kindly|bitte|now|nun|jetzt|and|und|also|ok|okay|so)[\s,]+"
    r"|(?:can|could|would|will) you(?: please| kindly)?\s+"
    r"|(?:kannst|könntest|würdest) du(?: mir)?(?: bitte)?(?: mal)?\s+"
    r"|(?:können|könnten|würden) sie(?: mir)?(?: bitte)?\s+"
    r"|(?:i (?:want|need) you to|i(?:'d| would) like you to|help me(?: to)?|hilf mir(?:,"
    r"| dabei)?)\s+"
    r"|(?:i (?:want|need)|i(?:'d| would) like) to (?:know\s+)?"
    r"|(?:ich (?:möchte|will|würde gern(?:e)?) wissen,?)\s+)*"
)
# In this order: the first that fits. A verb of work wins over a question word inside the request.
_RULES = {
    "translate": r"translate|what does .{1,60} mean in|how do you say|übersetze?\b|wie sagt man",
    "summarise": r"summari[sz]e|sum up|condense|give (?:me )?(?:a|the) (?:short "
    r"|brief )?(?:summary|gist)"
    r"|tl;?dr|(?:what are )?the key points|fasse?\b.{0,200}\bzusammen"
    r"|(?:eine )?(?:kurze )?zusammenfassung",
    "rewrite": r"re-?write|re-?phrase|paraphrase|reword|proof-?read|correct (?:the|this|my)"
    r"|edit (?:the|this|my)"
    r"|improve (?:the|this|my) (?:text|writing|sentence|e-?mail|letter|paragraph)|shorten"
    r"|simplify"
    r"|make (?:this|it|the text|my \w+) (?:\w+ )?(?:more|less|sound|shorter|longer|friendlier"
    r"|clearer)"
    r"|formulier\w*\b.{0,200}\bum\b|schreib\w*\b.{0,200}\bum\b|korrigier"
    r"|verbesser|kürze?\b|vereinfach",
    "classify": r"classif|categori[sz]e|label (?:the|this|these|each)|is (?:this|the following) "
    r"(?:\w+ )?(?:positive|negative|spam|true|false)|which (?:category|class|sentiment)"
    r"|(?:what|determine|detect) (?:is )?the sentiment|klassifizier|kategorisier"
    r"|ordne\b.{0,200}\b(?:zu|ein)\b"
    r"|welche (?:kategorie|klasse|stimmung)",
    "extract": r"extract|find all|pull out|identify (?:all|the|every)|list (?:all|every"
    r"|the) .{0,60}"
    r"\b(?:in|from|of) (?:the|this)|parse|extrahier|finde alle|nenne? alle .{0,60}\b(?:im|aus"
    r"|in)\b"
    r"|lies\b.{0,80}\baus\b",
    "code": r"(?:write|create|implement|fix|debug|refactor|explain|schreib\w*|erstell\w*"
    r"|implementier\w*|behebe?)\b"
    r".{0,80}\b(?:code|function|script|program|class|regex|query|sql|python|javascript|java|bash"
    r"|html|css"
    r"|typescript|rust|bug|unit tests?|funktion|skript|programm|klasse|abfrage|fehler im code)\b"
    r"|implement\b|debug\b|refactor\b|programmier",
    "how-to": r"how (?:do|can|could|should|would|must) (?:i|we|you|one)\b|how to\b|what(?:'s"
    r"| is) the best way"
    r"|what are the steps|show (?:me )?how|walk me through|steps to\b|guide me"
    r"|wie (?:kann|soll|muss|mache?|geht|stelle?|bekomme?|richte?|ändere?|lösche?)\b"
    r"|zeig\w* (?:mir )?wie"
    r"|anleitung",
    "compare": r"compare|contrast|what(?:'s| is| are) the differences?|(?:pros and cons"
    r"|vor- und nachteile)"
    r"|vergleich|was ist der unterschied|(?:which|what) is better|was ist besser",
    "list": r"list\b|name (?:\w+ )?(?:\w+)s\b|give (?:me )?(?:\d+|some|a few|several|two|three"
    r"|four|five|ten)\b|brainstorm"
    r"|suggest|recommend|(?:any )?ideas\b|nenne?\b|liste?\b|schlag\w*\b.{0,100}\bvor\b|empfiehl"
    r"|vorschläge"
    r"|gib mir (?:\d+|ein paar|einige|zwei|drei|vier|fünf|zehn)",
    "write": r"write|compose|draft|create|generate|make (?:me )?(?:a|an)\b|come up with|invent"
    r"|tell (?:me )?a "
    r"(?:joke|story|poem)|schreib|verfass|erstell|entwirf|erfinde?|erzähl\w*|dichte",
    "explain": r"explain|describe|elaborate|define|tell me (?:more )?about|what (?:is|are) meant"
    r"|erklär|beschreib"
    r"|definier|erläuter|was (?:bedeutet|versteht man)",
    "calculate": r"calculate|compute|solve|convert|how (?:much|many) (?:is|are) [\d(]|what(?:'s"
    r"| is) [\d(]"
    r"|berechne|rechne|löse\b|wie ?viel (?:ist|sind) [\d(]",
    "question": r"(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|am|do|does|did"
    r"|can|could"
    r"|will|would|should|shall|may|has|have|had|what's|where's|who's|isn't|aren't|don't|doesn't"
    r"|any)\b"
    r"|(?:wer|wen|wem|wessen|was|welche[rsnm]?|wann|wo|woher|wohin|warum|wieso|weshalb|wie"
    r"|wie ?viele?|womit|wofür|ist"
    r"|sind|war|waren|hat|haben|habe|kann|können|darf|muss|soll|sollte|wird|werden|gibt|ob)\b",
}  # fmt: skip
TYPES = (*_RULES, "chat", "other")

# A message that is nothing else; before a request they say nothing of its kind.
_CHAT = re.compile(
    r"(?:(?:hi|hello|hey|thanks?|thank you|thx|good (?:morning|evening|day|night)|bye|goodbye"
    r"|okay|ok"
    r"|great|cool|nice|perfect|yes|no|sure|lol|how are you|hallo|guten (?:tag|morgen|abend)|danke"
    r"|vielen dank|tschüss|ja|nein|super|moin|servus|gut|perfekt|wie geht(?: es|'s)?|a lot"
    r"|so much|very much"
    r"|schön|sehr|you|there|dir|euch|ihnen|all|everyone|zusammen)\b|[^\w?])+\??$"
)
# A polite German request has its verb at the end.
_GERMAN_REQUESTS = ("kannst", "könn", "würd", "bitte", "ich ", "hallo", "hi ")
_GERMAN_LAST = re.compile(
    r"\b(?:(?P<translate>(?:zu )?übersetzen)|(?P<summarise>zusammen(?:zu)?fass)"
    r"|(?P<rewrite>um(?:zu)?(?:formulier|schreib)|korrigieren)"
    r"|(?P<write>schreiben|verfassen|erstellen|entwerfen))"
)
_CODE_MARKS = ("```", "#include", "def __", "traceback (most recent", "select * from", "();")
_CODE_PLACE = TYPES.index("code")
_RULE = re.compile(
    "(?>[^\\w`]*" + _POLITE + ")(?:" + "|".join(f"({rule})" for rule in _RULES.values()) + ")",
    re.DOTALL,
)


def instruction_type(message: str) -> str:
    """Return which of `TYPES` the message asks for."""
    head = " ".join(message[:HEAD_CHARS].casefold().replace("\u2019", "'").split())
    if not head:
        return "other"
    if _CHAT.match(head):
        return "chat"
    return _by_verb(head) or ("question" if message.rstrip().endswith("?") else "other")


def _by_verb(head: str) -> str | None:
    if head.startswith(_GERMAN_REQUESTS) and (last := _GERMAN_LAST.search(head)):
        return last.lastgroup
    found = _RULE.match(head)
    place = found.lastindex - 1 if found and found.lastindex else len(TYPES)
    is_code = any(mark in head for mark in _CODE_MARKS)
    return "code" if is_code and place > _CODE_PLACE else dict(enumerate(_RULES)).get(place)
