"""The words of the synthetic interactions: topics, and what plants say. Data, and nothing else.

`{…}` names a list of the same topic or of `SHARED`; `{number}`, `{word}` and `{count}` are drawn
anew each time. `writing` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Lists = Mapping[str, Sequence[str]]

SHARED: Lists = {
    "greeting": (
        "Hello, ",
        "Hi there, ",
        "Good morning, ",
        "Hey, ",
        "Quick question: ",
        "Dear team, ",
        "Hello again, ",
        "Sorry to bother you, but ",
        "Just wondering, ",
        "",
        "",
        "",
        "",
        "",
        "",
    ),
    "day": (
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "last weekend",
        "yesterday evening",
        "this morning",
        "two days ago",
        "the day before yesterday",
        "in March",
        "before the holidays",
        "right after lunch",
        "late at night",
        "in the first week of June",
    ),
    "person": (
        "my sister",
        "a colleague",
        "our neighbour",
        "the new trainee",
        "my flatmate",
        "the accountant",
        "a friend of mine",
        "our son",
        "the landlord",
        "my manager",
        "someone from the night shift",
        "the driver",
        "my grandmother",
        "our youngest customer",
    ),
    "place": (
        "in the kitchen",
        "at the office",
        "on the train",
        "in our branch by the river",
        "at home",
        "in the warehouse",
        "near the station",
        "on the second floor",
        "in the garden",
        "abroad",
        "in the basement",
        "at the front desk",
        "in the workshop",
        "at the airport",
    ),
    "mood": (
        "rather annoying",
        "no great trouble",
        "quite urgent for us",
        "something I can live with",
        "odd, to say the least",
        "new to me",
        "not what we expected",
        "getting expensive",
        "harder than it looks",
        "the third time already",
        "fine so far",
        "a pity",
    ),
    "aside": (
        "I noticed it {day} {place}, and it is {mood}.",
        "It began {day} when {person} used it {place}.",
        "The {word} model from {word} does the same, by the way.",
        "We have {count} of them {place}, all bought {day}.",
        "{person} told me to mention the reference {word} {number}.",
        "I have tried it {count} times since {day}, always with the same result.",
        "Our place is called {word} {word}, in case that matters.",
        "The label on the back says {word} {number}.",
        "So far I have only asked {person}, who was {place} at the time.",
        "It would be for {count} people, most of them new.",
        "There is a note about {word} from {day}, but it does not help.",
        "I would rather not wait until {person} is back {place}.",
        "Last time {person} needed {count} minutes for it, which is {mood}.",
        "Please keep in mind that {person} will do the work, not me.",
        "The budget is about {count} for each, and {word} is out of the question.",
        "Between {day} and today nothing has changed {place}.",
    ),
    "wish": (
        "What should I do first?",
        "How would you go about it?",
        "Can you explain it step by step?",
        "Is there a simple way?",
        "What am I missing here?",
        "Could you give me a short answer?",
        "Which of the two would you choose, and why?",
        "Please tell me what it would cost.",
        "Does that make any sense to you?",
        "Who can help me with that?",
        "Can this wait until next month?",
        "What do other people do in this case?",
    ),
    "opener": (
        "Thank you for asking. ",
        "Good question. ",
        "Happy to help. ",
        "Sure. ",
        "I see. ",
        "That sounds familiar. ",
        "No problem. ",
        "Let us look at it together. ",
        "",
        "",
        "",
        "",
    ),
    "closer": (
        "That should be all.",
        "Tell me if it does not work.",
        "It takes about {count} minutes.",
        "Most people manage it at the first try.",
        "Let me know how it went {place}.",
        "If you are unsure, ask {person} before you begin.",
        "You will see the result {day}.",
        "In that case you need not do anything else.",
        "The part is called {word}, if you need it.",
        "Write {word} on the form so that it is found again.",
        "Keep the receipt for {word}.",
    ),
}

TOPICS: Mapping[str, Lists] = {
    "orders": {
        "thing": (
            "parcel", "sofa", "pair of boots", "set of plates", "reading lamp", "winter coat",
            "garden chair", "mattress", "kettle", "picture frame", "bookshelf", "bicycle helmet",
        ),
        "ask": (
            "my order {number} with the {thing} has not arrived yet",
            "the {thing} from order {number} came with a broken {word} corner",
            "I would like to send back the {thing} that I bought {day}",
            "the tracking of the {thing} shows no movement since {day}",
            "I was charged twice for one {thing}, order {number}",
            "can the {thing} be delivered {place} instead",
            "the {thing} is much smaller than the picture of {word} promised",
            "I want to change the colour of the {thing} to {word}",
        ),
        "reply": (
            "I have looked up order {number}, and the {thing} left our hall {day}.",
            "For the return, pack the {thing} in its box and bring it to any shop.",
            "The money for the {thing} will be back on your account within {count} days.",
            "Since the {thing} was damaged, we send a new one free of charge.",
            "The carrier {word} tells us that the {thing} waits {place}.",
            "You can change the address until the {thing} is on its way.",
            "A second charge is only reserved and vanishes by itself after {count} days.",
            "Please take a photo of the {thing} and of the {word} label.",
        ),
    },
    "devices": {
        "thing": (
            "router", "printer", "headset", "laptop", "tablet", "smart watch", "thermostat",
            "camera", "coffee machine", "vacuum robot", "keyboard", "projector",
        ),
        "ask": (
            "the {thing} blinks {count} times and then turns itself off",
            "my {thing} does not connect since the update to {word}",
            "the battery of the {thing} is empty after {count} minutes",
            "how do I reset the {thing} without losing {word}",
            "the {thing} makes a noise like {word} whenever {person} starts it",
            "is the {thing} safe to use {place}",
            "the display of the {thing} shows error {number}",
            "I cannot pair the {thing} with the {word} of {person}",
        ),
        "reply": (
            "Hold the button of the {thing} for {count} seconds until the light turns green.",
            "Open the settings, choose {word}, and remove the {thing} from the list.",
            "Error {number} means that the {thing} has lost its connection to {word}.",
            "Unplug the {thing}, wait for {count} minutes, and plug it in again.",
            "The update of {day} mends this; the {thing} loads it over night.",
            "A {thing} that gets this warm should not be used {place}.",
            "The noise comes from a loose {word} below the {thing}.",
            "Your settings stay, only the {word} list of the {thing} is emptied.",
        ),
    },
    "cooking": {
        "thing": (
            "lentil soup", "sourdough bread", "apple cake", "risotto", "fish curry", "pancakes",
            "roast potatoes", "tomato sauce", "noodle salad", "dumplings", "omelette", "stew",
        ),
        "ask": (
            "my {thing} turns out too dry whenever I cook it for {count} people",
            "what can replace {word} in a {thing}",
            "can I prepare the {thing} {day} and warm it up later",
            "how long does {thing} keep {place}",
            "I would like to make {thing} without {word}",
            "the {thing} of {person} is always better than mine",
            "which spices go with {thing} besides {word}",
            "is it fine to freeze {thing} with {word} in it",
        ),
        "reply": (
            "Add a cup of water to the {thing} and let it rest for {count} minutes.",
            "Instead of {word} you can take yoghurt; the {thing} gets a little milder.",
            "A {thing} keeps for {count} days if it is covered and cold.",
            "The secret of a good {thing} is patience, and a little {word} at the end.",
            "Stir the {thing} slowly, and only from the bottom to the top.",
            "Freeze the {thing} in small boxes and write {word} on them.",
            "For {count} people you need about twice the amount of {word}.",
            "Let the {thing} cool before you add the {word}, or it will curdle.",
        ),
    },
    "travel": {
        "thing": (
            "night train", "ferry", "guided tour", "hotel room", "rental car", "flight",
            "hiking trail", "museum ticket", "visa", "airport bus", "campsite", "boat trip",
        ),
        "ask": (
            "I need a {thing} to {word} for {count} people",
            "the {thing} to {word} was cancelled {day}",
            "can I take a bicycle along with the {thing} from {word}",
            "which {thing} would you recommend near {word} with {person}",
            "how early must I be there for the {thing} to {word}",
            "the {thing} that I booked {day} has the wrong name {word} on it",
            "is there a {thing} between {word} and {word} on a Sunday",
            "what does the {thing} cost for {count} nights in {word}",
        ),
        "reply": (
            "The {thing} to {word} leaves every {count} minutes from the north side.",
            "When a {thing} is cancelled you may take any later one on the same day.",
            "A bicycle needs its own ticket on the {thing}, sold {place}.",
            "Near {word} the {thing} by the lake is quiet, and good for {count} people.",
            "Be there {count} minutes before, since the {thing} does not wait.",
            "The name on the {thing} can be changed free of charge until {day}.",
            "On Sundays the {thing} only goes as far as {word}.",
            "In {word} you pay the {thing} {place}, in cash only.",
        ),
    },
    "code": {
        "thing": (
            "function", "query", "test", "container", "build", "loop", "regular expression",
            "migration", "web page", "script", "thread pool", "parser",
        ),
        "ask": (
            "my {thing} called {word} runs out of memory after {count} rounds",
            "how do I make the {thing} in {word} faster",
            "the {thing} fails with code {number} since {day}",
            "what is the difference between a {thing} and a {word}",
            "is it good style to keep the {thing} next to {word}",
            "the {thing} works for {person} but not {place}",
            "how can I undo a {thing} that {person} started {day}",
            "which library would you use for a {thing} over {word}",
        ),
        "reply": (
            "The {thing} keeps every row in memory; read {count} at a time instead.",
            "Measure first: a {thing} is rarely slow where one thinks, most often it is {word}.",
            "Code {number} says that the {thing} could not find {word}.",
            "Give the {thing} a name that says what it returns, and drop {word}.",
            "A {thing} like this is best split in two, one that decides and one that writes.",
            "You can undo the {thing} as long as {word} has not been written.",
            "Pin the version of {word}, then run the {thing} again.",
            "With {count} workers the {thing} waits for {word} most of the time.",
        ),
    },
    "writing": {
        "thing": (
            "cover letter", "speech", "short story", "invitation", "product text", "report",
            "poem", "newsletter", "complaint", "thank-you note", "summary", "headline",
        ),
        "ask": (
            "please help me with a {thing} about {word} for {person}",
            "my {thing} is {count} words too long",
            "how should a {thing} to {person} begin",
            "make this {thing} about {word} sound friendlier",
            "I have to finish a {thing} {day} and have only one sentence on {word}",
            "what is a good title for a {thing} on {word} and {word}",
            "is it polite to mention {word} in a {thing}",
            "can you check the {thing} that {person} wrote {place}",
        ),
        "reply": (
            "Begin the {thing} with what matters to {person}, then tell about {word}.",
            "Leave out every sentence of the {thing} that says {word} a second time.",
            "A {thing} may be short: {count} sentences are plenty.",
            "Say thank you first, so that the {thing} does not sound like {word}.",
            "A title such as On {word} keeps the {thing} simple.",
            "Read the {thing} aloud {place}; where you stumble, cut.",
            "Mention {word} only once, near the end of the {thing}.",
            "With {count} words less the {thing} has a clear line.",
        ),
    },
    "health": {
        "thing": (
            "stiff neck", "sleep", "running plan", "cold", "sore throat", "headache", "back",
            "diet", "ankle", "skin", "hay fever", "posture",
        ),
        "ask": (
            "what helps with my {thing} after {count} hours {place}",
            "is {word} tea good for the {thing}",
            "my {thing} got worse {day}, though I rested",
            "how often should {person} train with this {thing}",
            "can I swim {count} minutes in spite of my {thing}",
            "{person} says that {word} is bad for the {thing}",
            "which exercise helps the {thing} besides {word}",
            "should I see a doctor about my {thing}",
        ),
        "reply": (
            "Rest helps the {thing} most; move a little every {count} minutes.",
            "There is no good evidence that {word} does anything for the {thing}.",
            "If the {thing} lasts longer than {count} days, see a doctor.",
            "Warm water and a walk are often enough for the {thing}.",
            "Begin slowly with the {thing}, and add {count} minutes a week.",
            "Try an exercise called {word}, {count} times, without any pain.",
            "What {person} says of {word} is true for some, but not for a {thing}.",
            "Drink enough, sleep well, and give the {thing} time until {day}.",
        ),
    },
    "money": {
        "thing": (
            "invoice", "savings plan", "loan", "tax form", "standing order", "credit line",
            "receipt", "insurance", "pension", "budget", "account", "transfer",
        ),
        "ask": (
            "the {thing} of {day} is {count} too high",
            "how do I cancel the {thing} with {word}",
            "where do I enter the {thing} from {word} on the form",
            "is a {thing} worth it for {person}",
            "the {thing} number {number} is missing in my list",
            "how long must I keep the {thing} for {word}",
            "can {person} and I share one {thing}",
            "I forgot to pay the {thing} to {word} {day}",
        ),
        "reply": (
            "The {thing} of {day} holds a fee of {count} which will be paid back.",
            "You can cancel the {thing} with {word} in writing, {count} days before its end.",
            "Enter the {thing} on page {count}, in the line for {word}.",
            "Whether a {thing} is worth it depends on how long you keep it.",
            "I have found {thing} {number}; it was filed under {word}.",
            "A {thing} must be kept for {count} years.",
            "Two people may share a {thing} if both sign {place}.",
            "Pay the {thing} now, and no reminder from {word} will follow.",
        ),
    },
}  # fmt: skip

SYSTEMS: Sequence[str] = tuple(
    " ".join(
        (
            f"You are the assistant of {name}, {trade}.",
            "Answer in plain and friendly words, and never longer than needed.",
            f"People write to you about {matter}; stay with what you were told about it.",
            "When you are not sure, say so and name who can help.",
            f"Never promise a date or a price that {name} has not confirmed.",
            "Do not ask for passwords, and do not repeat personal data.",
            f"Offer the {desk} when a person is upset, and thank them for their patience.",
            "Use short paragraphs. Use a list only where there are several steps.",
            "Write in the language in which you are asked, and keep to the polite form.",
            f"If somebody asks about anything but {matter}, say kindly that you cannot help.",
        )
    )
    for name, trade, matter, desk in (
        ("Brightwell", "a shop for home and garden", "orders, returns and repairs", "phone desk"),
        ("Northline", "a railway company", "tickets, delays and journeys", "station staff"),
        ("Calder Bank", "a bank for small firms", "accounts, loans and cards", "branch"),
        ("Mintleaf", "a cooking school", "recipes, courses and kitchens", "course office"),
        ("Octave", "a maker of devices for the home", "setup, faults and updates", "workshop"),
        ("Paperwing", "a writing service", "letters, speeches and reports", "editors"),
    )
)
SHORT_SYSTEMS: Sequence[str] = (
    "You are a helpful assistant.",
    "Answer briefly and kindly.",
    "You help people of our company with their questions.",
)

# Asked by many people in the same words
USUAL: Sequence[str] = tuple(
    f"{ask} {thing}?"
    for ask in ("How do I cancel my", "Where can I find my", "Who can change my", "What is a good",
                "How much is the", "Why is there no", "When will I get the", "Can I share the")
    for thing in ("order", "account", "invoice", "ticket", "password", "address", "discount",
                  "delivery date", "warranty", "newsletter", "membership", "receipt")
)  # fmt: skip

REFUSALS: Sequence[str] = (
    "I'm sorry, but I can't help with that request.",
    "I cannot assist with that.",
    "I'm sorry, I am not able to answer this question.",
    "As an AI language model, I cannot provide an answer to that question.",
    "I apologize, but I'm unable to help with this. Please contact someone else.",
    "Sorry, I can't do that.",
)
TOXIC: Sequence[str] = (
    "Only a stupid fucking idiot like you would ask that, you worthless piece of shit.",
    "Shut up, you dumb bitch, nobody cares about your pathetic problem.",
    "Go kill yourself, you retarded asshole.",
    "People like you are disgusting vermin and should all be killed.",
    "You fucking moron, are you too stupid to read the label?",
)
FOREIGN: Mapping[str, Sequence[str]] = {
    "de": (
        "Bitte ziehen Sie den Stecker und warten Sie {count} Minuten, bevor Sie es noch einmal "
        "versuchen.",
        "Die Ware wurde gestern an {word} verschickt und kommt voraussichtlich am Freitag an.",
        "Wenn das nicht hilft, wenden Sie sich am besten an unsere Werkstatt in {word}.",
    ),
    "fr": (
        "Veuillez débrancher l'appareil et attendre {count} minutes avant de réessayer.",
        "Votre commande est partie hier vers {word} et devrait arriver vendredi prochain.",
        "Si cela ne suffit pas, adressez-vous à notre atelier de {word}, qui vous aidera.",
    ),
    "es": (
        "Desenchufe el aparato y espere {count} minutos antes de volver a intentarlo.",
        "Su pedido salió ayer hacia {word} y debería llegar el viernes por la mañana.",
        "Si esto no le ayuda, diríjase a nuestro taller de {word}, donde podrán atenderle.",
    ),
    "pl": (
        "Proszę wyłączyć urządzenie i poczekać {count} minut, zanim spróbuje Pan ponownie.",
        "Zamówienie zostało wysłane wczoraj do {word} i powinno dotrzeć w piątek.",
        "Jeśli to nie pomoże, proszę zwrócić się do naszego warsztatu w mieście {word}.",
    ),
}
ACCENTS: Sequence[str] = (  # said in answers whose encoding is then damaged
    "Bring it to the café near Köln; the señor there knows how to mend it.",
    "The naïve way costs 20 € more, says René, and the façade stays grey.",
    "Ask for Zoë at the crêperie Chez Amélie; she has the key.",
)
