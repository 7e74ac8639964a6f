//! What a tool's pod hands to its agent: the assignment, and where the container has what came from Secrets.

use std::collections::BTreeMap;

use holdfast_api::{
    BackupPolicySecret,
    assignment::{ASSIGNMENT_DIR, ASSIGNMENT_FILE, Assignment, SecretFiles, SecretSources},
    names::ANNOTATION_ASSIGNMENT,
};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EnvVar, KeyToPath, ObjectFieldSelector,
    SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
};

use super::job::{AgentJob, pod_annotations};
use super::parts::BIN_VOLUME;

/// What Kubernetes allows for all annotations of an object, keys and values.
const ANNOTATIONS_MAX: usize = 256 * 1024;
const ASSIGNMENT_VOLUME: &str = "holdfast-assignment";
/// Secrets that a container takes whole into its environment are mounted as well: their files tell the agent, which
/// sees no API, what is in them.
const ENV_VOLUME: &str = "holdfast-env-";
const ENV_DIR: &str = "/holdfast/env";
/// The key of a user's name, where nothing names another.
const USERNAME: &str = "username";
/// Secrets that a driver fetches from elsewhere.
const SECRETS_DRIVER: &str = "secrets-store.csi.k8s.io";

/// Whether a volume of this name is ours: nobody else's may have it.
pub fn is_own_volume(name: &str) -> bool {
    name == BIN_VOLUME || name == ASSIGNMENT_VOLUME || name.starts_with(ENV_VOLUME)
}

/// Gives a Job's agent its assignment, once the container is whole. `tool` is the BackupTool's name, `user` the Secret
/// that it signs in with.
///
/// # Errors
/// In words, if it is larger than what Kubernetes allows.
pub fn assign(
    job: &mut AgentJob,
    mut assignment: Assignment,
    tool: &str,
    user: Option<&BackupPolicySecret>,
) -> Result<(), String> {
    assignment.secrets = sources(&job.container, &job.volumes, user);
    mount_environment(job, user, &mut assignment.secrets.files);
    let text = serde_json::to_string(&assignment).map_err(|error| format!("backupTool {tool}: {error}"))?;
    let others: BTreeMap<String, String> = pod_annotations(&job.data_pods, &job.annotations);
    let size = ANNOTATION_ASSIGNMENT.len()
        + text.len()
        + others.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if size > ANNOTATIONS_MAX {
        return Err(format!(
            "backupTool {tool} does not fit into a pod: with its commands the annotations have {size} bytes, and \
             Kubernetes allows {ANNOTATIONS_MAX}: shorten the script, or put it into the tool's image"
        ));
    }
    job.volumes.push(assignment_volume());
    mount(job, ASSIGNMENT_VOLUME, ASSIGNMENT_DIR);
    job.assignment = Some(text);
    Ok(())
}

fn assignment_volume() -> Volume {
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: format!("metadata.annotations['{ANNOTATION_ASSIGNMENT}']"),
    };
    let file = DownwardAPIVolumeFile {
        path: ASSIGNMENT_FILE.to_owned(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: ASSIGNMENT_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(job: &mut AgentJob, volume: &str, path: &str) {
    job.container.volume_mounts.get_or_insert_default().push(VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
}

/// Mounts each Secret of `envFrom`. One that is missing keeps the container from starting, and says so better than a
/// mount: so the mounts are optional.
fn mount_environment(job: &mut AgentJob, user: Option<&BackupPolicySecret>, files: &mut Vec<SecretFiles>) {
    let all = job.container.env_from.iter().flatten();
    let secrets: Vec<_> = all.filter_map(|source| source.secret_ref.clone()).collect();
    for (index, secret) in secrets.into_iter().enumerate() {
        let (name, path) = (format!("{ENV_VOLUME}{index}"), format!("{ENV_DIR}/{index}"));
        files.push(SecretFiles {
            except: vec![username_key(&secret.name, user).to_owned()],
            path: path.clone(),
            needed: secret.optional != Some(true),
        });
        job.volumes.push(Volume {
            name: name.clone(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.name),
                optional: Some(true),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
        mount(job, &name, &path);
    }
}

/// Where a container with these volumes has what came from Secrets, `envFrom` aside.
fn sources(container: &Container, volumes: &[Volume], user: Option<&BackupPolicySecret>) -> SecretSources {
    let from_secret = |variable: &EnvVar| {
        let key = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
        (key.key != username_key(&key.name, user)).then(|| variable.name.clone())
    };
    let files = |mount: &VolumeMount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
        let except = usernames(volume, user)?;
        let is_username = mount.sub_path.as_ref().is_some_and(|path| except.contains(path));
        (!is_username).then(|| SecretFiles {
            except,
            path: mount.mount_path.clone(),
            needed: false,
        })
    };
    SecretSources {
        variables: container.env.iter().flatten().filter_map(from_secret).collect(),
        files: container.volume_mounts.iter().flatten().filter_map(files).collect(),
    }
}

fn username_key<'a>(secret: &str, user: Option<&'a BackupPolicySecret>) -> &'a str {
    user.filter(|user| user.name == secret)
        .map_or(USERNAME, |user| user.username_key.as_str())
}

/// The files of a volume that hold user names; none if nothing in the volume is secret. Of a volume with several sources
/// all others count as secret, because their names are not known here.
fn usernames(volume: &Volume, user: Option<&BackupPolicySecret>) -> Option<Vec<String>> {
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        return Some(paths_of(username_key(name, user), secret.items.as_deref()));
    }
    if volume.csi.as_ref().is_some_and(|csi| csi.driver == SECRETS_DRIVER) {
        return Some(Vec::new());
    }
    let projections = volume.projected.as_ref()?.sources.as_deref().unwrap_or_default();
    let is_secret = |one: &VolumeProjection| one.secret.is_some() || one.service_account_token.is_some();
    if !projections.iter().any(is_secret) {
        return None;
    }
    let secrets = projections.iter().filter_map(|one| one.secret.as_ref());
    Some(
        secrets
            .flat_map(|secret| paths_of(username_key(&secret.name, user), secret.items.as_deref()))
            .collect(),
    )
}

fn paths_of(key: &str, items: Option<&[KeyToPath]>) -> Vec<String> {
    match items {
        Some(items) => items
            .iter()
            .filter(|item| item.key == key)
            .map(|item| item.path.clone())
            .collect(),
        None => vec![key.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::agent_job;

    /// A Job with everything that a container can have from Secrets.
    fn job() -> AgentJob {
        AgentJob {
            annotations: BTreeMap::from([("holdfast.io/full-name".to_owned(), "b1".to_owned())]),
            container: serde_json::from_value(json!({
                "name": "c",
                "env": [
                    {"name": "DB_USER", "valueFrom": {"secretKeyRef": {"name": "sign-in", "key": "user"}}},
                    {"name": "MYSQL_PWD", "valueFrom": {"secretKeyRef": {"name": "sign-in", "key": "password"}}},
                    {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "other", "key": "user"}}},
                    {"name": "LITERAL", "value": "canary"},
                ],
                "envFrom": [
                    {"configMapRef": {"name": "plain"}},
                    {"prefix": "P_", "secretRef": {"name": "sign-in"}},
                    {"secretRef": {"name": "other", "optional": true}},
                ],
                "volumeMounts": [
                    {"name": "sign-in", "mountPath": "/sign-in"},
                    {"name": "sign-in", "mountPath": "/user", "subPath": "name"},
                    {"name": "mixed", "mountPath": "/mixed"},
                    {"name": "fetched", "mountPath": "/fetched"},
                    {"name": "plain", "mountPath": "/plain"},
                    {"name": "data", "mountPath": "/data"},
                ],
            }))
            .expect("a container"),
            volumes: serde_json::from_value(json!([
                {"name": "sign-in", "secret": {"secretName": "sign-in", "items": [
                    {"key": "user", "path": "name"}, {"key": "password", "path": "secret"}]}},
                {"name": "mixed", "projected": {"sources": [{"configMap": {"name": "plain"}}, {"secret": {"name": "other"}}]}},
                {"name": "fetched", "csi": {"driver": "secrets-store.csi.k8s.io"}},
                {"name": "plain", "projected": {"sources": [{"configMap": {"name": "plain"}}]}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            ]))
            .expect("volumes"),
            ..AgentJob::default()
        }
    }

    fn user() -> BackupPolicySecret {
        BackupPolicySecret {
            name: "sign-in".to_owned(),
            username_key: "user".to_owned(),
            ..BackupPolicySecret::default()
        }
    }

    #[test]
    fn the_agent_is_told_what_came_from_secrets_but_not_the_users_name() {
        let mut job = job();
        assign(&mut job, Assignment::default(), "t", Some(&user())).expect("assigned");
        let assignment: Value = serde_json::from_str(job.assignment.as_deref().unwrap_or_default()).expect("JSON");
        let expected = json!({
            "variables": ["MYSQL_PWD", "OTHER"],
            "files": [
                {"path": "/sign-in", "except": ["name"]},
                {"path": "/mixed", "except": ["username"]},
                {"path": "/fetched"},
                {"path": "/holdfast/env/0", "except": ["user"], "needed": true},
                {"path": "/holdfast/env/1", "except": ["username"]},
            ],
        });
        assert_eq!(assignment["secrets"], expected);
        let volumes: Vec<&str> = job.volumes.iter().skip(5).map(|volume| volume.name.as_str()).collect();
        assert_eq!(volumes, ["holdfast-env-0", "holdfast-env-1", "holdfast-assignment"]);
        assert!(volumes.iter().all(|name| is_own_volume(name)));
        // They are there for the agent to read; a Secret that is missing is told of by the container.
        let secret = |volume: &Volume| volume.secret.clone();
        let mounted: Vec<SecretVolumeSource> = job.volumes.iter().skip(5).filter_map(secret).collect();
        assert!(mounted.len() == 2 && mounted.iter().all(|secret| secret.optional == Some(true)));
        let mounts = job.container.volume_mounts.iter().flatten().skip(6);
        assert!(mounts.clone().count() == 3 && mounts.clone().all(|mount| mount.read_only == Some(true)));
    }

    #[test]
    fn the_pod_alone_carries_the_assignment() {
        let mut job = job();
        let script = "a\"b\\$(x) $$ $(DB_PASSWORD)".to_owned();
        let assignment = Assignment {
            command: vec!["sh".to_owned(), "-c".to_owned(), script.clone()],
            ..Assignment::default()
        };
        assign(&mut job, assignment, "t", None).expect("assigned");
        let job = agent_job(job);
        assert!(
            !job.metadata
                .annotations
                .expect("annotations")
                .contains_key(ANNOTATION_ASSIGNMENT)
        );
        let template = job.spec.expect("a spec").template;
        let annotations = template
            .metadata
            .and_then(|metadata| metadata.annotations)
            .expect("annotations");
        let read: Assignment = serde_json::from_str(&annotations[ANNOTATION_ASSIGNMENT]).expect("JSON");
        assert_eq!(read.command(), ["sh", "-c", script.as_str()]);
        assert_eq!(annotations["holdfast.io/full-name"], "b1");
        let pod = serde_json::to_string(&template.spec).expect("JSON");
        assert!(
            !pod.contains("$(x)") && pod.contains("metadata.annotations['holdfast.io/assignment']"),
            "{pod}"
        );
    }

    #[test]
    fn a_script_of_200_kb_fits_and_what_kubernetes_refuses_is_refused_by_name_and_size() {
        let with = |bytes: usize| Assignment {
            command: vec!["x".repeat(bytes)],
            ..Assignment::default()
        };
        let mut first = job();
        assign(&mut first, with(200 * 1024), "t", None).expect("assigned");
        let used = ANNOTATION_ASSIGNMENT.len() + first.assignment.as_ref().map_or(0, String::len) - 200 * 1024;
        let others = pod_annotations(&first.data_pods, &first.annotations);
        let others: usize = others.iter().map(|(key, value)| key.len() + value.len()).sum();
        let left = ANNOTATIONS_MAX - used - others;
        assign(&mut job(), with(left), "t", None).expect("assigned");
        let error = assign(&mut job(), with(left + 1), "my-tool", None).expect_err("too large");
        assert!(
            error.contains("my-tool") && error.contains("262145") && error.contains("262144"),
            "{error}"
        );
    }
}
