//! Two files that are one version.

use super::*;

#[tokio::test]
async fn a_manifest_that_names_its_component_never_serves_with_another_one() {
    let mut stage = Stage::new(10).await;
    let manifest = |guest: &str| format!("component_sha256 = \"{}\"\n{MANIFEST}", Digest::of_file(&guests::component(guest)));
    stage.put("p.toml", manifest("ack"));
    stage.put("p.wasm", guests::component("ack"));
    stage.pass().await;
    let first = stage.digest("p").unwrap();
    for file in ["p.toml", "p.wasm"] {
        assert_eq!(stage.digest("p"), Some(first));
        let contents = if file == "p.toml" { manifest("skip").into_bytes() } else { guests::component("skip") };
        stage.put(file, contents);
        stage.pass().await;
        assert_eq!(stage.refusal("p").as_deref(), (file == "p.toml").then_some("component_differs"), "{file}");
    }
    let second = stage.digest("p");
    assert_ne!(second, Some(first));
    stage.put("p.wasm", guests::component("ack"));
    stage.pass().await;
    assert_eq!(
        (stage.digest("p"), stage.refusal("p").as_deref()),
        (second, Some("component_differs")),
        "nor with a component that comes first"
    );
}
