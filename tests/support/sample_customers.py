"""Invented customers: the world that the sample inputs correct and that the sandbox is seeded with.

Nobody in here exists. Telephone numbers end in 555-0100 to 555-0199, which are kept free for fiction; e-mail
addresses lie in domains kept free for examples; social security numbers use areas 773 to 899, of which none
was given out before 2011, when all in here were long born.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")
Record = dict[str, str | None]  # dotted field -> text; None where the customer has no such field

CUSTOMER_COUNT = 2_000
ADDRESS_PARTS = ("address_line_1", "address_line_2", "city", "state", "postal_code", "country_code")
LEGAL_ADDRESS = tuple(f"legal_address.{part}" for part in ADDRESS_PARTS)
SHIPPING_ADDRESS = tuple(f"shipping_address.{part}" for part in ADDRESS_PARTS)
CUSTOMER_FIELDS = (
    *("id", "first_name", "middle_name", "last_name", "email", "phone_number", "dob", "ssn"),
    *("status", "ban_status", "kyc_status"),
    *LEGAL_ADDRESS,
    *SHIPPING_ADDRESS,
    *("metadata.tier", "metadata.branch", "creation_time", "last_updated_time"),
)


class Dice:
    """Draw from a seeded generator through `random()` alone.

    Python promises the sequence of `random()` for a seed; `choice` and `shuffle` may differ in a later
    version, and then the committed samples could no longer be written again.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to `limit - 1`."""
        return int(self._random.random() * limit)

    def between(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """Return True with the probability given (0 to 1)."""
        return self._random.random() < probability

    def pick(self, pool: Sequence[T]) -> T:
        """Return one of the pool."""
        return pool[self.below(len(pool))]

    def sample(self, pool: Sequence[T], count: int) -> list[T]:
        """Return `count` different members of the pool, in random order."""
        left = list(pool)
        return [left.pop(self.below(len(left))) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Place:
    """A town with what an address and a telephone number in it look like."""

    city: str
    state: str
    postal: str  # US, MX: first and last code of a range; CA: its first three characters
    area_codes: str
    country: str = "US"


US_PLACES = (
    Place("Boston", "MA", "02108 02116", "617 857"),
    Place("Cambridge", "MA", "02138 02142", "617 857"),
    Place("Worcester", "MA", "01602 01610", "508 774"),
    Place("Springfield", "MA", "01103 01109", "413"),
    Place("Providence", "RI", "02903 02909", "401"),
    Place("Manchester", "NH", "03101 03104", "603"),
    Place("Portland", "ME", "04101 04103", "207"),
    Place("Burlington", "VT", "05401 05401", "802"),
    Place("Hartford", "CT", "06103 06106", "860"),
    Place("Newark", "NJ", "07102 07108", "973"),
    Place("Jersey City", "NJ", "07302 07307", "201"),
    Place("New York", "NY", "10001 10040", "212 646 917"),
    Place("Brooklyn", "NY", "11201 11226", "718 347"),
    Place("Buffalo", "NY", "14201 14216", "716"),
    Place("Pittsburgh", "PA", "15206 15224", "412"),
    Place("Philadelphia", "PA", "19103 19151", "215 267"),
    Place("Wilmington", "DE", "19801 19810", "302"),
    Place("Washington", "DC", "20001 20012", "202"),
    Place("Baltimore", "MD", "21201 21231", "410 443"),
    Place("Richmond", "VA", "23219 23235", "804"),
    Place("Raleigh", "NC", "27603 27617", "919"),
    Place("Columbia", "SC", "29201 29210", "803"),
    Place("Atlanta", "GA", "30305 30319", "404 470"),
    Place("Miami", "FL", "33125 33147", "305 786"),
    Place("Tampa", "FL", "33602 33619", "813"),
    Place("Birmingham", "AL", "35203 35217", "205"),
    Place("Nashville", "TN", "37203 37221", "615"),
    Place("Louisville", "KY", "40202 40220", "502"),
    Place("Columbus", "OH", "43201 43235", "614"),
    Place("Indianapolis", "IN", "46201 46229", "317"),
    Place("Detroit", "MI", "48201 48228", "313"),
    Place("Des Moines", "IA", "50309 50317", "515"),
    Place("Milwaukee", "WI", "53202 53228", "414"),
    Place("Minneapolis", "MN", "55401 55423", "612"),
    Place("Chicago", "IL", "60605 60661", "312 773"),
    Place("St. Louis", "MO", "63101 63147", "314"),
    Place("Omaha", "NE", "68102 68137", "402"),
    Place("New Orleans", "LA", "70112 70131", "504"),
    Place("Little Rock", "AR", "72201 72212", "501"),
    Place("Oklahoma City", "OK", "73102 73135", "405"),
    Place("Dallas", "TX", "75201 75254", "214 972"),
    Place("Houston", "TX", "77002 77099", "713 281 832"),
    Place("Austin", "TX", "78701 78759", "512"),
    Place("Denver", "CO", "80202 80239", "303 720"),
    Place("Boise", "ID", "83702 83716", "208"),
    Place("Salt Lake City", "UT", "84101 84124", "801"),
    Place("Phoenix", "AZ", "85003 85054", "602 480"),
    Place("Albuquerque", "NM", "87102 87123", "505"),
    Place("Las Vegas", "NV", "89101 89149", "702"),
    Place("Los Angeles", "CA", "90001 90077", "213 323 310"),
    Place("San Diego", "CA", "92101 92154", "619 858"),
    Place("San Francisco", "CA", "94102 94134", "415"),
    Place("Honolulu", "HI", "96813 96826", "808"),
    Place("Portland", "OR", "97201 97239", "503 971"),
    Place("Seattle", "WA", "98101 98199", "206"),
    Place("Anchorage", "AK", "99501 99518", "907"),
)
CA_PLACES = (
    Place("Toronto", "ON", "M4W M5V M6J", "416 647", "CA"),
    Place("Ottawa", "ON", "K1P K1S K2P", "613 343", "CA"),
    Place("Montréal", "QC", "H2X H3B H4C", "514 438", "CA"),
    Place("Québec", "QC", "G1K G1R", "418", "CA"),
    Place("Vancouver", "BC", "V5K V6B V6E", "604 778", "CA"),
    Place("Calgary", "AB", "T2P T2R", "403 587", "CA"),
    Place("Winnipeg", "MB", "R3B R3C", "204", "CA"),
    Place("Halifax", "NS", "B3H B3J", "902", "CA"),
)
MX_PLACES = (  # with telephone numbers of the border states: these customers kept theirs
    Place("Ciudad de México", "CMX", "06700 06760", "512 713", "MX"),
    Place("Guadalajara", "JAL", "44100 44160", "213 323", "MX"),
    Place("Monterrey", "NLE", "64000 64060", "210 956", "MX"),
    Place("Tijuana", "BCN", "22000 22050", "619 858", "MX"),
    Place("Mérida", "YUC", "97000 97050", "305 786", "MX"),
)
PLACES = {(place.city, place.state): place for place in (*US_PLACES, *CA_PLACES, *MX_PLACES)}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    """
    Aaron Abigail Ahmed Aisha Alan Alejandra Amanda Amélie Amy Andre Andrea Angela Anna Anthony
    Arjun Ashley Barbara Benjamin Beverly Brandon Brenda Brian Camila Carlos Carol Caroline
    Catherine Charles Chloë Christina Daniel Darius David Deborah Denise Diego Donna Dorothy Douglas
    Edward Elena Elizabeth Emily Eric Esther Ethan Fatima Felix Frances Gabriel Gloria Grace Gregory
    Hannah Harold Heather Helen Hiroshi Ibrahim Imani Irene Isabel Jacob James Janet Jasmine Jason
    Jennifer Jerome Joan John Jonathan José Joyce Juan Judith Julia Karen Keisha Kenneth Kevin Kwame
    Laura Lauren Leila Linda Lucía Luis Malik Margaret María Mark Martha Matthew Mei Melissa Michael
    Michelle Nancy Natalie Nathan Nicole Noah Olivia Omar Pamela Patricia Paul Peter Phillip Priya
    Rachel Rafael Raymond Rebecca Renée Robert Rosa Ruth Samuel Sandra Sanjay Sarah Scott Sean Sofia
    Stephanie Steven Susan Tamika Teresa Thomas Timothy Tyler Valerie Victor Virginia Walter Wei
    William Xavier Yolanda Zoë
    """
)
LAST_NAMES = (
    *("De la Cruz", "van den Berg", "Smith-Jones"),
    *_words(
        """
    Abbott Adeyemi Alvarez Andersen Atkins Bailey Banerjee Barnes Bauer Becker Bennett Bianchi
    Blackwood Boyd Brandt Briggs Caldwell Carver Castillo Chen Cho Choudhury Coleman Cooper Córdova
    Crawford Cruz D'Angelo Dawson Delgado Desai Dixon Dubois Ellis Espinoza Farrell Fernández
    Fischer Fleming Foster Fuentes Gallagher Garza Gibson Goldberg Gupta Hahn Haddad Hampton Hansen
    Harper Hayes Herrera Hoffman Holloway Hughes Hussain Ibarra Ivanova Jansen Jiménez Kaplan Kaur
    Keller Khan Kowalski Larsen Lawson Levy Lin Lindqvist Lowe MacKenzie Mahoney Marsh McBride
    Medina Mehta Mensah Meyer Molina Moreau Morales Müller Myers Nakamura Navarro Newell Nguyễn
    Nkosi Novak Núñez Okafor Olsen O'Neil Ortega Osborne Padilla Park Patel Peña Pereira Pham Pierce
    Quinn Ramírez Reddy Reyes Ricci Rosenthal Rossi Russo Salazar Sanders Sato Schmidt Schwartz
    Serrano Shah Silva Sokolov Stein Sullivan Sutton Tanaka Thornton Torres Tran Turner Vargas
    Vasquez Vogel Wagner Walsh Weaver Webb Whitaker Winters Wolfe Yamada Yılmaz Young Zhang
    Zimmerman
    """
    ),
)
# Names that a careless reader takes for a missing value, or for something else than a name.
AWKWARD_NAMES = {
    101: ("Diane", "Null"),
    202: ("Min-ji", "Na"),
    303: ("True", "Okafor"),
    404: ("Nan", "Whitaker"),
    505: ("Rosa", "None"),
}

STREETS = _words(
    """
    Maple Oak Elm Cedar Birch Walnut Chestnut Willow Highland Park Lake Hill Church Mill River
    Spring Franklin Washington Lincoln Jefferson Madison Prospect Pleasant Center Union Market
    Sunset Meadow Orchard Ridge O'Connor
    """
)
US_STREET_KINDS = ("Street", "Avenue", "Road", "Lane", "Drive", "Court", "Place", "Boulevard")
CA_STREET_KINDS = ("Street", "Avenue", "Road", "Crescent")
QC_STREETS = ("Rue Saint-André", "Rue de l'Église", "Avenue du Parc", "Chemin de la Côte-Sainte-Catherine")
MX_STREETS = ("Calle Hidalgo", "Avenida Juárez", "Calle José María Morelos", "Calle 5 de Mayo")
SECOND_LINES = ("Apt {n}", "Apt {n}B", "Unit {n}", "Suite {n}0", "# {n}", "Floor {n}")
KYC_STATUSES = (*["ACCEPTED"] * 47, "REVIEW", "PENDING", "PROVISIONAL")
CA_LETTERS = "ABCEGHJKLMNPRSTVWXYZ"  # Canadian postal codes use no D F I O Q U


def draw_place(dice: Dice) -> Place:
    """Draw a town, nine times in ten an American one."""
    if dice.chance(0.90):
        return dice.pick(US_PLACES)
    return dice.pick(CA_PLACES if dice.chance(0.75) else MX_PLACES)


def draw_postal_code(dice: Dice, place: Place) -> str:
    """Draw a postal code of that town, one American in ten with its four further digits."""
    if place.country == "CA":
        first = dice.pick(place.postal.split())
        return f"{first} {dice.below(10)}{dice.pick(CA_LETTERS)}{dice.below(10)}"
    low, high = place.postal.split()
    code = f"{dice.between(int(low), int(high)):05d}"
    return f"{code}-{dice.between(1000, 9899)}" if place.country == "US" and dice.chance(0.1) else code


def draw_street(dice: Dice, place: Place) -> str:
    """Draw a house number and a street as people of that country write them."""
    number = dice.between(2, 2999 if place.country == "US" else 799)
    if place.country == "MX":
        return f"{dice.pick(MX_STREETS)} {number}"
    if place.state == "QC":
        return f"{number} {dice.pick(QC_STREETS)}"
    kinds = US_STREET_KINDS if place.country == "US" else CA_STREET_KINDS
    return f"{number} {dice.pick(STREETS)} {dice.pick(kinds)}"


def draw_second_line(dice: Dice) -> str:
    """Draw an apartment or the like."""
    return dice.pick(SECOND_LINES).format(n=dice.between(1, 49))


def draw_address(dice: Dice, place: Place, *, second_line: bool) -> dict[str, str | None]:
    """Draw an address in that town, keyed by `ADDRESS_PARTS`."""
    return {
        "address_line_1": draw_street(dice, place),
        "address_line_2": draw_second_line(dice) if second_line else None,
        "city": place.city,
        "state": place.state,
        "postal_code": draw_postal_code(dice, place),
        "country_code": place.country,
    }


def draw_phone_number(dice: Dice, place: Place) -> str:
    """Draw a telephone number of that town, in E.164 and kept free for fiction."""
    return f"+1{dice.pick(place.area_codes.split())}55501{dice.below(100):02d}"


def draw_date_of_birth(dice: Dice) -> str:
    """Draw the birthday of someone born between 1938 and 2005, as YYYY-MM-DD."""
    return str(date(1938, 1, 1) + timedelta(days=dice.below(24_800)))


def draw_ssn(dice: Dice) -> str:
    """Draw a social security number; group 00 and serial 0000 do not exist."""
    return f"{dice.between(773, 899)}-{dice.between(1, 99):02d}-{dice.between(1, 9999):04d}"


def email_name(first_name: str, last_name: str) -> str:
    """Return the part before the @: ASCII letters and one dot."""
    plain = unicodedata.normalize("NFKD", f"{first_name}.{last_name}".replace("ı", "i"))
    return "".join(letter for letter in plain.lower() if letter in "abcdefghijklmnopqrstuvwxyz.")


def customer_id(number: int) -> str:
    """Return the id of the customer with that number, a UUID of version 4 in form."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"customer {number}".encode()).digest()[:16], version=4))


def draw_customers(seed: str) -> list[Record]:
    """Draw all customers, in the order in which they joined."""
    dice = Dice(seed)
    joined = datetime(2019, 1, 7, 14, 2, 11)
    namesakes: dict[str, int] = {}
    customers = []
    for number in range(CUSTOMER_COUNT):
        joined += timedelta(microseconds=dice.between(60_000_000, 190_000_000_000))
        customers.append(_draw_customer(dice, number, joined=joined, namesakes=namesakes))
    return customers


def _draw_customer(dice: Dice, number: int, *, joined: datetime, namesakes: dict[str, int]) -> Record:
    """Draw one customer; `namesakes` counts the e-mail names given out so far."""
    first_name, last_name = AWKWARD_NAMES.get(number, (dice.pick(FIRST_NAMES), dice.pick(LAST_NAMES)))
    place = draw_place(dice)
    name = email_name(first_name, last_name)
    namesakes[name] = namesakes.get(name, 0) + 1
    suffix = "" if namesakes[name] == 1 else str(namesakes[name])
    status = dice.pick(["PROSPECT"] * 6 + ["INACTIVE"] * 8 + ["ACTIVE"] * 86)
    is_prospect = status == "PROSPECT"

    customer: Record = dict.fromkeys(CUSTOMER_FIELDS)
    customer |= {
        "id": customer_id(number),
        "first_name": first_name,
        "middle_name": dice.pick(FIRST_NAMES) if dice.chance(0.35) else None,
        "last_name": last_name,
        "email": f"{name}{suffix}@example.{dice.pick(['com', 'com', 'com', 'org'])}",
        "phone_number": draw_phone_number(dice, place),
        "dob": None if is_prospect else draw_date_of_birth(dice),
        "ssn": None if is_prospect else draw_ssn(dice),
        "status": status,
        "ban_status": "SUSPENDED" if dice.chance(0.01) else "ALLOWED",
        "kyc_status": "UNVERIFIED" if is_prospect else dice.pick(KYC_STATUSES),
        "creation_time": _timestamp(joined),
        "last_updated_time": _timestamp(joined + timedelta(microseconds=dice.below(20_000_000_000_000))),
    }
    if not is_prospect or dice.chance(0.4):
        address = draw_address(dice, place, second_line=dice.chance(0.3))
        customer |= {f"legal_address.{part}": value for part, value in address.items()}
        if dice.chance(0.35):
            address = draw_address(dice, place, second_line=dice.chance(0.2))
            customer |= {f"shipping_address.{part}": value for part, value in address.items()}
    if dice.chance(0.6):
        customer["metadata.tier"] = dice.pick(["basic", "basic", "plus", "premier"])
        customer["metadata.branch"] = f"{place.state}-{dice.between(1, 12):02d}"
    return customer


def _timestamp(moment: datetime) -> str:
    """Return the moment (UTC) in RFC 3339 with its microseconds."""
    return f"{moment.isoformat(timespec='microseconds')}Z"
