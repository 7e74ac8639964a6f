//! A service under test may do what the chart lets it do, and no more.

use std::{collections::BTreeMap, fmt::Debug};

use anyhow::Context as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::{Api, Config, api::PostParams};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{ApiServer, sample::object};

const CHART: &str = include_str!("../../../charts/holdfast/templates/rbac.yaml");

#[derive(Deserialize)]
struct Rules {
    cluster: Vec<Value>,
    #[serde(default)]
    own: Vec<Value>,
}

/// The YAML between a `define` of this name and its `end`; there is nothing to render in it.
fn defined(name: &str) -> anyhow::Result<&'static str> {
    let begin = format!("define \"{name}\" -}}}}");
    let body = CHART
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once("{{- end }}"));
    Ok(body.with_context(|| format!("the chart defines no {name}"))?.0)
}

/// How to connect with the rules that the chart gives `service`, `own` being its namespace. May be asked for again.
pub async fn as_service(server: &ApiServer, service: &str, own: &str) -> anyhow::Result<Config> {
    let mut services: BTreeMap<String, Rules> = serde_saphyr::from_str(defined("holdfast.rules")?)?;
    let mut rules = services
        .remove(service)
        .with_context(|| format!("the chart has no rules for {service}"))?;
    let common: Rules = serde_saphyr::from_str(defined("holdfast.commonRules")?)?;
    rules.cluster.extend(common.cluster);
    rules.own.extend(common.own);
    let user = format!("holdfast-{service}");
    let client = server.client().await?;
    let role: ClusterRole = object(json!({ "metadata": { "name": user }, "rules": rules.cluster }));
    create(&Api::all(client.clone()), &role).await?;
    let binding: ClusterRoleBinding = object(bind(&user, "ClusterRole"));
    create(&Api::all(client.clone()), &binding).await?;
    let role: Role = object(json!({ "metadata": { "name": user }, "rules": rules.own }));
    create(&Api::namespaced(client.clone(), own), &role).await?;
    let binding: RoleBinding = object(bind(&user, "Role"));
    create(&Api::namespaced(client, own), &binding).await?;
    server.config_as(&user).await
}

fn bind(user: &str, kind: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "metadata": { "name": user },
        "roleRef": { "apiGroup": group, "kind": kind, "name": user },
        "subjects": [{ "kind": "User", "apiGroup": group, "name": user }],
    })
}

async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error.into()),
    }
}
