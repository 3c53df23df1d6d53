"""The words that tell names apart: given names, what is no name, and brands that look like one.

Small lists in lower case, written for this purpose. Given names are those common in English,
German, French, Spanish, Italian, Dutch, Polish, Nordic, Turkish, Arabic, Indian, Chinese, Japanese
and African use; those that are words, places or products as often (May, Paris, Ruby) stand apart,
and count only after a cue. Whoever has another name is found by what stands around it.
"""

from __future__ import annotations

_CLEAR = """
aaron abdul abigail adam adrian adriana agnes agnieszka ahmed ahmet aisha akira alan albert
alejandro aleksander alessandro alex alexander alexandra alexandre alexey alfred ali alice alicia
alina alison amanda amelia amin amina amit amy ana anais anaïs andrea andreas andrew andrey
andrzej andré aneta angela anika anita anja anke ann anna anne annette annika anthony antoine
anton antonio anya arjun armin arnaud arthur astrid ayesha barbara bartosz beata beatrice beatriz
ben benedikt benjamin bernard bernd birgit björn bob bogdan brenda brian brianna brigitte bruno
bryan camila camille carl carla carlos carolina caroline catherine cathy cecilia charles chiara
chinedu chloe chloé chris christian christiane christina christine christoph christophe
christopher cindy claire clara claudia claudio clement clément colin connor craig cristina cynthia
dan daniel daniela daniele danielle danuta dave david deborah deepak denise dennis diana diego
dieter dimitri dirk dmitry dominik dominique donald donna dorota dorothy douglas edith eduardo
edward eileen elena elif elisabeth elise elizabeth ella ellen elsa emeka emil emilia emily emma
emmanuel enrique eric erik erika esther ethan eugene eva evelyn ewa fabian fabio fatima fatma
felicity felix fernando filip fiona florian francesca francesco francisco franziska françois fred
frederik fredrik friedrich gabriel gabriela gabriele gareth gary georg george gerald gerard
gerhard gertrud giorgio giovanni giulia giuseppe gloria gonzalo gordon greg gregory greta guido
guillaume gustav gustavo günter hanna hannah hans harald harold harry hasan hassan heather hector
heidi heike heinrich heinz helen helena helene helga henri henrik henry herbert hiroshi holger
howard hugo hussein hélène ian ibrahim ignacio igor ines inga inge ingrid irene irina isaac isabel
isabella isabelle ivan ivana jacob jacqueline jacques jakob jakub james jan jane janet janine
jared jason javier jean jeff jeffrey jennifer jenny jeremy jerzy jessica jesús jim joachim joan
joanna jochen joe joel johan johanna johannes john jonas jonathan jorge jose josef joseph josh
joshua josé joão juan judith judy julia julian juliane julie julien jun jürgen kamil karen karim
karin karl katarzyna kate katharina katherine kathleen kathrin katja keith kelly ken kenji kenneth
kerstin kevin kim klaus krzysztof kurt kwame lara larry lars laura lauren laurent lea leandro
leila lena lennart leo leon leonardo leonie leslie linda ling lisa liu lorenzo louis louise luca
lucas lucia lucía luis luisa lukas lukasz luke lydia léa maciej magda magdalena mahmoud malgorzata
manuel manuela marc marcel marcelo marcin marco marcus marek margaret margarita maria mariana
marianne marie marina mario marion marisa marius markus marta martha martin martina mary mateo
mateusz mathias mathieu matt matteo matthew matthias matthieu maurice mauricio maximilian megan
mehmet mei melanie melissa mercy michael michaela michal michel michele michelle miguel mika
mikael mike milan mina miriam mohamed mohammad mohammed monica monika monique moritz muhammad
mustafa nadia nadine nancy naomi natalia natalie nathalie nathan neil niamh nicholas nicola
nicolas nicole niels nigel nikolai nina noah noor nora norbert norman oksana olaf olena olga
oliver olivia olivier omar otto owen pablo pamela paolo patricia patrick patrycja paul paula
paulina pavel pawel pedro peter petra phil philip philipp philippe phillip pierre pilar piotr
priya rachel rafael rahul rainer raj rajesh ralf ramona raphael raquel raul ravi rebecca renate
rené ricardo richard rita robert roberto rodrigo roger roland rolf roman ronald rosa rosemary
roxana rui ruth ryan rüdiger sabine sabrina sally sam samantha samuel sandra sanjay sara sarah
scott sean sebastian serge sergei sergey sergio sharon shreya silke silvia simon simone siobhan
sofia sonia sonja sophia sophie stacy stanislaw stefan stefanie stefano steffen stella stephan
stephanie stephen steve steven stuart sunita susan susanne suzanne sven svetlana sylvia sylvie
takashi tanja tatiana ted teresa terry theo theodor theresa thierry thomas tiago tim timothy tina
tobias tom tomasz tony torsten tracy ulrich ulrike ursula ute uwe valentin valentina valerie
valérie vanessa vera veronica veronika vijay vincent viola vladimir walter wei werner wilhelm
william wojciech wolfgang xavier yannick yasmin yuki yusuf yvonne zack zainab zoe zofia étienne
"""
_AS_WORDS_TOO = """
abby alexa amber angel april art august austin autumn bill blake brook bruce carmen carol carrie
chad charlie charlotte chase chelsea cliff crystal daisy dale daphne dawn dean dolores drew eve
faith florence frank gene georgia glen grace grant guy heath holly hope iris ivy jack jade jasmine
jay jewel jo jordan joy june karma lance lily lou mark mat max may melody mercedes mia miles milo
nick noel oscar paris pat pearl penny pierce ray reed rich rob robin rock rocky rod rose ross ruby
rusty sage sandy savannah shane sidney sierra sky stan star sue summer sydney trinity troy victor
victoria violet virginia wade ward will woody
"""
# teams, trades, nationalities, days, places, and the small words of four languages
_NO_NAME = """
a account accounts admin administrator african agent airport all alle alles american amigo amigos
an and android any app apple applicant apps april arab are as asian assistant at august australian
austrian autumn avenue award bank beach belgian billing bot brazilian british buenas buenos but
buyer by bürgermeister canadian card cathedral catholic chatbot chef cher chief chinese christian
christmas church city clean clerk client cliente clientes clients colleague colleagues college
collègues committee company complaint concern consultant corp counsellor court customer customers
czech damen danish day dear december dein deine delivery department desk developer directeur
director directrice direktor direktorin doctor dr driver du dutch easter edition el engineer
english equipo estimada estimado euch euer european everybody everyone example executive falsch
february finance finnish folks football for français frau french friday friend friends from garden
gardens german gmbh google gott gottes greek gruß grüße grüßen guest guests hall head hello help
helpdesk here herr herren herrn hindu hiring hospital hotel hr human hungarian i ich if ihr ihre
in inc indian installer irish is island israeli it italian january japanese java jewish july june
junior kanzler kanzlerin kitty kollegen kolleginnen korean kunde kunden kundenservice kundin la
lake le lead lehrer les leute linux llc los ltd maam madam madame maire management manager
managing march market martens may member members mesdames messieurs mexican microsoft minister
ministerin mitarbeiter mlle mme monday monsieur mr mrs ms muscle museum muslim muy mx my mía mío
name neighbors neighbours no none norwegian not nous november nurse october oetker of office
officer on operations operator or order orders our owner pakistani parents park partner party
password pepper place player plaza polish portuguese president prize product prof professor
protestant präsident präsidentin python recruiter resources returns river road romanian russian
s.a. saigon sales sas saturday school scottish secretary seller senior september server service
services señor señora señores señorita shipping shop sie sir siri sirs so spanish spokesperson
spring square sr sra srta staff station still store street student su subscriber summer sunday
support swedish swiss system teacher team teams tech technical tenant test that the theatre their
theorem there these they this those thursday to todas todos tous toutes tower tuesday turkish
ubuntu ukrainian universe university unknown unser unsere us user usted ustedes usuaria usuario
usuarios valley vendor volunteer votre vous we web wednesday welsh what who windows winner winter
wir with world wrong yes you your yours zusammen équipe
"""
_SMALL_WORDS = """
a an and at aus but calling can con could de et for from has have hello here hi i ich im in is je
my need not on or order please so speaking the to und want who with y yo
"""

CLEAR = frozenset(_CLEAR.split())
GIVEN = CLEAR | frozenset(_AS_WORDS_TOO.split())
NO_NAME = frozenset(_NO_NAME.split())
SMALL_WORDS = frozenset(_SMALL_WORDS.split())  # after "my name is ann", in small letters
BRANDS = frozenset(
    {
        "calvin klein",
        "carl zeiss",
        "charles schwab",
        "harry potter",
        "hugo boss",
        "jack daniels",
        "jack wolfskin",
        "james bond",
        "john deere",
        "john lewis",
        "karl lagerfeld",
        "laura ashley",
        "louis vuitton",
        "marie claire",
        "martin luther",
        "mary poppins",
        "michael kors",
        "paul smith",
        "peter pan",
        "ralph lauren",
        "robert bosch",
        "simon says",
        "thomas cook",
        "tommy hilfiger",
    }
)
