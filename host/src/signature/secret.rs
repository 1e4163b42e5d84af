//! A secret that does not show itself.

use std::fmt;

/// Bytes that prove who one is. `Debug` shows nothing of them, and there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A secret of at least one byte; an empty one would be an open door.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes: Vec<u8> = bytes.into();
        if bytes.is_empty() { None } else { Some(Self(bytes.into())) }
    }

    /// A secret of a fixed number of bytes, which is never none.
    #[must_use]
    pub fn from_nonempty<const N: usize>(bytes: [u8; N]) -> Self {
        const { assert!(N > 0, "an empty secret would be an open door") };
        Self(bytes.into())
    }

    /// The bytes, for the one who computes with them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
