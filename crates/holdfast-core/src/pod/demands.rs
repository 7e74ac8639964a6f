//! What a namespace demands of the pods in it, and how ours meet that.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, LimitRange, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

use crate::target;

/// The label by which a namespace chooses a Pod Security level that the API server enforces.
pub const LABEL_ENFORCED: &str = "pod-security.kubernetes.io/enforce";

/// What a namespace demands of the pods in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Its pods may not run as root: ours run as the target does.
    pub restricted: bool,
    /// A `LimitRange` asks for resources that are not zero: it also gives those that are not named.
    pub resources: bool,
}

impl Demands {
    /// By the Pod Security level that is enforced and the `LimitRange`s.
    pub fn of(level: Option<&str>, ranges: &[LimitRange]) -> Self {
        let items = ranges
            .iter()
            .filter_map(|range| range.spec.as_ref())
            .flat_map(|spec| &spec.limits);
        let mut containers = items.filter(|item| item.type_ == "Container" || item.type_ == "Pod");
        Self {
            restricted: level == Some("restricted"),
            resources: containers.any(|item| {
                let asks =
                    |bounds: Option<&std::collections::BTreeMap<_, _>>| bounds.is_some_and(|bounds| !bounds.is_empty());
                asks(item.min.as_ref()) || asks(item.max_limit_request_ratio.as_ref())
            }),
        }
    }
}

/// As whom the target pod runs: its own security context, and over it that of the database's container.
pub fn security_of(target: &Pod) -> PodSecurityContext {
    let mut security = target
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    // Not every volume of ours has a place for these, and none is a question of who runs.
    security.sysctls = None;
    security.windows_options = None;
    if let Some(own) = target::database(target).and_then(|container| container.security_context.clone()) {
        security.run_as_user = own.run_as_user.or(security.run_as_user);
        security.run_as_group = own.run_as_group.or(security.run_as_group);
        security.run_as_non_root = own.run_as_non_root.or(security.run_as_non_root);
        security.se_linux_options = own.se_linux_options.or(security.se_linux_options);
        security.seccomp_profile = own.seccomp_profile.or(security.seccomp_profile);
    }
    security
}

/// Makes a pod of ours what the namespace demands. `target` is how the target runs: its `SELinux` label ours have everywhere,
/// everything else only where nothing runs as root.
pub(super) fn meet(demands: Demands, pod: &mut PodSpec, target: Option<PodSecurityContext>) {
    if demands.resources {
        for container in containers(pod) {
            drop_zeros(container);
        }
    }
    let target = target.unwrap_or_default();
    if !demands.restricted {
        pod.security_context = target.se_linux_options.map(|options| PodSecurityContext {
            se_linux_options: Some(options),
            ..PodSecurityContext::default()
        });
        return;
    }
    for container in containers(pod) {
        container.security_context = Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            ..SecurityContext::default()
        });
    }
    let profile = || SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    };
    pod.security_context = Some(PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: target.seccomp_profile.clone().or_else(|| Some(profile())),
        ..target
    });
}

fn containers(pod: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    pod.init_containers.iter_mut().flatten().chain(&mut pod.containers)
}

/// A limit of zero keeps a `LimitRange` from choosing one, which this one insists on.
fn drop_zeros(container: &mut Container) {
    let limits = container
        .resources
        .as_mut()
        .and_then(|resources| resources.limits.as_mut());
    if let Some(limits) = limits {
        limits.retain(|_, limit| limit.0 != "0");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::{AgentJob, agent_container, agent_job, prepare_container};
    use crate::settings::DataPods;

    fn pod(demands: Demands, data_pods: DataPods) -> serde_json::Value {
        let target: Pod = serde_json::from_value(json!({"metadata": {"name": "c-0"}, "spec": {
            "securityContext": {"runAsUser": 100, "fsGroup": 102, "seLinuxOptions": {"level": "s0:c1"}},
            "containers": [{"name": "db", "securityContext": {"runAsUser": 101, "runAsGroup": 103}}]}}))
        .expect("a pod");
        let job = agent_job(AgentJob {
            container: agent_container("b1", "agent:1", None, "report", Vec::new(), Vec::new()),
            init_containers: vec![prepare_container("agent:1", None)],
            security: Some(security_of(&target)),
            demands,
            data_pods,
            ..AgentJob::default()
        });
        serde_json::to_value(job.spec.expect("a spec").template.spec).expect("JSON")
    }

    #[test]
    fn where_nothing_runs_as_root_ours_run_as_the_target_does() {
        let demands = Demands::of(Some("restricted"), &[]);
        let asked = DataPods {
            restricted: true,
            ..DataPods::default()
        };
        for pod in [pod(demands, DataPods::default()), pod(Demands::default(), asked)] {
            assert_eq!(
                pod["securityContext"],
                json!({"runAsNonRoot": true, "runAsUser": 101, "runAsGroup": 103, "fsGroup": 102,
                    "seLinuxOptions": {"level": "s0:c1"}, "seccompProfile": {"type": "RuntimeDefault"}})
            );
            for container in [&pod["containers"][0], &pod["initContainers"][0]] {
                assert_eq!(
                    container["securityContext"],
                    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
                );
            }
        }
    }

    #[test]
    fn elsewhere_they_have_only_its_label() {
        for level in [None, Some("baseline"), Some("privileged")] {
            let pod = pod(Demands::of(level, &[]), DataPods::default());
            assert_eq!(pod["securityContext"], json!({"seLinuxOptions": {"level": "s0:c1"}}));
            assert_eq!(pod["containers"][0]["securityContext"]["runAsUser"], json!(0));
        }
    }

    #[test]
    fn a_limit_range_that_asks_for_resources_gives_them() {
        let demands = |limits: serde_json::Value| {
            let range: LimitRange =
                serde_json::from_value(json!({"spec": {"limits": [limits]}})).expect("a LimitRange");
            Demands::of(None, &[range])
        };
        let defaults = demands(json!({"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}));
        assert!(!defaults.resources, "zero keeps it from choosing");
        for bounds in [
            json!({"type": "Container", "min": {"cpu": "50m"}}),
            json!({"type": "Container", "maxLimitRequestRatio": {"memory": "4"}}),
        ] {
            let pod = pod(demands(bounds), DataPods::default());
            for container in [&pod["containers"][0], &pod["initContainers"][0]] {
                assert_eq!(container["resources"], json!({"limits": {}}));
            }
        }
    }
}
