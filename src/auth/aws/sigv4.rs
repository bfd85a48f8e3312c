//! AWS Signature Version 4: bytes in, an `Authorization` header out. No clock and no network.
//!
//! Source: "Create a signed AWS API request" in the AWS Identity and Access Management User Guide.

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use zeroize::Zeroizing;

/// A request as it is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedRequest<'a> {
    pub(super) method: &'a str,
    /// The path, escaped in the same way as in the request.
    pub(super) path: &'a str,
    /// The query, escaped, and sorted by name.
    pub(super) query: &'a str,
    /// The signed headers, in any order; names in lower case, values without white space at their ends.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The date, region and service that a signature is valid for.
#[derive(Clone, Copy, Debug)]
pub(super) struct CredentialScope<'a> {
    /// The value of `x-amz-date`: `20150830T123600Z`.
    pub(super) time: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl CredentialScope<'_> {
    fn date(&self) -> &str {
        self.time.split('T').next().unwrap_or_default()
    }

    fn text(&self) -> String {
        let Self {
            region, service, ..
        } = self;
        format!("{}/{region}/{service}/{TERMINATOR}", self.date())
    }
}

/// The value of the `Authorization` header.
pub(super) fn authorization(
    request: &SignedRequest<'_>,
    scope: &CredentialScope<'_>,
    access_key_id: &str,
    secret_access_key: &str,
) -> Result<String, ErrorStack> {
    let mut headers = request.headers.to_vec();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let to_sign = string_to_sign(&canonical(request, &headers, &names), scope);
    let key = signing_key(secret_access_key, scope)?;
    let signature = hex(&hmac(&key, to_sign.as_bytes())?);
    Ok(format!(
        "{ALGORITHM} Credential={access_key_id}/{}, SignedHeaders={names}, Signature={signature}",
        scope.text()
    ))
}

fn canonical(
    request: &SignedRequest<'_>,
    headers: &[(&str, &str)],
    names: &str,
) -> Zeroizing<String> {
    let SignedRequest {
        method,
        path,
        query,
        body,
        ..
    } = request;
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let headers = Zeroizing::new(headers);
    let listed = Zeroizing::new(headers.concat());
    let hash = hex(&sha256(body));
    Zeroizing::new(format!(
        "{method}\n{path}\n{query}\n{}\n{names}\n{hash}",
        *listed
    ))
}

fn string_to_sign(canonical: &str, scope: &CredentialScope<'_>) -> String {
    let hash = hex(&sha256(canonical.as_bytes()));
    format!("{ALGORITHM}\n{}\n{}\n{hash}", scope.time, scope.text())
}

fn signing_key(
    secret: &str,
    scope: &CredentialScope<'_>,
) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
    let first = Zeroizing::new(["AWS4", secret].concat().into_bytes());
    let date = hmac(&first, scope.date().as_bytes())?;
    let region = hmac(&date, scope.region.as_bytes())?;
    let service = hmac(&region, scope.service.as_bytes())?;
    hmac(&service, TERMINATOR.as_bytes())
}

fn hmac(key: &[u8], data: &[u8]) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.sign_oneshot_to_vec(data).map(Zeroizing::new)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");
    const TIME: (&str, &str) = ("x-amz-date", "20150830T123600Z");

    /// The signed headers and the signature.
    fn sign(service: &str, request: &SignedRequest<'_>) -> (String, String) {
        let scope = CredentialScope {
            time: "20150830T123600Z",
            region: "us-east-1",
            service,
        };
        let header = authorization(request, &scope, "AKIDEXAMPLE", SECRET).unwrap();
        let start = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders="
        );
        let rest = header.strip_prefix(&start).unwrap();
        let (headers, signature) = rest.split_once(", Signature=").unwrap();
        (headers.to_owned(), signature.to_owned())
    }

    #[test]
    fn the_example_of_the_user_guide() {
        // "ListUsers" of IAM, with each step of the guide.
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let headers = [
            TIME,
            ("host", "iam.amazonaws.com"),
            ("content-type", content_type),
        ];
        let request = SignedRequest {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &headers,
            body: b"",
        };
        let (headers, signature) = sign("iam", &request);
        assert_eq!(headers, "content-type;host;x-amz-date");
        assert_eq!(
            signature,
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        let scope = CredentialScope {
            time: "20150830T123600Z",
            region: "us-east-1",
            service: "iam",
        };
        assert_eq!(
            hex(&signing_key(SECRET, &scope).unwrap()),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
    }

    #[test]
    fn the_published_test_suite() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let form = ("content-type", "application/x-www-form-urlencoded");
        type Case<'a> = (
            &'a str,
            &'a str,
            &'a str,
            &'a [(&'a str, &'a str)],
            &'a [u8],
            &'a str,
        );
        let cases: [Case<'_>; 6] = [
            (
                "get-vanilla",
                "GET",
                "",
                &[HOST, TIME],
                b"",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                "POST",
                "",
                &[HOST, TIME],
                b"",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "Param1=value1&Param2=value2",
                &[HOST, TIME],
                b"",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-header-key-sort",
                "POST",
                "",
                &[HOST, ("my-header1", "value1"), TIME],
                b"",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-x-www-form-urlencoded",
                "POST",
                "",
                &[form, HOST, TIME],
                b"Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-sts-header-before",
                "POST",
                "",
                &[HOST, TIME, ("x-amz-security-token", token)],
                b"",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ];
        for (name, method, query, headers, body, expected) in cases {
            let request = SignedRequest {
                method,
                path: "/",
                query,
                headers,
                body,
            };
            assert_eq!(sign("service", &request).1, expected, "{name}");
        }
    }
}
