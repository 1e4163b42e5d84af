//! Versions of plugins, and the words about them, through a restart.

use super::*;
use crate::delivery::Digest;

fn plugin(number: u8) -> StoredPlugin {
    StoredPlugin {
        tenant: TenantId::default_tenant(),
        name: "p".parse().unwrap(),
        digest: Digest::of(&[&[number]]),
        wasm: vec![number; 100],
        manifest: vec![number; 10],
        report: None,
    }
}

async fn versions(ledger: &Ledger) -> Vec<ShelvedVersion> {
    ledger.plugin_versions(&TenantId::default_tenant(), &"p".parse().unwrap()).await.unwrap()
}

async fn standing(ledger: &Ledger) -> Standing {
    ledger.plugin_standing(&TenantId::default_tenant(), &"p".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_newest_and_five_before_it_are_kept_and_each_can_be_had_back_whole() {
    let rig = Rig::new();
    for number in (0..9).chain([3, 9]) {
        rig.ledger.keep_plugin(plugin(number)).await.unwrap();
    }
    let kept = versions(&rig.ledger).await;
    let digests: Vec<_> = [9, 3, 8, 7, 6, 5].map(|number| plugin(number).digest).into();
    assert_eq!(kept.iter().map(|version| version.digest).collect::<Vec<_>>(), digests);
    let oldest = rig.ledger.shelved_plugin(&kept[5]).await.unwrap().unwrap();
    assert_eq!((oldest.wasm, oldest.manifest), (plugin(5).wasm, plugin(5).manifest));
    assert_eq!(rig.ledger.shelf().await.unwrap(), kept[..1]);
}

#[tokio::test]
async fn going_back_holds_what_was_left_until_a_different_version_is_kept() {
    let rig = Rig::new();
    rig.ledger.keep_plugin(plugin(1)).await.unwrap();
    rig.ledger.keep_plugin(plugin(2)).await.unwrap();
    let first = versions(&rig.ledger).await.pop().unwrap();
    let hold = Hold { digest: plugin(2).digest, reason: "it was worse".to_owned(), at: START };
    assert!(rig.ledger.roll_plugin_back(&first, Some(hold.clone()), "why").await.unwrap());
    assert_eq!(rig.ledger.shelf().await.unwrap()[0].digest, plugin(1).digest);
    assert_eq!(standing(&rig.ledger).await.holds, [hold]);

    let gone = ShelvedVersion { digest: plugin(3).digest, ..first };
    assert!(!rig.ledger.roll_plugin_back(&gone, None, "why").await.unwrap(), "what is not on the shelf cannot be had back");
    rig.ledger.keep_plugin(plugin(3)).await.unwrap();
    assert_eq!(standing(&rig.ledger).await, Standing::default());
}

#[tokio::test]
async fn a_pause_and_a_hold_survive_a_restart_and_a_pause_even_the_plugin() {
    let rig = Rig::new();
    let (tenant, name) = (TenantId::default_tenant(), "p".parse().unwrap());
    rig.ledger.keep_plugin(plugin(1)).await.unwrap();
    rig.ledger.keep_plugin(plugin(2)).await.unwrap();
    rig.ledger.pause_plugin(&tenant, &name, true).await.unwrap();
    let first = versions(&rig.ledger).await.pop().unwrap();
    let hold = Hold { digest: plugin(2).digest, reason: "it was worse".to_owned(), at: START };
    rig.ledger.roll_plugin_back(&first, Some(hold.clone()), "why").await.unwrap();

    let restarted = rig.after_crash();
    let ledger = &restarted.ledger;
    assert_eq!(standing(ledger).await, Standing { paused: true, crash: None, holds: vec![hold] });
    assert_eq!(ledger.shelf().await.unwrap()[0].digest, plugin(1).digest);
    ledger.forget_plugin(&tenant, &name).await.unwrap();
    assert_eq!(standing(ledger).await, Standing { paused: true, crash: None, holds: vec![] });
    ledger.pause_plugin(&tenant, &name, false).await.unwrap();
    assert_eq!(standing(ledger).await, Standing::default());
}
