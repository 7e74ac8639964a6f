//! The manager under test may do what the chart lets it do, and no more.

use std::collections::BTreeMap;

use holdfast_testkit::{ApiServer, sample};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::{Api, Config};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::create;

const CHART: &str = include_str!("../../../../charts/holdfast/templates/rbac.yaml");
const USER: &str = "holdfast-repo-manager";

#[derive(Deserialize)]
struct Rules {
    cluster: Vec<Value>,
    #[serde(default)]
    own: Vec<Value>,
}

/// The YAML between a `define` of this name and its `end`; there is nothing to render in it.
fn defined(name: &str) -> &'static str {
    let (_, rest) = CHART.split_once(&format!("define \"{name}\" -}}}}")).unwrap();
    rest.split_once("{{- end }}").unwrap().0
}

/// How to connect with the rules that the chart gives the repo-manager, `own` being its namespace.
pub(crate) async fn as_manager(server: &ApiServer, own: &str) -> Config {
    let mut services: BTreeMap<String, Rules> = serde_saphyr::from_str(defined("holdfast.rules")).unwrap();
    let mut rules = services.remove("repo-manager").unwrap();
    let common: Rules = serde_saphyr::from_str(defined("holdfast.commonRules")).unwrap();
    rules.cluster.extend(common.cluster);
    rules.own.extend(common.own);
    let client = server.client().await.unwrap();
    let role: ClusterRole = sample::object(json!({ "metadata": { "name": USER }, "rules": rules.cluster }));
    create(&Api::all(client.clone()), &role).await;
    let binding: ClusterRoleBinding = sample::object(bind("ClusterRole"));
    create(&Api::all(client.clone()), &binding).await;
    let role: Role = sample::object(json!({ "metadata": { "name": USER }, "rules": rules.own }));
    create(&Api::namespaced(client.clone(), own), &role).await;
    let binding: RoleBinding = sample::object(bind("Role"));
    create(&Api::namespaced(client, own), &binding).await;
    server.config_as(USER).await.unwrap()
}

fn bind(kind: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "metadata": { "name": USER },
        "roleRef": { "apiGroup": group, "kind": kind, "name": USER },
        "subjects": [{ "kind": "User", "apiGroup": group, "name": USER }],
    })
}
