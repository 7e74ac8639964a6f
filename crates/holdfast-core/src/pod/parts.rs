//! Containers, volumes, mounts and environment that pods of ours have in common.

use holdfast_api::names::{LABEL_MAX, child_name};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
    PodSpec, ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
/// Where the agent's binary lies in tool pods.
pub const BIN_DIR: &str = "/holdfast";
/// Name of the volume that holds the agent's binary.
pub const BIN_VOLUME: &str = "holdfast-bin";
/// Name of the init container that puts the agent there.
pub const PREPARE_CONTAINER: &str = "prepare";

const AGENT: &str = "/holdfast/agent";
/// The user of our own containers where they need no more.
const AGENT_USER: i64 = 65532;

/// An environment variable that the container sees exactly as `value`.
///
/// kubelet expands `$(NAME)` in every value from the variables before it, those from Secrets included, and turns `$$` into
/// `$` (Kubernetes documentation, "Define dependent environment variables"); so every `$` is doubled here.
pub fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into().replace('$', "$$")),
        value_from: None,
    }
}

/// What a container sees of a variable that [`env`] made; none for one with another name.
pub fn env_value(variable: &EnvVar, name: &str) -> Option<String> {
    let value = variable.value.as_deref().filter(|_| variable.name == name)?;
    Some(value.replace("$$", "$"))
}

/// An environment variable from a key of a Secret, so that the value never passes through us.
pub fn secret_env(name: &str, secret: &str, key: &str) -> EnvVar {
    let selector = SecretKeySelector {
        name: secret.to_owned(),
        key: key.to_owned(),
        optional: None,
    };
    let source = EnvVarSource {
        secret_key_ref: Some(selector),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(source),
    }
}

/// `HOLDFAST_POD_UID` by the downward API: the claim in the repository names the pod that holds it.
pub fn pod_uid_env() -> EnvVar {
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: "metadata.uid".to_owned(),
    };
    let source = EnvVarSource {
        field_ref: Some(field),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: "HOLDFAST_POD_UID".to_owned(),
        value: None,
        value_from: Some(source),
    }
}

/// The volume that carries the agent's binary into a tool's container.
pub fn bin_volume() -> Volume {
    Volume {
        name: BIN_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// Where [`bin_volume`] is mounted.
pub fn bin_mount() -> VolumeMount {
    VolumeMount {
        name: BIN_VOLUME.to_owned(),
        mount_path: BIN_DIR.to_owned(),
        ..VolumeMount::default()
    }
}

/// The name of the container that works for an object: the object's own where a container may have it.
pub fn container_name(object: &str, uid: &str) -> String {
    child_name(object, uid, LABEL_MAX).replace('.', "-")
}

/// The init container that copies the agent into [`bin_volume`]. It needs no rights at all.
pub fn prepare_container(agent_image: &str, pull: Option<&str>) -> Container {
    Container {
        name: PREPARE_CONTAINER.to_owned(),
        image: Some(agent_image.to_owned()),
        image_pull_policy: pull.map(str::to_owned),
        args: Some(vec!["install".to_owned(), AGENT.to_owned()]),
        resources: Some(zero_limits(None)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            run_as_user: Some(AGENT_USER),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![bin_mount()]),
        ..Container::default()
    }
}

/// A container that runs nothing but the agent, from its own image: `subcommand` is `report`, `verify` or `purge`.
/// It reads and removes files that tools wrote as root, and needs no more rights than that takes.
pub fn agent_container(
    name: &str,
    agent_image: &str,
    pull: Option<&str>,
    subcommand: &str,
    env: Vec<EnvVar>,
    mounts: Vec<VolumeMount>,
) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(agent_image.to_owned()),
        image_pull_policy: pull.map(str::to_owned),
        args: Some(vec![subcommand.to_owned()]),
        env: Some(env),
        resources: Some(zero_limits(None)),
        security_context: Some(root_with(&AGENT_CAPABILITIES)),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The agent's command line in a tool's image, where [`prepare_container`] has put it. The tool's own is in the
/// [assignment](super::assign): kubelet would expand it here.
pub fn agent_command(subcommand: &str) -> Vec<String> {
    vec![AGENT.to_owned(), subcommand.to_owned()]
}

/// What container runtimes give root by default and Pod Security `baseline` allows: database scripts change user with
/// su, gosu and setpriv, and keep setuid and setgid bits.
const TOOL_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// What reading and removing other users' files takes.
const AGENT_CAPABILITIES: [&str; 3] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"];

/// Tools run as root, as in the original, with what root in a container may do by default.
pub fn tool_security_context() -> SecurityContext {
    root_with(&TOOL_CAPABILITIES)
}

fn root_with(capabilities: &[&str]) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: Some(capabilities.iter().map(|&name| name.to_owned()).collect()),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        run_as_user: Some(0),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

/// The Secrets that a pod pulls its images with. Pods of ours that work for it in its namespace take them over: the
/// registry of its image may be the only one that is allowed there.
pub fn pull_secrets(spec: Option<&PodSpec>) -> Vec<LocalObjectReference> {
    spec.and_then(|spec| spec.image_pull_secrets.clone())
        .unwrap_or_default()
}

/// Resources with the limit `0` (which means none) for cpu and memory where neither request nor limit is given,
/// so that a `LimitRange` of the namespace does not choose one.
pub fn zero_limits(resources: Option<ResourceRequirements>) -> ResourceRequirements {
    let mut resources = resources.unwrap_or_default();
    for name in ["cpu", "memory"] {
        let requested = resources
            .requests
            .as_ref()
            .is_some_and(|requests| requests.contains_key(name));
        if !requested {
            let limits = resources.limits.get_or_insert_default();
            limits
                .entry(name.to_owned())
                .or_insert_with(|| Quantity("0".to_owned()));
        }
    }
    resources
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}
