"""Redaction: what is personal or secret in a text is replaced before anything is written.

rule                 what a rule is: entity, hint, places
secrets accounts contacts national_ids places names    the rules
check_digits given_names                               what they ask
redactor             the rules of an application; a conversation
placeholders         numbers, fingerprints, how a correction is aligned
writing              what an application's mode lets be written
"""
