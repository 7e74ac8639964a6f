//! The definitions as the API server enforces them: what was ever stored is kept whole, and a union with more than one
//! member, or with one that they do not know, is refused.

use std::{fs, path::Path};

use holdfast_api::{Backup, BackupPolicy, BackupRepo, RestoreJob};
use holdfast_testkit::ApiServer;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// The golden files of holdfast-api: name and content.
fn golden() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../holdfast-api/tests/golden");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: &Path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), read(&path))).collect()
}

fn objects(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let namespaced = |resource| Api::namespaced_with(client.clone(), namespace, &resource);
    match kind {
        "Backup" => namespaced(ApiResource::erase::<Backup>(&())),
        "BackupPolicy" => namespaced(ApiResource::erase::<BackupPolicy>(&())),
        "RestoreJob" => namespaced(ApiResource::erase::<RestoreJob>(&())),
        other => {
            assert_eq!(other, BackupRepo::kind(&()));
            Api::all_with(client.clone(), &ApiResource::erase::<BackupRepo>(&()))
        }
    }
}

/// Stores one and answers the status that the server keeps, or what it refuses.
async fn store(api: &Api<DynamicObject>, name: &str, file: &Value) -> Result<Value, String> {
    let object = json!({
        "apiVersion": file["apiVersion"], "kind": file["kind"], "metadata": {"name": name}, "spec": file["spec"],
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let status = Patch::Merge(json!({ "status": file["status"] }));
    match api.patch_status(name, &PatchParams::default(), &status).await {
        Ok(_) => Ok(api.get_status(name).await.unwrap().data["status"].clone()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_objects_are_kept_whole_and_a_union_has_exactly_one_member_that_is_known() {
    let server = ApiServer::shared().await;
    let client = server.client().await.unwrap();
    let namespace = server.namespace("stored").await.unwrap();
    let (mut kept, mut refused) = (0, 0);
    for (name, file) in golden() {
        let api = objects(&client, &namespace, file["kind"].as_str().unwrap());
        let stored = store(&api, &name, &file).await;
        if name.contains("newer") || name.contains("two-") {
            let why = stored.expect_err(&name);
            let several = why.contains("must have at most 1 item");
            assert!(several || why.contains("exactly one"), "{name}: {why}");
            assert_eq!(several, name == "backup-two-kinds", "{name}: {why}");
            refused += 1;
        } else {
            assert_eq!(stored.expect(&name), file["status"], "{name}");
            kept += 1;
        }
    }
    assert!(kept > 20 && refused > 3, "{kept} kept and {refused} refused");
}
