//! Who may read what the ledger writes.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_folder_that_was_open_to_others_is_closed_with_every_file_in_it() {
    let rig = Rig::new();
    rig.accept(1, &["a"]).await;
    rig.ledger.close().await;
    set_mode(rig.dir.path(), 0o755);
    for file in std::fs::read_dir(rig.dir.path()).unwrap() {
        set_mode(file.unwrap().path(), 0o644);
    }
    let ledger = Ledger::open(settings(rig.dir.path(), |_| {}), rig.clock.clone()).unwrap();
    assert_eq!(mode(rig.dir.path()), 0o700);
    ledger.serve(everything(8));
    ledger.offer(offer(2, &["a"]), rig.clock.instant() + Duration::from_secs(8)).await.unwrap();
    for file in std::fs::read_dir(rig.dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(file.path()), 0o600, "{:?}", file.file_name());
    }
    ledger.close().await;
}

#[tokio::test]
async fn a_backup_is_for_its_owner_only_and_takes_nobodys_place() {
    let rig = Rig::new();
    let id = rig.accept(1, &["a"]).await;
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("copy.db");
    std::os::unix::fs::symlink(out.path().join("elsewhere"), &target).unwrap();
    assert!(rig.ledger.backup(target.clone()).await.is_err(), "nor that of a link to nowhere");
    std::fs::remove_file(&target).unwrap();
    let partial = out.path().join("copy.db.partial");
    std::fs::write(&partial, "somebody's").unwrap();
    let refused = rig.ledger.backup(target.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("remove that file"), "{refused}");
    assert_eq!(std::fs::read(&partial).unwrap(), b"somebody's");
    std::fs::remove_file(&partial).unwrap();
    rig.ledger.backup(target.clone()).await.unwrap();
    assert_eq!((mode(&target), partial.exists()), (0o600, false));
    // A copy that somebody opened to others makes no ledger that is.
    set_mode(&target, 0o644);
    let data = out.path().join("data");
    restore(&target, &data).unwrap();
    assert_eq!((mode(&data), mode(data.join("ledger.db")), mode(data.join("watermark"))), (0o700, 0o600, 0o600));
    let ledger = Ledger::open(settings(&data, |_| {}), rig.clock.clone()).unwrap();
    assert!(ledger.delivery(id).await.unwrap().is_some());
    ledger.close().await;
}
