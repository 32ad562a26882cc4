//! Which files the media service takes, and how it tells that a file is what it claims to be.

/// What the bytes of a type look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// They begin like one of these types, as the `infer` crate names them.
    Magic(&'static [&'static str]),
    /// Text in UTF-8 that does not begin like anything else.
    Text,
}

/// A type of file the service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedType {
    /// The MIME type that is announced, in lower case and without parameters.
    pub content_type: &'static str,
    /// What its bytes look like.
    pub content: Content,
}

const fn magic(content_type: &'static str, looks_like: &'static [&'static str]) -> AllowedType {
    AllowedType { content_type, content: Content::Magic(looks_like) }
}

/// The types of a chat. Nothing that a browser would run: no HTML, no SVG.
pub const ALLOWED_TYPES: &[AllowedType] = &[
    magic("image/png", &["image/png"]),
    magic("image/jpeg", &["image/jpeg"]),
    magic("image/gif", &["image/gif"]),
    magic("image/webp", &["image/webp"]),
    magic("image/heic", &["image/heif"]),
    magic("image/heif", &["image/heif"]),
    magic("video/mp4", &["video/mp4", "video/x-m4v"]),
    magic("video/webm", &["video/webm"]),
    magic("video/quicktime", &["video/quicktime"]),
    magic("audio/mpeg", &["audio/mpeg"]),
    magic("audio/mp4", &["audio/m4a", "video/mp4"]),
    magic("audio/ogg", &["audio/ogg", "audio/opus"]),
    magic("audio/webm", &["video/webm"]),
    magic("audio/wav", &["audio/x-wav"]),
    magic("application/pdf", &["application/pdf"]),
    magic("application/zip", &["application/zip"]),
    AllowedType { content_type: "text/plain", content: Content::Text },
];

impl Content {
    /// Whether `bytes` look like it.
    pub fn fits(self, bytes: &[u8]) -> bool {
        let looks_like = infer::get(bytes).map(|kind| kind.mime_type());
        match self {
            Self::Magic(types) => looks_like.is_some_and(|found| types.contains(&found)),
            Self::Text => looks_like.is_none() && !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok(),
        }
    }
}

/// A MIME type in lower case and without parameters.
pub(super) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginnings of files, each with one of the types it may be announced as.
    const FILES: &[(&str, &[u8])] = &[
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
        ("image/gif", b"GIF89a\x01\0\x01\0"),
        ("image/webp", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("image/heic", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"),
        ("video/mp4", b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2"),
        ("video/quicktime", b"\0\0\0\x14ftypqt  \0\0\0\0qt  "),
        ("audio/mpeg", b"ID3\x04\0\0\0\0\0\0"),
        ("audio/mp4", b"\0\0\0\x18ftypM4A \0\0\0\0"),
        ("audio/ogg", b"OggS\0\x02\0\0\0\0\0\0\0\0"),
        ("audio/wav", b"RIFF\x24\0\0\0WAVEfmt "),
        ("application/pdf", b"%PDF-1.7\n"),
        ("application/zip", b"PK\x03\x04\x14\0\0\0\x08\0"),
        ("text/plain", "Grüße aus Köln".as_bytes()),
    ];

    fn content(content_type: &str) -> Content {
        ALLOWED_TYPES.iter().find(|allowed| allowed.content_type == content_type).unwrap().content
    }

    #[test]
    fn a_file_fits_its_own_type_and_no_other() {
        for (content_type, bytes) in FILES {
            assert!(content(content_type).fits(bytes), "{content_type}");
            for (other, _) in FILES.iter().filter(|(other, _)| other != content_type) {
                // MP4 sound may come in a container that says it is a film.
                if (*content_type, *other) != ("video/mp4", "audio/mp4") {
                    assert!(!content(other).fits(bytes), "{content_type} taken for {other}");
                }
            }
        }
    }

    #[test]
    fn text_is_text() {
        for bad in [&b"\xff\xfe"[..], b"a\0b", b"<!DOCTYPE html><script>", b"#!/bin/sh\n", b"%PDF-1.7"] {
            assert!(!Content::Text.fits(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_type_is_compared_without_its_trimmings() {
        assert_eq!(essence(" Image/PNG; charset=x"), "image/png");
        assert_eq!(essence(""), "");
    }
}
