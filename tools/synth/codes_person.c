#include "tools/synth/codes.h"

#define STATE(ssa, fips, usps, name, city, zip)                                                              \
    {                                                                                                        \
        TEXT(ssa), TEXT(fips), TEXT(usps), TEXT(name), TEXT(city), zip                                       \
    }

static const struct state state_array[] = {
    STATE("05", "06", "CA", "California", "SACRAMENTO", 958),
    STATE("10", "12", "FL", "Florida", "ORLANDO", 328),
    STATE("45", "48", "TX", "Texas", "HOUSTON", 770),
    STATE("33", "36", "NY", "New York", "ROCHESTER", 146),
    STATE("39", "42", "PA", "Pennsylvania", "HARRISBURG", 171),
    STATE("36", "39", "OH", "Ohio", "COLUMBUS", 432),
    STATE("14", "17", "IL", "Illinois", "PEORIA", 616),
    STATE("34", "37", "NC", "North Carolina", "RALEIGH", 276),
    STATE("23", "26", "MI", "Michigan", "LANSING", 489),
    STATE("11", "13", "GA", "Georgia", "MACON", 312),
    STATE("31", "34", "NJ", "New Jersey", "TRENTON", 186),
    STATE("49", "51", "VA", "Virginia", "RICHMOND", 232),
    STATE("22", "25", "MA", "Massachusetts", "WORCESTER", 166),
    STATE("03", "04", "AZ", "Arizona", "TUCSON", 857),
    STATE("50", "53", "WA", "Washington", "SPOKANE", 992),
    STATE("44", "47", "TN", "Tennessee", "NASHVILLE", 372),
    STATE("15", "18", "IN", "Indiana", "INDIANAPOLIS", 462),
    STATE("26", "29", "MO", "Missouri", "COLUMBIA", 652),
    STATE("52", "55", "WI", "Wisconsin", "MADISON", 537),
    STATE("21", "24", "MD", "Maryland", "BALTIMORE", 212),
    STATE("24", "27", "MN", "Minnesota", "DULUTH", 558),
    STATE("42", "45", "SC", "South Carolina", "COLUMBIA", 292),
    STATE("06", "08", "CO", "Colorado", "PUEBLO", 810),
    STATE("01", "01", "AL", "Alabama", "MONTGOMERY", 361),
    STATE("18", "21", "KY", "Kentucky", "LEXINGTON", 405),
    STATE("19", "22", "LA", "Louisiana", "BATON ROUGE", 708),
    STATE("38", "41", "OR", "Oregon", "EUGENE", 974),
    STATE("37", "40", "OK", "Oklahoma", "TULSA", 741),
    STATE("07", "09", "CT", "Connecticut", "HARTFORD", 61),
    STATE("16", "19", "IA", "Iowa", "DES MOINES", 503),
    STATE("46", "49", "UT", "Utah", "PROVO", 846),
    STATE("20", "23", "ME", "Maine", "BANGOR", 44),
    STATE("30", "33", "NH", "New Hampshire", "CONCORD", 33),
    STATE("32", "35", "NM", "New Mexico", "SANTA FE", 875),
};
const struct state_list states = LIST_OF(state_array);

static const struct slice family_array[] = {
    TEXT("Abernathy"), TEXT("Adeyemi"),    TEXT("Aguilar"),    TEXT("Albright"),   TEXT("Anders"),
    TEXT("Baptiste"),  TEXT("Barros"),     TEXT("Beaumont"),   TEXT("Becker"),     TEXT("Bellamy"),
    TEXT("Bhatt"),     TEXT("Bianchi"),    TEXT("Blackwood"),  TEXT("Bondarenko"), TEXT("Boyle"),
    TEXT("Brandt"),    TEXT("Calloway"),   TEXT("Cardoso"),    TEXT("Chandra"),    TEXT("Chaves"),
    TEXT("Chen"),      TEXT("Coleman"),    TEXT("Cortez"),     TEXT("Crane"),      TEXT("Dalton"),
    TEXT("Davila"),    TEXT("Dempsey"),    TEXT("Diaz"),       TEXT("Donnelly"),   TEXT("Dubois"),
    TEXT("Eastman"),   TEXT("Eklund"),     TEXT("Espinoza"),   TEXT("Farrow"),     TEXT("Feldman"),
    TEXT("Ferreira"),  TEXT("Finch"),      TEXT("Fontaine"),   TEXT("Gallagher"),  TEXT("Garrison"),
    TEXT("Goldberg"),  TEXT("Greenfield"), TEXT("Gupta"),      TEXT("Haddad"),     TEXT("Halvorsen"),
    TEXT("Hargrove"),  TEXT("Hernandez"),  TEXT("Hollis"),     TEXT("Huang"),      TEXT("Ibarra"),
    TEXT("Ingram"),    TEXT("Ivanova"),    TEXT("Jankowski"),  TEXT("Jensen"),     TEXT("Kaplan"),
    TEXT("Keller"),    TEXT("Khalil"),     TEXT("Kowalski"),   TEXT("Lambert"),    TEXT("Larkin"),
    TEXT("Lindqvist"), TEXT("Lombardi"),   TEXT("Maddox"),     TEXT("Marchetti"),  TEXT("McAllister"),
    TEXT("Mendes"),    TEXT("Moreau"),     TEXT("Nakamura"),   TEXT("Navarro"),    TEXT("Nguyen"),
    TEXT("Novak"),     TEXT("O'Brien"),    TEXT("Oduya"),      TEXT("Okafor"),     TEXT("Olsen"),
    TEXT("Ortega"),    TEXT("Osborne"),    TEXT("Pacheco"),    TEXT("Patel"),      TEXT("Pereira"),
    TEXT("Petrov"),    TEXT("Quigley"),    TEXT("Quintero"),   TEXT("Rahman"),     TEXT("Ramsey"),
    TEXT("Reinhardt"), TEXT("Rosales"),    TEXT("Rosenthal"),  TEXT("Salazar"),    TEXT("Sandoval"),
    TEXT("Schaefer"),  TEXT("Sinclair"),   TEXT("Sokolov"),    TEXT("Sorensen"),   TEXT("Stafford"),
    TEXT("Sullivan"),  TEXT("Tanaka"),     TEXT("Thibodeaux"), TEXT("Tran"),       TEXT("Underhill"),
    TEXT("Valdez"),    TEXT("Vance"),      TEXT("Vasquez"),    TEXT("Voss"),       TEXT("Waller"),
    TEXT("Weiss"),     TEXT("Whitaker"),   TEXT("Winslow"),    TEXT("Yamamoto"),   TEXT("Yates"),
    TEXT("Zamora"),    TEXT("Zimmerman"),
};
const struct name_list family_names = LIST_OF(family_array);

static const struct slice female_array[] = {
    TEXT("Mary"),      TEXT("Patricia"), TEXT("Linda"),     TEXT("Barbara"),  TEXT("Susan"),
    TEXT("Carol"),     TEXT("Dorothy"),  TEXT("Margaret"),  TEXT("Ruth"),     TEXT("Shirley"),
    TEXT("Betty"),     TEXT("Helen"),    TEXT("Rosa"),      TEXT("Joyce"),    TEXT("Frances"),
    TEXT("Gloria"),    TEXT("Alice"),    TEXT("Eleanor"),   TEXT("Mei"),      TEXT("Yolanda"),
    TEXT("Beverly"),   TEXT("Delores"),  TEXT("Irene"),     TEXT("Marjorie"), TEXT("Ingrid"),
    TEXT("Priya"),     TEXT("Lucille"),  TEXT("Antonia"),   TEXT("Bernice"),  TEXT("Consuelo"),
    TEXT("Geraldine"), TEXT("Hanna"),    TEXT("Josephine"), TEXT("Kathleen"), TEXT("Loretta"),
    TEXT("Maxine"),    TEXT("Norma"),    TEXT("Phyllis"),   TEXT("Roberta"),  TEXT("Wilma"),
};
const struct name_list female_names = LIST_OF(female_array);

static const struct slice male_array[] = {
    TEXT("James"),   TEXT("Robert"),  TEXT("John"),    TEXT("William"), TEXT("Richard"), TEXT("Charles"),
    TEXT("Donald"),  TEXT("George"),  TEXT("Kenneth"), TEXT("Edward"),  TEXT("Ronald"),  TEXT("Raymond"),
    TEXT("Harold"),  TEXT("Walter"),  TEXT("Arthur"),  TEXT("Albert"),  TEXT("Luis"),    TEXT("Eugene"),
    TEXT("Ralph"),   TEXT("Leonard"), TEXT("Carlos"),  TEXT("Stanley"), TEXT("Wei"),     TEXT("Clarence"),
    TEXT("Bernard"), TEXT("Anil"),    TEXT("Francis"), TEXT("Melvin"),  TEXT("Otto"),    TEXT("Rafael"),
    TEXT("Gilbert"), TEXT("Herman"),  TEXT("Ivan"),    TEXT("Jerome"),  TEXT("Lloyd"),   TEXT("Marvin"),
    TEXT("Norman"),  TEXT("Percy"),   TEXT("Roland"),  TEXT("Vernon"),
};
const struct name_list male_names = LIST_OF(male_array);

static const struct slice street_array[] = {
    TEXT("MAPLE ST"),    TEXT("OAK AVE"),  TEXT("MAIN ST"),     TEXT("CHURCH RD"),
    TEXT("LAKEVIEW DR"), TEXT("PINE CT"),  TEXT("CEDAR LN"),    TEXT("WASHINGTON AVE"),
    TEXT("HILLSIDE DR"), TEXT("RIVER RD"), TEXT("SUNSET BLVD"), TEXT("ORCHARD WAY"),
    TEXT("MILL ST"),     TEXT("PARK PL"),  TEXT("SPRING ST"),
};
const struct name_list street_names = LIST_OF(street_array);

static const struct slice facility_array[] = {
    TEXT("RIVERBEND"),    TEXT("SAINT AGNES"),   TEXT("LAKESHORE"),    TEXT("GOOD SHEPHERD"),
    TEXT("CEDAR RIDGE"),  TEXT("NORTHGATE"),     TEXT("MERCY VALLEY"), TEXT("HARBORVIEW"),
    TEXT("STONEBROOK"),   TEXT("TRINITY"),       TEXT("WESTFIELD"),    TEXT("SAINT BRENDAN"),
    TEXT("PRAIRIE"),      TEXT("SUMMIT"),        TEXT("BAYSIDE"),      TEXT("OLD MILL"),
    TEXT("HOLY FAMILY"),  TEXT("CLEARWATER"),    TEXT("PINE GROVE"),   TEXT("UNION COUNTY"),
    TEXT("FOXGLOVE"),     TEXT("EASTON"),        TEXT("BLUE HILLS"),   TEXT("MAGNOLIA"),
    TEXT("SAINT ODILIA"), TEXT("KESTREL"),       TEXT("HIGHLAND"),     TEXT("JEFFERSON"),
    TEXT("ROLLING OAKS"), TEXT("SILVER CREEK"),  TEXT("TALLGRASS"),    TEXT("WINDHAM"),
    TEXT("GRANITE"),      TEXT("COPPER CANYON"), TEXT("MONARCH"),      TEXT("THREE RIVERS"),
    TEXT("ASHLAND"),      TEXT("BRIARWOOD"),     TEXT("COVENANT"),     TEXT("DELTA"),
};
const struct name_list facility_names = LIST_OF(facility_array);
