//! Extended JSON: parses commands and prints replies without changing a value.
//!
//! Source: the specification "Extended JSON" (version 2). Commands may also use the older forms that `mongoexport` and
//! the legacy shell wrote (version 1, strict mode). A value that would be lost or changed is an error: an integer of
//! more than 64 bits, a key that occurs twice, a wrapper such as `$date` with other fields beside it. Errors name the
//! position and never contain a value, which may be a secret.

use std::fmt;

use mongotls::bson::oid::ObjectId;
use mongotls::bson::{
    Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp,
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The document as relaxed Extended JSON.
pub(crate) fn relaxed(document: Document) -> Value {
    let fields = document.into_iter();
    Value::Object(
        fields
            .map(|(key, value)| (key, relaxed_value(value)))
            .collect(),
    )
}

fn relaxed_value(value: Bson) -> Value {
    match value {
        Bson::Document(document) => relaxed(document),
        Bson::Array(values) => values.into_iter().map(relaxed_value).collect(),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code, scope }) => {
            json!({ "$code": code, "$scope": relaxed(scope) })
        }
        // `bson` prints dates outside of its calendar as the last date in it.
        Bson::DateTime(date) if !(0..=LAST_DATE).contains(&date.timestamp_millis()) => {
            json!({ "$date": { "$numberLong": date.timestamp_millis().to_string() } })
        }
        // The specification has one NaN, but `bson` has a second one with a sign.
        Bson::Double(number) if number.is_nan() => json!({ "$numberDouble": "NaN" }),
        value => value.into_relaxed_extjson(),
    }
}

/// Parses a command in Extended JSON.
pub(crate) fn command(text: &str) -> Result<Document, String> {
    let json: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("the command is not JSON: {error}"))?;
    match read(json, &At::ROOT)? {
        Bson::Document(document) if !document.is_empty() => Ok(document),
        _ => Err("the command must be a JSON object that is not empty".to_owned()),
    }
}

/// The position of a value in the command: the keys that lead to it.
struct At<'a> {
    within: Option<&'a At<'a>>,
    key: &'a str,
    depth: usize,
}

impl<'a> At<'a> {
    const ROOT: At<'static> = At {
        within: None,
        key: "",
        depth: 0,
    };

    fn field(&'a self, key: &'a str) -> At<'a> {
        At {
            within: Some(self),
            key,
            depth: self.depth + 1,
        }
    }

    /// Returns an error about this position.
    fn wrong<T>(&self, what: impl fmt::Display) -> Result<T, String> {
        Err(match self.within {
            None => format!("the command: {what}"),
            Some(_) => format!("the command at {:?}: {what}", self.to_string()),
        })
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.within {
            None => Ok(()),
            Some(At { within: None, .. }) => f.write_str(self.key),
            Some(within) => write!(f, "{within}.{}", self.key),
        }
    }
}

/// The fields of a JSON object in their order, including repeated keys.
struct ObjectFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for ObjectFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = ObjectFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<ObjectFields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(ObjectFields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'a> ObjectFields<'a> {
    /// Reads an object. A key that occurs twice is an error.
    fn read(json: &'a RawValue, at: &At<'_>) -> Result<Self, String> {
        let fields: Self = match serde_json::from_str(json.get()) {
            Ok(fields) => fields,
            Err(_) => return at.wrong("an object was expected"),
        };
        let mut keys = std::collections::HashSet::new();
        match fields.0.iter().find(|(key, _)| !keys.insert(key.as_str())) {
            Some((key, _)) => at.wrong(format_args!("the key {key:?} occurs twice")),
            None => Ok(fields),
        }
    }

    fn get(&self, key: &str) -> Option<&'a RawValue> {
        let field = self.0.iter().find(|(own, _)| own == key);
        field.map(|(_, value)| *value)
    }

    /// Returns the values of these keys if the object has exactly these keys.
    fn only<const N: usize>(&self, keys: [&str; N]) -> Option<[&'a RawValue; N]> {
        let found = keys.map(|key| self.get(key));
        let all = self.0.len() == N && found.iter().all(Option::is_some);
        // If `all` holds, every element is `Some`.
        all.then(|| found.map(|value| value.unwrap_or(RawValue::NULL)))
    }
}

fn read(json: &RawValue, at: &At<'_>) -> Result<Bson, String> {
    if at.depth > DEEPEST {
        return Err(format!(
            "the command is nested deeper than {DEEPEST} levels"
        ));
    }
    match json.get().as_bytes() {
        [b'{', ..] => object(&ObjectFields::read(json, at)?, at),
        [b'[', ..] => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(json.get()) else {
                return at.wrong("an array was expected");
            };
            let items = items.into_iter().enumerate();
            let values = items.map(|(index, item)| read(item, &at.field(&index.to_string())));
            values.collect::<Result<Vec<_>, _>>().map(Bson::Array)
        }
        [b'"', ..] => text(json, at).map(Bson::String),
        b"true" => Ok(Bson::Boolean(true)),
        b"false" => Ok(Bson::Boolean(false)),
        b"null" => Ok(Bson::Null),
        _ => number(json, at),
    }
}

/// Converts a number to the smallest integer type that holds it, or to a double if it has a fraction or an exponent.
fn number(json: &RawValue, at: &At<'_>) -> Result<Bson, String> {
    let text = json.get();
    // JSON has a negative zero, and integers do not.
    if text.contains(['.', 'e', 'E']) || text == "-0" {
        return match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Bson::Double(number)),
            _ => at.wrong("the number does not fit a double; use $numberDecimal"),
        };
    }
    match (text.parse::<i32>(), text.parse::<i64>()) {
        (Ok(number), _) => Ok(Bson::Int32(number)),
        (_, Ok(number)) => Ok(Bson::Int64(number)),
        _ => at.wrong(
            "the integer does not fit 64 bits; write it as {\"$numberDecimal\": \"…\"}, or as {\"$numberDouble\": \"…\"}",
        ),
    }
}

fn text(json: &RawValue, at: &At<'_>) -> Result<String, String> {
    serde_json::from_str(json.get()).or_else(|_| at.wrong("a text was expected"))
}

/// Returns the text of a string or of a number: older forms write a number where newer forms write a string.
fn text_or_number(json: &RawValue, at: &At<'_>) -> Result<String, String> {
    match json.get().as_bytes() {
        [b'-' | b'0'..=b'9', ..] => Ok(json.get().to_owned()),
        _ => text(json, at),
    }
}

/// Converts an object to a document, or to the value that a wrapper such as `$oid` represents.
fn object(fields: &ObjectFields<'_>, at: &At<'_>) -> Result<Bson, String> {
    let wrapper = fields
        .0
        .iter()
        .find(|(key, _)| WRAPPERS.contains(&key.as_str()));
    if let Some((key, _)) = wrapper {
        return match wrapped(key, fields, at)? {
            Some(value) => Ok(value),
            None => at.wrong(format_args!("{key} is not valid Extended JSON")),
        };
    }
    // The older form of a regular expression. As a query operator it has the same meaning.
    if let Some([pattern, options]) = fields.only(["$regex", "$options"]) {
        if let (Ok(pattern), Ok(options)) = (text(pattern, at), text(options, at)) {
            return regex(pattern, options, at);
        }
    }
    let mut document = Document::new();
    for (key, value) in &fields.0 {
        if key.contains('\0') {
            return at.wrong("a key contains a NUL");
        }
        document.insert(key, read(value, &at.field(key))?);
    }
    Ok(Bson::Document(document))
}

/// Returns the value that a wrapper represents, or `None` if the wrapper is not well-formed.
fn wrapped(key: &str, fields: &ObjectFields<'_>, at: &At<'_>) -> Result<Option<Bson>, String> {
    if let Some(value) = wrapped_with_more(key, fields, at)? {
        return Ok(Some(value));
    }
    let Some([value]) = fields.only([key]) else {
        return Ok(None);
    };
    let at = &at.field(key);
    Ok(match key {
        "$oid" => ObjectId::parse_str(text(value, at)?)
            .ok()
            .map(Bson::ObjectId),
        "$symbol" => Some(Bson::Symbol(text(value, at)?)),
        "$numberInt" => text_or_number(value, at)?.parse().ok().map(Bson::Int32),
        "$numberLong" => text_or_number(value, at)?.parse().ok().map(Bson::Int64),
        "$numberDouble" => double(&text_or_number(value, at)?).map(Bson::Double),
        "$numberDecimal" => {
            let number: Result<Decimal128, _> = text_or_number(value, at)?.parse();
            number.ok().map(Bson::Decimal128)
        }
        "$code" => Some(Bson::JavaScriptCode(text(value, at)?)),
        "$timestamp" => {
            let part = |part: &RawValue| part.get().parse::<u32>().ok();
            let parts = ObjectFields::read(value, at)?.only(["t", "i"]);
            parts.and_then(|[time, increment]| {
                Some(Bson::Timestamp(Timestamp {
                    time: part(time)?,
                    increment: part(increment)?,
                }))
            })
        }
        "$regularExpression" => match ObjectFields::read(value, at)?.only(["pattern", "options"]) {
            Some([pattern, options]) => Some(regex(text(pattern, at)?, text(options, at)?, at)?),
            None => None,
        },
        "$binary" => match ObjectFields::read(value, at)?.only(["base64", "subType"]) {
            Some([bytes, subtype]) => binary(&text(bytes, at)?, &text(subtype, at)?),
            None => None,
        },
        "$uuid" => by_bson(json!({ "$uuid": text(value, at)? })),
        "$dbPointer" => match ObjectFields::read(value, at)?.only(["$ref", "$id"]) {
            Some([namespace, id]) => match read(id, at)? {
                Bson::ObjectId(id) => by_bson(json!({
                    "$dbPointer": { "$ref": text(namespace, at)?, "$id": { "$oid": id.to_hex() } }
                })),
                _ => None,
            },
            None => None,
        },
        "$date" => date(value, at)?.map(|ms| Bson::DateTime(DateTime::from_millis(ms))),
        "$minKey" if value.get() == "1" => Some(Bson::MinKey),
        "$maxKey" if value.get() == "1" => Some(Bson::MaxKey),
        "$undefined" if value.get() == "true" => Some(Bson::Undefined),
        _ => None,
    })
}

/// Converts the wrappers that have more than one field.
fn wrapped_with_more(
    key: &str,
    fields: &ObjectFields<'_>,
    at: &At<'_>,
) -> Result<Option<Bson>, String> {
    if let ("$code" | "$scope", Some([code, scope])) = (key, fields.only(["$code", "$scope"])) {
        let code = text(code, at)?;
        return Ok(match read(scope, &at.field("$scope"))? {
            Bson::Document(scope) => Some(Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code,
                scope,
            })),
            _ => None,
        });
    }
    // The older form: the subtype has one or two digits, or is a number.
    if let ("$binary", Some([bytes, subtype])) = (key, fields.only(["$binary", "$type"])) {
        let subtype = match subtype.get().parse::<u8>() {
            Ok(subtype) => format!("{subtype:02x}"),
            Err(_) => text(subtype, at)?,
        };
        return Ok(binary(&text(bytes, at)?, &subtype));
    }
    Ok(None)
}

fn regex(pattern: String, options: String, at: &At<'_>) -> Result<Bson, String> {
    // BSON requires the options in alphabetical order.
    let mut options: Vec<char> = options.chars().collect();
    options.sort_unstable();
    let options: String = options.into_iter().collect();
    match (pattern.try_into(), options.try_into()) {
        (Ok(pattern), Ok(options)) => Ok(Bson::RegularExpression(Regex { pattern, options })),
        _ => at.wrong("a regular expression contains a NUL"),
    }
}

fn binary(base64: &str, subtype: &str) -> Option<Bson> {
    by_bson(json!({ "$binary": { "base64": base64, "subType": format!("{subtype:0>2}") } }))
}

/// Converts a wrapper with `bson`; only that crate handles base64, UUIDs and its type for pointers.
fn by_bson(wrapper: Value) -> Option<Bson> {
    let value = Bson::try_from(wrapper).ok()?;
    Some(value).filter(|value| !matches!(value, Bson::Document(_)))
}

fn double(text: &str) -> Option<f64> {
    match text {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ if text.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')) => None,
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// Parses milliseconds since 1970: a number, a `$numberLong`, or an ISO 8601 text.
fn date(json: &RawValue, at: &At<'_>) -> Result<Option<i64>, String> {
    match json.get().as_bytes() {
        [b'"', ..] => {
            let text = text(json, at)?;
            if has_less_than_milliseconds(&text) {
                return at.wrong("a date cannot have fractions of a millisecond");
            }
            Ok(DateTime::parse_rfc3339_str(with_colon(text))
                .ok()
                .map(DateTime::timestamp_millis))
        }
        [b'{', ..] => match ObjectFields::read(json, at)?.only(["$numberLong"]) {
            Some([ms]) => Ok(text_or_number(ms, at)?.parse().ok()),
            None => Ok(None),
        },
        number => Ok(std::str::from_utf8(number)
            .ok()
            .and_then(|ms| ms.parse().ok())),
    }
}

/// Returns whether the fraction of the seconds has a digit other than 0 after the third one.
fn has_less_than_milliseconds(text: &str) -> bool {
    let digits = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = digits.chars().take_while(char::is_ascii_digit);
    digits.skip(3).any(|digit| digit != '0')
}

/// Inserts the colon that `mongoexport` leaves out of the offset (`+0200`).
fn with_colon(mut text: String) -> String {
    if let Some(at) = text.len().checked_sub(5) {
        let offset = text.as_bytes()[at..].split_first();
        if offset.is_some_and(|(sign, digits)| {
            matches!(sign, b'+' | b'-') && digits.iter().all(u8::is_ascii_digit)
        }) {
            text.insert(at + 3, ':');
        }
    }
    text
}

/// The keys that make an object represent another value. No MongoDB operator has such a name.
const WRAPPERS: [&str; 17] = [
    "$oid",
    "$symbol",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$code",
    "$scope",
    "$timestamp",
    "$regularExpression",
    "$dbPointer",
    "$date",
    "$minKey",
    "$maxKey",
    "$undefined",
];
/// The last millisecond of the year 9999.
const LAST_DATE: i64 = 253_402_300_799_999;
/// The deepest nesting that MongoDB servers accept.
const DEEPEST: usize = 200;

#[cfg(test)]
mod tests {
    use mongotls::bson::spec::BinarySubtype;
    use mongotls::bson::{Binary, cstr, doc};

    use super::*;

    #[test]
    fn dates_outside_of_the_calendar_are_numbers_at_any_depth() {
        let date = |ms| Bson::DateTime(DateTime::from_millis(ms));
        let number = |ms: i64| json!({ "$date": { "$numberLong": ms.to_string() } });
        for ms in [
            LAST_DATE + 1,
            253_402_300_800_001,
            i64::MAX,
            i64::MIN,
            -1,
            -62_167_219_200_001,
        ] {
            let code = Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code: "f".to_owned(),
                scope: doc! { "d": date(ms) },
            });
            assert_eq!(
                relaxed(doc! { "d": date(ms), "deep": [{ "er": [date(ms)] }], "code": code }),
                json!({ "d": number(ms), "deep": [{ "er": [number(ms)] }],
                        "code": { "$code": "f", "$scope": { "d": number(ms) } } })
            );
        }
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (LAST_DATE, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(
                relaxed(doc! { "d": date(ms) }),
                json!({ "d": { "$date": text } })
            );
        }
    }

    #[test]
    fn what_is_printed_is_read_as_the_same_value() {
        let document = doc! {
            "nan": f64::NAN, "-nan": -f64::NAN, "inf": f64::NEG_INFINITY, "zero": -0.0, "double": 1e300, "i": i64::MIN,
            "past": DateTime::from_millis(i64::MIN), "future": DateTime::from_millis(LAST_DATE + 1),
            "b": Binary { subtype: BinarySubtype::UserDefined(0x80), bytes: vec![1, 2, 3] },
            "re": Bson::try_from(json!({ "$regularExpression": { "pattern": "a", "options": "ix" } })).unwrap(),
            "t": Timestamp { time: u32::MAX, increment: 1 }, "s": Bson::Symbol("x".to_owned()), "u": Bson::Undefined,
            "min": Bson::MinKey, "max": Bson::MaxKey, "dec": "1.50".parse::<Decimal128>().unwrap(),
            "p": Bson::try_from(json!({ "$dbPointer": { "$ref": "a.b", "$id": { "$oid": "000000000000000000000001" } } })).unwrap(),
            "nested": [{ "code": Bson::JavaScriptCode("f()".to_owned()) }],
        };
        let text = relaxed(document).to_string();
        assert_eq!(relaxed(command(&text).unwrap()).to_string(), text);
    }

    #[test]
    fn older_forms_are_read_as_the_values_they_stand_for() {
        let date = |ms| Bson::DateTime(DateTime::from_millis(ms));
        let binary = |byte: u8| Binary {
            subtype: byte.into(),
            bytes: vec![1],
        };
        let regex =
            Bson::try_from(json!({ "$regularExpression": { "pattern": "^a", "options": "i" } }));
        let plain = Regex {
            pattern: cstr!("^a").to_owned(),
            options: cstr!("").to_owned(),
        };
        let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
        let cases: Vec<(&str, Bson)> = vec![
            (
                r#"{"$date": "2014-02-01T00:00:00.000-0500"}"#,
                date(1_391_230_800_000),
            ),
            (
                r#"{"$date": "2014-02-01T00:00:00.000+0000"}"#,
                date(1_391_212_800_000),
            ),
            (
                r#"{"$date": "2014-02-01T00:00:00.1230Z"}"#,
                date(1_391_212_800_123),
            ),
            (
                r#"{"$date": {"$numberLong": "-62135596800001"}}"#,
                date(-62_135_596_800_001),
            ),
            (r#"{"$date": -1}"#, date(-1)),
            (
                r#"{"$numberLong": "9223372036854775807"}"#,
                Bson::Int64(i64::MAX),
            ),
            (r#"{"$numberLong": 5}"#, Bson::Int64(5)),
            (r#"{"$binary": "AQ==", "$type": "0"}"#, binary(0).into()),
            (r#"{"$type": "80", "$binary": "AQ=="}"#, binary(0x80).into()),
            (r#"{"$binary": "AQ==", "$type": 5}"#, binary(5).into()),
            (r#"{"$regex": "^a", "$options": "i"}"#, regex.unwrap()),
            (
                r#"{"$timestamp": {"t": 4294967295, "i": 1}}"#,
                Timestamp {
                    time: u32::MAX,
                    increment: 1,
                }
                .into(),
            ),
            (r#"{"$undefined": true}"#, Bson::Undefined),
            (r#"{"$minKey": 1}"#, Bson::MinKey),
            (
                r#"{"$ref": "c", "$id": {"$oid": "0123456789abcdef01234567"}, "$db": "d"}"#,
                doc! { "$ref": "c", "$id": id, "$db": "d" }.into(),
            ),
            // Query operators are not converted.
            (r#"{"$regex": "^a"}"#, doc! { "$regex": "^a" }.into()),
            (r#"{"$type": "string"}"#, doc! { "$type": "string" }.into()),
            (
                r#"{"$regex": {"$regularExpression": {"pattern": "^a", "options": ""}}, "$options": "i"}"#,
                doc! { "$regex": plain.clone(), "$options": "i" }.into(),
            ),
            ("18014398509481985", Bson::Int64(18_014_398_509_481_985)),
            ("-9223372036854775808", Bson::Int64(i64::MIN)),
            ("2147483648", Bson::Int64(2_147_483_648)),
            ("1.0", Bson::Double(1.0)),
            ("1e2", Bson::Double(100.0)),
        ];
        for (text, expected) in cases {
            let read = command(&format!("{{\"x\": {text}}}"));
            assert_eq!(read, Ok(doc! { "x": expected }), "{text}");
        }
    }

    #[test]
    fn lossy_values_are_errors_with_a_position() {
        let too_large = "the integer does not fit 64 bits; write it as {\"$numberDecimal\": \"…\"}, or as {\"$numberDouble\": \"…\"}";
        let no_double = "the number does not fit a double; use $numberDecimal";
        let form = |key: &str| format!("{key} is not valid Extended JSON");
        let cases: Vec<(&str, String)> = vec![
            ("9223372036854775808", too_large.to_owned()),
            ("-9223372036854775809", too_large.to_owned()),
            ("123456789012345678901234567890", too_large.to_owned()),
            ("1e400", no_double.to_owned()),
            (
                r#"{"a": 1, "b": 2, "a": 1}"#,
                "the key \"a\" occurs twice".to_owned(),
            ),
            (
                r#"{"$oid": "0123456789abcdef01234567", "x": 1}"#,
                form("$oid"),
            ),
            (r#"{"$oid": "01"}"#, form("$oid")),
            (r#"{"x": 1, "$date": 1}"#, form("$date")),
            (r#"{"$date": "yesterday"}"#, form("$date")),
            (r#"{"$date": 1.5}"#, form("$date")),
            (
                r#"{"$date": {"$numberLong": "9223372036854775808"}}"#,
                form("$date"),
            ),
            (
                r#"{"$numberLong": "9223372036854775808"}"#,
                form("$numberLong"),
            ),
            (r#"{"$numberLong": 1.5}"#, form("$numberLong")),
            (r#"{"$numberInt": "2147483648"}"#, form("$numberInt")),
            (r#"{"$numberDouble": "infinity"}"#, form("$numberDouble")),
            (r#"{"$numberDouble": "1e999"}"#, form("$numberDouble")),
            (r#"{"$binary": "AQ==", "$type": "100"}"#, form("$binary")),
            (r#"{"$binary": "A", "$type": "00"}"#, form("$binary")),
            (r#"{"$timestamp": {"t": -1, "i": 1}}"#, form("$timestamp")),
            (
                r#"{"$timestamp": {"t": 4294967296, "i": 1}}"#,
                form("$timestamp"),
            ),
            (r#"{"$undefined": false}"#, form("$undefined")),
            (r#"{"$scope": {}}"#, form("$scope")),
        ];
        for (text, expected) in cases {
            let read = command(&format!("{{\"f\": [0, {{\"x\": {text}}}]}}"));
            assert_eq!(
                read,
                Err(format!("the command at \"f.1.x\": {expected}")),
                "{text}"
            );
        }
        for (text, expected) in [
            (
                r#"{"find": "a", "find": "b"}"#,
                "the command: the key \"find\" occurs twice",
            ),
            (
                r#"{"d": {"$date": "2014-02-01T00:00:00.0001Z"}}"#,
                "the command at \"d.$date\": a date cannot have fractions of a millisecond",
            ),
            (
                r#"{"d": {"$dbPointer": {"$ref": "a", "$ref": "b"}}}"#,
                "the command at \"d.$dbPointer\": the key \"$ref\" occurs twice",
            ),
            (
                r#"{"d": {"$symbol": 1}}"#,
                "the command at \"d.$symbol\": a text was expected",
            ),
            (
                r#"{"d": {"$binary": "AQ=="}}"#,
                "the command at \"d.$binary\": an object was expected",
            ),
            (r#"{"a\u0000b": 1}"#, "the command: a key contains a NUL"),
            ("[1]", "the command must be a JSON object that is not empty"),
            ("{}", "the command must be a JSON object that is not empty"),
            (
                r#"{"ping": ISODate("2014-02-01")}"#,
                "the command is not JSON: expected value at line 1 column 10",
            ),
        ] {
            assert_eq!(command(text), Err(expected.to_owned()), "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(300), "}".repeat(300));
        let read = command(&deep);
        assert_eq!(
            read,
            Err("the command is nested deeper than 200 levels".to_owned())
        );
    }
}
