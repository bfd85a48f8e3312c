//! Collation: the rules by which a server compares text.
//!
//! Source: "Collation" of the MongoDB manual; the specification "CRUD API" names the operations that take one.

use bson::{Bson, Document};

use crate::enum_text::display_as_str;

/// The rules of a language by which a server compares text, for example in filters and sort orders.
///
/// `None` leaves a rule to the server, which has the defaults of the locale.
///
/// ```
/// use mongotls::options::{Collation, CollationStrength};
///
/// // Compares without regard to case: strength 2.
/// let collation = Collation::new("en").strength(CollationStrength::Secondary);
/// assert_eq!(collation.to_document().get_i32("strength").ok(), Some(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collation {
    /// The ICU locale, such as `en`, `fr_CA` or `simple`. `simple` compares bytes.
    pub locale: String,
    /// The differences that count.
    pub strength: Option<CollationStrength>,
    /// True if case counts at the strengths 1 and 2.
    pub case_level: Option<bool>,
    /// The order of upper and lower case.
    pub case_first: Option<CollationCaseFirst>,
    /// True if digits are compared as numbers: `a2` is before `a10`.
    pub numeric_ordering: Option<bool>,
    /// The treatment of spaces and punctuation.
    pub alternate: Option<CollationAlternate>,
    /// The characters that `alternate: shifted` ignores.
    pub max_variable: Option<CollationMaxVariable>,
    /// True if text is normalised before it is compared.
    pub normalization: Option<bool>,
    /// True if accents are compared from the end of a text, as in some dialects of French.
    pub backwards: Option<bool>,
}

impl Collation {
    /// Creates a collation in the way of the official driver.
    ///
    /// ```
    /// use mongotls::options::{Collation, CollationStrength};
    ///
    /// let collation = Collation::builder().locale("en").strength(CollationStrength::Secondary).build();
    /// assert_eq!(collation, Collation::new("en").strength(CollationStrength::Secondary));
    /// ```
    pub fn builder() -> CollationBuilder {
        CollationBuilder(Self::new("simple"))
    }

    /// Creates a collation with the defaults of this locale.
    pub fn new(locale: impl Into<String>) -> Self {
        Self {
            locale: locale.into(),
            strength: None,
            case_level: None,
            case_first: None,
            numeric_ordering: None,
            alternate: None,
            max_variable: None,
            normalization: None,
            backwards: None,
        }
    }

    /// Sets the differences that count.
    #[must_use]
    pub fn strength(mut self, strength: CollationStrength) -> Self {
        self.strength = Some(strength);
        self
    }

    /// Sets whether case counts at the strengths 1 and 2.
    #[must_use]
    pub fn case_level(mut self, counts: bool) -> Self {
        self.case_level = Some(counts);
        self
    }

    /// Sets the order of upper and lower case.
    #[must_use]
    pub fn case_first(mut self, first: CollationCaseFirst) -> Self {
        self.case_first = Some(first);
        self
    }

    /// Sets whether digits are compared as numbers.
    #[must_use]
    pub fn numeric_ordering(mut self, numeric: bool) -> Self {
        self.numeric_ordering = Some(numeric);
        self
    }

    /// Sets the treatment of spaces and punctuation.
    #[must_use]
    pub fn alternate(mut self, alternate: CollationAlternate) -> Self {
        self.alternate = Some(alternate);
        self
    }

    /// Sets the characters that `alternate: shifted` ignores.
    #[must_use]
    pub fn max_variable(mut self, characters: CollationMaxVariable) -> Self {
        self.max_variable = Some(characters);
        self
    }

    /// Sets whether text is normalised before it is compared.
    #[must_use]
    pub fn normalization(mut self, normalized: bool) -> Self {
        self.normalization = Some(normalized);
        self
    }

    /// Sets whether accents are compared from the end of a text.
    #[must_use]
    pub fn backwards(mut self, backwards: bool) -> Self {
        self.backwards = Some(backwards);
        self
    }

    /// Returns the value of the field `collation` in a command.
    pub fn to_document(&self) -> Document {
        let text = |text: &str| Bson::from(text);
        let strength = self.strength.map(|strength| Bson::from(strength.level()));
        let fields = [
            ("locale", Some(text(&self.locale))),
            ("strength", strength),
            ("caseLevel", self.case_level.map(Bson::from)),
            ("caseFirst", self.case_first.map(|it| text(it.as_str()))),
            ("numericOrdering", self.numeric_ordering.map(Bson::from)),
            ("alternate", self.alternate.map(|it| text(it.as_str()))),
            ("maxVariable", self.max_variable.map(|it| text(it.as_str()))),
            ("normalization", self.normalization.map(Bson::from)),
            ("backwards", self.backwards.map(Bson::from)),
        ];
        let set = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        set.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// A builder of a [`Collation`]; see [`Collation::builder`]. Without a locale it is `simple`.
#[derive(Clone, Debug)]
#[must_use = "the collation is made by build"]
pub struct CollationBuilder(Collation);

macro_rules! builder_setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty;)*) => {
        impl CollationBuilder {
            $(
                $(#[$doc])*
                pub fn $name(self, $name: $kind) -> Self {
                    Self(self.0.$name($name))
                }
            )*
        }
    };
}

builder_setters! {
    /// Sets the differences that count.
    strength: CollationStrength;
    /// Sets whether case counts at the strengths 1 and 2.
    case_level: bool;
    /// Sets the order of upper and lower case.
    case_first: CollationCaseFirst;
    /// Sets whether digits are compared as numbers.
    numeric_ordering: bool;
    /// Sets the treatment of spaces and punctuation.
    alternate: CollationAlternate;
    /// Sets the characters that `alternate: shifted` ignores.
    max_variable: CollationMaxVariable;
    /// Sets whether text is normalised before it is compared.
    normalization: bool;
    /// Sets whether accents are compared from the end of a text.
    backwards: bool;
}

impl CollationBuilder {
    /// Sets the ICU locale, such as `en` or `fr_CA`.
    pub fn locale(mut self, locale: impl Into<String>) -> Self {
        self.0.locale = locale.into();
        self
    }

    /// Returns the collation.
    pub fn build(self) -> Collation {
        self.0
    }
}

/// The differences between two texts that count in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CollationStrength {
    /// Different base characters: level 1.
    Primary,
    /// Also accents: level 2.
    Secondary,
    /// Also case and variants of a character: level 3, the server's default.
    Tertiary,
    /// Also punctuation: level 4.
    Quaternary,
    /// Every difference: level 5.
    Identical,
}

impl CollationStrength {
    /// The level, from 1 to 5.
    pub fn level(self) -> i32 {
        match self {
            Self::Primary => 1,
            Self::Secondary => 2,
            Self::Tertiary => 3,
            Self::Quaternary => 4,
            Self::Identical => 5,
        }
    }
}

/// The order of upper and lower case at strength 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CollationCaseFirst {
    /// Upper case is first.
    Upper,
    /// Lower case is first.
    Lower,
    /// The default of the locale.
    Off,
}

impl CollationCaseFirst {
    /// The text in a command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Off => "off",
        }
    }
}

/// The treatment of spaces and punctuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CollationAlternate {
    /// They count as any other character.
    NonIgnorable,
    /// They count only at a strength above 3.
    Shifted,
}

impl CollationAlternate {
    /// The text in a command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NonIgnorable => "non-ignorable",
            Self::Shifted => "shifted",
        }
    }
}

/// The characters that [`CollationAlternate::Shifted`] ignores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CollationMaxVariable {
    /// Spaces and punctuation.
    Punct,
    /// Spaces.
    Space,
}

impl CollationMaxVariable {
    /// The text in a command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Punct => "punct",
            Self::Space => "space",
        }
    }
}

display_as_str!(CollationCaseFirst, CollationAlternate, CollationMaxVariable);

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn all_rules_have_their_names_in_a_command() {
        let collation = Collation::new("fr_CA")
            .strength(CollationStrength::Primary)
            .case_level(true)
            .case_first(CollationCaseFirst::Upper)
            .numeric_ordering(true)
            .alternate(CollationAlternate::Shifted)
            .max_variable(CollationMaxVariable::Space)
            .normalization(false)
            .backwards(true);
        let expected = doc! {
            "locale": "fr_CA", "strength": 1, "caseLevel": true, "caseFirst": "upper", "numericOrdering": true,
            "alternate": "shifted", "maxVariable": "space", "normalization": false, "backwards": true,
        };
        assert_eq!(collation.to_document(), expected);
        assert_eq!(
            Collation::new("simple").to_document(),
            doc! { "locale": "simple" }
        );
    }
}
