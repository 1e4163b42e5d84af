//! The optional export `validate-config`.

use super::*;

async fn ask(config: serde_json::Value) -> Result<(), String> {
    runtime().validate_config(&admit("validate").await, Run { config: Arc::new(config), ..run() }).await
}

#[tokio::test]
async fn a_plugin_says_what_is_wrong_with_its_configuration() {
    assert!(admit("validate").await.report().validates_config);
    assert_eq!(ask(serde_json::json!({ "mode": "ok" })).await, Ok(()));
    assert_eq!(ask(serde_json::json!({ "mode": "bad" })).await, Err("mode is none of those it knows".to_owned()));
}

#[tokio::test]
async fn a_plugin_that_traps_or_loops_over_its_configuration_is_stopped_and_named() {
    assert!(ask(serde_json::json!({ "mode": "trap" })).await.unwrap_err().contains("trapped"));
    assert!(ask(serde_json::json!({ "mode": "loop" })).await.unwrap_err().contains("out_of_fuel"));
}

#[tokio::test]
async fn a_plugin_without_the_export_is_not_asked() {
    let component = admit("trap").await;
    assert!(!component.report().validates_config);
    assert_eq!(runtime().validate_config(&component, run()).await, Ok(()));
}
