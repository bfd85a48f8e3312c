//! Documents in the log: relaxed Extended JSON, truncated to a maximum length.
//!
//! Source: "Logging", "Representing Documents in Log Messages" and "Configurable Max Document Length". Only as much
//! as will be shown is written, so a large reply costs no more than a small one. Invalid BSON ends its document
//! early.

use bson::raw::RawDocument;
use bson::spec::BinarySubtype;
use bson::{DateTime, RawBsonRef};

use crate::printable::{escape, is_harmful};

/// The maximum depth of documents in the log; MongoDB rejects documents with more than 100 levels.
const DEEPEST: usize = 110;
/// The last millisecond of the year 9999. Later dates, and those before 1970, are shown as numbers.
const LAST_DATE: i64 = 253_402_300_799_999;

/// Returns `document` in at most `limit` bytes, followed by `...` if it was truncated.
pub(super) fn extended_json(document: &RawDocument, limit: usize) -> String {
    let mut json = Json {
        text: String::new(),
        limit,
        is_full: false,
    };
    json.document(document, DEEPEST);
    if json.is_full {
        json.text.push_str("...");
    }
    json.text
}

struct Json {
    text: String,
    limit: usize,
    /// True once something did not fit; then nothing more is written.
    is_full: bool,
}

impl Json {
    fn push(&mut self, text: &str) {
        if self.is_full {
            return;
        }
        let room = self.limit - self.text.len();
        if text.len() <= room {
            self.text.push_str(text);
            return;
        }
        self.is_full = true;
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
        self.text.push_str(&text[..end.unwrap_or(0)]);
    }

    /// Writes a text with its quotes, escaped as RFC 8259 requires, with all characters printable.
    fn quoted(&mut self, text: &str) {
        self.push("\"");
        let is_special = |c: char| matches!(c, '"' | '\\') || is_harmful(c);
        for piece in text.split_inclusive(is_special) {
            let last = piece.chars().next_back();
            match last.filter(|last| is_special(*last)) {
                None => self.push(piece),
                Some(special) => {
                    self.push(&piece[..piece.len() - special.len_utf8()]);
                    match special {
                        '"' => self.push("\\\""),
                        '\\' => self.push("\\\\"),
                        other => {
                            let mut escaped = String::new();
                            // Writing to a `String` cannot fail.
                            let _ = escape(&mut escaped, other);
                            self.push(&escaped);
                        }
                    }
                }
            }
            if self.is_full {
                return;
            }
        }
        self.push("\"");
    }

    fn document(&mut self, document: &RawDocument, depth: usize) {
        self.push("{");
        for (count, element) in document.iter().enumerate() {
            let Ok((key, value)) = element else { break };
            if count > 0 {
                self.push(",");
            }
            self.quoted(key.as_str());
            self.push(":");
            self.value(value, depth);
            if self.is_full {
                return;
            }
        }
        self.push("}");
    }

    fn value(&mut self, value: RawBsonRef<'_>, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return self.push("\"...\"");
        };
        match value {
            RawBsonRef::Double(number) if number.is_finite() => self.push(&format!("{number:?}")),
            RawBsonRef::Double(number) if number.is_nan() => self.wrapped("$numberDouble", "NaN"),
            RawBsonRef::Double(number) if number > 0.0 => self.wrapped("$numberDouble", "Infinity"),
            RawBsonRef::Double(_) => self.wrapped("$numberDouble", "-Infinity"),
            RawBsonRef::String(text) => self.quoted(text),
            RawBsonRef::Document(document) => self.document(document, depth),
            RawBsonRef::Array(array) => {
                self.push("[");
                for (count, element) in array.into_iter().enumerate() {
                    let Ok(value) = element else { break };
                    if count > 0 {
                        self.push(",");
                    }
                    self.value(value, depth);
                    if self.is_full {
                        return;
                    }
                }
                self.push("]");
            }
            RawBsonRef::Boolean(yes) => self.push(if yes { "true" } else { "false" }),
            RawBsonRef::Null => self.push("null"),
            RawBsonRef::Int32(number) => self.push(&number.to_string()),
            RawBsonRef::Int64(number) => self.push(&number.to_string()),
            RawBsonRef::ObjectId(id) => self.wrapped("$oid", &id.to_hex()),
            RawBsonRef::DateTime(date) => self.date(date),
            RawBsonRef::Binary(binary) => self.binary(binary.subtype, binary.bytes),
            RawBsonRef::Decimal128(number) => self.wrapped("$numberDecimal", &number.to_string()),
            RawBsonRef::Timestamp(at) => self.push(&format!(
                "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}",
                at.time, at.increment
            )),
            RawBsonRef::RegularExpression(regex) => {
                self.push("{\"$regularExpression\":{\"pattern\":");
                self.quoted(regex.pattern.as_str());
                self.push(",\"options\":");
                self.quoted(regex.options.as_str());
                self.push("}}");
            }
            RawBsonRef::JavaScriptCode(code) => self.wrapped("$code", code),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                self.push("{\"$code\":");
                self.quoted(code.code);
                self.push(",\"$scope\":");
                self.document(code.scope, depth);
                self.push("}");
            }
            RawBsonRef::Symbol(text) => self.wrapped("$symbol", text),
            RawBsonRef::Undefined => self.push("{\"$undefined\":true}"),
            RawBsonRef::MinKey => self.push("{\"$minKey\":1}"),
            RawBsonRef::MaxKey => self.push("{\"$maxKey\":1}"),
            // Deprecated for a long time; `bson` keeps its parts private.
            RawBsonRef::DbPointer(pointer) => self.wrapped("$dbPointer", &format!("{pointer:?}")),
        }
    }

    fn wrapped(&mut self, key: &str, text: &str) {
        self.push("{\"");
        self.push(key);
        self.push("\":");
        self.quoted(text);
        self.push("}");
    }

    fn date(&mut self, date: DateTime) {
        let ms = date.timestamp_millis();
        let text = (0..=LAST_DATE)
            .contains(&ms)
            .then(|| date.try_to_rfc3339_string().ok());
        match text.flatten() {
            Some(text) => self.wrapped("$date", &text),
            None => self.push(&format!("{{\"$date\":{{\"$numberLong\":\"{ms}\"}}}}")),
        }
    }

    fn binary(&mut self, subtype: BinarySubtype, bytes: &[u8]) {
        self.push("{\"$binary\":{\"base64\":\"");
        // Three bytes are four characters, so bytes beyond the limit need not be encoded.
        let room = self.limit.saturating_sub(self.text.len());
        let shown = bytes.len().min(room.saturating_add(3) / 3 * 3);
        self.push(&openssl::base64::encode_block(&bytes[..shown]));
        self.push(&format!("\",\"subType\":\"{:02x}\"}}}}", u8::from(subtype)));
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{Binary, Bson, Document, RawDocumentBuf, Regex, Timestamp, doc};

    use super::*;

    fn json(document: &Document, limit: usize) -> String {
        extended_json(&RawDocumentBuf::try_from(document).unwrap(), limit)
    }

    fn of_each_type() -> Document {
        doc! {
            "double": 1.5, "whole": 3.0, "large": 1e300, "nan": f64::NAN, "inf": f64::INFINITY, "-inf": f64::NEG_INFINITY,
            "text": "a \"quoted\" \\ line\nand\ttab \u{1} ä 日本 \u{7f}", "document": { "a": { "b": [] } }, "array": [1, [2, "x"], {}],
            "yes": true, "null": null, "i32": -7, "i64": i64::MAX, "oid": ObjectId::from_bytes([7; 12]),
            "date": DateTime::from_millis(1_700_000_000_123), "second": DateTime::from_millis(1_700_000_000_000),
            "before": DateTime::from_millis(-1),
            "binary": Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2, 3, 4] },
            "user": Binary { subtype: BinarySubtype::UserDefined(0x80), bytes: vec![] },
            "decimal": "1.50".parse::<bson::Decimal128>().unwrap(), "timestamp": Timestamp { time: 5, increment: 6 },
            "regex": Regex { pattern: bson::cstr!("a\"b").to_owned(), options: bson::cstr!("i").to_owned() },
            "code": Bson::JavaScriptCode("f()".into()), "symbol": Bson::Symbol("s".into()),
            "scope": bson::JavaScriptCodeWithScope { code: "f".into(), scope: doc! { "x": 1 } },
            "undefined": Bson::Undefined, "min": Bson::MinKey, "max": Bson::MaxKey,
        }
    }

    #[test]
    fn each_type_reads_as_bson_itself_writes_it() {
        let document = of_each_type();
        let ours: serde_json::Value = serde_json::from_str(&json(&document, usize::MAX)).unwrap();
        assert_eq!(ours, Bson::from(document).into_relaxed_extjson());
        // `bson` has no number for dates beyond its calendar.
        let after = json(&doc! { "d": DateTime::from_millis(LAST_DATE + 1) }, 100);
        assert_eq!(
            after,
            r#"{"d":{"$date":{"$numberLong":"253402300800000"}}}"#
        );
    }

    #[test]
    fn a_text_is_cut_at_the_limit_and_never_within_a_character() {
        let document = of_each_type();
        let whole = json(&document, usize::MAX);
        for limit in 0..whole.len() {
            let cut = json(&document, limit);
            let shown = cut.strip_suffix("...").unwrap();
            assert!(whole.starts_with(shown), "{limit}");
            assert!(
                (limit.saturating_sub(3)..=limit).contains(&shown.len()),
                "{limit}: {shown}"
            );
        }
        assert_eq!(json(&document, whole.len()), whole);
        assert_eq!(json(&doc! { "a": "ääää" }, 8), r#"{"a":"ä..."#);
    }

    #[test]
    fn deep_or_broken_documents_are_shown_in_part() {
        let deep = (0..500).fold(doc! {}, |inner, _| doc! { "a": inner });
        let text = json(&deep, usize::MAX);
        assert!(text.len() < 1000 && text.contains("\"...\""), "{text}");
        let broken = RawDocument::from_bytes(b"\x0c\0\0\0\x10a\0\x01\0\0\0\0").unwrap();
        assert_eq!(extended_json(broken, 100), "{\"a\":1}");
        let broken = RawDocument::from_bytes(b"\x0a\0\0\0\x10a\0\x01\0\0").unwrap();
        assert_eq!(extended_json(broken, 100), "{}");
    }
}
