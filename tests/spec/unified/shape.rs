//! Shapes of JSON values: the part of JSON Schema that the schema of the unified test format uses.

use serde_json::{Map, Value};

/// What a value must look like.
pub(crate) enum Shape {
    /// Any value.
    Any,
    /// No value is allowed.
    Never,
    Text,
    Bool,
    Integer,
    /// The value `true`.
    True,
    /// A document with any fields.
    Document,
    /// A version of two or three numbers.
    Version,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// An array of at least that many items.
    List(usize, &'static Shape),
    /// A document with these fields only.
    Fields(&'static Fields),
    /// The shape depends on the value.
    Chosen(fn(&Value) -> &'static Shape),
}

/// The fields of a document.
pub(crate) struct Fields {
    pub(crate) required: &'static [&'static str],
    pub(crate) known: &'static [(&'static str, &'static Shape)],
    /// The shape of a field that is not in `known`, by its name. Such a field is an error by default.
    pub(crate) others: fn(&str) -> Option<&'static Shape>,
    /// The smallest and the largest number of fields.
    pub(crate) count: (usize, usize),
    /// A rule about several fields.
    pub(crate) rule: fn(&Map<String, Value>) -> Result<(), String>,
}

impl Fields {
    pub(crate) const NONE: Self = Self {
        required: &[],
        known: &[],
        others: |_| None,
        count: (0, usize::MAX),
        rule: |_| Ok(()),
    };
}

impl Shape {
    /// Checks a value; an error names the place in it.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let is = |fits: bool, what: &str| match fits {
            true => Ok(()),
            false => Err(format!("{} is not {what}", brief(value))),
        };
        match self {
            Self::Any => Ok(()),
            Self::Never => Err("is not allowed here".to_owned()),
            Self::Text => is(value.is_string(), "a string"),
            Self::Bool => is(value.is_boolean(), "a boolean"),
            Self::Integer => is(is_integer(value), "an integer"),
            Self::True => is(*value == Value::Bool(true), "true"),
            Self::Document => is(value.is_object(), "a document"),
            Self::Version => is(value.as_str().is_some_and(is_version), "a version"),
            Self::OneOf(texts) => is(
                value.as_str().is_some_and(|text| texts.contains(&text)),
                &format!("one of {}", texts.join(", ")),
            ),
            Self::List(least, item) => {
                let items = value
                    .as_array()
                    .ok_or(format!("{} is not an array", brief(value)))?;
                is(
                    items.len() >= *least,
                    &format!("an array of {least} or more items"),
                )?;
                items.iter().enumerate().try_for_each(|(index, value)| {
                    item.check(value)
                        .map_err(|why| at(&index.to_string(), &why))
                })
            }
            Self::Fields(fields) => fields.check(value),
            Self::Chosen(choose) => choose(value).check(value),
        }
    }
}

impl Fields {
    fn check(&self, value: &Value) -> Result<(), String> {
        let Value::Object(fields) = value else {
            return Err(format!("{} is not a document", brief(value)));
        };
        for (name, value) in fields {
            let known = self.known.iter().find(|(known, _)| known == name);
            let shape = known
                .map(|(_, shape)| *shape)
                .or_else(|| (self.others)(name));
            let shape = shape.ok_or_else(|| format!("the field \"{name}\" is unknown"))?;
            shape.check(value).map_err(|why| at(name, &why))?;
        }
        if let Some(missing) = self
            .required
            .iter()
            .find(|name| !fields.contains_key(**name))
        {
            return Err(format!("the field \"{missing}\" is missing"));
        }
        if fields.len() < self.count.0 || fields.len() > self.count.1 {
            return Err(format!("{} fields are not allowed", fields.len()));
        }
        (self.rule)(fields)
    }
}

fn at(place: &str, why: &str) -> String {
    match why.split_once(": ") {
        // Joins the places to one path.
        Some((path, why)) if path.starts_with("in ") => format!("in {place}.{}: {why}", &path[3..]),
        _ => format!("in {place}: {why}"),
    }
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn is_version(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (2..=3).contains(&parts.len()) && parts.iter().all(is_number)
}
