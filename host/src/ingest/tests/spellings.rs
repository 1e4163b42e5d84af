//! The same call, spelt in another way.

use super::*;

#[tokio::test]
async fn one_slash_at_the_end_of_a_sources_path_is_taken_and_two_are_another_path() {
    let house = House::open(|_| {}).await;
    for (path, expected) in
        [("/webhooks/github", "202"), ("/webhooks/github/", "202"), ("/webhooks/github//", "404"), ("/webhooks//", "404")]
    {
        assert_eq!(status(&house.post(path, &json("now", b"{}"), b"{}").await), expected, "{path}");
    }
}

#[tokio::test]
async fn a_document_that_is_taken_as_json_is_taken_as_a_form_in_any_script() {
    let house = House::open(|settings| {
        settings.json_bytes_max = 9_002;
        settings.form_bytes_max = form_bytes_of(settings.json_bytes_max);
    })
    .await;
    let document = format!("\"{}\"", "漢".repeat(3_000));
    let escaped: Vec<String> = document.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form = format!("payload={}", escaped.concat());
    let answer = house.post(HOOK, &signed("now", "application/x-www-form-urlencoded", form.as_bytes()), form.as_bytes()).await;
    assert_eq!(status(&answer), "202", "{answer}");
    assert_eq!(house.broker.offers.lock().unwrap()[0].delivery.document.as_ref(), document.as_bytes());
    assert!(Settings::new("127.0.0.1:0".parse().unwrap()).form_bytes_max >= 3 * 26_214_400);
}
