//! What the repo-manager can be told.

use holdfast_runtime::CommonArgs;

/// Arguments of the repo-manager.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "holdfast-repo-manager", version, about)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Namespaces, separated by commas, whose Secrets repositories may name as credentials, besides the service's own.
    #[arg(long, env = "HOLDFAST_CREDENTIAL_NAMESPACES", default_value = "")]
    pub credential_namespaces: String,
    /// How many objects are worked on at once.
    #[arg(long, env = "HOLDFAST_CONCURRENCY", default_value_t = 4)]
    pub concurrency: usize,
}

impl Args {
    /// The namespaces whose Secrets may be read, the service's own first, each once.
    pub(crate) fn secret_namespaces(&self) -> Vec<String> {
        let mut namespaces = vec![self.common.namespace.clone()];
        for namespace in self.credential_namespaces.split(',').map(str::trim) {
            if !namespace.is_empty() && !namespaces.iter().any(|known| known == namespace) {
                namespaces.push(namespace.to_owned());
            }
        }
        namespaces
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn namespaces_are_a_list_with_ones_own_first() {
        let parse = |list: &str| {
            Args::parse_from(["test", "--namespace", "own", "--credential-namespaces", list]).secret_namespaces()
        };
        assert_eq!(parse(""), ["own"]);
        assert_eq!(parse("a, b,,own,a"), ["own", "a", "b"]);
    }
}
