//! Why a message is put aside: each reason with its slug, which is a metric's label and a header, and its words.
//!
//! Whoever may write to the broker can write anything, so a reason quotes nothing of the message.

/// Why a message is no leg that this host believes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It was cut short before it was read, because reading it would have harmed this host.
    #[error("{0}")]
    Uncarried(&'static str),
    /// It has no seal: something else publishes here, or a version from before there were seals.
    #[error(
        "it has no seal: something other than a host of this version publishes to our queues. Look who has write permission in the vhost"
    )]
    Unsealed,
    /// It is sealed under a key that this host was not given.
    #[error(
        "it is sealed under the key {0}, which is none of this host's: give all hosts the same `broker.rabbitmq.keys`, or look who has write \
         permission in the vhost"
    )]
    UnknownKey(String),
    /// It names a key of ours, and is not what was sealed under it.
    #[error("its seal does not hold: it was changed after a host sealed it, or somebody tries to forge one")]
    SealBroken,
    /// Its form is not that of an envelope.
    #[error("{0}")]
    Malformed(&'static str),
    /// A number is larger than any that a host gives.
    #[error("{0} is out of its range")]
    OutOfRange(&'static str),
    /// A text has what no text of ours has: control characters, or more bytes than it may.
    #[error("{0} has control characters in it, or is too long")]
    UnfitText(&'static str),
    /// Its id is not that of its content.
    #[error("its id is not the one of its tenant, source, hook, provider's id and body")]
    IdMismatch,
    /// Its document is not the one it names.
    #[error("its document cannot be unpacked, or is not what its hash says")]
    DocumentMismatch,
    /// Its document is larger than any that is taken from a broker.
    #[error("it declares a document of {0} bytes, more than is taken from a broker")]
    DocumentTooLarge(u64),
    /// It is genuine, and lies where it does not belong.
    #[error("{0}")]
    Misplaced(&'static str),
}

impl Rejection {
    /// As a label, and in the header `hookyard-rejection`.
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Uncarried(_) => "uncarried",
            Self::Unsealed => "unsealed",
            Self::UnknownKey(_) => "unknown_key",
            Self::SealBroken => "seal_broken",
            Self::Malformed(_) => "malformed",
            Self::OutOfRange(_) => "out_of_range",
            Self::UnfitText(_) => "unfit_text",
            Self::IdMismatch => "id_mismatch",
            Self::DocumentMismatch => "document_mismatch",
            Self::DocumentTooLarge(_) => "document_too_large",
            Self::Misplaced(_) => "misplaced",
        }
    }
}
