"""Check digits: whether a number can be what it looks like. Digits and letters in, a bool out.

Each function takes the characters without spaces or hyphens, in upper case, of the length that
its number has. Pure.
"""

from __future__ import annotations

import re
from collections import Counter

# Verhoeff, 1969: multiplication in the dihedral group D5, and its permutation of positions
_D5 = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
       "5987604321", "6598710432", "7659821043", "8765932104", "9876543210")  # fmt: skip
_POSITIONS = ("0123456789", "1576283094", "5803796142", "8916043527",
              "9453126870", "4286573901", "2793806415", "7046913258")  # fmt: skip
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD_PLACES = "BAKPLCQDREVOSFTGUHMINJWZYX"  # codice fiscale: a letter's value at odd places


def luhn(digits: str) -> bool:
    """Source: ISO/IEC 7812-1, annex B."""
    last_first = [int(digit) for digit in reversed(digits)]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in last_first[1::2])
    return (sum(last_first[::2]) + doubled) % 10 == 0


def mod_97(code: str) -> bool:
    """IBAN. Source: ISO 13616-1, MOD 97-10."""
    return int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1


def steuer_id(digits: str) -> bool:
    """German tax id, 11 digits. Source: ISO/IEC 7064, MOD 11,10; ELSTER, test of the IdNr."""
    counts = Counter(digits[:10]).values()
    if digits[0] == "0" or sorted(counts)[-1] not in (2, 3) or sorted(counts)[-2] != 1:
        return False
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def rentenversicherung(code: str) -> bool:
    """German pension insurance, 12 characters. Source: VKVV, section 4."""
    letter = ord(code[8]) - ord("A") + 1
    digits = f"{code[:8]}{letter:02}{code[9:11]}"
    weighted = (
        int(digit) * weight
        for digit, weight in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)
    )
    return sum(sum(divmod(number, 10)) for number in weighted) % 10 == int(code[11])


def nir(code: str) -> bool:
    """French social security, 15 characters. Source: INSEE, NIR; Corsica is 19 and 18."""
    number = code[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(code[13:])


def dni(code: str) -> bool:
    """Spanish DNI or NIE, 9 characters. Source: Ministerio del Interior, cálculo del NIF/NIE."""
    number = int(code[:8].translate(str.maketrans("XYZ", "012")))
    return _DNI_LETTERS[number % 23] == code[8]


def codice_fiscale(code: str) -> bool:
    """Italian tax code, 16 characters. Source: D.M. 23/12/1976, article 7."""
    total = 0
    for place, char in enumerate(code[:15], start=1):
        value = int(char) if char.isdigit() else ord(char) - ord("A")
        total += _ODD_PLACES.index(chr(ord("A") + value)) if place % 2 else value
    return chr(ord("A") + total % 26) == code[15]


def bsn(digits: str) -> bool:
    """Dutch BSN, 9 digits. Source: the eleven test of the Rijksdienst voor Identiteitsgegevens."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 11 == 0


def pesel(digits: str) -> bool:
    """Polish PESEL, 11 digits, of somebody born since 1900. Source: gov.pl, PESEL."""
    month, day = int(digits[2:4]), int(digits[4:6])
    if not (1 <= month % 20 <= 12 and month < 40 and 1 <= day <= 31):
        return False
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 10 == 0


def personnummer(digits: str) -> bool:
    """Swedish personnummer, its last 10 digits. Source: Skatteverket, SKV 704."""
    month, day = int(digits[2:4]), int(digits[4:6])
    return 1 <= month <= 12 and 1 <= day % 60 <= 31 and luhn(digits)  # + 60: samordningsnummer


def cpf(digits: str) -> bool:
    """Brazilian CPF, 11 digits. Source: Receita Federal, módulo 11 with two check digits."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digits[i]) * (length + 1 - i) for i in range(length))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


def aadhaar(digits: str) -> bool:
    """Indian Aadhaar, 12 digits. Source: Verhoeff, Error Detecting Decimal Codes, 1969."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_D5[check][int(_POSITIONS[place % 8][int(digit)])])
    return check == 0 and digits[0] not in "01"


def ahv(digits: str) -> bool:
    """Swiss AHV number, 13 digits. Source: EAN-13 with the prefix 756."""
    return sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(digits)) % 10 == 0


def ssn(digits: str) -> bool:
    """US social security number, 9 digits: no check digit. Source: SSA, POMS RM 10201.035."""
    return re.fullmatch(r"(?!000|666|9)\d{3}(?!00)\d{2}(?!0000)\d{4}", digits) is not None
