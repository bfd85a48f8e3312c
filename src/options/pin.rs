//! Pins: the public keys that a program expects in the server's chain.

use std::fmt;
use std::str::FromStr;

/// A public key pin: the SHA-256 digest of a `SubjectPublicKeyInfo` in DER form (RFC 7469 §2.4). It identifies the
/// key in any certificate that contains it.
///
/// The text form is 64 hexadecimal digits, or `sha256//` and base64 as in curl. To print the pin of a certificate,
/// use
/// `openssl x509 -in FILE -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpkiPin([u8; 32]);

impl SpkiPin {
    /// Creates a pin from this digest.
    ///
    /// ```
    /// use mongotls::options::SpkiPin;
    ///
    /// let pin = SpkiPin::from_digest([7; 32]);
    /// assert_eq!(pin.digest(), &[7; 32]);
    /// ```
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the digest.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SpkiPin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let bytes = match text.strip_prefix("sha256//") {
            // OpenSSL also accepts base64 of more than 44 characters, with white space.
            Some(base64) if base64.len() == 44 => openssl::base64::decode_block(base64).ok(),
            Some(_) => None,
            None => hex(text),
        };
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(InvalidPin)
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpkiPin({self})")
    }
}

/// The error for a text that is not a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPin;

impl fmt::Display for InvalidPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pin is 64 hexadecimal digits, or sha256// and 44 characters of base64")
    }
}

impl std::error::Error for InvalidPin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_pin_are_read_and_nothing_else() {
        let digest: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap() * 7);
        let pin = SpkiPin::from_digest(digest);
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.to_string().to_uppercase().parse(), Ok(pin));
        let base64 = openssl::base64::encode_block(&digest);
        assert_eq!(format!("sha256//{base64}").parse(), Ok(pin));
        for wrong in [
            String::new(),
            "00".repeat(31),
            "00".repeat(33),
            "0".repeat(63),
            "zz".repeat(32),
            "é".repeat(32),
            "+1".repeat(32),
            base64.clone(),
            format!("sha256/{base64}"),
            format!("sha256//{base64} "),
            format!("sha256//{}", &base64[1..]),
            format!("sha256//{}", "=".repeat(44)),
        ] {
            assert_eq!(wrong.parse::<SpkiPin>(), Err(InvalidPin), "{wrong:?}");
        }
    }
}
