//! Macros for enums whose values have a fixed text each.

/// Implements `Display` with the text that `as_str` returns.
macro_rules! display_as_str {
    ($($name:ident),+) => {$(
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}
pub(crate) use display_as_str;

/// Declares an enum of codes. A row of its table has the variant, its code and when it applies.
macro_rules! codes {
    ($(#[$attribute:meta])* $name:ident $($variant:ident = $code:literal, $when:literal;)*) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $code, "`: ", $when, ".")] $variant,)*
        }

        impl $name {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as text: lower case words joined by hyphens.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The condition under which the code applies, in one line.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $when,)* }
            }
        }

        $crate::enum_text::display_as_str!($name);
    };
}
pub(crate) use codes;
