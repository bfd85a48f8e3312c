//! The options of a connection string, in their order: repeats, old spellings, unknown keys.
//! Source: "Connection String", "Connection Options".

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::error::{Discretion, conflict, invalid};
use super::keys::{Alias, Key, KeyLookup, Repeat};
use super::stray::{self, Stray};
use super::syntax::{self, Parts};
use super::values::ValueResult;
use super::warning::Warning;
use crate::error::Result;
use crate::options::ClientOptionsBuilder;
use crate::reason::options::{OptionConflict, UriPlace, UriProblem};

/// The maximum number of options, which also limits the warnings. No real connection string has more.
const MAX_OPTIONS: usize = 1000;

/// Fills `builder`, and returns the warnings about values that were ignored or replaced and keys that are out of date.
pub(super) fn read(parts: &Parts<'_>, builder: &mut ClientOptionsBuilder) -> Result<Vec<Warning>> {
    let mut options = Vec::new();
    for (index, text) in parts.options.split('&').enumerate() {
        let number = index + 1;
        if number > MAX_OPTIONS {
            let problem = UriProblem::TooManyOptions { most: MAX_OPTIONS };
            return Err(invalid(UriPlace::Options, problem));
        }
        // A `&` at the end, or two in a row, are harmless.
        if !text.is_empty() {
            options.push(UriOption::split(number, text)?);
        }
    }
    let mut reader = OptionReader {
        builder,
        warnings: Vec::new(),
        discretion: Discretion::new(parts.after_hosts, parts.slash),
        first: HashMap::new(),
        current: options.iter().filter_map(UriOption::current_key).collect(),
    };
    for option in &options {
        reader.take(option)?;
    }
    Ok(reader.warnings)
}

/// One `key=value`.
struct UriOption<'a> {
    place: OptionPosition,
    /// The whole option, still encoded.
    text: &'a str,
    name: &'a str,
    value: Zeroizing<String>,
}

/// The position of an option, for messages: `option 3 (tlsCAFile)`.
#[derive(Clone, Copy)]
struct OptionPosition {
    number: usize,
    found: KeyLookup,
}

impl From<OptionPosition> for UriPlace {
    fn from(place: OptionPosition) -> Self {
        Self::Option {
            number: place.number,
            key: place.found.name(),
        }
    }
}

impl<'a> UriOption<'a> {
    fn split(number: usize, text: &'a str) -> Result<Self> {
        let nameless = OptionPosition {
            number,
            found: KeyLookup::Unknown,
        };
        let Some((name, raw)) = text.split_once('=') else {
            return Err(invalid(nameless.into(), UriProblem::NoEquals));
        };
        if name.is_empty() {
            return Err(invalid(nameless.into(), UriProblem::NoKey));
        }
        let place = OptionPosition {
            number,
            found: KeyLookup::look_up(name),
        };
        if name.contains('@') || (raw.contains('@') && !place.found.is_text()) {
            return Err(invalid(place.into(), UriProblem::AtInOption));
        }
        let decoded = syntax::decode(raw)
            .map(Zeroizing::new)
            .map_err(|bad| bad.error(place.into()))?;
        if decoded.contains('\0') {
            return Err(invalid(place.into(), UriProblem::HoldsNul));
        }
        let value = match place.found.is_split_before_decoding() {
            true => Zeroizing::new(raw.to_owned()),
            false => decoded,
        };
        Ok(Self {
            place,
            text,
            name,
            value,
        })
    }

    /// The key, if this is its current spelling.
    fn current_key(&self) -> Option<(&'static str, usize)> {
        match self.place.found {
            KeyLookup::Key(key) => Some((key.name, self.place.number)),
            KeyLookup::Alias(alias, key) if !alias.deprecated => {
                Some((key.name, self.place.number))
            }
            _ => None,
        }
    }

    /// Returns true if the option is about TLS without being `tls` itself, and thus turns TLS on.
    fn requests_tls(&self) -> bool {
        let begins_with = |prefix| {
            let start = self.name.get(..3).unwrap_or_default();
            start.eq_ignore_ascii_case(prefix)
        };
        self.name.len() > 3 && (begins_with("tls") || begins_with("ssl"))
    }
}

/// Reads the options one by one.
struct OptionReader<'a> {
    builder: &'a mut ClientOptionsBuilder,
    warnings: Vec<Warning>,
    discretion: Discretion,
    /// The first value of each key so far.
    first: HashMap<&'static str, Zeroizing<String>>,
    /// The keys that occur in their current spelling.
    current: HashMap<&'static str, usize>,
}

impl OptionReader<'_> {
    fn take(&mut self, option: &UriOption<'_>) -> Result<()> {
        if let Some(stray) = Stray::find(option.text, false) {
            let in_secret = option.place.found.is_secret();
            return Err(stray.error(option.place.into(), self.discretion, in_secret));
        }
        if option.requests_tls() {
            self.builder.tls.get_or_insert_default();
        }
        match option.place.found {
            KeyLookup::Key(key) => self.take_key(option, key, option.value.clone())?,
            KeyLookup::Alias(alias, key) => self.take_alias(option, alias, key)?,
            KeyLookup::Unsupported(key) if key.refused => {
                let instead = key.instead;
                return Err(invalid(
                    option.place.into(),
                    UriProblem::Unsupported { instead },
                ));
            }
            KeyLookup::Unsupported(key) => {
                self.warn(
                    option,
                    format!("is not supported and ignored. {}", key.instead),
                );
            }
            KeyLookup::Unknown if stray::is_about_tls(option.name) => {
                return Err(stray::unknown_tls_key(
                    option.place.into(),
                    option.name,
                    self.discretion,
                ));
            }
            KeyLookup::Unknown => {
                let name = self.discretion.show(option.name);
                let name = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
                self.warn(option, format!("has an unknown key{name} and is ignored"));
            }
        }
        if option.place.found.is_secret() {
            self.discretion.mark_secret_seen();
        }
        Ok(())
    }

    /// Handles an old spelling. It is ignored beside the current one, unless security depends on it: then the two must
    /// agree.
    fn take_alias(
        &mut self,
        option: &UriOption<'_>,
        alias: &Alias,
        key: &'static Key,
    ) -> Result<()> {
        if alias.deprecated {
            let replaced = key.repeat != Repeat::MustAgree && self.current.contains_key(key.name);
            let ignored = if replaced {
                ", and ignored beside it"
            } else {
                ""
            };
            self.warn(option, format!("is deprecated; use {}{ignored}", key.name));
            if replaced {
                return Ok(());
            }
        }
        match (alias.translate)(&option.value) {
            Some(value) => self.take_key(option, key, value)?,
            None => self.warn(
                option,
                "has a value that is not known; it is ignored".to_owned(),
            ),
        }
        Ok(())
    }

    fn take_key(
        &mut self,
        option: &UriOption<'_>,
        key: &'static Key,
        value: Zeroizing<String>,
    ) -> Result<()> {
        if let Some(first) = self.first.get(key.name) {
            let agree = key.value.agree(first, &value);
            match key.repeat {
                Repeat::Never => {
                    return Err(conflict(OptionConflict::Repeated(key.name)));
                }
                Repeat::MustAgree if !agree => {
                    return Err(conflict(OptionConflict::RepeatedDifferently(key.name)));
                }
                // "URI Options", "Conflicting TLS options": no warning about tls beside ssl.
                Repeat::MustAgree if key.name == "tls" => {}
                Repeat::MustAgree | Repeat::LastCounts => {
                    self.warn(
                        option,
                        "is repeated; the last valid value counts".to_owned(),
                    );
                }
                Repeat::List => {}
            }
        } else {
            self.first.insert(key.name, value.clone());
        }
        match key.value.read(self.builder, &value) {
            ValueResult::Taken => {}
            ValueResult::Noted(text) => self.warn(option, text),
            ValueResult::Ignored(text) => self.warn(option, format!("{text}; it is ignored")),
            ValueResult::Refused(problem) => {
                return Err(invalid(option.place.into(), UriProblem::Value(problem)));
            }
        }
        Ok(())
    }

    fn warn(&mut self, option: &UriOption<'_>, text: String) {
        self.warnings.push(Warning {
            key: option.place.found.name(),
            message: format!("connection string: {} {text}", UriPlace::from(option.place)),
        });
    }
}
