//! Bodies come back as they came in.

use super::*;

/// A form is kept twice: decoded for the plugin, raw for the signature. The raw one is up to three times as long.
#[tokio::test]
async fn a_forms_raw_bytes_are_read_back_byte_for_byte() {
    let rig = Rig::new();
    let document = format!("{{\"text\":\"{}\"}}", "\u{e9}\u{4e2d}&=%+".repeat(500));
    let raw: String = document.bytes().fold("payload=".to_owned(), |raw, byte| raw + &format!("%{byte:02X}"));
    let mut offer = offer_of("default", "guid-form", &document, &["a"]);
    offer.delivery.encoding = BodyEncoding::Form;
    offer.delivery.raw = Some(Bytes::from(raw.clone()));
    offer.delivery.body_sha256 = Sha256::digest(&raw).into();
    rig.offer(offer).await.unwrap();
    let again = rig.after_crash();
    let lease = again.lease().await;
    assert!(!lease.body_corrupt);
    assert_eq!(lease.delivery.document, document);
    assert_eq!(lease.delivery.raw.as_deref(), Some(raw.as_bytes()));
    assert_eq!(Sha256::digest(lease.delivery.raw.as_ref().unwrap())[..], lease.delivery.body_sha256);
}
