//! From the body as it was sent to the JSON in it: JSON as it stands, or a form's `payload` field.

use super::Refusal;
use std::borrow::Cow;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`, the JSON in `payload`.
    Form,
}

impl Format {
    /// Reads a content type; none at all means JSON. Anything else is refused with 415.
    pub(super) fn of(content_type: Option<&str>) -> Result<Format, Refusal> {
        let Some(given) = content_type else { return Ok(Format::Json) };
        let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" => Ok(Format::Json),
            "application/x-www-form-urlencoded" => Ok(Format::Form),
            _ => Err(Refusal::new(415, "the body must be application/json or application/x-www-form-urlencoded")),
        }
    }

    /// The JSON in `body`. A "form" that begins with a brace is JSON that `curl -d` mislabelled.
    pub(super) fn json(self, body: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
        let mislabelled = body.trim_ascii_start().first() == Some(&b'{');
        if self == Format::Json || mislabelled {
            return Ok(Cow::Borrowed(body));
        }
        let field = body.split(|byte| *byte == b'&').find_map(|field| field.strip_prefix(b"payload="));
        let field = field.ok_or_else(|| Refusal::new(400, "the form has no field `payload`"))?;
        url_decoded(field).map(Cow::Owned).ok_or_else(|| Refusal::new(400, "the form's `payload` is not URL-encoded"))
    }
}

fn url_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => *other,
        });
    }
    Some(decoded)
}

fn hex_digit(byte: &u8) -> Option<u8> {
    char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_told_apart() {
        for json in [None, Some("application/json"), Some("Application/JSON; charset=utf-8")] {
            assert_eq!(Format::of(json), Ok(Format::Json), "{json:?}");
        }
        assert_eq!(Format::of(Some("application/x-www-form-urlencoded")), Ok(Format::Form));
        for bad in ["", "text/plain", "application/jsonx", "multipart/form-data; boundary=x"] {
            assert_eq!(Format::of(Some(bad)).map_err(|refusal| refusal.status), Err(415), "{bad:?}");
        }
    }

    #[test]
    fn a_forms_payload_is_decoded_and_json_is_left_alone() {
        let cases: [(Format, &str, Result<&str, u16>); 8] = [
            (Format::Json, "{\"a\":\"%41+\"}", Ok("{\"a\":\"%41+\"}")),
            (Format::Form, "payload=%7B%22a%22%3A%22b+c%22%7D", Ok("{\"a\":\"b c\"}")),
            (Format::Form, "x=1&payload=%7b%7D&y=2", Ok("{}")),
            (Format::Form, " {\"a\":1}", Ok(" {\"a\":1}")),
            (Format::Form, "x=1", Err(400)),
            (Format::Form, "payload=%7", Err(400)),
            (Format::Form, "payload=%zz", Err(400)),
            (Format::Form, "", Err(400)),
        ];
        for (format, body, expected) in cases {
            let json = format.json(body.as_bytes());
            let json = json.as_deref().map(|json| std::str::from_utf8(json).unwrap()).map_err(|refusal| refusal.status);
            assert_eq!(json, expected, "{body:?}");
        }
    }
}
