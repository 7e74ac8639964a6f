//! A CSI driver whose volumes are directories of one node: the default for repositories where nothing else is there,
//! and for trying Holdfast out. Such a volume shares disk and node with the data.
//!
//! It provisions on its own node only (topology), so one runs on each node beside a csi-provisioner in node
//! deployment, and it registers with kubelet itself.

mod args;
mod authority;
mod controller;
mod identity;
mod mounts;
mod node;
mod registration;
mod server;
mod volumes;

/// The wire contract.
#[allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all, clippy::pedantic)]
pub mod wire {
    /// The Container Storage Interface.
    pub mod csi {
        tonic::include_proto!("csi.v1");
    }
    /// Kubelet's plugin registration.
    pub mod registration {
        tonic::include_proto!("pluginregistration");
    }
}

pub use args::Args;
pub use server::run;

/// The driver's name.
pub const DRIVER: &str = "csi.holdfast.io";
/// The topology key whose value is the node's name.
pub const TOPOLOGY: &str = "topology.csi.holdfast.io/node";
